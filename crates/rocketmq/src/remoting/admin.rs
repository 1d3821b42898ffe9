//! What the requests of tools share: changing configurations, refusals of changes, and small answers.

use super::call::Refusal;
use crate::clients::Client;
use crate::names::check_group;
use crate::node::Node;
use duolog_core::config::ConfigError;
use duolog_core::metadata::{
    AlterConfigError, ConfigChange, ConfigResource, ConfigUpdate, CreatePartitionsError, CreateTopicError, DeleteTopicError,
    MetadataImage,
};
use duolog_wire::remoting::body::{Connection, DataVersion, MessageQueue};
use duolog_wire::remoting::code::response;
use duolog_wire::remoting::language;

/// Entries of one page of a long table at most.
const PAGE_ENTRIES: usize = 2000;

/// Changes one configuration.
pub(super) async fn alter(node: &Node, resource: ConfigResource, update: ConfigUpdate) -> Result<(), AlterConfigError> {
    let changes = vec![ConfigChange { resource, update }];
    node.broker.metadata().alter_configs(changes, false).await.into_iter().collect()
}

pub(super) fn invalid(remark: impl Into<String>) -> Refusal {
    Refusal::new(response::INVALID_PARAMETER, remark)
}

/// Refuses a name that a group cannot have.
pub(super) fn check_group_name(group: &str) -> Result<(), Refusal> {
    check_group(group).map_err(|problem| invalid(format!("group {group:?}: {problem}")))
}

/// By which clients tell whether a table has changed since they were given the first page of it.
pub(super) fn data_version(image: &MetadataImage) -> DataVersion {
    DataVersion { counter: i64::try_from(image.applied).unwrap_or(i64::MAX), ..DataVersion::default() }
}

/// The page of `count` entries that is asked for; all of them for clients that know no pages. A page never leaves a single entry
/// to the next one, for which clients do not ask.
pub(super) fn page(count: usize, first: Option<i32>, most: Option<i32>) -> std::ops::Range<usize> {
    if first.is_none() && most.is_none() {
        return 0..count;
    }
    let start = usize::try_from(first.unwrap_or(0)).unwrap_or(0).min(count);
    let most = most.and_then(|most| usize::try_from(most).ok()).unwrap_or(PAGE_ENTRIES).clamp(1, PAGE_ENTRIES);
    let end = (start + most).min(count);
    start..if end + 1 == count { count } else { end }
}

pub(super) fn message_queue(node: &Node, topic: &str, queue_id: i32) -> MessageQueue {
    MessageQueue { broker_name: node.names.broker.clone(), queue_id, topic: topic.to_owned() }
}

pub(super) fn connection(client: &Client) -> Connection {
    Connection {
        client_addr: client.channel.peer().remote.to_string(),
        client_id: client.id.clone(),
        language: language::name(client.language).to_owned(),
        version: client.version,
    }
}

impl From<ConfigError> for Refusal {
    fn from(error: ConfigError) -> Refusal {
        invalid(error.to_string())
    }
}

impl From<AlterConfigError> for Refusal {
    fn from(error: AlterConfigError) -> Refusal {
        let code = match &error {
            AlterConfigError::UnknownTopic { .. } => response::TOPIC_NOT_EXIST,
            AlterConfigError::Unavailable(_) => response::SERVICE_NOT_AVAILABLE,
            _ => response::INVALID_PARAMETER,
        };
        Refusal::new(code, error.to_string())
    }
}

impl From<CreateTopicError> for Refusal {
    fn from(error: CreateTopicError) -> Refusal {
        let code = match &error {
            CreateTopicError::Exists { .. } => response::TOPIC_EXIST_ALREADY,
            CreateTopicError::Unavailable(_) => response::SERVICE_NOT_AVAILABLE,
            _ => response::INVALID_PARAMETER,
        };
        Refusal::new(code, error.to_string())
    }
}

impl From<CreatePartitionsError> for Refusal {
    fn from(error: CreatePartitionsError) -> Refusal {
        let code = match &error {
            CreatePartitionsError::UnknownTopic { .. } => response::TOPIC_NOT_EXIST,
            CreatePartitionsError::Unavailable(_) => response::SERVICE_NOT_AVAILABLE,
            _ => response::INVALID_PARAMETER,
        };
        Refusal::new(code, error.to_string())
    }
}

impl From<DeleteTopicError> for Refusal {
    fn from(error: DeleteTopicError) -> Refusal {
        let code = match &error {
            DeleteTopicError::UnknownName { .. } | DeleteTopicError::UnknownId { .. } => response::TOPIC_NOT_EXIST,
            DeleteTopicError::Disabled | DeleteTopicError::Internal { .. } => response::NO_PERMISSION,
            DeleteTopicError::Unavailable(_) => response::SERVICE_NOT_AVAILABLE,
            DeleteTopicError::Repeated => response::SYSTEM_ERROR,
        };
        Refusal::new(code, error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_leave_nothing_that_a_client_does_not_ask_for() {
        assert_eq!(page(7, None, None), 0..7);
        assert_eq!(page(7, Some(0), Some(3)), 0..3);
        assert_eq!(page(7, Some(3), Some(3)), 3..7, "a client that has all but one asks no more");
        assert_eq!(page(7, Some(9), Some(3)), 7..7);
        assert_eq!(page(7, Some(-1), Some(0)), 0..1);
        assert_eq!(page(5000, Some(0), None), 0..PAGE_ENTRIES);
    }
}
