//! A group's configuration as RocketMQ clients are held to it, with every key resolved.

use super::error::ConfigError;
use super::value::Values;
use super::{Scope, find};
use std::collections::BTreeMap;

/// Resolved configuration of one group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupConfig {
    pub consume: bool,
    pub consume_from_min: bool,
    pub consume_broadcast: bool,
    pub consume_orderly: bool,
    /// Members are told at once when others come or go.
    pub notify_changes: bool,
    pub retry_queues: i32,
    /// Deliveries after the first; -1 for the protocol's default.
    pub retry_max_times: i32,
    pub consume_timeout_minutes: i32,
    /// `TOPIC:N` for each topic that is consumed by POP, with commas between them.
    pub pop_topics: String,
    /// JSON, as RocketMQ's tools gave it; empty for none.
    pub attributes: String,
}

impl GroupConfig {
    /// The values set on a group over the table's defaults.
    pub fn resolve(own: &BTreeMap<String, String>) -> Result<GroupConfig, ConfigError> {
        let values = Values {
            lookup: &|name| match own.get(name) {
                Some(value) => value.trim().to_owned(),
                None => find(Scope::Group, name).and_then(|key| key.default).unwrap_or_default().to_owned(),
            },
        };
        Ok(GroupConfig {
            consume: values.boolean("rocketmq.consume.enable")?,
            consume_from_min: values.boolean("rocketmq.consume.from.min.enable")?,
            consume_broadcast: values.boolean("rocketmq.consume.broadcast.enable")?,
            consume_orderly: values.boolean("rocketmq.consume.orderly")?,
            notify_changes: values.boolean("rocketmq.notify.changes.enable")?,
            retry_queues: values.number("rocketmq.retry.queues")?,
            retry_max_times: values.number("rocketmq.retry.max.times")?,
            consume_timeout_minutes: values.number("rocketmq.consume.timeout.minutes")?,
            pop_topics: values.text("rocketmq.pop.topics"),
            attributes: values.text("rocketmq.attributes"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_set_is_as_the_table_says() {
        let config = GroupConfig::resolve(&BTreeMap::new()).unwrap();
        assert!(config.consume && config.notify_changes && !config.consume_orderly);
        assert_eq!((config.retry_queues, config.retry_max_times), (1, 16));
        let own = BTreeMap::from([("rocketmq.retry.max.times".to_owned(), " 3".to_owned())]);
        assert_eq!(GroupConfig::resolve(&own).unwrap(), GroupConfig { retry_max_times: 3, ..config });
    }
}
