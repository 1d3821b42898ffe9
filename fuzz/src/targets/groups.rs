//! Records of `__consumer_offsets` as a coordinator replays them.

use crate::codecs;
use crate::memory::{FREE_BYTES, within};
use duolog_base::TimestampMs;
use duolog_core::config::BrokerConfig;
use duolog_core::coordinator::{Now, Output, Shard};
use duolog_core::group::{GroupSettings, GroupShard};
use std::sync::Arc;

/// Length of a value that is null.
const NULL: u16 = u16::MAX;
/// What a shard may keep for each byte of a record: maps of groups, members and offsets, with their strings.
const STATE_RATIO: usize = 32;

/// Length of the key, length of the value (or null), key, value; over and over.
pub(super) fn run(mut input: &[u8]) {
    let mut shard = GroupShard::new(Arc::new(GroupSettings::from_config(&BrokerConfig::default())), Arc::default());
    within(STATE_RATIO * input.len() + FREE_BYTES, || {
        while let Some((key, value, rest)) = take(input) {
            let _ = shard.replay(key, value);
            input = rest;
        }
    });
    let now = Now { wall: TimestampMs(1_700_000_000_000), monotonic_ms: 1_000 };
    let mut out = Output::default();
    shard.loaded(now, &mut out);
    let _ = shard.next_deadline();
    let later = Now { wall: TimestampMs(1_800_000_000_000), monotonic_ms: 100_000_000_000 };
    shard.poll_timers(later, &mut out);
}

/// A key, a value, and the input behind them.
type Taken<'a> = (&'a [u8], Option<&'a [u8]>, &'a [u8]);

fn take(input: &[u8]) -> Option<Taken<'_>> {
    let (lengths, rest) = input.split_first_chunk::<4>()?;
    let [k0, k1, v0, v1] = *lengths;
    let (key, rest) = rest.split_at_checked(u16::from_be_bytes([k0, k1]).into())?;
    match u16::from_be_bytes([v0, v1]) {
        NULL => Some((key, None, rest)),
        length => {
            let (value, rest) = rest.split_at_checked(length.into())?;
            Some((key, Some(value), rest))
        }
    }
}

pub(super) fn seeds() -> Vec<Vec<u8>> {
    // Kind of the key, the message in the key, the one in the value.
    const KINDS: [(i16, &str, &str); 3] = [
        (0, "LegacyOffsetCommitKey", "LegacyOffsetCommitValue"),
        (1, "OffsetCommitKey", "OffsetCommitValue"),
        (2, "GroupMetadataKey", "GroupMetadataValue"),
    ];
    let samples = codecs::samples();
    let mut seeds = Vec::new();
    for (kind, key_name, value_name) in KINDS {
        for key in samples.iter().filter(|sample| sample.name == key_name) {
            let key = [&kind.to_be_bytes()[..], key.bytes].concat();
            let values = samples.iter().filter(|sample| sample.name == value_name);
            let values: Vec<Vec<u8>> = values.map(|value| [&value.version.to_be_bytes()[..], value.bytes].concat()).collect();
            seeds.extend(values.iter().map(|value| entry(&key, Some(value))));
            seeds.push(values.iter().flat_map(|value| [entry(&key, Some(value)), entry(&key, None)].concat()).collect());
        }
    }
    seeds
}

fn entry(key: &[u8], value: Option<&[u8]>) -> Vec<u8> {
    let length = value.map_or(NULL, |value| value.len() as u16);
    [&(key.len() as u16).to_be_bytes()[..], &length.to_be_bytes(), key, value.unwrap_or_default()].concat()
}
