//! A share-partition in the hands of its leaders, one after the other; what is written is stored at once.

use super::{Machine, Said, named, range};
use crate::share::decisions::{AcknowledgeError, Allowed, Partition, ShareState, Stage, StateBatch, Work};
use crate::share::{Acknowledgement, Pick};
use duolog_base::Offset;
use std::sync::Arc;

pub(super) struct Leader {
    work: Work,
    allowed: Allowed,
    /// What was stored last of the start, and everything else that was.
    stored: ShareState,
}

impl Default for Leader {
    fn default() -> Leader {
        let stored = ShareState { state_epoch: 1, start: Some(0), batches: Vec::new() };
        let work = Work::new(Partition::restore(Offset(0), &stored, Offset(0)));
        Leader { work, allowed: Allowed { deliveries: 3, locks: 100, dead_letters: false }, stored }
    }
}

pub(super) fn told(batches: &[StateBatch]) -> String {
    let one = |batch: &StateBatch| {
        let (range, stored) = (batch.range().expect("a range"), batch.stored());
        format!("{} {} x{}", named(range.first.0, range.last.0), stage(stored.stage), stored.delivery_count)
    };
    if batches.is_empty() { "nothing".to_owned() } else { batches.iter().map(one).collect::<Vec<_>>().join(", ") }
}

fn stage(stage: Stage) -> String {
    format!("{stage:?}").to_lowercase()
}

impl Leader {
    fn change<T>(&mut self, decide: impl FnOnce(&mut Partition, Allowed) -> T) -> T {
        let allowed = self.allowed;
        self.work.change(allowed, |partition| decide(partition, allowed)).0
    }

    fn acquire(&mut self, said: &Said<'_>) -> Vec<String> {
        let (first, last) = range(said.word(1));
        let member = Arc::from(said.word(0));
        let (until_ms, most) = (said.number("until") as u64, said.number_or("most", 500) as usize);
        let window = Offset(first)..Offset(last + 1);
        let given = self.change(|partition, allowed| partition.acquire(window, Pick::All, &member, until_ms, most, allowed));
        match given.is_empty() {
            true => vec!["nothing".to_owned()],
            false => {
                let one = |range: &crate::share::AcquiredRange| {
                    format!("{} delivery {}", named(range.first.0, range.last.0), range.delivery_count)
                };
                given.iter().map(one).collect()
            }
        }
    }

    fn acknowledge(&mut self, said: &Said<'_>) -> Vec<String> {
        let numbers = [("accept", 1), ("release", 2), ("reject", 3), ("renew", 4), ("gap", 0)];
        let one = |word: &str| {
            let (what, which) = word.split_once('=')?;
            let number = numbers.iter().find(|(name, _)| *name == what)?.1;
            let (first, last) = range(which);
            Some(Acknowledgement { first: Offset(first), last: Offset(last), types: vec![number] })
        };
        let batches: Vec<Acknowledgement> = said.words.iter().filter_map(|word| one(word)).collect();
        let until_ms = said.number_or("until", 0) as u64;
        let outcome = self.change(|partition, allowed| partition.acknowledge(said.word(0), &batches, until_ms, allowed));
        vec![match outcome {
            Ok(()) => "taken".to_owned(),
            Err(AcknowledgeError::NotAcquired) => "refused: not acquired".to_owned(),
            Err(AcknowledgeError::Malformed) => "refused: malformed".to_owned(),
        }]
    }

    fn write(&mut self) -> Vec<String> {
        let Some(write) = self.work.begin_write() else { return vec!["nothing to write".to_owned()] };
        let text = format!("start {}, {} done behind it: {}", write.start, write.delivery_complete_count, told(&write.batches));
        self.stored.start = Some(write.start);
        self.stored.batches.extend(write.batches);
        self.work.written();
        vec![text]
    }
}

impl Machine for Leader {
    fn step(&mut self, said: &Said<'_>) -> Vec<String> {
        match said.what {
            "group" => {
                self.allowed.deliveries = said.number_or("deliveries", 3) as i16;
                self.allowed.locks = said.number_or("locks", 100) as usize;
                Vec::new()
            }
            // A new leader begins with what was stored.
            "leader" => {
                let start = Offset(self.stored.start.unwrap_or(0));
                self.work = Work::new(Partition::restore(start, &self.stored, Offset(said.number("log-end"))));
                Vec::new()
            }
            "next" => {
                let next = self.change(|partition, allowed| partition.next(allowed));
                vec![next.map_or("none may be acquired".to_owned(), |next| format!("from {next}"))]
            }
            "acquire" => self.acquire(said),
            "acknowledge" => self.acknowledge(said),
            "release" => {
                let seen = said.word(1) == "seen";
                self.change(|partition, allowed| partition.release(said.word(0), seen, allowed));
                Vec::new()
            }
            "time" => {
                let now_ms = said.word(0).parse().expect("a number");
                self.change(|partition, allowed| partition.expire(now_ms, allowed));
                Vec::new()
            }
            "log-start" => {
                let start = Offset(said.word(0).parse().expect("a number"));
                self.change(|partition, _| partition.trim(start));
                Vec::new()
            }
            "write" => self.write(),
            other => panic!("nobody knows what to do to {other}"),
        }
    }
}
