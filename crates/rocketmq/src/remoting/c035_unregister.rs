//! UNREGISTER_CLIENT (35): a client leaves its groups in good order, and the others are told at once.

use crate::remoting::call::{Answer, Call, Refusal};
use duolog_wire::remoting::header::UnregisterClientRequest;

pub(super) async fn handle(call: Call) -> Result<Answer, Refusal> {
    let header: UnregisterClientRequest<'_> = call.header()?;
    call.node.leave(&call.channel, header.producer_group, header.consumer_group).await;
    Ok(Answer::ok())
}
