//! WIPE_WRITE_PERM_OF_BROKER (205) and ADD_WRITE_PERM_OF_BROKER (327): all topics of the broker closed to producers, and opened.
//!
//! *Behaviour*: changes `rocketmq.perm` of every topic, which routes tell; producers send elsewhere, or not at all. As in the original,
//! opening opens all topics, whatever they were before. A broker of another name has no topics here.

use crate::remoting::call::{Answer, Call, Refusal};
use duolog_core::config::Perm;
use duolog_core::metadata::{ConfigChange, ConfigOperation, ConfigResource, ConfigUpdate};
use duolog_wire::remoting::header::{AddWritePermissionResponse, BrokerNameRequest, WipeWritePermissionResponse};

/// Topics that one change of the metadata is about, at most.
const TOPICS_A_CHANGE: usize = 1000;

pub(super) async fn wipe(call: Call) -> Result<Answer, Refusal> {
    let wipe_topic_count = change(&call, |perm| perm & !Perm::WRITE).await?;
    Ok(Answer::ok().header(WipeWritePermissionResponse { wipe_topic_count }))
}

pub(super) async fn add(call: Call) -> Result<Answer, Refusal> {
    let add_topic_count = change(&call, |perm| perm | Perm::WRITE).await?;
    Ok(Answer::ok().header(AddWritePermissionResponse { add_topic_count }))
}

/// The number of topics of the broker.
async fn change(call: &Call, to: fn(i32) -> i32) -> Result<i32, Refusal> {
    let header: BrokerNameRequest<'_> = call.header()?;
    if header.broker_name != call.node.names.broker {
        return Ok(0);
    }
    let image = call.node.broker.image();
    let topics: Vec<_> = image.topics.values().filter(|topic| !topic.internal).collect();
    let others = topics.iter().filter(|topic| to(topic.config.perm.0) != topic.config.perm.0);
    let changes: Vec<ConfigChange> = others.map(|topic| set_perm(&topic.name, to(topic.config.perm.0))).collect();
    for part in changes.chunks(TOPICS_A_CHANGE) {
        for changed in call.node.broker.metadata().alter_configs(part.to_vec(), false).await {
            changed?;
        }
    }
    Ok(i32::try_from(topics.len()).unwrap_or(i32::MAX))
}

fn set_perm(topic: &str, perm: i32) -> ConfigChange {
    let operation = ConfigOperation::Set(Some(perm.to_string()));
    let update = ConfigUpdate::Incremental(vec![("rocketmq.perm".to_owned(), operation)]);
    ConfigChange { resource: ConfigResource::Topic(topic.to_owned()), update }
}
