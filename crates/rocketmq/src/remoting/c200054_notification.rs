//! NOTIFICATION (200054) and POLLING_INFO (200055): whether a POP may find something, and how many wait for that.
//!
//! *Behaviour*: a notification is held as a POP is, and answered as soon as a POP may find something: another one may take it first, and
//! a filter may leave it out. Nodes ask it of each other for POPs of any queue. POLLING_INFO counts the requests that the node holds
//! which is asked.

use crate::remoting::call::{Answer, Call, Refusal};
use crate::remoting::pop::{Arrivals, Asker, holding, leaders};
use duolog_wire::remoting::header::{NotificationRequest, NotificationResponse, PollingInfoRequest, PollingInfoResponse};
use tokio::time::Instant;

pub(super) async fn handle(mut call: Call) -> Result<Answer, Refusal> {
    let header: NotificationRequest<'_> = call.header()?;
    let node = call.node.clone();
    let mut asker = Asker::new(&node, header.consumer_group, header.topic, header.queue_id)?;
    asker.is_ordered = header.order;
    asker.attempt_id = header.attempt_id.filter(|id| !id.is_empty()).map(str::to_owned);
    let deadline = Instant::now() + holding(&node, header.born_time, header.poll_time);
    let leaders = leaders(&call, &asker);
    let Some(_poll) = node.polls.hold(&asker.group, &asker.topic.name, asker.queue_id()) else {
        return Ok(Answer::ok().header(NotificationResponse { has_msg: false, polling_full: true }));
    };
    call.release_room();
    let mut arrivals = Arrivals::new(&call, &asker, leaders, deadline);
    tokio::select! {
        places = arrivals.next() => {
            Ok(Answer::ok().header(NotificationResponse { has_msg: places?.is_some(), polling_full: false }))
        }
        () = call.channel.gone() => Err(Refusal::not_here()),
    }
}

pub(super) async fn held(call: Call) -> Result<Answer, Refusal> {
    let header: PollingInfoRequest<'_> = call.header()?;
    let asker = Asker::new(&call.node, header.consumer_group, header.topic, header.queue_id)?;
    let held = call.node.polls.count(&asker.group, &asker.topic.name, asker.queue_id());
    Ok(Answer::ok().header(PollingInfoResponse { polling_num: i32::try_from(held).unwrap_or(i32::MAX) }))
}
