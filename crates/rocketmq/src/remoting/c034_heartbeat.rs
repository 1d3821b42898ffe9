//! HEART_BEAT (34): a client says which groups it is in and what they want, every 30 s.
//!
//! *Behaviour*: members of a consumer group are told when the group changes. A group that shares messages gets its retry topic, to
//! which its members subscribe by themselves. The answer says that subscriptions may be left out and are wanted all the same
//! (HeartbeatV2), so that clients always send them; those that do not leave them as they are.

use crate::clients::Client;
use crate::names::check_group;
use crate::remoting::call::{Answer, Call, Refusal};
use duolog_wire::remoting::body::{Heartbeat, MessageModel};
use duolog_wire::remoting::code::response;
use duolog_wire::remoting::header::HeartbeatResponse;

pub(super) async fn handle(call: Call) -> Result<Answer, Refusal> {
    let heartbeat: Heartbeat = call.body()?;
    let refused = |what: String| Refusal::new(response::SYSTEM_ERROR, what);
    if heartbeat.client_id.is_empty() {
        return Err(refused("a heartbeat without a client id".to_owned()));
    }
    let consumers = heartbeat.consumer_data_set.iter().map(|data| &data.group_name);
    for group in consumers.chain(heartbeat.producer_data_set.iter().map(|data| &data.group_name)) {
        check_group(group).map_err(|problem| refused(format!("group {group:?}: {problem}")))?;
    }
    let client = Client {
        id: heartbeat.client_id,
        channel: call.channel.clone(),
        language: call.command.language,
        version: call.command.version,
        seen_ms: call.node.monotonic_ms(),
    };
    for data in heartbeat.consumer_data_set {
        let config = call.node.group_config(&data.group_name)?;
        if data.message_model == MessageModel::Clustering && config.retry_queues > 0 {
            call.node.ensure_retry_topic(&data.group_name, config.retry_queues).await?;
        }
        call.node.join(data, heartbeat.without_sub, client.clone(), config.notify_changes).await;
    }
    for data in heartbeat.producer_data_set {
        call.node.clients.producer(&data.group_name, client.clone());
    }
    if call.channel.is_gone() {
        call.node.clients.gone(&call.channel);
    }
    Ok(Answer::ok().header(HeartbeatResponse { supports_fingerprints: true, subscription_changed: true }))
}
