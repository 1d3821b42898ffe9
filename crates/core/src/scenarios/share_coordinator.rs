//! A shard of the share coordinator with one share-partition, and the records that it writes.

use super::share_partition::told;
use super::{Machine, Said, range};
use crate::coordinator::{Now, Output, Record, Shard, Ticket, Waiting, ticket};
use crate::share::OffsetRange;
use crate::share::SharePartition;
use crate::share::decisions::{ShareShard, ShareState, Stage, StateBatch, StateError, Stored, Write, Writer};
use duolog_base::{LeaderEpoch, Offset, PartitionIndex, TimestampMs, TopicId};
use std::sync::Arc;

#[derive(Default)]
pub(super) struct Coordinator {
    shard: ShareShard,
    log: Vec<Record>,
}

fn place() -> SharePartition {
    SharePartition { group: Arc::from("g"), topic: TopicId(1), partition: PartitionIndex(0) }
}

fn refusal(error: &StateError) -> String {
    format!("refused: {error}")
}

fn state(state: &ShareState) -> String {
    let start = state.start.map_or("not known".to_owned(), |start| start.to_string());
    format!("state epoch {}, start {start}: {}", state.state_epoch, told(&state.batches))
}

impl Coordinator {
    fn ask<T: Send + 'static>(&mut self, ask: impl FnOnce(&mut ShareShard, Ticket<T>, Now, &mut Output)) -> (T, Vec<String>) {
        let (ticket, mut waiting): (Ticket<T>, Waiting<T>) = ticket();
        let mut out = Output::default();
        ask(&mut self.shard, ticket, Now { monotonic_ms: 0, wall: TimestampMs(0) }, &mut out);
        let records = out.take_records();
        out.release();
        let written = records.iter().map(|record| format!("writes {}", kind(record))).collect();
        self.log.extend(records);
        (waiting.take().expect("an answer"), written)
    }

    fn done(&mut self, ask: impl FnOnce(&mut ShareShard, Ticket<Result<(), StateError>>, Now, &mut Output)) -> Vec<String> {
        let (outcome, mut lines) = self.ask(ask);
        lines.push(outcome.map_or_else(|error| refusal(&error), |()| "done".to_owned()));
        lines
    }

    fn write(&mut self, said: &Said<'_>) -> Vec<String> {
        let by = Writer { state_epoch: said.number("state-epoch") as i32, leader_epoch: said.number("leader-epoch") as i32 };
        let stages = [("available", Stage::Available), ("acknowledged", Stage::Acknowledged), ("archived", Stage::Archived)];
        let one = |word: &str| {
            let (what, which) = word.split_once('=')?;
            let stage = stages.iter().find(|(name, _)| *name == what)?.1;
            let (which, count) = which.split_once('x').unwrap_or((which, "1"));
            let (first, last) = range(which);
            let stored = Stored { stage, delivery_count: count.parse().expect("a number") };
            Some(StateBatch::new(OffsetRange { first: Offset(first), last: Offset(last) }, stored))
        };
        let batches = said.words.iter().filter_map(|word| one(word)).collect();
        let write = Write { start: said.number("start"), delivery_complete_count: 0, batches };
        self.done(|shard, ticket, now, out| shard.write(&place(), by, write, ticket, now, out))
    }
}

/// Kafka's numbers of the keys.
fn kind(record: &Record) -> &'static str {
    match (&record.key[..2], &record.value) {
        ([0, 0], Some(_)) => "a snapshot",
        ([0, 1], Some(_)) => "an update",
        _ => "a tombstone",
    }
}

impl Machine for Coordinator {
    fn step(&mut self, said: &Said<'_>) -> Vec<String> {
        match said.what {
            "initialize" => {
                let start = said.find("start").map(|text| Offset(text.parse().expect("a number")));
                let epoch = said.number("state-epoch") as i32;
                self.done(|shard, ticket, now, out| shard.initialize(place(), epoch, start, ticket, now, out))
            }
            "read" => {
                let epoch = LeaderEpoch(said.number("leader-epoch") as i32);
                let (outcome, mut lines) = self.ask(|shard, ticket, now, out| shard.read(&place(), epoch, ticket, now, out));
                lines.push(outcome.map_or_else(|error| refusal(&error), |found| state(&found)));
                lines
            }
            "write" => self.write(said),
            "delete" => self.done(|shard, ticket, _, out| shard.delete(&place(), ticket, out)),
            "summary" => {
                let (outcome, mut lines) = self.ask(|shard, ticket, _, out| shard.summary(&place(), ticket, out));
                lines.push(match outcome {
                    Ok(found) => format!(
                        "state epoch {}, leader epoch {}, start {}",
                        found.state_epoch,
                        found.leader_epoch,
                        found.start_offset.map_or("not known".to_owned(), |start| start.to_string())
                    ),
                    Err(error) => refusal(&error),
                });
                lines
            }
            // The newest record of each key is enough.
            "compact" => {
                let records = std::mem::take(&mut self.log);
                let is_newest = |at: usize| records[at + 1..].iter().all(|later| later.key != records[at].key);
                self.log = (0..records.len()).filter(|at| is_newest(*at)).map(|at| records[at].clone()).collect();
                vec![format!("{} of {} records are left", self.log.len(), records.len())]
            }
            "restart" => {
                self.shard = ShareShard::default();
                for Record { key, value } in &self.log {
                    self.shard.replay(key, value.as_deref()).expect("what was written can be read");
                }
                Vec::new()
            }
            other => panic!("nobody knows what to do to {other}"),
        }
    }
}
