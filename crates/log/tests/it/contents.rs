//! What a partition must hold, for the model of the shared layout: a history of what was done to it, and what each of its beginnings leaves.
//!
//! After a crash a partition is as it was after some of what was done last, in order, and at least after all that was reported
//! durable: never a mixture.

use bytes::Bytes;
use duolog_base::{LeaderEpoch, Position};
use duolog_log::LogEnds;
use std::collections::BTreeMap;

#[derive(Clone, Debug)]
pub struct ModelBatch {
    pub base_offset: i64,
    pub last_offset: i64,
    pub epoch: i32,
    pub bytes: Bytes,
    /// Producer id and last sequence, if idempotent.
    pub producer: Option<(i64, i32)>,
}

#[derive(Clone, Debug)]
pub enum Event {
    Append(ModelBatch),
    Cut(i64),
    Restart(i64),
    Start(i64),
}

#[derive(Clone, Debug, Default)]
pub struct Contents {
    pub batches: Vec<ModelBatch>,
    pub start: i64,
    pub end: i64,
}

impl Contents {
    fn apply(&mut self, event: &Event) {
        match event {
            Event::Append(batch) => {
                self.end = batch.last_offset + 1;
                self.batches.push(batch.clone());
            }
            Event::Cut(to) => {
                let first = self.batches.iter().find(|batch| batch.last_offset >= *to);
                self.end = first.map_or(*to, |first| first.base_offset.min(*to)).max(self.start);
                self.batches.retain(|batch| batch.last_offset < *to);
            }
            Event::Restart(at) => *self = Contents { batches: Vec::new(), start: *at, end: *at },
            Event::Start(start) => self.start = self.start.max(*start),
        }
    }

    /// What a reader sees.
    pub fn visible(&self) -> Vec<(i64, Bytes)> {
        let visible = self.batches.iter().filter(|batch| batch.last_offset >= self.start);
        visible.map(|batch| (batch.base_offset, batch.bytes.clone())).collect()
    }

    /// The sequence each producer goes on with follows from its last batch. One that has only batches which are given up may be unknown.
    pub fn check_producers(&self, found: &BTreeMap<i64, i32>, what: &str) {
        let mut expected: BTreeMap<i64, (i32, bool)> = BTreeMap::new();
        for batch in &self.batches {
            if let Some((id, last_sequence)) = batch.producer {
                expected.insert(id, (last_sequence + 1, batch.last_offset >= self.start));
            }
        }
        for (id, (next, visible)) in &expected {
            let unknown = found.get(id).is_none() && !visible;
            assert!(unknown || found.get(id) == Some(next), "{what}: producer {id} goes on with {found:?}, not with {next}");
        }
        assert!(found.keys().all(|id| expected.contains_key(id)), "{what}: {found:?} instead of {expected:?}");
    }

    /// Ends and epochs as they must be when all of it is on disk.
    pub fn check_ends(&self, ends: LogEnds, what: &str) {
        assert_eq!((ends.start.0, ends.end.0), (self.start, self.end), "{what}");
        if let Some(last) = self.batches.last().filter(|last| last.last_offset >= self.start) {
            assert_eq!(ends.last_epoch, LeaderEpoch(last.epoch), "{what}: epoch of the last batch");
        }
    }
}

#[derive(Clone, Debug, Default)]
pub struct History {
    base: Contents,
    /// What was done since, with the position that makes it durable.
    events: Vec<(Event, Position)>,
    /// Its end may have been lowered since the last comparison.
    pub was_cut: bool,
}

impl History {
    pub fn push(&mut self, event: Event, position: Position) {
        self.was_cut |= matches!(event, Event::Cut(_) | Event::Restart(_));
        self.events.push((event, position));
    }

    pub fn current(&self) -> Contents {
        let mut contents = self.base.clone();
        self.events.iter().for_each(|(event, _)| contents.apply(event));
        contents
    }

    /// Takes over as the truth what was found after a crash.
    pub fn found(&mut self, ends: LogEnds, visible: &[(i64, Bytes)], acknowledged: Position, what: &str) -> &Contents {
        let candidates = self.candidates(acknowledged);
        let is_it = |contents: &&Contents| {
            (contents.start, contents.end) == (ends.start.0, ends.end.0) && contents.visible().as_slice() == visible
        };
        let Some(found) = candidates.iter().rev().find(is_it) else {
            let possible: Vec<_> = candidates.iter().map(|one| (one.start, one.end, one.visible().len())).collect();
            panic!("{what}: {ends:?} with {} batches is none of {possible:?}, or has other bytes", visible.len());
        };
        found.check_ends(ends, what);
        *self = History { base: found.clone(), ..History::default() };
        &self.base
    }

    fn candidates(&self, acknowledged: Position) -> Vec<Contents> {
        let promised = self.events.iter().rposition(|(_, position)| *position <= acknowledged).map_or(0, |last| last + 1);
        let mut contents = self.base.clone();
        self.events[..promised].iter().for_each(|(event, _)| contents.apply(event));
        let mut candidates = vec![contents.clone()];
        for (event, _) in &self.events[promised..] {
            contents.apply(event);
            candidates.push(contents.clone());
        }
        candidates
    }
}
