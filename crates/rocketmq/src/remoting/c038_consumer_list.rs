//! GET_CONSUMER_LIST_BY_GROUP (38): the ids of a group's members, by which each allocates the queues for itself.

use crate::clients::ConsumerGroup;
use crate::remoting::call::{Answer, Call, Refusal};
use duolog_wire::remoting::body::ConsumerIdList;
use duolog_wire::remoting::code::response;
use duolog_wire::remoting::header::ConsumerGroupRequest;

pub(super) async fn handle(call: Call) -> Result<Answer, Refusal> {
    let header: ConsumerGroupRequest<'_> = call.header()?;
    let ids = call.node.clients.with_consumers(header.consumer_group, ConsumerGroup::client_ids);
    let nobody = || Refusal::new(response::SYSTEM_ERROR, format!("no consumer for this group, {}", header.consumer_group));
    Ok(Answer::ok().json(&ConsumerIdList { consumer_id_list: ids.ok_or_else(nobody)? }))
}
