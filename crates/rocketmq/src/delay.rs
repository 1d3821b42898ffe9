//! Messages that are delivered later: when, what becomes of their properties, and how they are recalled.
//!
//! | the producer sets | delivered |
//! |---|---|
//! | DELAY | after the time of that level; a level above the last counts as the last |
//! | TIMER_DELAY_SEC, TIMER_DELAY_MS | so long after it is taken |
//! | TIMER_DELIVER_MS | at that time |
//!
//! The first that is there counts. A time that has come is none at all. Like the original, a delivered message has REAL_TOPIC and REAL_QID, no
//! DELAY, and with one of the others TIMER_OUT_MS, its time. Its record has the time of delivery as timestamp, so that retention
//! begins then; RocketMQ's clients are told when it was born all the same.
//!
//! A recall handle has the form of the original, whose clients take the broker's name from it, and one word more: which timer it is.

use crate::append::{Gathering, Target};
use crate::message::{MessageLimits, Outgoing};
use crate::node::Node;
use crate::remoting::Refusal;
use base64::Engine;
use base64::engine::general_purpose::{URL_SAFE, URL_SAFE_NO_PAD};
use duolog_base::{Offset, PartitionIndex, TimestampMs};
use duolog_core::broker::Acks;
use duolog_core::delay::{self, DelayError, Delayed, Scheduled, Timer, TimerId};
use duolog_core::metadata::TopicImage;
use duolog_wire::remoting::code::response;
use duolog_wire::remoting::properties::{Properties, name};
use std::sync::Arc;

/// What a handle begins with.
const HANDLE_VERSION: &str = "v1";
/// Part of the name of each property that delays a message.
const MARKS: [&str; 2] = ["DELAY", "TIMER_DELIVER"];

/// When a message is delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Later {
    pub(crate) at: TimestampMs,
    /// It has a level; otherwise a time.
    pub(crate) by_level: bool,
}

/// Whether the text of properties might say that the message is delayed; cheap.
pub(crate) fn may_be_delayed(properties: &str) -> bool {
    MARKS.iter().any(|mark| properties.contains(mark))
}

/// Whether a property delays a message.
pub(crate) fn is_delay(property: &str) -> bool {
    matches!(property, name::DELAY | name::TIMER_DELAY_SECONDS | name::TIMER_DELAY_MS | name::TIMER_DELIVER_MS)
}

/// When a message with these properties is delivered; `None` for at once. A refusal if that cannot be understood.
pub(crate) fn delivery(properties: Properties<'_>, now: TimestampMs, levels: &[i64]) -> Result<Option<Later>, Refusal> {
    let number = |name: &str| {
        let illegal = |text: &str| Refusal::new(response::MESSAGE_ILLEGAL, format!("timer message illegal, {name} is {text:?}"));
        properties.get(name).map(|text| text.trim().parse::<i64>().map_err(|_| illegal(text))).transpose()
    };
    let level = number(name::DELAY)?.unwrap_or(0);
    if level > 0 {
        return Ok(after_level(level, now, levels));
    }
    let at = if let Some(seconds) = number(name::TIMER_DELAY_SECONDS)? {
        now.0.saturating_add(seconds.saturating_mul(1000))
    } else if let Some(milliseconds) = number(name::TIMER_DELAY_MS)? {
        now.0.saturating_add(milliseconds)
    } else {
        number(name::TIMER_DELIVER_MS)?.unwrap_or(0)
    };
    Ok((at > now.0).then_some(Later { at: TimestampMs(at), by_level: false }))
}

/// When a message of this level is delivered.
pub(crate) fn after_level(level: i64, now: TimestampMs, levels: &[i64]) -> Option<Later> {
    let place = usize::try_from(level).unwrap_or(0).min(levels.len()).checked_sub(1)?;
    let at = TimestampMs(now.0.saturating_add(levels[place]));
    (levels[place] > 0).then_some(Later { at, by_level: true })
}

impl Node {
    /// When a message with these properties is delivered; `None` for at once.
    pub(crate) fn delivery_of(&self, properties: Properties<'_>) -> Result<Option<Later>, Refusal> {
        delivery(properties, self.delays.now(), &self.broker.config().rocketmq_delay_levels)
    }

    /// Stores a message that is delivered later, and waits until it is safe.
    pub(crate) async fn store_later(
        &self,
        topic: &Arc<TopicImage>,
        queue: PartitionIndex,
        later: Later,
        message: &Outgoing<'_>,
        limits: MessageLimits,
    ) -> Result<Scheduled, Refusal> {
        let (real_queue, out) = (queue.0.to_string(), later.at.0.to_string());
        let mut changes = message.changes.to_vec();
        changes.push((name::REAL_TOPIC, Some(&topic.name)));
        changes.push((name::REAL_QUEUE_ID, Some(&real_queue)));
        changes.retain(|(name, _)| *name != name::DELAY);
        changes.push((name::DELAY, None));
        if later.by_level {
            changes.extend([name::TIMER_DELAY_SECONDS, name::TIMER_DELAY_MS, name::TIMER_DELIVER_MS].map(|name| (name, None)));
        } else {
            changes.push((name::TIMER_OUT_MS, Some(&out)));
        }
        let delivered = Outgoing { changes: &changes, store_timestamp: later.at, delivered_at: Some(later.at), ..*message };
        let mut gathering = Gathering::default();
        gathering.push(&Target { topic: topic.clone(), queue, acks: Acks::All }, &delivered, limits)?;
        let (batch, tags) = gathering.into_batch();
        let partition = topic.partition(queue).ok_or_else(Refusal::not_here)?;
        let target = delay::Target { number: partition.number, topic: topic.name.clone(), partition: queue };
        let delayed = Delayed { at: later.at, target, tags, batch: batch.freeze() };
        Ok(self.delays.schedule(topic, &delayed).await?)
    }

    /// By what the message can be recalled.
    pub(crate) fn recall_handle(&self, topic: &str, unique_key: &str, scheduled: &Scheduled) -> String {
        let Scheduled { partition, timer: Timer { at, offset }, id, .. } = scheduled;
        let broker = &self.names.broker;
        URL_SAFE.encode(format!("{HANDLE_VERSION} {topic} {broker} {at} {unique_key} {partition}-{offset}-{:032x}", id.0))
    }

    /// Sees to it that a message is not delivered; its unique key. One that was recalled before is no error, as in the original.
    pub(crate) async fn recall(&self, topic: &str, handle: &str) -> Result<String, Refusal> {
        let illegal = |what: &str| Refusal::new(response::ILLEGAL_OPERATION, what);
        if self.broker.image().topic(topic).is_none_or(|topic| topic.internal) {
            let remark = format!("recall failed, the topic[{topic}] not exist");
            return Err(Refusal::new(response::TOPIC_NOT_EXIST, remark));
        }
        let handle = Handle::parse(handle).ok_or_else(|| illegal("recall handle is invalid"))?;
        if handle.topic != topic {
            return Err(illegal("recall failed, topic not match"));
        }
        if handle.broker != self.names.broker {
            return Err(illegal("recall failed, broker service not available"));
        }
        if handle.timer.at <= self.delays.now() {
            return Err(illegal("recall failed, timestamp invalid"));
        }
        self.delays.recall(handle.partition, handle.timer, handle.id).await?;
        Ok(handle.unique_key)
    }
}

impl From<DelayError> for Refusal {
    fn from(error: DelayError) -> Refusal {
        match error {
            DelayError::Refused(error) => error.into(),
            error => Refusal::new(response::SERVICE_NOT_AVAILABLE, error.to_string()),
        }
    }
}

/// A recall handle that a client sent back.
#[derive(Debug, PartialEq, Eq)]
struct Handle {
    topic: String,
    broker: String,
    unique_key: String,
    partition: PartitionIndex,
    timer: Timer,
    id: TimerId,
}

impl Handle {
    fn parse(handle: &str) -> Option<Handle> {
        let bytes = URL_SAFE_NO_PAD.decode(handle.trim_end_matches('=')).ok()?;
        let text = String::from_utf8(bytes).ok()?;
        let mut words = text.split(' ');
        if words.next()? != HANDLE_VERSION {
            return None;
        }
        let (topic, broker, at) = (words.next()?.to_owned(), words.next()?.to_owned(), words.next()?.parse().ok()?);
        let rest: Vec<&str> = words.collect();
        // A unique key is the client's own and may have blanks.
        let (reference, unique_key) = rest.split_last()?;
        let mut parts = reference.split('-');
        let partition = PartitionIndex(parts.next()?.parse().ok()?);
        let timer = Timer { at: TimestampMs(at), offset: Offset(parts.next()?.parse().ok()?) };
        let id = TimerId(u128::from_str_radix(parts.next()?, 16).ok()?);
        let is_whole = parts.next().is_none() && rest.len() >= 2;
        is_whole.then(|| Handle { topic, broker, unique_key: unique_key.join(" "), partition, timer, id })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: TimestampMs = TimestampMs(1_000_000);
    const LEVELS: &[i64] = &[1_000, 5_000, 0];

    fn delay(text: &str) -> Result<Option<(i64, bool)>, i32> {
        let properties = text.replace('=', "\u{1}").replace(';', "\u{2}");
        assert!(may_be_delayed(&properties) || text.is_empty() || text == "A=1;");
        let later = delivery(Properties::new(&properties), NOW, LEVELS);
        later.map(|later| later.map(|later| (later.at.0 - NOW.0, later.by_level))).map_err(|refusal| refusal.code)
    }

    #[test]
    fn a_level_or_a_time_says_when() {
        assert_eq!(delay("DELAY=2;"), Ok(Some((5_000, true))));
        assert_eq!(delay("TIMER_DELAY_SEC=3;"), Ok(Some((3_000, false))));
        assert_eq!(delay("TIMER_DELAY_MS=3;"), Ok(Some((3, false))));
        assert_eq!(delay("TIMER_DELIVER_MS=1000007;"), Ok(Some((7, false))));
        assert_eq!(delay("TIMER_DELIVER_MS=9223372036854775807;").map(|later| later.is_some()), Ok(true));
    }

    #[test]
    fn a_level_goes_before_a_time_and_the_last_level_is_the_highest() {
        assert_eq!(delay("TIMER_DELAY_SEC=3;DELAY=1;"), Ok(Some((1_000, true))));
        assert_eq!(
            delivery(Properties::new("DELAY\u{1}40\u{2}"), NOW, &[7]),
            Ok(Some(Later { at: TimestampMs(1_000_007), by_level: true }))
        );
        assert_eq!(delay("TIMER_DELAY_MS=5;TIMER_DELAY_SEC=3;"), Ok(Some((3_000, false))));
    }

    #[test]
    fn a_time_that_has_come_is_no_delay() {
        for text in ["", "A=1;", "DELAY=0;", "DELAY=-1;", "DELAY=3;", "TIMER_DELIVER_MS=1000000;", "TIMER_DELAY_SEC=-5;"] {
            assert_eq!(delay(text), Ok(None), "{text}");
        }
    }

    #[test]
    fn what_is_no_number_is_refused() {
        for text in ["DELAY=soon;", "TIMER_DELIVER_MS=1e9;"] {
            assert_eq!(delay(text), Err(response::MESSAGE_ILLEGAL), "{text}");
        }
    }

    #[test]
    fn handles_that_are_not_ours_are_none() {
        let reference = "3-17-000000000000000000000000000000ff";
        let whole = URL_SAFE.encode(format!("v1 t b 5 a key {reference}"));
        let handle = Handle::parse(&whole).unwrap();
        assert_eq!((handle.unique_key.as_str(), handle.partition, handle.id), ("a key", PartitionIndex(3), TimerId(255)));
        assert_eq!(handle.timer, Timer { at: TimestampMs(5), offset: Offset(17) });
        for text in [
            "",
            "v1",
            "v1 t b 5 key",
            "v2 t b 5 key 3-17-ff",
            "v1 t b x key 3-17-ff",
            "v1 t b 5 key 3-17-ff-1",
            "v1 t b 5 3-17-ff",
        ] {
            assert_eq!(Handle::parse(&URL_SAFE.encode(text)), None, "{text}");
        }
        assert_eq!(Handle::parse("***"), None);
    }
}
