//! Offsets that nobody has needed for `offsets.retention.minutes`, and groups that have nothing left.
//!
//! * A group that lost its last member keeps all its offsets that long from then on.
//! * A group with consumers keeps the offsets of topics they do not subscribe to that long from their commit.
//! * A group that only stores offsets keeps each that long from its commit.
//!
//! An offset that was committed with a retention of its own goes by that instead.

use super::offsets::CommittedOffset;
use super::records;
use super::shard::GroupShard;
use super::state::{Group, State};
use crate::coordinator::{Now, Output};
use duolog_base::TimestampMs;
use std::sync::Arc;

impl GroupShard {
    pub(super) fn expire_offsets(&mut self, now: Now, out: &mut Output) {
        let retention_ms = self.settings.offsets_retention_ms;
        let ids: Vec<Arc<str>> = self.groups.keys().cloned().collect();
        for id in ids {
            let Some(group) = self.groups.get_mut(&id) else { continue };
            let expired = group.offsets.select(|topic, committed| group.has_expired(topic, committed, now.wall, retention_ms));
            self.metrics.expired_offsets.add(expired.len() as u64);
            group.drop_offsets(expired, out);
            let is_over = group.state == State::Empty && group.offsets.is_empty() && group.pending.is_empty();
            if is_over {
                if group.recorded {
                    out.append(records::group_tombstone(&id));
                }
                self.groups.remove(&id);
            }
        }
    }
}

impl Group {
    fn has_expired(&self, topic: &str, committed: &CommittedOffset, now: TimestampMs, retention_ms: i64) -> bool {
        let counted_from = match (self.protocol_type.is_some(), self.state) {
            (false, State::Empty) => committed.committed_at,
            (true, State::Empty) => self.since.unwrap_or(committed.committed_at),
            (true, State::Stable) if self.is_consumer_group() && self.subscribed.is_some() => committed.committed_at,
            _ => return false,
        };
        if self.is_subscribed(topic) {
            return false;
        }
        match committed.expires_at {
            Some(expires_at) => now >= expires_at,
            None => now.0.saturating_sub(counted_from.0) >= retention_ms,
        }
    }
}
