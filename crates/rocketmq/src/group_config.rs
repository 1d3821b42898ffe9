//! A consumer group as RocketMQ's tools describe it, and how that is kept in this server's configuration.
//!
//! What the server acts on has a key of its own. The rest is kept as the tools gave it, as JSON in `rocketmq.attributes`, so that
//! they find it again.

use crate::topic_config::attributes_of_table;
use duolog_core::config::{ConfigError, GroupConfig};
use duolog_core::metadata::ConfigOperation;
use duolog_wire::remoting::body::{ExponentialRetryPolicy, RetryPolicyType, SubscriptionGroupConfig, from_json, to_json};
use std::collections::BTreeMap;

/// Deliveries after the first where the group's configuration leaves it to the protocol.
const DEFAULT_RETRIES: i32 = 16;
/// Always, unless a tool says otherwise.
const PRIORITY_FACTOR: u64 = 100;

/// Values of a group, by key.
pub(crate) type GroupValues = BTreeMap<String, String>;

/// The group in RocketMQ's words.
pub(crate) fn describe(name: &str, own: &GroupValues) -> Result<SubscriptionGroupConfig, ConfigError> {
    let config = GroupConfig::resolve(own)?;
    Ok(SubscriptionGroupConfig {
        consume_broadcast_enable: config.consume_broadcast,
        consume_enable: config.consume,
        consume_from_min_enable: config.consume_from_min,
        consume_message_orderly: config.consume_orderly,
        consume_timeout_minute: config.consume_timeout_minutes,
        group_name: name.to_owned(),
        notify_consumer_ids_changed_enable: config.notify_changes,
        retry_max_times: config.retry_max_times,
        retry_queue_nums: config.retry_queues,
        ..kept(&config.attributes)
    })
}

/// What was kept for the tools; nothing if somebody else has written something else there.
fn kept(attributes: &str) -> SubscriptionGroupConfig {
    from_json(attributes.as_bytes()).unwrap_or_default()
}

/// In how many of 100 receives of a topic for messages with a priority the highest queue comes first.
pub(crate) fn priority_factor(config: &GroupConfig) -> u64 {
    let said = kept(&config.attributes).attributes.remove("priority.factor");
    said.and_then(|factor| factor.parse().ok()).unwrap_or(PRIORITY_FACTOR)
}

/// The pauses between deliveries that an administrator chose for a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RetryPolicy {
    /// Milliseconds, the first one first; the last goes on. There is one at least.
    Customized(Vec<i64>),
    /// Milliseconds; each is so many times the one before.
    Exponential { initial: i64, max: i64, multiplier: i64 },
}

impl RetryPolicy {
    /// `None` where nobody has chosen one.
    pub(crate) fn of(config: &GroupConfig) -> Option<RetryPolicy> {
        let policy = kept(&config.attributes).group_retry_policy;
        match (policy.kind, policy.customized_retry_policy, policy.exponential_retry_policy) {
            (RetryPolicyType::Customized, Some(chosen), _) if !chosen.next.is_empty() => {
                Some(RetryPolicy::Customized(chosen.next.into_iter().map(|pause| pause.max(0)).collect()))
            }
            (RetryPolicyType::Customized, _, _) => None,
            (RetryPolicyType::Exponential, _, chosen) => {
                let ExponentialRetryPolicy { initial, max, multiplier } = chosen.unwrap_or_default();
                Some(RetryPolicy::Exponential { initial: initial.max(0), max: max.max(0), multiplier: multiplier.max(1) })
            }
        }
    }

    /// How long a message waits that was given back so many times before, in milliseconds.
    pub(crate) fn pause_ms(&self, times: i32) -> i64 {
        let times = usize::try_from(times).unwrap_or(0);
        match self {
            RetryPolicy::Customized(next) => next.get(times).or(next.last()).copied().unwrap_or(0),
            RetryPolicy::Exponential { initial, max, multiplier } => {
                let factor = multiplier.saturating_pow(u32::try_from(times).unwrap_or(u32::MAX));
                initial.saturating_mul(factor).min(*max)
            }
        }
    }
}

/// How often a message is delivered to a group at most.
pub(crate) fn max_attempts(config: &GroupConfig) -> i32 {
    let retries = if config.retry_max_times < 0 { DEFAULT_RETRIES } else { config.retry_max_times };
    retries.saturating_add(1)
}

/// The changes that make a group what is wanted. Every key is set, so that the group is known even if all are as usual.
pub(crate) fn operations(own: &GroupValues, wanted: SubscriptionGroupConfig) -> Vec<(String, ConfigOperation)> {
    let values = [
        ("rocketmq.consume.enable", wanted.consume_enable.to_string()),
        ("rocketmq.consume.from.min.enable", wanted.consume_from_min_enable.to_string()),
        ("rocketmq.consume.broadcast.enable", wanted.consume_broadcast_enable.to_string()),
        ("rocketmq.consume.orderly", wanted.consume_message_orderly.to_string()),
        ("rocketmq.notify.changes.enable", wanted.notify_consumer_ids_changed_enable.to_string()),
        ("rocketmq.retry.queues", wanted.retry_queue_nums.to_string()),
        ("rocketmq.retry.max.times", wanted.retry_max_times.to_string()),
        ("rocketmq.consume.timeout.minutes", wanted.consume_timeout_minute.to_string()),
        ("rocketmq.attributes", rest(own, wanted)),
    ];
    values.into_iter().map(|(key, value)| (key.to_owned(), ConfigOperation::Set(Some(value)))).collect()
}

/// What has no key of its own, as text; empty if all of it is as usual.
fn rest(own: &GroupValues, wanted: SubscriptionGroupConfig) -> String {
    let usual = SubscriptionGroupConfig::default();
    let mut attributes = kept(own.get("rocketmq.attributes").map_or("", String::as_str)).attributes;
    for (name, value) in attributes_of_table(&wanted.attributes) {
        match value {
            Some(value) => attributes.insert(name.to_owned(), value.to_owned()),
            None => attributes.remove(name),
        };
    }
    let rest = SubscriptionGroupConfig {
        attributes,
        broker_id: wanted.broker_id,
        group_retry_policy: wanted.group_retry_policy,
        group_sys_flag: wanted.group_sys_flag,
        subscription_data_set: wanted.subscription_data_set,
        which_broker_when_consume_slowly: wanted.which_broker_when_consume_slowly,
        ..usual.clone()
    };
    match rest == usual {
        true => String::new(),
        false => String::from_utf8_lossy(&to_json(&rest)).into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn applied(own: &GroupValues, wanted: SubscriptionGroupConfig) -> GroupValues {
        let value = |(key, operation)| match operation {
            ConfigOperation::Set(value) => (key, value.unwrap()),
            other => panic!("{other:?}"),
        };
        operations(own, wanted).into_iter().map(value).collect()
    }

    #[test]
    fn what_a_tool_sets_it_finds_again() {
        let attributes = [("+lite.bind.topic", "t"), ("+priority.factor", "3")];
        let wanted = SubscriptionGroupConfig {
            group_name: "g".to_owned(),
            retry_max_times: 3,
            consume_message_orderly: true,
            which_broker_when_consume_slowly: 2,
            attributes: attributes.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
            ..SubscriptionGroupConfig::default()
        };
        let own = applied(&GroupValues::new(), wanted.clone());
        let found = describe("g", &own).unwrap();
        assert_eq!((found.retry_max_times, found.which_broker_when_consume_slowly), (3, 2));
        assert_eq!(found.attributes["lite.bind.topic"], "t");
        let less = BTreeMap::from([("-lite.bind.topic".to_owned(), String::new())]);
        let own = applied(&own, SubscriptionGroupConfig { attributes: less, ..wanted });
        assert_eq!(describe("g", &own).unwrap().attributes, BTreeMap::from([("priority.factor".to_owned(), "3".to_owned())]));
    }

    #[test]
    fn pauses_are_those_of_the_policy_that_was_set() {
        let policy = |json: &str| {
            let wanted: SubscriptionGroupConfig = from_json(json.as_bytes()).unwrap();
            RetryPolicy::of(&GroupConfig::resolve(&applied(&GroupValues::new(), wanted)).unwrap())
        };
        let pauses = |json: &str| {
            let policy = policy(json).unwrap();
            [0, 1, 2, 3, i32::MAX].map(|times| policy.pause_ms(times))
        };
        let customized = r#"{"groupRetryPolicy":{"type":"CUSTOMIZED","customizedRetryPolicy":{"next":[7,5000,-1]}}}"#;
        assert_eq!(pauses(customized), [7, 5_000, 0, 0, 0]);
        let exponential =
            r#"{"groupRetryPolicy":{"type":"EXPONENTIAL","exponentialRetryPolicy":{"initial":10,"max":85,"multiplier":3}}}"#;
        assert_eq!(pauses(exponential), [10, 30, 85, 85, 85]);
        assert_eq!(pauses(r#"{"groupRetryPolicy":{"type":"EXPONENTIAL"}}"#), [5_000, 10_000, 20_000, 40_000, 7_200_000]);
        assert_eq!(policy(r#"{"groupRetryPolicy":{"type":"CUSTOMIZED"}}"#), None);
        assert_eq!(policy("{}"), None);
    }

    #[test]
    fn a_group_that_is_as_usual_is_known_all_the_same() {
        let own = applied(&GroupValues::new(), SubscriptionGroupConfig::default());
        assert_eq!((own.len(), own["rocketmq.attributes"].as_str()), (9, ""));
        let usual = SubscriptionGroupConfig { group_name: "g".to_owned(), ..SubscriptionGroupConfig::default() };
        assert_eq!(describe("g", &own), Ok(usual));
    }
}
