//! A follower asks: one task for each leader, with one call under way that asks for all partitions this node follows there.
//!
//! A partition is asked for again once what was appended of it counts, so one sync covers all partitions of an answer. Whatever else
//! is to be asked meanwhile (another role, a try after a refusal) nudges the leader to answer the call that waits.

use super::Replication;
use super::messages::{self, Ask, FETCH, FetchCall, MAX_ASKS, NUDGE, Reply};
use super::serve::{LONG_POLL, PARTITION_BYTES};
use super::throttle::Room;
use duolog_base::{NodeId, PartitionNumber};
use duolog_peer::{CallError, Purpose};
use duolog_replica::{FollowerFetch, Role};
use hashbrown::{HashMap, HashSet};
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio::time::Instant;

/// How long a call may take, beyond the time that it waits for news.
const CALL_LIMIT: Duration = LONG_POLL.saturating_add(Duration::from_secs(5));
/// How long to wait before a partition is asked for again after a refusal, and a leader after a failed call.
const RETRY_PAUSE: Duration = Duration::from_millis(50);
/// How long a partition that is throttled is left out at least.
const LEAST_HOLD: Duration = Duration::from_millis(50);

/// The tasks, one for each node that this one follows or has followed.
#[derive(Default)]
pub(super) struct Fetchers {
    by_leader: Mutex<State>,
}

#[derive(Default)]
struct State {
    stopped: bool,
    fetchers: HashMap<NodeId, (Arc<Fetcher>, AbortHandle)>,
}

/// What the task of one leader is told by others.
pub(super) struct Fetcher {
    pub(super) leader: NodeId,
    wanted: Mutex<Vec<PartitionNumber>>,
    wake: Notify,
}

impl Fetchers {
    /// The role in a partition that has to do with this leader has changed: it is to be asked for, or given up.
    pub(super) fn want(&self, replication: &Arc<Replication>, leader: NodeId, partition: PartitionNumber) {
        let mut state = self.by_leader.lock();
        if state.stopped {
            return;
        }
        let (fetcher, _) = state.fetchers.entry(leader).or_insert_with(|| {
            let fetcher = Arc::new(Fetcher { leader, wanted: Mutex::default(), wake: Notify::new() });
            let task = tokio::spawn(run(Arc::downgrade(replication), fetcher.clone()));
            (fetcher, task.abort_handle())
        });
        fetcher.wanted.lock().push(partition);
        fetcher.wake.notify_one();
    }

    pub(super) fn stop(&self) {
        let mut state = self.by_leader.lock();
        state.stopped = true;
        state.fetchers.drain().for_each(|(_, (_, task))| task.abort());
    }
}

/// What the task of one leader knows.
#[derive(Default)]
pub(super) struct Asking {
    /// 0 if there is none.
    session: u64,
    next_call: u64,
    /// What is asked, and not answered.
    asked: HashMap<PartitionNumber, FollowerFetch>,
    /// To be asked now.
    pub(super) ready: VecDeque<PartitionNumber>,
    /// To be asked from then on, in order of the time.
    later: VecDeque<(Instant, PartitionNumber)>,
    /// Throttled ones, which are left out until then.
    held: HashSet<PartitionNumber>,
    held_until: Option<Instant>,
}

impl Asking {
    /// Asks for the partition again in a moment.
    pub(super) fn put_off(&mut self, partition: PartitionNumber) {
        self.later.push_back((Instant::now() + RETRY_PAUSE, partition));
    }

    /// The fetch that this answers, if it is awaited.
    pub(super) fn answered(&mut self, partition: PartitionNumber, number: u64) -> Option<FollowerFetch> {
        self.asked.get(&partition).filter(|fetch| fetch.number == number)?;
        self.asked.remove(&partition)
    }

    fn hold(&mut self, partition: PartitionNumber, pause: Duration) {
        self.held.insert(partition);
        self.held_until.get_or_insert_with(|| Instant::now() + pause.max(LEAST_HOLD));
    }

    fn next_due(&self) -> Option<Instant> {
        self.later.front().map(|(due, _)| *due).into_iter().chain(self.held_until).min()
    }

    /// What the next call asks for and gives up; `None` if nothing is asked at all.
    fn call(&mut self, replication: &Replication, fetcher: &Fetcher) -> Option<FetchCall> {
        self.ready.extend(fetcher.wanted.lock().drain(..));
        let now = Instant::now();
        while let Some((_, partition)) = self.later.pop_front_if(|(due, _)| *due <= now) {
            self.ready.push_back(partition);
        }
        if self.held_until.is_some_and(|until| until <= now) {
            self.held_until = None;
            self.ready.extend(self.held.drain());
        }
        let (mut asks, mut gone) = (Vec::new(), Vec::new());
        let mut broker_epoch = None;
        // Bytes of the throttle that this call asks for.
        let mut throttled = 0;
        while asks.len() < MAX_ASKS && gone.len() < MAX_ASKS {
            let Some(partition) = self.ready.pop_front() else { break };
            match replication.next_fetch(fetcher.leader, partition, throttled) {
                Next::Ask(fetch, most) => {
                    broker_epoch = Some(fetch.broker_epoch);
                    throttled += most.map_or(0, u64::from);
                    asks.push(Ask::new(partition, &fetch, most));
                    self.asked.insert(partition, fetch);
                }
                Next::Asked => {}
                Next::Held { pause } => self.hold(partition, pause),
                Next::Elsewhere => {
                    if self.asked.remove(&partition).is_some() {
                        gone.push(partition.0);
                    }
                }
            }
        }
        if self.asked.is_empty() {
            // Without a call the session is forgotten in time.
            return None;
        }
        let broker_epoch = broker_epoch.or_else(|| self.asked.values().next().map(|fetch| fetch.broker_epoch))?;
        let number = self.next_call;
        self.next_call += 1;
        Some(FetchCall { session: self.session, number, broker_epoch: broker_epoch.0, asks, gone })
    }

    /// The session is lost: all that was asked must be asked again.
    fn begin_anew(&mut self, replication: &Replication) {
        (self.session, self.next_call) = (0, 0);
        for (partition, fetch) in self.asked.drain() {
            replication.give_up(partition, fetch.number);
            self.ready.push_back(partition);
        }
    }
}

/// What a follower wants of a partition from a leader.
enum Next {
    /// With the most bytes of it, if they are limited.
    Ask(FollowerFetch, Option<u32>),
    /// The throttle has no room for so long.
    Held { pause: Duration },
    /// It waits for an answer, or can do nothing now.
    Asked,
    /// It does not follow that leader.
    Elsewhere,
}

impl Replication {
    /// `throttled` bytes are asked for by the same call already.
    fn next_fetch(&self, leader: NodeId, partition: PartitionNumber, throttled: u64) -> Next {
        let Some(slot) = self.slot(partition) else { return Next::Elsewhere };
        let mut state = slot.lock();
        let follows = matches!(state.replica.role(), Role::Follower(follower) if follower.leader() == leader);
        if !follows || state.gone || state.quarantined.is_some() || state.replica.damage().is_some() {
            return Next::Elsewhere;
        }
        let Some(view) = self.view(&slot, &state) else { return Next::Elsewhere };
        let most = match self.room_to_fetch(&slot, &state) {
            Room::Free => None,
            Room::Bytes(bytes) if bytes > throttled => Some((bytes - throttled).min(PARTITION_BYTES as u64) as u32),
            Room::Bytes(_) => return Next::Held { pause: LEAST_HOLD },
            Room::None { pause_ms } => return Next::Held { pause: Duration::from_millis(pause_ms) },
        };
        match state.replica.follower_mut().and_then(|follower| follower.next_fetch(view)) {
            Some(fetch) => Next::Ask(fetch, most),
            None => Next::Asked,
        }
    }

    fn give_up(&self, partition: PartitionNumber, number: u64) {
        if let Some(slot) = self.slot(partition)
            && let Some(follower) = slot.lock().replica.follower_mut()
        {
            follower.give_up(number);
        }
    }
}

async fn run(replication: Weak<Replication>, fetcher: Arc<Fetcher>) {
    let mut asking = Asking::default();
    loop {
        let Some(known) = replication.upgrade() else { return };
        let Some(call) = asking.call(&known, &fetcher) else {
            // Whoever asks anew begins another session.
            (asking.session, asking.next_call) = (0, 0);
            drop(known);
            woken(&fetcher, asking.next_due()).await;
            continue;
        };
        match fetch(&known, &fetcher, &asking, &call).await {
            Some((Reply::News { session, parts }, body, places)) => {
                asking.session = session;
                if !known.take_in(&mut asking, &parts, &body, &places).await {
                    // The log has stopped, and the process ends.
                    return;
                }
            }
            Some((Reply::UnknownSession, ..)) | None => {
                // Another process of this node may be asking, too: the two must not keep each other from it without a pause.
                asking.begin_anew(&known);
                drop(known);
                tokio::time::sleep(RETRY_PAUSE).await;
            }
        }
    }
}

type Answered = (Reply, bytes::Bytes, Vec<std::ops::Range<usize>>);

/// Makes a call; `None` if it has no answer that can be understood.
async fn fetch(replication: &Replication, fetcher: &Fetcher, asking: &Asking, call: &FetchCall) -> Option<Answered> {
    let peers = &replication.around.road.peers;
    let body = messages::encode_call(call);
    let answer = peers.call(fetcher.leader, Purpose::BULK, FETCH, body, CALL_LIMIT);
    let answer = tokio::select! {
        answer = answer => answer,
        never = nudge(replication, fetcher, call.session, asking) => match never {},
    };
    let body = answer.inspect_err(|error| report(fetcher.leader, error)).ok()?;
    let decoded = messages::decode_reply(&body);
    if decoded.is_none() {
        tracing::warn!(leader = %fetcher.leader, bytes = body.len(), "an answer to a follower cannot be understood");
    }
    let (reply, places) = decoded?;
    Some((reply, body, places))
}

fn report(leader: NodeId, error: &CallError) {
    tracing::debug!(%leader, %error, "a leader cannot be asked");
}

/// Has the leader answer the call that waits as soon as there is something else to ask.
async fn nudge(replication: &Replication, fetcher: &Fetcher, session: u64, asking: &Asking) -> Infallible {
    woken(fetcher, asking.next_due()).await;
    if session != 0 {
        let body = messages::encode_call(&session);
        let _ = replication.around.road.peers.call(fetcher.leader, Purpose::BULK, NUDGE, body, CALL_LIMIT).await;
    }
    std::future::pending().await
}

/// Waits until somebody wants something, or something that was put off is due.
async fn woken(fetcher: &Fetcher, due: Option<Instant>) {
    match due {
        Some(due) => {
            let _ = tokio::time::timeout_at(due, fetcher.wake.notified()).await;
        }
        None => fetcher.wake.notified().await,
    }
}
