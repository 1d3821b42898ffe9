//! PullMessage: messages of one queue from an offset on; the client keeps account of what it has had.
//!
//! *Behaviour*: where there is nothing the request is held. The answer is the messages, the offset to go on from, and a status;
//! an offset that the queue does not reach is answered with ILLEGAL_OFFSET and the nearest one that it has.

use super::call::{Call, duration, group_name, subscription};
use super::convert;
use super::limits::{MOST_POLLING, POLLING, PULLED_MESSAGES};
use super::offsets::queue;
use super::status::{Refused, ok};
use crate::deliveries::{RECEIVED_BYTES, each};
use crate::message::EmptyBody;
use crate::pull::{PullOutcome, Pulled, Wanted};
use duolog_base::{LeaderEpoch, Offset};
use duolog_core::broker::PartitionEnds;
use duolog_rocketmq_proto::pull_message_response::Content;
use duolog_rocketmq_proto::{Code, PullMessageRequest, PullMessageResponse, Status};
use duolog_wire::remoting::message::StoredMessage;
use std::sync::Arc;
use tokio::time::Instant;

pub(super) async fn handle(call: Call, request: PullMessageRequest) -> Vec<PullMessageResponse> {
    let contents = pull(&call, &request).await.unwrap_or_else(|refused| vec![Content::Status(refused.status())]);
    contents.into_iter().map(|content| PullMessageResponse { content: Some(content) }).collect()
}

async fn pull(call: &Call, request: &PullMessageRequest) -> Result<Vec<Content>, Refused> {
    let asked = request.message_queue.as_ref();
    call.readable_topic(asked.and_then(|queue| queue.topic.as_ref()))?;
    let (topic, queue) = queue(call, asked)?;
    call.consuming(group_name(request.group.as_ref())?)?;
    if request.offset < 0 {
        return Err(Refused::new(Code::IllegalOffset, format!("offset {} is negative", request.offset)));
    }
    let wanted = Wanted {
        topic,
        queue,
        from: Offset(request.offset),
        max_messages: usize::try_from(request.batch_size).unwrap_or(0).clamp(1, PULLED_MESSAGES),
        max_bytes: RECEIVED_BYTES,
        subscription: Arc::new(subscription(request.filter_expression.as_ref())?),
        store_host: call.store_host(),
        empty_body: EmptyBody::AsItIs,
    };
    let polling = duration(request.long_polling_timeout.as_ref()).unwrap_or(POLLING).min(MOST_POLLING);
    let outcome = pull_at_last(call, wanted, call.hold(polling)).await?;
    let status = |code: Code, message: &str| Status { code: code.into(), message: message.to_owned() };
    let (messages, status) = match outcome.pulled {
        Pulled::Found { messages, count } => {
            call.node().messages_out.add(count as u64);
            call.node().broker.metrics().bytes_out.add(messages.len() as u64);
            (messages, ok())
        }
        Pulled::NoneWanted | Pulled::Nothing => (Default::default(), status(Code::MessageNotFound, "no new message")),
        Pulled::Moved => (Default::default(), status(Code::IllegalOffset, "the queue does not reach that offset")),
    };
    let mut contents: Vec<Content> = each(&messages)
        .filter_map(|(_, encoded)| {
            let stored = StoredMessage::take(&mut &encoded[..]).ok()?;
            Some(Content::Message(convert::message(&encoded, &stored)))
        })
        .collect();
    contents.push(Content::NextOffset(outcome.next.0));
    contents.push(Content::Status(status));
    Ok(contents)
}

/// Pulls, once this node leads the queue: until then there is nothing yet. Routes send clients to the leader.
async fn pull_at_last(call: &Call, wanted: Wanted, deadline: Instant) -> Result<PullOutcome, Refused> {
    let mut images = call.node().broker.metadata().changes();
    loop {
        match call.node().pull_or_wait(wanted.clone(), deadline).await {
            Err(refusal) if refusal.is_not_here() => {}
            outcome => return Ok(outcome?),
        }
        if Instant::now() >= deadline {
            let (next, epoch) = (wanted.from, LeaderEpoch::NONE);
            let ends = PartitionEnds { log_start: Offset(0), high_watermark: next, last_stable: next, leader_epoch: epoch };
            return Ok(PullOutcome { pulled: Pulled::Nothing, next, ends });
        }
        // Whether it changed or it is time is seen above.
        let _ = tokio::time::timeout_at(deadline, images.changed()).await;
    }
}
