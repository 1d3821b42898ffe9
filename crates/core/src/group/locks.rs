//! Locks: which client consumes a partition in order (RocketMQ's LOCK_BATCH_MQ). It has nothing to do with who is a member of the group.
//!
//! A lock is its client's until that gives it back or does not renew it for [`LOCK_LIFE_MS`]. Nobody else gets it before, wherever the
//! group is kept by then:
//!
//! * Whose a lock is stands in a record, written when that changes.
//! * When it was renewed does not: where the shard is loaded anew, each lock has its whole life before it.
//! * A renewal is answered by a shard that still keeps the group only, so it writes one of the locks once more.

use super::records;
use super::shard::GroupShard;
use super::timers::{Check, Deadline, Timer};
use super::{GroupCoordinator, GroupError};
use crate::coordinator::{Now, Output, Ticket};
use duolog_base::PartitionIndex;
use std::collections::BTreeMap;

/// How long a lock lives without being renewed. Clients renew theirs every 20 s, and stop to rely on it after 30 s.
pub const LOCK_LIFE_MS: u64 = 60_000;
/// Locks of one group at most; a client that asks for more gets none of the rest.
const LOCKS_OF_GROUP: usize = 10_000;
/// Longest name of a group, a topic or a client that locks, in bytes.
const NAME_BYTES: usize = 255;

/// A partition by the name of its topic.
pub type NamedPartition = (String, PartitionIndex);

/// The locks of the groups of one shard.
#[derive(Debug, Default)]
pub(super) struct Locks {
    groups: BTreeMap<String, BTreeMap<NamedPartition, Lock>>,
    /// When the first of them may have died; set while there are any.
    expiry: Deadline,
}

#[derive(Debug)]
struct Lock {
    client: String,
    renewed_ms: u64,
}

impl Lock {
    fn is_alive(&self, now_ms: u64) -> bool {
        now_ms.saturating_sub(self.renewed_ms) <= LOCK_LIFE_MS
    }
}

impl Locks {
    /// Folds in a record.
    pub(super) fn replay(&mut self, group: &str, at: NamedPartition, client: Option<&str>) {
        match client {
            Some(client) => {
                let lock = Lock { client: client.to_owned(), renewed_ms: 0 };
                self.groups.entry(group.to_owned()).or_default().insert(at, lock);
            }
            None => self.forget(group, &at),
        }
    }

    fn forget(&mut self, group: &str, at: &NamedPartition) {
        let Some(locks) = self.groups.get_mut(group) else { return };
        locks.remove(at);
        if locks.is_empty() {
            self.groups.remove(group);
        }
    }

    fn first_death_ms(&self) -> Option<u64> {
        let renewed = self.groups.values().flat_map(BTreeMap::values).map(|lock| lock.renewed_ms);
        renewed.min().map(|renewed_ms| renewed_ms.saturating_add(LOCK_LIFE_MS + 1))
    }
}

impl GroupShard {
    /// Takes or renews locks; those that the client holds then.
    pub fn lock(
        &mut self,
        group: &str,
        client: &str,
        wanted: Vec<NamedPartition>,
        ticket: Ticket<Result<Vec<NamedPartition>, GroupError>>,
        now: Now,
        out: &mut Output,
    ) {
        if let Err(error) = check_names(group, client, &wanted) {
            return out.answer(ticket, Err(error));
        }
        let locks = self.locks.groups.entry(group.to_owned()).or_default();
        let (mut held, mut is_written) = (Vec::new(), false);
        for at in wanted {
            let known = locks.get(&at);
            let is_own = known.is_some_and(|lock| lock.client == client);
            let is_free = known.map_or(locks.len() < LOCKS_OF_GROUP, |lock| !lock.is_alive(now.monotonic_ms));
            if !is_own && !is_free {
                continue;
            }
            if !is_own {
                out.append(records::lock(group, &at, client));
                is_written = true;
            }
            locks.insert(at.clone(), Lock { client: client.to_owned(), renewed_ms: now.monotonic_ms });
            held.push(at);
        }
        if locks.is_empty() {
            self.locks.groups.remove(group);
        }
        if let Some(first) = held.first().filter(|_| !is_written) {
            out.append(records::lock(group, first, client));
        }
        self.schedule_lock_expiry();
        out.answer(ticket, Ok(held));
    }

    /// Gives back those of the locks that are the client's.
    pub fn unlock(
        &mut self,
        group: &str,
        client: &str,
        given_back: &[NamedPartition],
        ticket: Ticket<Result<(), GroupError>>,
        out: &mut Output,
    ) {
        for at in given_back {
            let lock = self.locks.groups.get(group).and_then(|locks| locks.get(at));
            if lock.is_some_and(|lock| lock.client == client) {
                out.append(records::lock_tombstone(group, at));
                self.locks.forget(group, at);
            }
        }
        out.answer(ticket, Ok(()));
    }

    /// The life of every lock begins anew.
    pub(super) fn locks_loaded(&mut self, now: Now) {
        for lock in self.locks.groups.values_mut().flat_map(BTreeMap::values_mut) {
            lock.renewed_ms = now.monotonic_ms;
        }
        self.schedule_lock_expiry();
    }

    pub(super) fn lock_expiry(&mut self, at: u64, now: Now, out: &mut Output) {
        if self.timers.check(&mut self.locks.expiry, at, now.monotonic_ms, Timer::Locks) == Check::NotDue {
            return;
        }
        for (group, locks) in &mut self.locks.groups {
            for (at, _) in locks.extract_if(.., |_, lock| !lock.is_alive(now.monotonic_ms)) {
                out.append(records::lock_tombstone(group, &at));
            }
        }
        self.locks.groups.retain(|_, locks| !locks.is_empty());
        self.schedule_lock_expiry();
    }

    fn schedule_lock_expiry(&mut self) {
        if self.locks.expiry.is_set() {
            return;
        }
        if let Some(due) = self.locks.first_death_ms() {
            self.timers.set(&mut self.locks.expiry, due, || Timer::Locks);
        }
    }
}

fn check_names(group: &str, client: &str, wanted: &[NamedPartition]) -> Result<(), GroupError> {
    if group.is_empty() {
        return Err(GroupError::InvalidGroupId);
    }
    let mut names = wanted.iter().map(|(topic, _)| topic.as_str()).chain([group, client]);
    match names.all(|name| name.len() <= NAME_BYTES) {
        true => Ok(()),
        false => Err(GroupError::InvalidRequest { problem: "a name is too long" }),
    }
}

impl GroupCoordinator {
    /// Takes or renews a client's locks; those that it holds then.
    pub async fn lock(&self, group: &str, client: &str, wanted: Vec<NamedPartition>) -> Result<Vec<NamedPartition>, GroupError> {
        let (id, client) = (group.to_owned(), client.to_owned());
        self.call(group, move |shard, ticket, now, out| shard.lock(&id, &client, wanted, ticket, now, out)).await?
    }

    /// Gives locks of a client back.
    pub async fn unlock(&self, group: &str, client: &str, given_back: Vec<NamedPartition>) -> Result<(), GroupError> {
        let (id, client) = (group.to_owned(), client.to_owned());
        self.call(group, move |shard, ticket, _, out| shard.unlock(&id, &client, &given_back, ticket, out)).await?
    }
}
