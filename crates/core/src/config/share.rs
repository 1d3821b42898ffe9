//! A share group's configuration (KIP-932, KIP-1191) with every key resolved.
//!
//! The group coordinator asks for it to judge members, the leaders of partitions to hand out records.

use super::error::ConfigError;
use super::value::{Values, malformed};
use super::{Scope, find};
use std::collections::BTreeMap;

/// Resolved configuration of one share group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShareGroupConfig {
    /// A member that is silent for longer has left.
    pub session_timeout_ms: u64,
    pub heartbeat_interval_ms: i32,
    /// How long a member has an acquired record to itself.
    pub record_lock_duration_ms: u64,
    /// Deliveries before a record is given up.
    pub delivery_count_limit: i16,
    /// Records of a partition that may be in flight.
    pub max_record_locks: usize,
    pub auto_offset_reset: StartOffset,
    /// Records of aborted transactions are left out.
    pub is_read_committed: bool,
    /// Members may renew their locks (KIP-1222).
    pub may_renew: bool,
    /// Records of a key are given out in their order.
    pub is_ordered_by_key: bool,
    /// Where records go that are given up.
    pub dead_letter_topic: Option<String>,
    /// Dead letters have what their records have.
    pub dead_letters_have_records: bool,
}

/// Where a group begins in a partition that it has not read yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartOffset {
    Earliest,
    Latest,
    /// At the first record that is not older than so many milliseconds.
    ByDuration(u64),
}

const BY_DURATION: &str = "by_duration:";

impl StartOffset {
    pub fn parse(text: &str) -> Option<StartOffset> {
        match text.trim() {
            "earliest" => Some(StartOffset::Earliest),
            "latest" => Some(StartOffset::Latest),
            text => text.strip_prefix(BY_DURATION).and_then(iso_milliseconds).map(StartOffset::ByDuration),
        }
    }
}

/// A duration of ISO 8601 as Java reads it: days, hours, minutes and seconds, none of them negative.
fn iso_milliseconds(text: &str) -> Option<u64> {
    let text = text.strip_prefix(['P', 'p'])?;
    let (days, time) = match text.split_once(['T', 't']) {
        Some((days, time)) if !time.is_empty() => (days, time),
        Some(_) => return None,
        None => (text, ""),
    };
    if days.is_empty() && time.is_empty() {
        return None;
    }
    let (days, rest) = part(days, ['D', 'd'], 86_400_000)?;
    let (hours, time) = part(time, ['H', 'h'], 3_600_000)?;
    let (minutes, time) = part(time, ['M', 'm'], 60_000)?;
    let (seconds, time) = seconds(time)?;
    let is_whole = rest.is_empty() && time.is_empty();
    days.checked_add(hours)?.checked_add(minutes)?.checked_add(seconds).filter(|_| is_whole)
}

/// The number before the unit, if it comes next, in milliseconds; and what follows.
fn part(text: &str, unit: [char; 2], milliseconds: u64) -> Option<(u64, &str)> {
    match text.split_once(unit) {
        Some((number, rest)) => Some((digits(number)?.checked_mul(milliseconds)?, rest)),
        None => Some((0, text)),
    }
}

fn seconds(text: &str) -> Option<(u64, &str)> {
    let Some((number, rest)) = text.split_once(['S', 's']) else { return Some((0, text)) };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    if fraction.is_empty() || fraction.len() > 9 {
        return None;
    }
    let nanoseconds = digits(fraction)? * 10u64.pow(9 - fraction.len() as u32);
    Some((digits(whole)?.checked_mul(1_000)?.checked_add(nanoseconds / 1_000_000)?, rest))
}

fn digits(text: &str) -> Option<u64> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) { text.parse().ok() } else { None }
}

impl Default for ShareGroupConfig {
    fn default() -> ShareGroupConfig {
        ShareGroupConfig::resolve(&BTreeMap::new()).expect("the table's defaults are valid")
    }
}

impl ShareGroupConfig {
    /// The values set on a group over the table's defaults.
    pub fn resolve(own: &BTreeMap<String, String>) -> Result<ShareGroupConfig, ConfigError> {
        let values = Values {
            lookup: &|name| match own.get(name) {
                Some(value) => value.trim().to_owned(),
                None => find(Scope::Group, name).and_then(|key| key.default).unwrap_or_default().to_owned(),
            },
        };
        let reset = values.text("share.auto.offset.reset");
        let expected = "earliest, latest or by_duration:<ISO 8601 duration>".to_owned();
        Ok(ShareGroupConfig {
            session_timeout_ms: values.number("share.session.timeout.ms")?,
            heartbeat_interval_ms: values.number("share.heartbeat.interval.ms")?,
            record_lock_duration_ms: values.number("share.record.lock.duration.ms")?,
            delivery_count_limit: values.number("share.delivery.count.limit")?,
            max_record_locks: values.number("share.partition.max.record.locks")?,
            auto_offset_reset: StartOffset::parse(&reset)
                .ok_or_else(|| malformed("share.auto.offset.reset", &reset, expected))?,
            is_read_committed: values.text("share.isolation.level") == "read_committed",
            may_renew: values.boolean("share.renew.acknowledge.enable")?,
            is_ordered_by_key: values.text("share.ordering") == "key",
            dead_letter_topic: Some(values.text("errors.deadletterqueue.topic.name")).filter(|name| !name.is_empty()),
            dead_letters_have_records: values.boolean("errors.deadletterqueue.copy.record.enable")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_set_is_as_kafka_has_it() {
        let config = ShareGroupConfig::resolve(&BTreeMap::new()).unwrap();
        assert_eq!((config.session_timeout_ms, config.heartbeat_interval_ms), (45_000, 5_000));
        assert_eq!((config.record_lock_duration_ms, config.delivery_count_limit, config.max_record_locks), (30_000, 5, 2_000));
        assert_eq!((config.auto_offset_reset, config.is_read_committed, config.may_renew), (StartOffset::Latest, false, true));
        let own = BTreeMap::from([("share.auto.offset.reset".to_owned(), "earliest".to_owned())]);
        let earliest = ShareGroupConfig { auto_offset_reset: StartOffset::Earliest, ..config };
        assert_eq!(ShareGroupConfig::resolve(&own).unwrap(), earliest);
    }

    #[test]
    fn durations_are_read_as_java_reads_them() {
        let read = |text: &str| StartOffset::parse(&format!("by_duration:{text}"));
        for (text, milliseconds) in [
            ("PT1H", 3_600_000),
            ("P1D", 86_400_000),
            ("P2DT3H4M5.678S", 183_845_678),
            ("pt0.5s", 500),
            ("PT90M", 5_400_000),
            ("PT0S", 0),
        ] {
            assert_eq!(read(text), Some(StartOffset::ByDuration(milliseconds)), "{text}");
        }
        for text in
            ["", "P", "PT", "P1DT", "PT-1S", "-PT1S", "1H", "PT1H2", "PT1S2M", "PT1.S", "P1H", "PTS", "PT99999999999999999999H"]
        {
            assert_eq!(read(text), None, "{text}");
        }
        assert_eq!(StartOffset::parse("none"), None);
    }
}
