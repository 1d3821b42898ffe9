//! What clients append to replicated partitions: only where this node leads, and with a promise that tells when it is committed.

use super::Replication;
use super::slot::{Slot, SlotState};
use duolog_base::{Offset, PartitionNumber};
use duolog_log::{AppendBatch, AppendError, Appended, LogPosition, StoreReceipt};
use duolog_replica::{AckOutcome, NotEnoughReplicas, Ticket};
use parking_lot::MutexGuard;
use smallvec::SmallVec;
use std::sync::atomic::Ordering;
use tokio::sync::oneshot;

/// A batch that a client wants to append.
pub(crate) struct Wanted {
    pub(crate) batch: AppendBatch,
    /// The client waits until it is committed.
    pub(crate) committed: bool,
    /// It is to be appended in the batch's leader epoch or not at all: what a coordinator decides follows from what it knew then.
    pub(crate) in_its_epoch: bool,
    /// Whether the metadata says that this node leads the partition and holds its only replica.
    pub(crate) alone: bool,
}

/// Why a batch is not appended.
#[derive(Clone, Debug)]
pub(crate) enum AppendRefusal {
    NotLeader,
    NotEnoughReplicas(NotEnoughReplicas),
    Log(AppendError),
}

/// A promise that some batches of an append, by their places in it, are committed.
pub(crate) type Promise = (SmallVec<[usize; 1]>, oneshot::Receiver<AckOutcome>);

/// What an append came to.
pub(crate) struct Receipt {
    /// One answer for each batch, in order.
    pub(crate) results: Vec<Result<Appended, AppendRefusal>>,
    /// Where the logs were then; empty if nothing was appended.
    pub(crate) ends: SmallVec<[LogPosition; 1]>,
    /// Batches of replicated partitions whose clients wait.
    pub(crate) promises: Vec<Promise>,
    /// Whether the batch is of a replicated partition.
    pub(crate) replicated: Vec<bool>,
}

/// A partition that is held still.
struct Held<'a> {
    slot: &'a Slot,
    state: MutexGuard<'a, SlotState>,
    /// The batches that go to it, and whether a client waits for each.
    batches: SmallVec<[(usize, bool); 1]>,
}

impl Replication {
    /// Appends what may be appended, with their partitions held still until the log has answered.
    pub(crate) fn append(&self, wanted: &[Wanted], append: impl FnOnce(&[AppendBatch]) -> StoreReceipt) -> Receipt {
        let slots = self.slots.read();
        let mut numbers: SmallVec<[PartitionNumber; 4]> = wanted.iter().map(|wanted| wanted.batch.partition).collect();
        numbers.sort_unstable();
        numbers.dedup();
        let hold = |slot| Held { slot, state: slot.lock(), batches: SmallVec::new() };
        let mut held: SmallVec<[Held<'_>; 4]> =
            numbers.iter().filter_map(|number| slots.get(number)).map(|slot| hold(&**slot)).collect();
        let mut results = Vec::with_capacity(wanted.len());
        let mut replicated = Vec::with_capacity(wanted.len());
        let mut accepted = Vec::with_capacity(wanted.len());
        for one in wanted {
            let place = held.binary_search_by_key(&one.batch.partition, |held| held.slot.number);
            replicated.push(place.is_ok());
            let checked = match place {
                Ok(place) => check(&mut held[place].state, one),
                Err(_) if one.alone => Ok(one.batch.clone()),
                Err(_) => Err(AppendRefusal::NotLeader),
            };
            if let (Ok(_), Ok(place)) = (&checked, place) {
                held[place].batches.push((results.len(), one.committed));
            }
            results.push(checked.map(|batch| accepted.push(batch)));
        }
        if accepted.is_empty() {
            let refused = |result: Result<(), _>| result.map(|()| unreachable!("nothing was accepted"));
            let results = results.into_iter().map(refused).collect();
            return Receipt { results, ends: SmallVec::new(), promises: Vec::new(), replicated };
        }
        let StoreReceipt { results: appended, ends } = append(&accepted);
        let mut appended = appended.into_iter();
        let in_log = |result: Result<(), AppendRefusal>| {
            result.and_then(|()| appended.next().expect("the log answers every batch").map_err(AppendRefusal::Log))
        };
        let results: Vec<Result<Appended, AppendRefusal>> = results.into_iter().map(in_log).collect();
        let promises = held.iter_mut().filter_map(|held| self.promise(held, &results)).collect();
        Receipt { results, ends, promises, replicated }
    }

    /// The partition has grown: its followers learn it, and its clients are promised to be told when all of it is committed.
    fn promise(&self, held: &mut Held<'_>, results: &[Result<Appended, AppendRefusal>]) -> Option<Promise> {
        let Held { slot, state, batches } = held;
        let in_log = batches.iter().filter(|(place, _)| results[*place].is_ok());
        let waiting: SmallVec<[usize; 1]> = in_log.clone().filter(|(_, waits)| *waits).map(|(place, _)| *place).collect();
        if in_log.count() == 0 {
            return None;
        }
        let view = self.view(slot, state)?;
        state.replica.leader_mut()?.log_advanced(view);
        let promise = match waiting.is_empty() {
            true => None,
            // A repeated batch waits for the end of the log, too: its original need not be committed.
            false => Some((waiting, self.expect(state, view.end))),
        };
        state.tell_followers(slot.number, true);
        self.after(slot, state);
        promise
    }

    fn expect(&self, state: &mut SlotState, end: Offset) -> oneshot::Receiver<AckOutcome> {
        let ticket = Ticket(self.tickets.fetch_add(1, Ordering::Relaxed));
        let outcome = state.expect(ticket);
        let taken = state.replica.leader_mut().map(|leader| leader.wait(end, ticket));
        if !matches!(taken, Some(Ok(()))) {
            state.answer(vec![(ticket, AckOutcome::TooFewInSync)]);
        }
        outcome
    }
}

/// The batch as the leader appends it.
fn check(state: &mut SlotState, wanted: &Wanted) -> Result<AppendBatch, AppendRefusal> {
    let leader = state.replica.leader_mut().ok_or(AppendRefusal::NotLeader)?;
    if wanted.in_its_epoch && wanted.batch.leader_epoch != leader.epoch() {
        return Err(AppendRefusal::NotLeader);
    }
    if wanted.committed {
        leader.check_append().map_err(AppendRefusal::NotEnoughReplicas)?;
    }
    Ok(AppendBatch { leader_epoch: leader.epoch(), ..wanted.batch.clone() })
}
