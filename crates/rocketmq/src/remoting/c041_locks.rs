//! LOCK_BATCH_MQ (41) and UNLOCK_BATCH_MQ (42): the right to consume queues in order.
//!
//! *Behaviour*: locks are kept with the group's offsets, and outlive its home. The broker's name in a queue does not matter: there is only one.

use crate::remoting::call::{Answer, Call, Refusal};
use duolog_base::PartitionIndex;
use duolog_core::group::NamedPartition;
use duolog_wire::remoting::body::{LockBatchRequest, LockBatchResponse, MessageQueue};
use hashbrown::HashSet;

pub(super) async fn lock(call: Call) -> Result<Answer, Refusal> {
    let request: LockBatchRequest = call.body()?;
    let wanted = request.mq_set.iter().map(named).collect();
    let held = call.node.groups.lock(&request.consumer_group, &request.client_id, wanted).await?;
    let held: HashSet<NamedPartition> = held.into_iter().collect();
    let mut locked = request.mq_set;
    locked.retain(|queue| held.contains(&named(queue)));
    Ok(Answer::ok().json(&LockBatchResponse { locked }))
}

pub(super) async fn unlock(call: Call) -> Result<Answer, Refusal> {
    let request: LockBatchRequest = call.body()?;
    let given_back = request.mq_set.iter().map(named).collect();
    call.node.groups.unlock(&request.consumer_group, &request.client_id, given_back).await?;
    Ok(Answer::ok())
}

fn named(queue: &MessageQueue) -> NamedPartition {
    (queue.topic.clone(), PartitionIndex(queue.queue_id))
}
