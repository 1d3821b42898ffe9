//! PEEK_MESSAGE (200052): the messages that a POP would begin with, given to nobody.
//!
//! *Behaviour*: messages that the group has not looked at yet, of the one queue or (-1) of any, of one node at a time. Nothing is
//! hidden, and no delivery counts. Where there is nothing the answer is PULL_NOT_FOUND at once.

use crate::cluster::{Place, pass_on};
use crate::message::EmptyBody;
use crate::pull::{Pulled, Wanted};
use crate::remoting::admin::invalid;
use crate::remoting::call::{Answer, Call, Refusal};
use crate::remoting::pop::{Asker, leaders};
use bytes::BytesMut;
use duolog_core::filter::Subscription;
use duolog_wire::remoting::code::response;
use duolog_wire::remoting::header::{PeekMessageRequest, PopMessageResponse};
use std::sync::Arc;

/// Messages of one answer at most, and bytes, unless one message is larger.
const MOST_MESSAGES: usize = 32;
const MOST_BYTES: usize = 1 << 20;

pub(super) async fn handle(call: Call) -> Result<Answer, Refusal> {
    let header: PeekMessageRequest<'_> = call.header()?;
    let asker = Asker::new(&call.node, header.consumer_group, header.topic, header.queue_id)?;
    let want = usize::try_from(header.max_msg_nums).ok().filter(|want| (1..=MOST_MESSAGES).contains(want));
    let want = want.ok_or_else(|| invalid(format!("{} messages, 1 to {MOST_MESSAGES} are possible", header.max_msg_nums)))?;
    let (mut answer, others) = (here(&call, &asker, want).await?, leaders(&call, &asker));
    for other in others {
        if let (Place::At(other), response::PULL_NOT_FOUND) = (other, answer.code)
            && let Ok(found) = pass_on(&call, other).await
        {
            answer = found;
        }
    }
    Ok(answer)
}

/// What the queues have that this node leads.
async fn here(call: &Call, asker: &Asker, want: usize) -> Result<Answer, Refusal> {
    let node = &call.node;
    let (mut body, mut count, mut rest) = (BytesMut::new(), 0, 0u64);
    let subscription = Arc::new(Subscription::all());
    for queue in asker.queues(node.polls.turn()) {
        let standing = match node.deliveries.standing(node, &asker.reader(), queue).await.map_err(Refusal::from) {
            // Another node's, where any queue will do.
            Err(refusal) if refusal.is_not_here() && asker.queue.is_none() => continue,
            standing => standing?,
        };
        rest += standing.rest;
        if standing.rest == 0 || count == want || body.len() >= MOST_BYTES {
            continue;
        }
        let wanted = Wanted {
            topic: asker.topic.clone(),
            queue,
            from: standing.next,
            max_messages: want - count,
            max_bytes: MOST_BYTES - body.len(),
            subscription: subscription.clone(),
            store_host: node.store_host(call.channel.peer()),
            empty_body: EmptyBody::AsItIs,
        };
        if let Pulled::Found { messages, count: found } = node.pull(&wanted).await?.pulled {
            body.extend_from_slice(&messages);
            count += found;
        }
    }
    let code = if count == 0 { response::PULL_NOT_FOUND } else { response::SUCCESS };
    let rest_num = i64::try_from(rest).unwrap_or(i64::MAX);
    Ok(Answer::of(code).header(PopMessageResponse { rest_num, ..PopMessageResponse::default() }).bytes(body.freeze()))
}
