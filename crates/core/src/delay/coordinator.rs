//! The task that keeps the timers of one partition of `__delayed_messages`, for one leadership of this node over it.
//!
//! It reads the partition from its start, goes on as it grows, and acts on what is committed only. One round: due timers are read back, the
//! intents are appended and committed, each target gets its batch, and what is delivered is written down. Targets are delivered to side by side, and
//! one that cannot be reached holds up nobody else. When anything fails, the state is thrown away and read anew.

use super::Shared;
use super::anywhere::{AppendFailure, find};
use super::leadership::{self, Leadership, Outcome, Recall, each_record};
use super::ownership::AskedEnding;
use super::pending::Timer;
use super::records::{Intent, Target, Writing};
use super::state::{DELIVERED_BYTES, Due, delivery};
use crate::broker::{ProducerIdError, materialize};
use crate::coordinator::{InternalLog, InternalLogError, ReplayError};
use bytes::Bytes;
use duolog_base::{LeaderEpoch, Offset, PartitionIndex, PartitionNumber, TimestampMs};
use duolog_wire::record::BuildError;
use hashbrown::HashMap;
use std::collections::BTreeSet;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::Instant;

/// Timers that one round begins to deliver, and bytes of their records, unless the first has more.
const ROUND_TIMERS: usize = 4096;
pub(super) const ROUND_BYTES: usize = 8 << 20;
/// Targets that are delivered to at a time.
const TARGETS_AT_ONCE: usize = 64;
/// Recalls that are written together.
const RECALLS_AT_ONCE: usize = 256;
/// Ends of halves that are written together.
const ENDINGS_AT_ONCE: usize = 256;
/// Bytes read at a time to find timers that lie close together.
const READ_BYTES: usize = 16 << 10;
/// Bytes read for one timer: a batch has at least so many.
const ONE_BATCH: usize = 1;
/// The longest sleep while something is pending, so that steps of the system's clock are seen.
const LOOK: Duration = Duration::from_millis(500);
/// How long to wait before something that was refused is tried again, and before a state that failed is read anew.
const RETRY_PAUSE: Duration = Duration::from_millis(100);
const RELOAD_PAUSE: Duration = Duration::from_millis(500);

/// A recall, and where its answer goes: whether the timer was there and is no more.
pub(super) type AskedRecall = (Recall, oneshot::Sender<bool>);

/// Why the state is thrown away.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error(transparent)]
    Log(#[from] InternalLogError),
    #[error(transparent)]
    Replay(#[from] ReplayError),
    #[error(transparent)]
    Build(#[from] BuildError),
    #[error(transparent)]
    ProducerId(#[from] ProducerIdError),
}

/// What came of trying to deliver an intent; `None` if it is to be tried again.
type Attempt = Option<Outcome>;

pub(super) struct Coordinator {
    pub(super) shared: Arc<Shared>,
    pub(super) partition: PartitionIndex,
    pub(super) epoch: LeaderEpoch,
    pub(super) recalls: mpsc::Receiver<AskedRecall>,
    pub(super) endings: mpsc::Receiver<AskedEnding>,
}

/// What is thrown away when something fails.
pub(super) struct Serving {
    pub(super) leadership: Leadership,
    deliveries: JoinSet<(PartitionNumber, Attempt)>,
    busy: BTreeSet<PartitionNumber>,
    /// When targets that were not reached are tried again.
    again: HashMap<PartitionNumber, Instant>,
}

impl Coordinator {
    /// Runs until the leadership is over; to be dropped when the service ends.
    pub(super) async fn run(mut self) {
        while self.shared.log.leads(self.partition) == Some(self.epoch) {
            let failure = match self.serve().await {
                Ok(never) => match never {},
                Err(failure) => failure,
            };
            if matches!(failure, Failure::Log(InternalLogError::NotLeader)) {
                return;
            }
            tracing::warn!(partition = %self.partition, %failure, "timers are read anew");
            tokio::time::sleep(RELOAD_PAUSE).await;
        }
    }

    async fn serve(&mut self) -> Result<Infallible, Failure> {
        let mut serving = self.load().await?;
        loop {
            let watch = self.shared.watch(self.partition);
            self.catch_up(&mut serving).await?;
            let may_be_more = self.begin_due(&mut serving).await? | self.ask_owners(&mut serving).await?;
            self.deliver_open(&mut serving);
            let sleep = if may_be_more { Some(Duration::ZERO) } else { self.sleep(&serving) };
            tokio::select! {
                biased;
                Some(done) = serving.deliveries.join_next(), if !serving.deliveries.is_empty() => {
                    let more = std::iter::from_fn(|| serving.deliveries.try_join_next());
                    let done = std::iter::once(done).chain(more).collect::<Result<Vec<_>, _>>();
                    // A delivery that panicked is as good as one that was cut short.
                    let done = done.map_err(|error| InternalLogError::Append(error.to_string()))?;
                    self.finish(&mut serving, done).await?;
                }
                Some(recall) = self.recalls.recv() => {
                    let recalls = more(&mut self.recalls, recall, RECALLS_AT_ONCE);
                    self.recall(&mut serving, recalls).await?;
                }
                Some(ending) = self.endings.recv() => {
                    let endings = more(&mut self.endings, ending, ENDINGS_AT_ONCE);
                    self.end(&mut serving, endings).await?;
                }
                () = watch.changed() => {}
                () = tokio::time::sleep(sleep.unwrap_or(Duration::ZERO)), if sleep.is_some() => {}
            }
        }
    }

    async fn load(&self) -> Result<Serving, Failure> {
        let producer = self.shared.broker.next_producer_id().await?;
        let mut serving = Serving {
            leadership: Leadership::new(self.shared.log.start(self.partition)?, producer),
            deliveries: JoinSet::new(),
            busy: BTreeSet::new(),
            again: HashMap::new(),
        };
        self.catch_up(&mut serving).await?;
        tracing::debug!(partition = %self.partition, timers = serving.leadership.timers().len(), "timers loaded");
        Ok(serving)
    }

    /// Folds what is in the partition into the state, once it is committed.
    pub(super) async fn catch_up(&self, serving: &mut Serving) -> Result<(), Failure> {
        let log = &self.shared.log;
        loop {
            let chunk = log.read(self.partition, serving.leadership.next()).await?;
            if chunk.next <= serving.leadership.next() {
                return Ok(());
            }
            log.committed(self.partition, chunk.next).await?;
            serving.leadership.replay(&chunk.batches, chunk.next)?;
        }
    }

    /// Writes intents for what is due; false if there is nothing to be begun.
    async fn begin_due(&self, serving: &mut Serving) -> Result<bool, Failure> {
        let timers = serving.leadership.timers().due(self.shared.now(), ROUND_TIMERS);
        if timers.is_empty() {
            return Ok(false);
        }
        let (due, missing) = self.shared.read_back(self.partition, &timers, ROUND_BYTES).await?;
        for timer in missing {
            tracing::error!(partition = %self.partition, offset = timer.offset.0, "a delayed record is not there any more");
            serving.leadership.forget(timer);
        }
        let image = self.shared.broker.image();
        let room = |target: &Target| find(&image, target).map(|(topic, _)| topic.config.max_message_bytes / 2);
        let mut writing = Writing::new(self.shared.now());
        for timer in serving.leadership.begin(&due, room, &mut writing)? {
            tracing::warn!(partition = %self.partition, offset = timer.offset.0, "the topic of a delayed record is gone");
        }
        self.write(writing).await?;
        self.catch_up(serving).await?;
        Ok(true)
    }

    /// Begins to deliver what is intended, as far as targets are free.
    fn deliver_open(&self, serving: &mut Serving) {
        let now = Instant::now();
        for (number, intent) in serving.leadership.timers().open() {
            if serving.busy.len() >= TARGETS_AT_ONCE {
                return;
            }
            let waits = serving.again.get(&number).is_some_and(|again| *again > now);
            if !waits && serving.busy.insert(number) {
                let (shared, partition, intent) = (self.shared.clone(), self.partition, intent.clone());
                serving.deliveries.spawn(async move { (number, shared.deliver(partition, &intent).await) });
            }
        }
    }

    /// How long nothing is to be done by itself; `None` for ever.
    fn sleep(&self, serving: &Serving) -> Option<Duration> {
        let now = self.shared.now();
        let until = |at: TimestampMs| Duration::from_millis(at.0.saturating_sub(now.0).max(0) as u64);
        let next = serving.leadership.timers().next().map(until);
        let question = serving.leadership.timers().halves().next().map(|at| until(at).max(self.crowded()));
        let free = serving.again.iter().filter(|(number, _)| !serving.busy.contains(*number));
        let again = free.map(|(_, at)| at.saturating_duration_since(Instant::now())).min();
        next.into_iter().chain(question).chain(again).min().map(|sleep| sleep.min(LOOK))
    }

    /// Writes down what became of intents.
    async fn finish(&self, serving: &mut Serving, done: Vec<(PartitionNumber, Attempt)>) -> Result<(), Failure> {
        let mut writing = Writing::new(self.shared.now());
        let mut is_void = false;
        for (number, attempt) in done {
            serving.busy.remove(&number);
            serving.again.remove(&number);
            match attempt {
                Some(outcome) => {
                    is_void |= outcome == Outcome::Void;
                    Leadership::finish(number, &outcome, &mut writing)?;
                }
                None => {
                    serving.again.insert(number, Instant::now() + RETRY_PAUSE);
                }
            }
        }
        if is_void {
            serving.leadership.renumber(self.shared.broker.next_producer_id().await?);
        }
        self.write(writing).await
    }

    /// Recalls timers.
    async fn recall(&self, serving: &mut Serving, asked: Vec<AskedRecall>) -> Result<(), Failure> {
        // Whoever recalls a timer has been told that it is committed.
        self.catch_up(serving).await?;
        let (mut writing, mut recalled, mut seen) = (Writing::new(self.shared.now()), Vec::new(), BTreeSet::new());
        for (recall, answer) in asked {
            let is_pending = serving.leadership.timers().is_pending(recall.timer);
            let found = if is_pending {
                self.shared.read_back(self.partition, &[recall.timer], ROUND_BYTES).await?.0
            } else {
                Vec::new()
            };
            recalled.push((answer, serving.leadership.recall(recall, found.first(), &mut seen, &mut writing)?));
        }
        self.write(writing).await?;
        self.catch_up(serving).await?;
        for (answer, is_it) in recalled {
            // Nobody may wait any more.
            let _ = answer.send(is_it);
        }
        Ok(())
    }

    /// Appends to the own partition and waits until that is committed. What is refused for now is brought again.
    pub(super) async fn write(&self, writing: Writing) -> Result<(), Failure> {
        if writing.is_empty() {
            return Ok(());
        }
        let batch = writing.finish()?;
        loop {
            match self.shared.log.append(self.partition, self.epoch, batch.clone()) {
                Ok(appended) => return Ok(appended.await?),
                Err(InternalLogError::NotLeader) => return Err(InternalLogError::NotLeader.into()),
                Err(error) => tracing::debug!(partition = %self.partition, %error, "timers wait for room"),
            }
            tokio::time::sleep(RETRY_PAUSE).await;
        }
    }
}

/// What came first, and what has come meanwhile.
fn more<T>(queue: &mut mpsc::Receiver<T>, first: T, most: usize) -> Vec<T> {
    let mut all = vec![first];
    while all.len() < most
        && let Ok(next) = queue.try_recv()
    {
        all.push(next);
    }
    all
}

impl Shared {
    async fn deliver(&self, partition: PartitionIndex, intent: &Intent) -> Attempt {
        let (mut due, missing) = match self.read_back(partition, &intent.timers, usize::MAX).await {
            Ok(read) => read,
            Err(error) => {
                tracing::warn!(%partition, %error, "delayed records cannot be read");
                return None;
            }
        };
        if !missing.is_empty() || due.is_empty() {
            tracing::error!(%partition, missing = missing.len(), "delayed records that were to be delivered are not there");
            return Some(Outcome::Void);
        }
        let place: HashMap<Timer, usize> = intent.timers.iter().enumerate().map(|(at, timer)| (*timer, at)).collect();
        due.sort_unstable_by_key(|due| place[&due.timer]);
        let over = || Some(Outcome::Over(due.iter().map(|due| (due.name, due.timer)).collect()));
        let target = &due[0].delayed.target;
        let (batch, tags) = match delivery(intent, &due) {
            Ok(made) => made,
            Err(error) => {
                tracing::error!(%partition, topic = target.topic, %error, "delayed records are dropped");
                return over();
            }
        };
        match self.append_anywhere(target, Bytes::from(batch), tags).await {
            Ok(_) => over(),
            Err(error @ (AppendFailure::Gone | AppendFailure::Never(_))) => {
                tracing::error!(%partition, topic = target.topic, %error, timers = due.len(), "delayed records are dropped");
                over()
            }
            Err(AppendFailure::Sequence) => Some(Outcome::Void),
            Err(error @ (AppendFailure::NotHere | AppendFailure::Lost | AppendFailure::Later(_))) => {
                tracing::debug!(%partition, topic = target.topic, %error, "delayed records wait for their partition");
                None
            }
        }
    }

    /// The records of timers, as far as so many bytes reach, but at least one; and those whose records are not there.
    pub(super) async fn read_back(
        &self,
        partition: PartitionIndex,
        timers: &[Timer],
        bytes: usize,
    ) -> Result<(Vec<Due>, Vec<Timer>), ReplayError> {
        let mut wanted: HashMap<Offset, Timer> = timers.iter().map(|timer| (timer.offset, *timer)).collect();
        let (mut due, mut read, mut missing) = (Vec::with_capacity(timers.len()), 0, Vec::new());
        // In the order of their times, so that what is left for later is what is due later.
        for timer in timers {
            if read >= bytes {
                break;
            }
            if !wanted.contains_key(&timer.offset) {
                continue;
            }
            // What else is wanted is likely to lie behind it.
            let bytes = if wanted.len() == 1 { ONE_BATCH } else { READ_BYTES };
            let found = self.read_batches(partition, timer.offset, bytes).await?;
            each_record(&found, |record| {
                if let Some(timer) = wanted.get(&record.offset)
                    && let Some(found) = leadership::stored(record, *timer)?
                {
                    read += record.value.map_or(0, <[u8]>::len);
                    due.push(found);
                    wanted.remove(&record.offset);
                }
                Ok(())
            })?;
            if wanted.remove(&timer.offset).is_some() {
                missing.push(*timer);
            }
        }
        Ok((due, missing))
    }

    /// Some batches from the one that holds the offset on, or that follows if it is gone.
    async fn read_batches(&self, partition: PartitionIndex, from: Offset, bytes: usize) -> Result<Bytes, ReplayError> {
        let failed = |error: &dyn std::fmt::Display| InternalLogError::Read(error.to_string());
        let image = self.broker.image();
        let topic = image.topic(self.log.topic().name()).ok_or(InternalLogError::UnknownPartition)?;
        if from < self.log.start(partition)? {
            return Ok(Bytes::new());
        }
        let fetched = self.broker.read_log_end(topic, partition, from, bytes).map_err(|error| failed(&error))?;
        Ok(materialize(fetched.plan).await.map_err(|error| failed(&error))?)
    }
}

const _: () = assert!(DELIVERED_BYTES < ROUND_BYTES);
