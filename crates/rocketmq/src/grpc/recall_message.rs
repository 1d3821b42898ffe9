//! RecallMessage: a producer does not want a delayed message to be delivered.

use super::call::Call;
use super::status::{Refused, ok};
use duolog_rocketmq_proto::{RecallMessageRequest, RecallMessageResponse};

pub(super) async fn handle(call: Call, request: RecallMessageRequest) -> Result<RecallMessageResponse, Refused> {
    let topic = call.topic(request.topic.as_ref())?;
    let message_id = call.node().recall(&topic.name, &request.recall_handle).await?;
    Ok(RecallMessageResponse { status: Some(ok()), message_id })
}
