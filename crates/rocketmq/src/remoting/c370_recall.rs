//! RECALL_MESSAGE (370): a producer does not want a delayed message to be delivered.
//!
//! *Behaviour*: done when this is answered. A message that was recalled before, or whose topic has been made anew, is no error; one
//! whose time has come is ILLEGAL_OPERATION, and so is a handle of another topic.

use crate::remoting::call::{Answer, Call, Refusal};
use duolog_wire::remoting::header::{RecallMessageRequest, RecallMessageResponse};

pub(super) async fn handle(call: Call) -> Result<Answer, Refusal> {
    let header: RecallMessageRequest<'_> = call.header()?;
    let unique_key = call.node.recall(header.topic, header.recall_handle).await?;
    Ok(Answer::ok().header(RecallMessageResponse { msg_id: &unique_key }))
}
