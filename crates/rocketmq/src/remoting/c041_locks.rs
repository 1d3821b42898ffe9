//! LOCK_BATCH_MQ (41) and UNLOCK_BATCH_MQ (42): the right to consume queues in order.

use crate::remoting::call::{Answer, Call, Refusal};
use duolog_wire::remoting::body::{LockBatchRequest, LockBatchResponse};

pub(super) async fn lock(call: Call) -> Result<Answer, Refusal> {
    let request: LockBatchRequest = call.body()?;
    let now_ms = call.node.monotonic_ms();
    let locked = call.node.locks.lock(&request.consumer_group, &request.client_id, request.mq_set, now_ms);
    Ok(Answer::ok().json(&LockBatchResponse { locked }))
}

pub(super) async fn unlock(call: Call) -> Result<Answer, Refusal> {
    let request: LockBatchRequest = call.body()?;
    call.node.locks.unlock(&request.consumer_group, &request.client_id, &request.mq_set);
    Ok(Answer::ok())
}
