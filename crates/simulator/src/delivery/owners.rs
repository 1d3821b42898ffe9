//! Who sends records for later: some to come at a time, of which a few are recalled; some halves, which he commits, rolls back, or
//! forgets until he is asked.

use super::timers::{group, id};
use super::{CHECK_MS, Later, Parcel, TIMEOUT_MS};
use crate::log::Partition;
use crate::message::{Address, Message};
use crate::world::{Event, World};
use duolog_base::{Offset, TimestampMs};
use duolog_core::delay::decisions::Recall;
use duolog_core::delay::{Ended, Ending, Resolution, Timer};

#[derive(Debug)]
pub struct Owner {
    /// The request that is on its way, what it is about, and when it is given up.
    waiting: Option<(u64, About, u64)>,
    next_request: u64,
    /// What is to be ended: stored records with their offsets.
    open: Vec<(Later, i64)>,
}

#[derive(Clone, Copy, Debug)]
enum About {
    Store(Later),
    /// A recall, or the end of a half.
    End(u64),
}

impl Owner {
    pub fn new() -> Owner {
        Owner { waiting: None, next_request: 1, open: Vec::new() }
    }

    fn request(&mut self, about: About, now_ms: u64) -> u64 {
        self.next_request += 1;
        self.waiting = Some((self.next_request, about, now_ms + TIMEOUT_MS));
        self.next_request
    }
}

impl World<'_> {
    pub(crate) fn owner_tick(&mut self, index: usize) {
        if self.owners[index].waiting.is_none_or(|(_, _, until_ms)| until_ms <= self.now_ms) {
            match self.random.chance(1, 3) && !self.owners[index].open.is_empty() {
                true => {
                    let at = self.random.below(self.owners[index].open.len() as u64) as usize;
                    self.end(index, at);
                }
                false => self.store_later(index),
            }
        }
        let next_ms = 30 + self.random.below(60);
        self.schedule(next_ms, Event::OwnerTick { owner: index });
    }

    fn store_later(&mut self, index: usize) {
        let Some(places) = self.places() else { return };
        let (value, is_half) = (self.oracle.next_value(), self.random.chance(1, 3));
        let delay_ms = if is_half { CHECK_MS } else { 20 + self.random.below(1_000) };
        let target = self.random.below(u64::from(places.states)) as Partition;
        let later = Later { value, at_ms: self.now_ms + delay_ms, target, owner: is_half.then_some(index) };
        self.oracle.dues.sends(value, later.at_ms, is_half);
        let request = self.owners[index].request(About::Store(later), self.now_ms);
        self.send_to_timers(index, Parcel::Store { request, later });
    }

    /// Recalls a timer, or says what is to become of a half: always the same.
    fn end(&mut self, index: usize, at: usize) {
        let (later, offset) = self.owners[index].open[at];
        let Later { value, at_ms, owner, .. } = later;
        let request = self.owners[index].request(About::End(value), self.now_ms);
        let parcel = match owner {
            None => {
                self.oracle.dues.may_stay(value);
                let timer = Timer { at: TimestampMs(at_ms as i64), offset: Offset(offset) };
                Parcel::Recall { request, value, recall: Recall { timer, id: id(value) } }
            }
            Some(owner) => {
                let resolution = match value % 3 {
                    0 => Resolution::Rollback,
                    _ => Resolution::Commit,
                };
                match resolution {
                    Resolution::Commit => self.oracle.dues.may_come(value),
                    _ => self.oracle.dues.may_stay(value),
                }
                let (group, transaction) = (group(owner), Some(value.to_string()));
                Parcel::End { request, value, ending: Ending { offset: Offset(offset), group, transaction, resolution } }
            }
        };
        self.send_to_timers(index, parcel);
    }

    fn send_to_timers(&mut self, index: usize, parcel: Parcel) {
        let Some(places) = self.places() else { return };
        let to = self.likely_leader(places.timers);
        self.send(Address::Owner(index), Address::Node(to), Message::Parcel(Box::new(parcel)));
    }

    pub(crate) fn owner_told(&mut self, index: usize, parcel: Parcel) {
        let now_ms = self.now_ms;
        let owner = &mut self.owners[index];
        match (parcel, owner.waiting) {
            (Parcel::Stored { request, offset }, Some((waiting, About::Store(later), _))) if waiting == request => {
                owner.waiting = None;
                let Some(offset) = offset else { return };
                self.oracle.dues.stored(later.value, now_ms);
                // Of timers a few are recalled, and some halves are forgotten.
                if self.random.chance(if later.owner.is_some() { 4 } else { 2 }, 6) {
                    self.owners[index].open.push((later, offset));
                }
            }
            (Parcel::Over { request, ended }, Some((waiting, About::End(value), _))) if waiting == request => {
                owner.waiting = None;
                if ended.is_some_and(|ended| ended != Ended::Done || value % 5 != 0) {
                    // What is done is said again by some.
                    owner.open.retain(|(later, _)| later.value != value);
                }
            }
            (Parcel::Question { value }, _) => {
                if let Some(at) = owner.open.iter().position(|(later, _)| later.value == value)
                    && owner.waiting.is_none()
                {
                    self.end(index, at);
                }
            }
            _ => {}
        }
    }
}
