//! What a leader remembers of one follower between its calls: what it has asked, and of which partitions there may be news.

use super::messages::FetchCall;
use duolog_base::{BrokerEpoch, LeaderEpoch, NodeId, Offset, PartitionNumber};
use duolog_replica::FollowerFetch;
use hashbrown::{HashMap, HashSet};
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

/// News that nobody waits for (a higher high watermark) waits so long for data that takes it along: the longer the more partitions have
/// some, because each costs as much as a batch, and thousands of partitions that get little would cost most of what they do twice.
const LAZY_PAUSE: Duration = Duration::from_millis(20);
const LAZY_PAUSE_EACH: Duration = Duration::from_micros(200);
const MAX_LAZY_PAUSE: Duration = Duration::from_millis(500);
/// Partitions that one follower may ask a node for.
const MAX_ASKED: usize = 1 << 20;

/// What was told of a partition last: the leader epoch, the high watermark and the log start.
pub(super) type Told = (LeaderEpoch, Offset, Offset);

/// A partition that the follower asks for.
#[derive(Clone, Debug, Default)]
pub(super) struct Asked {
    /// `None` once it is answered.
    pub(super) fetch: Option<FollowerFetch>,
    /// Most bytes that the follower wants at once, if it limits them.
    pub(super) most: Option<u32>,
    pub(super) told: Option<Told>,
}

#[derive(Default)]
pub(super) struct Conversation {
    next_call: u64,
    pub(super) asked: HashMap<PartitionNumber, Asked>,
    /// When all that is asked was last shown to the replicas, which judge by it who keeps up.
    asserted_ms: u64,
}

/// Partitions to look at.
#[derive(Default)]
struct News {
    partitions: VecDeque<PartitionNumber>,
    /// Partitions of which there is only what nobody waits for, and since when.
    lazy: HashSet<PartitionNumber>,
    lazy_since: Option<Instant>,
    /// Throttled ones, which are looked at again at the time that stands with them.
    held: HashSet<PartitionNumber>,
    held_until: Option<Instant>,
    urgent: bool,
    nudged: bool,
}

impl News {
    fn lazy_until(&self) -> Option<Instant> {
        let pause = LAZY_PAUSE.saturating_add(LAZY_PAUSE_EACH.saturating_mul(u32::try_from(self.lazy.len()).unwrap_or(u32::MAX)));
        self.lazy_since.map(|since| since + pause.min(MAX_LAZY_PAUSE))
    }

    /// When there is something to look at without anybody telling.
    fn next_due(&self) -> Option<Instant> {
        self.lazy_until().into_iter().chain(self.held_until).min()
    }

    /// What has waited long enough is to be looked at now.
    fn release(&mut self, now: Instant) {
        if self.lazy_until().is_some_and(|until| until <= now) {
            self.lazy_since = None;
            self.partitions.extend(self.lazy.drain());
        }
        if self.held_until.is_some_and(|until| until <= now) {
            self.held_until = None;
            self.partitions.extend(self.held.drain());
        }
    }
}

pub(super) struct Session {
    pub(super) node: NodeId,
    id: u64,
    pub(super) conversation: Mutex<Conversation>,
    news: Mutex<News>,
    arrived: Notify,
}

impl Session {
    fn new(node: NodeId, id: u64) -> Arc<Session> {
        let (conversation, news, arrived) = Default::default();
        Arc::new(Session { node, id, conversation, news, arrived })
    }

    pub(super) fn id(&self) -> u64 {
        self.id
    }

    /// There is news of a partition that is not to wait.
    pub(super) fn tell(&self, partition: PartitionNumber) {
        let mut news = self.news.lock();
        news.lazy.remove(&partition);
        news.partitions.push_back(partition);
        news.urgent = true;
        self.arrived.notify_one();
    }

    /// There is news of a partition that nobody waits for.
    pub(super) fn mention(&self, partition: PartitionNumber) {
        let mut news = self.news.lock();
        news.lazy.insert(partition);
        if news.lazy_since.is_none() {
            news.lazy_since = Some(Instant::now());
            self.arrived.notify_one();
        }
    }

    /// The follower wants its answer now.
    pub(super) fn nudge(&self) {
        self.news.lock().nudged = true;
        self.arrived.notify_one();
    }

    /// The partitions to look at, in the order in which there was news of them.
    pub(super) fn take_news(&self) -> VecDeque<PartitionNumber> {
        let mut news = self.news.lock();
        news.urgent = false;
        news.release(Instant::now());
        std::mem::take(&mut news.partitions)
    }

    /// The partition is throttled: it is looked at again after the pause, with all others that are, in any order.
    pub(super) fn hold(&self, partition: PartitionNumber, pause: Duration) {
        let mut news = self.news.lock();
        news.held.insert(partition);
        news.held_until.get_or_insert_with(|| Instant::now() + pause);
    }

    /// What there was no room for is looked at first next time.
    pub(super) fn put_back(&self, partitions: VecDeque<PartitionNumber>) {
        let mut news = self.news.lock();
        let later = std::mem::replace(&mut news.partitions, partitions);
        news.partitions.extend(later);
        news.urgent |= !news.partitions.is_empty();
    }

    /// Waits for news; `false` if there is none to wait for: the time is over, or the follower wants its answer.
    pub(super) async fn wait(&self, deadline: Instant) -> bool {
        loop {
            let now = Instant::now();
            let next_due = {
                let mut news = self.news.lock();
                if std::mem::take(&mut news.nudged) {
                    return false;
                }
                let next_due = news.next_due();
                if news.urgent || next_due.is_some_and(|due| due <= now) {
                    return true;
                }
                next_due
            };
            if deadline <= now {
                return false;
            }
            let until = next_due.map_or(deadline, |due| due.min(deadline));
            let _ = tokio::time::timeout_at(until, self.arrived.notified()).await;
        }
    }

    /// Takes in what a call asks. All that is asked for is shown to the replicas again if that is so long ago.
    fn take_in(&self, call: &FetchCall, assert_ms: u64, now_ms: u64) {
        let mut conversation = self.conversation.lock();
        conversation.next_call += 1;
        for partition in &call.gone {
            conversation.asked.remove(&PartitionNumber(*partition));
        }
        let mut partitions = VecDeque::new();
        for ask in &call.asks {
            let partition = PartitionNumber(ask.partition);
            let asked = conversation.asked.entry(partition).or_default();
            (asked.fetch, asked.most) = (Some(ask.fetch(self.node, BrokerEpoch(call.broker_epoch))), ask.most);
            partitions.push_back(partition);
        }
        if now_ms.saturating_sub(conversation.asserted_ms) >= assert_ms {
            conversation.asserted_ms = now_ms;
            let waiting = conversation.asked.iter().filter(|(_, asked)| asked.fetch.is_some());
            partitions.extend(waiting.map(|(partition, _)| *partition));
        }
        drop(conversation);
        let mut news = self.news.lock();
        news.partitions.extend(partitions);
        news.nudged = false;
    }
}

/// The sessions of a leader, one a follower.
pub(super) struct Sessions {
    by_node: Mutex<HashMap<NodeId, Arc<Session>>>,
    next_id: AtomicU64,
}

impl Sessions {
    /// Ids go up from `first`: those of an earlier life of the node mean nothing.
    pub(super) fn new(first: u64) -> Sessions {
        Sessions { by_node: Mutex::default(), next_id: AtomicU64::new(first.max(1)) }
    }

    /// The session that a call belongs to, with what the call asks; `None` if there is none that expects it.
    pub(super) fn join(&self, node: NodeId, call: &FetchCall, assert_ms: u64, now_ms: u64) -> Option<Arc<Session>> {
        let session = {
            let mut by_node = self.by_node.lock();
            if call.session == 0 && call.number == 0 {
                let id = self.next_id.fetch_add(1, Ordering::Relaxed);
                by_node.insert(node, Session::new(node, id));
            }
            by_node.get(&node)?.clone()
        };
        {
            let conversation = session.conversation.lock();
            let is_its = call.session == session.id || (call.session == 0 && call.number == 0);
            let expected = is_its && call.number == conversation.next_call;
            if !expected || conversation.asked.len() + call.asks.len() > MAX_ASKED {
                return None;
            }
        }
        session.take_in(call, assert_ms, now_ms);
        Some(session)
    }

    pub(super) fn find(&self, node: NodeId, id: u64) -> Option<Arc<Session>> {
        self.by_node.lock().get(&node).filter(|session| session.id == id).cloned()
    }

    /// Calls that wait are answered with what there is.
    pub(super) fn stop(&self) {
        self.by_node.lock().values().for_each(|session| session.nudge());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: PartitionNumber = PartitionNumber(1);
    const TWO: PartitionNumber = PartitionNumber(2);

    fn session() -> Arc<Session> {
        Session::new(NodeId(2), 1)
    }

    #[tokio::test(start_paused = true)]
    async fn what_nobody_waits_for_comes_later_than_data_of_other_partitions() {
        let (session, start) = (session(), Instant::now());
        session.mention(ONE);
        session.tell(TWO);
        assert!(session.wait(start + Duration::from_secs(1)).await);
        assert_eq!(session.take_news(), [TWO]);
        assert!(session.wait(start + Duration::from_secs(1)).await);
        assert_eq!((session.take_news(), start.elapsed() >= LAZY_PAUSE), (VecDeque::from([ONE]), true));
        assert!(!session.wait(start + Duration::from_secs(1)).await, "it was told");
    }

    #[tokio::test(start_paused = true)]
    async fn data_takes_along_what_nobody_waited_for() {
        let session = session();
        session.mention(ONE);
        session.tell(ONE);
        assert_eq!(session.take_news(), [ONE]);
        tokio::time::advance(MAX_LAZY_PAUSE).await;
        assert!(session.take_news().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn many_partitions_wait_longer_but_not_for_ever() {
        let session = session();
        (0..1_000).for_each(|partition| session.mention(PartitionNumber(partition)));
        tokio::time::advance(LAZY_PAUSE * 2).await;
        assert!(session.take_news().is_empty());
        (1_000..100_000).for_each(|partition| session.mention(PartitionNumber(partition)));
        tokio::time::advance(MAX_LAZY_PAUSE).await;
        assert_eq!(session.take_news().len(), 100_000);
    }
}
