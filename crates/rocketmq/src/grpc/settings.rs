//! What client and server agree on: the client says what it is and wants, the server answers with that and its own rules.

use super::call::{Call, group_name, topic_name};
use super::limits::{CLIENT_PROPERTIES, POLLING, RECEIVED_MESSAGES, TOPICS_OF_CLIENT};
use super::status::Refused;
use crate::group_config::{self, max_attempts};
use duolog_core::config::GroupConfig;
use duolog_rocketmq_proto::retry_policy::Strategy;
use duolog_rocketmq_proto::settings::PubSub;
use duolog_rocketmq_proto::{
    ClientType, Code, CustomizedBackoff, ExponentialBackoff, Metric, Publishing, RetryPolicy, Settings, Subscription,
};
use prost_types::Duration;

/// Attempts of a producer to send a message, and the pauses between them.
const SEND_ATTEMPTS: i32 = 3;
const SEND_BACKOFF_FIRST_MS: i32 = 10;
const SEND_BACKOFF_LAST_MS: i32 = 1_000;
const SEND_BACKOFF_FACTOR: f32 = 2.0;
/// Pauses between the deliveries of a message that a consumer fails at, unless the group has a policy of its own; the last one goes on.
const DELIVERY_BACKOFF_SECONDS: [i64; 18] =
    [1, 5, 10, 30, 60, 120, 180, 240, 300, 360, 420, 480, 540, 600, 1200, 1800, 3600, 7200];
const LITE_TOPIC_BYTES: i32 = 64;

/// What the client's settings are answered with.
pub(super) fn agree(call: &Call, mut settings: Settings) -> Result<Settings, Refused> {
    if settings.client_properties.len() > CLIENT_PROPERTIES {
        return Err(Refused::new(Code::InvalidClientProperties, format!("more than {CLIENT_PROPERTIES} client properties")));
    }
    match settings.client_type() {
        ClientType::LitePushConsumer | ClientType::LiteSimpleConsumer => {
            return Err(Refused::new(Code::Unsupported, "lite topics are not served"));
        }
        _ => {}
    }
    match &mut settings.pub_sub {
        Some(PubSub::Publishing(publishing)) => {
            publish(call, publishing)?;
            settings.backoff_policy = Some(send_policy());
        }
        Some(PubSub::Subscription(subscription)) => {
            let config = subscribe(call, subscription)?;
            settings.backoff_policy = Some(delivery_policy(&config));
        }
        None => return Err(Refused::new(Code::BadRequest, "settings say neither what is published nor what is subscribed")),
    }
    settings.metric = Some(Metric { on: false, endpoints: None });
    Ok(settings)
}

fn publish(call: &Call, publishing: &mut Publishing) -> Result<(), Refused> {
    check_count(publishing.topics.len())?;
    for topic in &publishing.topics {
        topic_name(Some(topic))?;
    }
    publishing.max_body_size = i32::try_from(call.node().broker.config().rocketmq_max_message_bytes).unwrap_or(i32::MAX);
    publishing.validate_message_type = true;
    Ok(())
}

fn subscribe(call: &Call, subscription: &mut Subscription) -> Result<GroupConfig, Refused> {
    check_count(subscription.subscriptions.len())?;
    let config = call.node().group_config(group_name(subscription.group.as_ref())?)?;
    for entry in &subscription.subscriptions {
        topic_name(entry.topic.as_ref())?;
    }
    subscription.fifo = Some(config.consume_orderly);
    subscription.receive_batch_size = Some(RECEIVED_MESSAGES as i32);
    subscription.long_polling_timeout = Some(Duration { seconds: POLLING.as_secs() as i64, nanos: 0 });
    subscription.lite_subscription_quota = Some(0);
    subscription.max_lite_topic_size = Some(LITE_TOPIC_BYTES);
    Ok(config)
}

fn check_count(topics: usize) -> Result<(), Refused> {
    match topics > TOPICS_OF_CLIENT {
        true => Err(Refused::new(Code::BadRequest, format!("{topics} topics, at most {TOPICS_OF_CLIENT} are possible"))),
        false => Ok(()),
    }
}

fn send_policy() -> RetryPolicy {
    let milliseconds = |ms: i32| Duration { seconds: i64::from(ms / 1000), nanos: ms % 1000 * 1_000_000 };
    let backoff = ExponentialBackoff {
        initial: Some(milliseconds(SEND_BACKOFF_FIRST_MS)),
        max: Some(milliseconds(SEND_BACKOFF_LAST_MS)),
        multiplier: SEND_BACKOFF_FACTOR,
    };
    RetryPolicy { max_attempts: SEND_ATTEMPTS, strategy: Some(Strategy::ExponentialBackoff(backoff)) }
}

fn delivery_policy(config: &GroupConfig) -> RetryPolicy {
    let milliseconds = |ms: i64| Duration { seconds: ms / 1000, nanos: (ms % 1000) as i32 * 1_000_000 };
    let customized = |next| Strategy::CustomizedBackoff(CustomizedBackoff { next });
    let strategy = match group_config::RetryPolicy::of(config) {
        Some(group_config::RetryPolicy::Customized(next)) => customized(next.into_iter().map(milliseconds).collect()),
        Some(group_config::RetryPolicy::Exponential { initial, max, multiplier }) => {
            let (initial, max) = (Some(milliseconds(initial)), Some(milliseconds(max)));
            Strategy::ExponentialBackoff(ExponentialBackoff { initial, max, multiplier: multiplier as f32 })
        }
        None => customized(DELIVERY_BACKOFF_SECONDS.map(|seconds| Duration { seconds, nanos: 0 }).to_vec()),
    };
    RetryPolicy { max_attempts: max_attempts(config), strategy: Some(strategy) }
}
