//! A follower does what its leader's answers say: appends batches, cuts its log, begins it anew.
//!
//! What is done to a log is decided and done under the lock of its slot. Cuts may wait for the disk and run on the blocking pool.

use super::Replication;
use super::fetcher::Asking;
use super::messages::Part;
use super::slot::{Slot, SlotState};
use crate::config::FlushMode;
use bytes::Bytes;
use duolog_base::{LeaderEpoch, Offset, PartitionNumber};
use duolog_log::{LogPosition, ReplicaAppendError, ReplicaBatch};
use duolog_replica::{FetchGrant, FetchRefusal, FollowerFetch, FollowerStep};
use duolog_wire::record::{BatchError, batches};
use smallvec::SmallVec;
use std::ops::Range;
use std::sync::Arc;

/// What an answer leaves to wait for: of each log the last position of what was appended, and how safe it must be.
type Unsettled = SmallVec<[(FlushMode, LogPosition); 2]>;

/// When a partition is to be asked for again.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Again {
    Now,
    Later,
    /// Not before its role has changed.
    Never,
}

impl Replication {
    /// Takes in an answer, and returns when what was appended counts. `false` if the log has stopped.
    pub(super) async fn take_in(
        self: &Arc<Self>,
        asking: &mut Asking,
        parts: &[Part],
        body: &Bytes,
        places: &[Range<usize>],
    ) -> bool {
        let mut unsettled = Unsettled::new();
        let mut refused = Vec::new();
        for (part, place) in parts.iter().zip(places) {
            let partition = PartitionNumber(part.partition);
            let Some(fetch) = asking.answered(partition, part.number) else { continue };
            let Some(slot) = self.slot(partition) else { continue };
            match part.outcome.answer(&fetch) {
                (Ok(grant), _) => {
                    let again = self.take_grant(&slot, &fetch, grant, (body.slice(place.clone()), &part.tags), &mut unsettled);
                    ask_again(asking, partition, again);
                }
                (Err(refusal), _) => refused.push((slot, fetch, refusal)),
            }
        }
        if !refused.is_empty() {
            let replication = self.clone();
            let take = move || {
                let take =
                    |(slot, fetch, refusal): (Arc<Slot>, _, _)| (slot.number, replication.take_refusal(&slot, &fetch, refusal));
                refused.into_iter().map(take).collect::<Vec<_>>()
            };
            let Ok(taken) = tokio::task::spawn_blocking(take).await else { return false };
            taken.into_iter().for_each(|(partition, again)| ask_again(asking, partition, again));
        }
        self.settle(unsettled).await
    }

    /// Waits until what was appended counts.
    async fn settle(&self, unsettled: Unsettled) -> bool {
        let log = &self.around.log;
        let waits: SmallVec<[_; 2]> = unsettled
            .into_iter()
            .map(|(flush, end)| match flush {
                FlushMode::Sync => log.wait_durable(end),
                FlushMode::Async => log.wait_written(end),
            })
            .collect();
        for wait in waits {
            if wait.await.is_err() {
                return false;
            }
        }
        true
    }

    fn take_grant(
        &self,
        slot: &Slot,
        fetch: &FollowerFetch,
        grant: FetchGrant,
        (data, tags): (Bytes, &[(u32, u64)]),
        unsettled: &mut Unsettled,
    ) -> Again {
        let sound = match sound_batches(slot.number, &data, tags) {
            Ok(sound) => sound,
            Err(error) => {
                let mut state = slot.lock();
                state.note_trouble(slot.number, &error);
                if let Some(follower) = state.replica.follower_mut() {
                    follower.give_up(fetch.number);
                }
                return Again::Later;
            }
        };
        let mut state = slot.lock();
        if self.decide(slot, &mut state, fetch, Ok(grant)) != FollowerStep::Append {
            return Again::Never;
        }
        if self.is_fetch_throttled(slot, &state) {
            self.fetching.lock().spend(data.len());
        }
        state.leader_high_watermark = grant.high_watermark;
        if !sound.is_empty()
            && let Err(error) = self.append_fetched(slot, &mut state, data, &sound, unsettled)
        {
            return not_appended(slot, &mut state, &error);
        }
        let Some(view) = self.view(slot, &state) else { return Again::Never };
        state.forget_trouble();
        if let Some(follower) = state.replica.follower_mut() {
            follower.appended(grant, view);
        }
        if grant.log_start > view.start {
            let start = grant.log_start.min(view.end);
            if let Err(error) = self.around.log.set_log_start(slot.number, start) {
                tracing::debug!(partition = %slot.number, %start, %error, "the log start does not follow the leader's");
            }
        }
        self.after(slot, &mut state);
        Again::Now
    }

    fn append_fetched(
        &self,
        slot: &Slot,
        state: &mut SlotState,
        data: Bytes,
        sound: &[ReplicaBatch],
        unsettled: &mut Unsettled,
    ) -> Result<(), ReplicaAppendError> {
        let receipt = self.around.log.append_replica(data, sound, self.around.clock.now());
        let flush = state.topic.config.flush;
        for end in receipt.ends {
            match unsettled.iter_mut().find(|(known, other)| *known == flush && other.place() == end.place()) {
                Some((_, known)) => *known = end,
                None => unsettled.push((flush, end)),
            }
        }
        let refused = receipt.results.into_iter().find_map(Result::err);
        debug_assert!(state.replica.follower_mut().is_some(), "partition {} is followed", slot.number);
        refused.map_or(Ok(()), Err)
    }

    /// What the follower does with an answer.
    fn decide(
        &self,
        slot: &Slot,
        state: &mut SlotState,
        fetch: &FollowerFetch,
        answer: Result<FetchGrant, FetchRefusal>,
    ) -> FollowerStep {
        let view = self.view(slot, state).filter(|_| !state.gone);
        let (Some(view), Some(follower)) = (view, state.replica.follower_mut()) else { return FollowerStep::Ignore };
        let epoch_end = |epoch: LeaderEpoch| self.around.log.epoch_end(slot.number, epoch).ok().flatten();
        follower.answered(fetch, answer, view, &epoch_end)
    }

    /// Does what a refusal makes necessary. May wait for the disk.
    fn take_refusal(&self, slot: &Slot, fetch: &FollowerFetch, refusal: FetchRefusal) -> Again {
        let mut state = slot.lock();
        let log = &self.around.log;
        let done = match self.decide(slot, &mut state, fetch, Err(refusal)) {
            FollowerStep::Ignore => return Again::Never,
            FollowerStep::Append => unreachable!("a refusal brings nothing to append"),
            FollowerStep::WaitForMetadata => return Again::Later,
            FollowerStep::Quarantine { committed, cut } => return quarantine(slot, &mut state, committed, cut),
            FollowerStep::Cut { to } => log.truncate(slot.number, to),
            FollowerStep::Restart { at } => log.restart_at(slot.number, at),
        };
        self.after(slot, &mut state);
        match done {
            Ok(_) => {
                tracing::info!(partition = %slot.number, topic = state.topic.name, %refusal, "the log was cut to be the leader's");
                Again::Now
            }
            Err(error) => {
                state.note_trouble(slot.number, &error);
                Again::Later
            }
        }
    }
}

fn ask_again(asking: &mut Asking, partition: PartitionNumber, again: Again) {
    match again {
        Again::Now => asking.ready.push_back(partition),
        Again::Later => asking.put_off(partition),
        Again::Never => {}
    }
}

fn quarantine(slot: &Slot, state: &mut SlotState, committed: Offset, cut: Offset) -> Again {
    let problem = format!("everything below {committed} is committed, but the leader's log would have it cut to {cut}");
    tracing::error!(partition = %slot.number, topic = state.topic.name, problem, "the partition is not followed any more");
    state.quarantined = Some(problem);
    Again::Never
}

fn not_appended(slot: &Slot, state: &mut SlotState, error: &ReplicaAppendError) -> Again {
    state.note_trouble(slot.number, error);
    match error {
        ReplicaAppendError::Quarantined(problem) => {
            state.quarantined = Some(problem.clone());
            Again::Never
        }
        _ => Again::Later,
    }
}

/// Where the batches lie, each of which is whole and undamaged, and what is known of their tags.
fn sound_batches(partition: PartitionNumber, data: &Bytes, tags: &[(u32, u64)]) -> Result<Vec<ReplicaBatch>, BatchError> {
    let mut sound = Vec::new();
    let mut tags = tags.iter().peekable();
    for (number, batch) in batches(data).enumerate() {
        let (header, range) = batch?;
        header.verify_crc(&data[range.clone()])?;
        let word = tags.next_if(|(of, _)| *of as usize == number);
        sound.push(ReplicaBatch { partition, range, tag_filter: word.map_or(0, |(_, word)| *word) });
    }
    Ok(sound)
}
