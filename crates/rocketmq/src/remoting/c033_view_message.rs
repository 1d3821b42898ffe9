//! VIEW_MESSAGE_BY_ID (33): the message whose place a tool has from its id.

use crate::remoting::c036_send_back::find_message;
use crate::remoting::call::{Answer, Call, Refusal};
use duolog_wire::remoting::code::response;
use duolog_wire::remoting::header::ViewMessageRequest;

pub(super) async fn handle(call: Call) -> Result<Answer, Refusal> {
    let header: ViewMessageRequest<'_> = call.header()?;
    let store_host = call.node.store_host(call.channel.peer());
    let found = find_message(&call.node, header.offset, header.topic, store_host).await?;
    let unknown = || Refusal::new(response::SYSTEM_ERROR, format!("can not find message by the offset, {}", header.offset));
    Ok(Answer::ok().bytes(found.ok_or_else(unknown)?))
}
