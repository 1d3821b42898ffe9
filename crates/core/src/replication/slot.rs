//! One replicated partition of this node: its replica behind a lock, and what is read without it.

use super::session::Session;
use crate::config::FlushMode;
use crate::metadata::TopicImage;
use duolog_base::{LeaderEpoch, NodeId, Offset, PartitionIndex, PartitionNumber};
use duolog_log::Advance;
use duolog_replica::{AckOutcome, Replica, Role, Ticket};
use hashbrown::HashMap;
use parking_lot::{Mutex, MutexGuard};
use smallvec::SmallVec;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicI64, Ordering};
use tokio::sync::oneshot;

pub(crate) struct Slot {
    pub(super) number: PartitionNumber,
    pub(super) index: PartitionIndex,
    high_watermark: AtomicI64,
    /// The epoch in which this node leads; [`LeaderEpoch::NONE`] if it does not.
    leads: AtomicI32,
    /// Whether written batches count (`flush=async`), or only durable ones.
    counts_written: AtomicBool,
    /// Leads, with an in-sync set that is not complete.
    needs_attention: AtomicBool,
    state: Mutex<SlotState>,
}

pub(super) struct SlotState {
    pub(super) replica: Replica,
    /// As of the newest image that was acted on.
    pub(super) topic: Arc<TopicImage>,
    pub(super) replicas: usize,
    /// Producers that wait, each for a part of its request.
    waiting: HashMap<Ticket, oneshot::Sender<AckOutcome>>,
    /// Followers whose fetch waits for news.
    parked: SmallVec<[Parked; 2]>,
    /// As a leader last said; 0 if none has said anything.
    pub(super) leader_high_watermark: Offset,
    /// Why this node follows no more.
    pub(super) quarantined: Option<String>,
    /// What is damaged of its log.
    pub(super) damaged: Option<String>,
    /// What keeps this node from following, or from being followed, for now.
    trouble: Option<String>,
    /// The slot is not in the table any more.
    pub(super) gone: bool,
}

/// A follower whose fetch waits for news.
struct Parked {
    session: Arc<Session>,
    told: Heard,
}

/// What a follower's session knows of news.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Heard {
    Nothing,
    /// There is some that nobody waits for.
    Lazy,
    Urgent,
}

impl Slot {
    pub(super) fn new(number: PartitionNumber, index: PartitionIndex, replica: Replica, topic: Arc<TopicImage>) -> Slot {
        Slot {
            number,
            index,
            high_watermark: AtomicI64::new(replica.high_watermark().0),
            leads: AtomicI32::new(LeaderEpoch::NONE.0),
            counts_written: AtomicBool::new(topic.config.flush == FlushMode::Async),
            needs_attention: AtomicBool::new(false),
            state: Mutex::new(SlotState {
                replica,
                topic,
                replicas: 0,
                waiting: HashMap::new(),
                parked: SmallVec::new(),
                leader_high_watermark: Offset(0),
                quarantined: None,
                damaged: None,
                trouble: None,
                gone: false,
            }),
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, SlotState> {
        self.state.lock()
    }

    /// `None` if somebody else holds it.
    pub(super) fn try_lock(&self) -> Option<MutexGuard<'_, SlotState>> {
        self.state.try_lock()
    }

    pub(crate) fn high_watermark(&self) -> Offset {
        Offset(self.high_watermark.load(Ordering::Acquire))
    }

    pub(crate) fn leads(&self) -> Option<LeaderEpoch> {
        let epoch = LeaderEpoch(self.leads.load(Ordering::Acquire));
        (epoch != LeaderEpoch::NONE).then_some(epoch)
    }

    /// Whether the end that counts for the high watermark moves with this end of the log.
    pub(super) fn counts(&self, what: Advance) -> bool {
        let written = self.counts_written.load(Ordering::Relaxed);
        what == if written { Advance::Written } else { Advance::Durable }
    }

    pub(super) fn needs_attention(&self) -> bool {
        self.needs_attention.load(Ordering::Relaxed)
    }

    /// Shows readers what the state is now. Whether the high watermark has moved.
    pub(super) fn publish(&self, state: &SlotState) -> bool {
        let (leads, attention) = match state.replica.role() {
            Role::Leader(leader) if !state.gone => (leader.epoch(), leader.in_sync().len() < state.replicas),
            _ => (LeaderEpoch::NONE, false),
        };
        self.leads.store(leads.0, Ordering::Release);
        self.needs_attention.store(attention, Ordering::Relaxed);
        self.counts_written.store(state.topic.config.flush == FlushMode::Async, Ordering::Relaxed);
        let high_watermark = state.replica.high_watermark();
        self.high_watermark.swap(high_watermark.0, Ordering::AcqRel) != high_watermark.0
    }
}

impl SlotState {
    /// Something goes wrong that will be tried again, perhaps for long: said once.
    pub(super) fn note_trouble(&mut self, number: PartitionNumber, trouble: &dyn std::fmt::Display) {
        let trouble = trouble.to_string();
        if self.trouble.is_none() {
            tracing::warn!(partition = %number, topic = self.topic.name, trouble, "replication does not get on");
        }
        self.trouble = Some(trouble);
    }

    /// It goes on.
    pub(super) fn forget_trouble(&mut self) {
        self.trouble = None;
    }

    /// What is wrong with the replica, if anything is.
    pub(super) fn problem(&self) -> Option<&String> {
        self.quarantined.as_ref().or(self.damaged.as_ref()).or(self.trouble.as_ref())
    }

    /// A producer waits for this ticket's outcome.
    pub(super) fn expect(&mut self, ticket: Ticket) -> oneshot::Receiver<AckOutcome> {
        let (producer, outcome) = oneshot::channel();
        self.waiting.insert(ticket, producer);
        outcome
    }

    /// Tells the producers that the leader has an answer for.
    pub(super) fn answer_producers(&mut self) {
        let answered = self.replica.leader_mut().map(|leader| leader.take_answered()).unwrap_or_default();
        self.answer(answered);
    }

    pub(super) fn answer(&mut self, answered: Vec<(Ticket, AckOutcome)>) {
        for (ticket, outcome) in answered {
            if let Some(producer) = self.waiting.remove(&ticket) {
                // Whoever gave up waiting needs no answer.
                let _ = producer.send(outcome);
            }
        }
    }

    /// Producers learn that nobody knows what will become of what they sent.
    pub(super) fn resign(&mut self) {
        for (_, producer) in self.waiting.drain() {
            let _ = producer.send(AckOutcome::NotLeader);
        }
    }

    /// Producers learn that the log has stopped.
    pub(super) fn forget_waiting(&mut self) {
        self.waiting.clear();
    }

    /// The fetch of this session's node waits for news.
    pub(super) fn park(&mut self, session: &Arc<Session>) {
        self.unpark(session.node);
        self.parked.push(Parked { session: session.clone(), told: Heard::Nothing });
    }

    /// The node's fetch does not wait any more.
    pub(super) fn unpark(&mut self, node: NodeId) {
        self.parked.retain(|parked| parked.session.node != node);
    }

    /// There is something for followers: at once, or with whatever comes next.
    pub(super) fn tell_followers(&mut self, number: PartitionNumber, urgent: bool) {
        let news = if urgent { Heard::Urgent } else { Heard::Lazy };
        for parked in self.parked.iter_mut().filter(|parked| parked.told < news) {
            parked.told = news;
            match urgent {
                true => parked.session.tell(number),
                false => parked.session.mention(number),
            }
        }
    }
}
