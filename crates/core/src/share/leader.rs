//! The share-partitions of the partitions that this node leads: their state is read when they are first asked for, and everything that
//! changes in them is written to the share coordinator before the one who changed it is answered.
//!
//! Of a share-partition there is one write on its way at a time, and what changes meanwhile is the next one. A write is repeated until the
//! coordinator has taken it or says that somebody else goes on here; while it is not taken, nothing more is given out.

use super::held::{Held, Loaded};
use super::metrics;
use super::partition::{AcknowledgeError, Allowed, Partition};
use super::shard::{StateError, Writer};
use super::state::Write;
use super::states::AskError;
use super::{Acknowledgement, Acquire, AcquiredRange, Limits, PAUSE, ShareError, SharePartition, Shared};
use crate::broker::{LookupError, OffsetLookup};
use crate::config::{ShareGroupConfig, StartOffset};
use crate::metadata::TopicImage;
use duolog_base::{LeaderEpoch, Offset, PartitionNumber, TimestampMs};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// How long an acknowledgement waits until it is stored. It still is, later, if nothing else happens.
const STORE_LIMIT: Duration = Duration::from_secs(15);

/// Dead letters of a share-partition that are looked for at a time, and how long one that cannot be written is put off.
const BURIALS_AT_A_TIME: usize = 100;
const BURY_PAUSE: Duration = Duration::from_secs(1);

/// A partition that this node leads.
struct Led {
    topic: Arc<TopicImage>,
    number: PartitionNumber,
    epoch: LeaderEpoch,
}

impl Shared {
    fn config(&self, group: &str) -> ShareGroupConfig {
        self.broker.image().share_config(group)
    }

    fn led(&self, at: &SharePartition) -> Result<Led, ShareError> {
        let image = self.broker.image();
        let topic = image.topic_by_id(at.topic).ok_or(ShareError::UnknownPartition)?;
        let partition = topic.partition(at.partition).ok_or(ShareError::UnknownPartition)?;
        let epoch = self.broker.leads(partition).ok_or(ShareError::NotLeader)?;
        Ok(Led { topic: topic.clone(), number: partition.number, epoch })
    }

    fn allowed(&self, held: &Held) -> Allowed {
        match held.limits {
            Limits::Configured => {
                let config = self.config(&held.at.group);
                let dead_letters = config.dead_letter_topic.is_some() && self.dead_letters.get().is_some();
                Allowed { deliveries: config.delivery_count_limit, locks: config.max_record_locks, dead_letters }
            }
            Limits::Fixed(allowed) => allowed,
        }
    }

    /// The share-partition with its state. Whoever asks first reads it.
    async fn enter(&self, at: &SharePartition, limits: Limits) -> Result<(Led, Arc<Held>), ShareError> {
        let led = self.led(at)?;
        let held = self.hold(at, led.epoch, limits)?;
        match held.loaded.get_or_try_init(|| self.load(&held, &led)).await {
            Ok(_) if held.is_over() => Err(ShareError::NotLeader),
            Ok(_) => Ok((led, held)),
            Err(error) => {
                self.drop_held(&held, error.clone());
                Err(error)
            }
        }
    }

    fn hold(&self, at: &SharePartition, epoch: LeaderEpoch, limits: Limits) -> Result<Arc<Held>, ShareError> {
        let mut all = self.held.lock();
        if all.is_closed {
            return Err(ShareError::Unavailable("the service has stopped".to_owned()));
        }
        if let Some(held) = all.held.get(at).filter(|held| held.epoch == epoch && !held.is_over()) {
            return Ok(held.clone());
        }
        let held = Arc::new(Held::new(at.clone(), epoch, limits));
        if let Some(before) = all.held.insert(at.clone(), held.clone()) {
            before.end(ShareError::NotLeader);
        }
        Ok(held)
    }

    async fn load(&self, held: &Held, led: &Led) -> Result<Loaded, ShareError> {
        let at = &held.at;
        let state = self.states.read(at, held.epoch).await?;
        let start = match state.start {
            Some(start) => Offset(start),
            None => {
                let start = self.first_offset(at, led).await?;
                // Before anything is given out: where the log ends then would be somewhere else for the next leader.
                let write = Write { start: start.0, delivery_complete_count: 0, batches: Vec::new() };
                self.states.write(at, held.writer(state.state_epoch), write).await?;
                start
            }
        };
        let log_end = self.broker.log().ends(led.number).ok_or(ShareError::UnknownPartition)?.end;
        Ok(Loaded::new(state.state_epoch, Partition::restore(start, &state, log_end)))
    }

    /// Where the group begins in a partition that it has not read yet.
    async fn first_offset(&self, at: &SharePartition, led: &Led) -> Result<Offset, ShareError> {
        let lookup = match self.config(&at.group).auto_offset_reset {
            StartOffset::Earliest => OffsetLookup::Earliest,
            StartOffset::Latest => OffsetLookup::Latest,
            StartOffset::ByDuration(ago_ms) => {
                let ago_ms = i64::try_from(ago_ms).unwrap_or(i64::MAX);
                OffsetLookup::AtTime(TimestampMs(self.broker.clock().now().0.saturating_sub(ago_ms).max(0)))
            }
        };
        let found = match self.broker.find_offset(&led.topic, at.partition, lookup).await? {
            Some(found) => Some(found),
            // No record is so young.
            None => self.broker.find_offset(&led.topic, at.partition, OffsetLookup::Latest).await?,
        };
        found.map(|found| found.offset).ok_or(ShareError::UnknownPartition)
    }

    /// Lets go of a share-partition, if it is still this one that is held.
    fn drop_held(&self, held: &Arc<Held>, error: ShareError) {
        held.end(error);
        let mut all = self.held.lock();
        if all.held.get(&held.at).is_some_and(|present| Arc::ptr_eq(present, held)) {
            all.held.remove(&held.at);
        }
        drop(all);
        self.watches.fire(&held.at);
    }

    /// The state has begun anew: what is held of it is worth nothing.
    pub(super) fn forget(&self, at: &SharePartition) {
        let held = self.held.lock().held.get(at).cloned();
        held.iter().for_each(|held| self.drop_held(held, ShareError::FencedStateEpoch));
    }

    /// Lets go of what this node leads no more.
    pub(super) fn drop_lost(&self) {
        let held: Vec<Arc<Held>> = self.held.lock().held.values().cloned().collect();
        for held in held {
            match self.led(&held.at) {
                Ok(led) if led.epoch == held.epoch => {}
                Ok(_) => self.drop_held(&held, ShareError::NotLeader),
                Err(error) => self.drop_held(&held, error),
            }
        }
    }

    /// `None` for `from`: wherever it is.
    pub(super) async fn next_fetch(
        self: &Arc<Self>,
        at: &SharePartition,
        from: Option<Offset>,
        limits: Limits,
    ) -> Result<Option<Offset>, ShareError> {
        let (led, held) = self.enter(at, limits).await?;
        let allowed = self.allowed(&held);
        let ends = self.broker.ends(&led.topic, at.partition).ok_or(ShareError::UnknownPartition)?;
        let now_ms = self.broker.clock().monotonic_ms();
        let (next, _) = self.change(&held, allowed, |partition| {
            partition.trim(ends.log_start);
            partition.expire(now_ms, allowed);
            from.map_or_else(|| partition.next(allowed), |from| partition.next_behind(from, allowed))
        })?;
        // A leader may not know yet that what it delivered is committed.
        Ok(next.filter(|next| *next <= ends.high_watermark && !held.is_stuck()))
    }

    pub(super) async fn start_offset(self: &Arc<Self>, at: &SharePartition, limits: Limits) -> Result<Offset, ShareError> {
        let (led, held) = self.enter(at, limits).await?;
        let allowed = self.allowed(&held);
        let ends = self.broker.ends(&led.topic, at.partition).ok_or(ShareError::UnknownPartition)?;
        let (start, _) = self.change(&held, allowed, |partition| {
            partition.trim(ends.log_start);
            partition.start()
        })?;
        Ok(start)
    }

    pub(super) async fn acquire(
        self: &Arc<Self>,
        at: &SharePartition,
        wanted: Acquire<'_>,
        limits: Limits,
    ) -> Result<Vec<AcquiredRange>, ShareError> {
        let (_, held) = self.enter(at, limits).await?;
        if held.is_stuck() {
            return Ok(Vec::new());
        }
        let allowed = self.allowed(&held);
        let until_ms = self.locked_until(&at.group, wanted.lock);
        let Acquire { member, window, max_records, pick, unwanted, .. } = wanted;
        let member = Arc::from(member);
        let acquire = |partition: &mut Partition| {
            let acquired = partition.acquire(window, pick, &member, until_ms, max_records, allowed);
            partition.leave_out(unwanted);
            acquired
        };
        let (acquired, _) = self.change(&held, allowed, acquire)?;
        self.metrics.count_acquired(&acquired);
        self.expires(until_ms);
        Ok(acquired)
    }

    /// When a lock that is given now ends: after so long, or as the group is configured.
    fn locked_until(&self, group: &str, lock: Option<Duration>) -> u64 {
        let lock_ms = match lock {
            Some(lock) => u64::try_from(lock.as_millis()).unwrap_or(u64::MAX),
            None => self.config(group).record_lock_duration_ms,
        };
        self.broker.clock().monotonic_ms().saturating_add(lock_ms)
    }

    pub(super) async fn acknowledge(
        self: &Arc<Self>,
        at: &SharePartition,
        member: &str,
        batches: &[Acknowledgement],
        limits: Limits,
    ) -> Result<(), ShareError> {
        let (_, held) = self.enter(at, limits).await?;
        let allowed = self.allowed(&held);
        let now_ms = self.broker.clock().monotonic_ms();
        let until_ms = self.locked_until(&at.group, None);
        let (outcome, changes) = self.change(&held, allowed, |partition| {
            partition.expire(now_ms, allowed);
            partition.acknowledge(member, batches, until_ms, allowed)
        })?;
        outcome?;
        self.metrics.count_acknowledged(batches);
        self.expires(until_ms);
        until_stored(&held, changes).await
    }

    pub(super) async fn acknowledge_late(
        self: &Arc<Self>,
        at: &SharePartition,
        member: &str,
        offset: Offset,
        limits: Limits,
    ) -> Result<(), ShareError> {
        let (led, held) = self.enter(at, limits).await?;
        let allowed = self.allowed(&held);
        let ends = self.broker.ends(&led.topic, at.partition).ok_or(ShareError::UnknownPartition)?;
        let now_ms = self.broker.clock().monotonic_ms();
        let (outcome, changes) = self.change(&held, allowed, |partition| {
            partition.expire(now_ms, allowed);
            partition.acknowledge_late(member, offset, ends.high_watermark, allowed)
        })?;
        outcome?;
        self.metrics.count_kind(metrics::ACCEPT, 1);
        until_stored(&held, changes).await
    }

    pub(super) async fn renew_as(
        self: &Arc<Self>,
        at: &SharePartition,
        member: &str,
        offset: Offset,
        lock: Duration,
        new_member: &str,
        limits: Limits,
    ) -> Result<i16, ShareError> {
        let (_, held) = self.enter(at, limits).await?;
        let allowed = self.allowed(&held);
        let now_ms = self.broker.clock().monotonic_ms();
        let until_ms = self.locked_until(&at.group, Some(lock));
        let (outcome, _) = self.change(&held, allowed, |partition| {
            partition.expire(now_ms, allowed);
            partition.renew_as(member, offset, until_ms, Arc::from(new_member))
        })?;
        let count = outcome?;
        self.metrics.count_kind(metrics::RENEW, 1);
        self.expires(until_ms);
        Ok(count)
    }

    pub(super) fn release(self: &Arc<Self>, at: &SharePartition, member: &str, seen: bool) -> Result<(), ShareError> {
        // What is not held here is not acquired.
        let Some(held) = self.held.lock().held.get(at).filter(|held| held.loaded.initialized()).cloned() else { return Ok(()) };
        let allowed = self.allowed(&held);
        self.change(&held, allowed, |partition| partition.release(member, seen, allowed))?;
        Ok(())
    }

    /// Decides something, has it written if need be, and wakes those for whom there is something now. Answers how many changes have to be
    /// stored for this one to be.
    fn change<T>(
        self: &Arc<Self>,
        held: &Arc<Held>,
        allowed: Allowed,
        decide: impl FnOnce(&mut Partition) -> T,
    ) -> Result<(T, u64), ShareError> {
        let loaded = held.loaded.get().ok_or(ShareError::Loading)?;
        let mut work = loaded.work.lock();
        let (outcome, change) = work.change(allowed, decide);
        let (write, stored, buries) = (work.begin_write(), work.stored(), work.begin_burials());
        drop(work);
        if buries {
            tokio::spawn(bury_out(self.clone(), held.clone()));
        }
        held.stored(stored);
        if let Some(write) = write {
            tokio::spawn(write_out(self.clone(), held.clone(), write));
        }
        if change.is_news {
            self.watches.fire(&held.at);
        }
        Ok((outcome, change.number))
    }

    pub(super) fn in_flight(&self) -> u64 {
        let all: Vec<Arc<Held>> = self.held.lock().held.values().cloned().collect();
        let each = |held: &Arc<Held>| held.loaded.get().map_or(0, |loaded| loaded.work.lock().partition.in_flight());
        all.iter().map(each).sum::<i64>().max(0) as u64
    }

    /// A lock expires then.
    fn expires(&self, at_ms: u64) {
        if at_ms < self.armed_ms.load(Ordering::SeqCst) {
            self.rearm.notify_one();
        }
    }

    /// Makes available what nobody holds any more, everywhere; answers when the next lock expires.
    pub(super) fn expire(self: &Arc<Self>) -> Option<u64> {
        // Whoever acquires from now on either is seen below, or sees that nothing is awaited yet.
        self.armed_ms.store(u64::MAX, Ordering::SeqCst);
        let all: Vec<Arc<Held>> = self.held.lock().held.values().cloned().collect();
        let now_ms = self.broker.clock().monotonic_ms();
        let next = all.iter().filter_map(|held| self.expire_of(held, now_ms)).min();
        self.armed_ms.fetch_min(next.unwrap_or(u64::MAX), Ordering::SeqCst);
        next
    }

    fn expire_of(self: &Arc<Self>, held: &Arc<Held>, now_ms: u64) -> Option<u64> {
        let next = || held.loaded.get()?.work.lock().partition.next_expiry_ms();
        if next()? > now_ms {
            return next();
        }
        let allowed = self.allowed(held);
        self.change(held, allowed, |partition| partition.expire(now_ms, allowed)).ok()?;
        next()
    }
}

impl Held {
    fn writer(&self, state_epoch: i32) -> Writer {
        Writer { state_epoch, leader_epoch: self.epoch.0 }
    }

    fn is_stuck(&self) -> bool {
        self.loaded.get().is_some_and(|loaded| loaded.work.lock().is_stuck)
    }
}

/// Waits until what a member said is stored.
async fn until_stored(held: &Held, changes: u64) -> Result<(), ShareError> {
    let stored = tokio::time::timeout(STORE_LIMIT, held.until_stored(changes)).await;
    stored.unwrap_or_else(|_| Err(ShareError::Unavailable("the acknowledgement is not stored yet".to_owned())))
}

/// Writes what has changed until nothing has.
async fn write_out(shared: Arc<Shared>, held: Arc<Held>, first: Write) {
    let Some(loaded) = held.loaded.get() else { return };
    let mut next = Some(first);
    while let Some(write) = next {
        if let Err(error) = insist(&shared, &held, loaded, write).await {
            return shared.drop_held(&held, error);
        }
        let mut work = loaded.work.lock();
        work.written();
        next = work.begin_write();
        held.stored(work.stored());
    }
}

/// Has what is given up become dead letters until nothing is left, or somebody else goes on.
async fn bury_out(shared: Arc<Shared>, held: Arc<Held>) {
    let (Some(loaded), Some(letters)) = (held.loaded.get(), shared.dead_letters.get()) else { return };
    loop {
        let (burials, changes) = loaded.work.lock().next_burials(BURIALS_AT_A_TIME);
        // A letter of a record that might come again would be one too many.
        if burials.is_empty() || held.until_stored(changes).await.is_err() {
            return;
        }
        let config = shared.config(&held.at.group);
        let mut failed = None;
        for burial in burials {
            match letters.bury(&held.at, loaded.state_epoch, burial, &config).await {
                Ok(()) => {
                    shared.metrics.dead_letters.add(1);
                    let allowed = shared.allowed(&held);
                    if shared.change(&held, allowed, |partition| partition.buried(burial.offset)).is_err() {
                        return;
                    }
                }
                Err(error) => failed = Some(error),
            }
        }
        if let Some(error) = failed {
            tracing::warn!(partition = ?held.at, %error, "a record that was given up is no dead letter yet");
            tokio::time::sleep(BURY_PAUSE).await;
        }
        if held.is_over() {
            return;
        }
    }
}

/// Writes until it is stored, or somebody else goes on.
async fn insist(shared: &Shared, held: &Held, loaded: &Loaded, write: Write) -> Result<(), ShareError> {
    loop {
        if held.is_over() {
            return Err(ShareError::NotLeader);
        }
        let written = shared.states.write(&held.at, held.writer(loaded.state_epoch), write.clone()).await;
        let is_stuck = matches!(written, Err(AskError::NotHere | AskError::Later(_)));
        let was_stuck = std::mem::replace(&mut loaded.work.lock().is_stuck, is_stuck);
        match written {
            Ok(()) if was_stuck => {
                shared.watches.fire(&held.at);
                return Ok(());
            }
            Ok(()) => return Ok(()),
            Err(AskError::State(error)) => return Err(error.into()),
            Err(error @ (AskError::NotHere | AskError::Later(_))) => {
                tracing::warn!(partition = ?held.at, %error, "acknowledgements cannot be stored for now");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

impl From<AcknowledgeError> for ShareError {
    fn from(error: AcknowledgeError) -> ShareError {
        match error {
            AcknowledgeError::Malformed => ShareError::InvalidRequest,
            AcknowledgeError::NotAcquired => ShareError::InvalidRecordState,
        }
    }
}

impl From<StateError> for ShareError {
    fn from(error: StateError) -> ShareError {
        match error {
            StateError::NotInitialized => ShareError::GroupIdNotFound,
            StateError::FencedLeader => ShareError::FencedLeaderEpoch,
            StateError::FencedState => ShareError::FencedStateEpoch,
        }
    }
}

impl From<AskError> for ShareError {
    fn from(error: AskError) -> ShareError {
        match error {
            AskError::State(error) => error.into(),
            error @ (AskError::NotHere | AskError::Later(_)) => ShareError::Unavailable(error.to_string()),
        }
    }
}

impl From<LookupError> for ShareError {
    fn from(error: LookupError) -> ShareError {
        match error {
            LookupError::UnknownPartition => ShareError::UnknownPartition,
            LookupError::NotLeader => ShareError::NotLeader,
            LookupError::Unsettled => ShareError::Loading,
            error @ (LookupError::Quarantined(_) | LookupError::Io(_) | LookupError::Undecodable { .. }) => {
                ShareError::Storage(error.to_string())
            }
        }
    }
}
