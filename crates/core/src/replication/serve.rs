//! A leader answers its followers: looks at the partitions of which there may be news, and waits as long as there is none.

use super::Replication;
use super::heal::{are_sound, speaks_of_damage};
use super::messages::{self, FETCH, FetchCall, NUDGE, Outcome, Part, Reply};
use super::session::{Asked, Session, Told};
use super::slot::{Slot, SlotState};
use super::throttle::Room;
use bytes::Bytes;
use duolog_base::{LeaderEpoch, NodeId, Offset, PartitionNumber};
use duolog_log::{ReadError, ReadLimits, ReadPart, ReadPlan};
use duolog_peer::{Answer, CallKind, CallRefusal, PeerService};
use duolog_replica::FollowerFetch;
use std::ops::Range;
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::time::Instant;

/// How long a call waits for news.
pub(super) const LONG_POLL: Duration = Duration::from_millis(500);
/// Bytes of batches in an answer, but at least one batch.
const ANSWER_BYTES: usize = 8 << 20;
/// Of these, bytes of one partition, but at least one batch.
pub(super) const PARTITION_BYTES: usize = 1 << 20;
/// What is asked is shown to the replicas again so many times within the time that a follower may lag.
const ASSERTIONS_A_LAG: u64 = 4;
const MAX_ASSERT_MS: u64 = 2_000;

/// The service on the switchboard.
pub(super) struct Door(pub(super) Weak<Replication>);

impl PeerService for Door {
    fn call(&self, from: NodeId, kind: CallKind, body: Bytes) -> Answer {
        let replication = self.0.upgrade();
        Box::pin(async move {
            let replication = replication.ok_or(CallRefusal::Stopping)?;
            match kind {
                FETCH => replication.serve_fetch(from, messages::decode_fetch(&body)?).await,
                NUDGE => {
                    if let Some(session) = replication.sessions.find(from, messages::decode_nudge(&body)?) {
                        session.nudge();
                    }
                    Ok(Vec::new())
                }
                _ => Err(CallRefusal::NotServed),
            }
        })
    }
}

/// An answer that is being put together.
#[derive(Default)]
struct Draft {
    parts: Vec<Part>,
    /// From which offset on, and what.
    plans: Vec<(Offset, ReadPlan)>,
    bytes: usize,
}

/// What is known before a look at a partition.
struct Known {
    /// In the epoch of the fetch.
    told: Option<Told>,
    patient: bool,
    /// Bytes that the answer has room for.
    room: usize,
    /// Bytes that the follower wants at most, if it limits them.
    most: Option<u32>,
}

/// What a look at a partition has brought.
enum Look {
    /// Nothing: the slot will tell.
    Parked,
    /// Data for which the answer has no room.
    NoRoom,
    /// Data that the throttle keeps back for so long.
    Held {
        pause: Duration,
    },
    Refused(Outcome),
    Granted(Outcome, ReadPlan, Told),
}

impl Replication {
    async fn serve_fetch(&self, from: NodeId, call: FetchCall) -> Result<Vec<Bytes>, CallRefusal> {
        let deadline = Instant::now() + LONG_POLL;
        let assert_ms = (self.limits.lag_ms / ASSERTIONS_A_LAG).min(MAX_ASSERT_MS);
        let Some(session) = self.sessions.join(from, &call, assert_ms, self.now_ms()) else {
            return Ok(vec![messages::encode_reply(&Reply::UnknownSession)]);
        };
        let mut draft = Draft::default();
        let mut patient = true;
        loop {
            self.look_at_news(&session, &mut draft, patient);
            patient = false;
            if !draft.parts.is_empty() || !session.wait(deadline).await {
                break;
            }
        }
        self.send(&session, draft).await
    }

    /// Looks at all partitions of which there is news, as far as the answer has room. With patience, a higher high watermark alone is no
    /// reason to answer at once: data may follow that takes it along.
    fn look_at_news(&self, session: &Arc<Session>, draft: &mut Draft, patient: bool) {
        let mut partitions = session.take_news();
        let mut conversation = session.conversation.lock();
        while let Some(partition) = partitions.pop_front() {
            let Some(asked) = conversation.asked.get_mut(&partition) else { continue };
            let Some(fetch) = asked.fetch.clone() else { continue };
            let look = match self.slot(partition) {
                Some(slot) => {
                    let told = asked.told.filter(|(epoch, ..)| *epoch == fetch.leader_epoch);
                    let room = ANSWER_BYTES.saturating_sub(draft.bytes);
                    self.look(session, &slot, &fetch, Known { told, patient, room, most: asked.most })
                }
                None => Look::Refused(Outcome::NotLeader),
            };
            let outcome = match look {
                Look::Parked => continue,
                Look::NoRoom => {
                    partitions.push_front(partition);
                    break;
                }
                Look::Held { pause } => {
                    session.hold(partition, pause);
                    continue;
                }
                Look::Refused(outcome) => {
                    conversation.asked.remove(&partition);
                    draft.plans.push((fetch.offset, ReadPlan::default()));
                    outcome
                }
                Look::Granted(outcome, plan, told) => {
                    *asked = Asked { told: Some(told), ..Asked::default() };
                    draft.bytes += plan.bytes;
                    draft.plans.push((fetch.offset, plan));
                    outcome
                }
            };
            draft.parts.push(Part { partition: partition.0, number: fetch.number, outcome, tags: Vec::new() });
        }
        session.put_back(partitions);
    }

    fn look(&self, session: &Arc<Session>, slot: &Slot, fetch: &FollowerFetch, known: Known) -> Look {
        let Known { told: before, patient, room, most } = known;
        let mut state = slot.lock();
        state.unpark(session.node);
        let view = self.view(slot, &state).filter(|_| !state.gone);
        let Some(view) = view else { return Look::Refused(Outcome::NotLeader) };
        let Ok(known) = self.known_epoch(slot.number, fetch) else { return Look::Refused(Outcome::Unreadable) };
        let granted = state.replica.fetch(fetch, view, &|_| known, self.now_ms());
        self.after(slot, &mut state);
        let grant = match granted {
            Ok(grant) => grant,
            Err(refusal) => return Look::Refused(Outcome::refused(refusal)),
        };
        let (plan, held) = match self.read_for(session.node, slot, &mut state, fetch.offset..view.end, room, most) {
            Ok(plan) => (plan, None),
            Err(Look::Held { pause }) => (ReadPlan::default(), Some(pause)),
            Err(look) => return look,
        };
        let told = (fetch.leader_epoch, grant.high_watermark, grant.log_start);
        if plan.bytes == 0 && (before == Some(told) || (patient && before.is_some())) {
            if let Some(pause) = held {
                return Look::Held { pause };
            }
            state.park(session);
            if before != Some(told) {
                state.tell_followers(slot.number, false);
            }
            return Look::Parked;
        }
        Look::Granted(Outcome::granted(grant, plan.bytes), plan, told)
    }

    /// The batches of a range, as far as the answer has room and the throttle allows.
    fn read_for(
        &self,
        follower: NodeId,
        slot: &Slot,
        state: &mut SlotState,
        range: Range<Offset>,
        room: usize,
        most: Option<u32>,
    ) -> Result<ReadPlan, Look> {
        if range.is_empty() {
            return Ok(ReadPlan::default());
        }
        if room == 0 {
            return Err(Look::NoRoom);
        }
        let throttle = self.room_to_send(slot, state, follower);
        let allowed = match throttle {
            Room::Free => usize::MAX,
            Room::Bytes(bytes) => usize::try_from(bytes).unwrap_or(usize::MAX),
            Room::None { pause_ms } => return Err(Look::Held { pause: Duration::from_millis(pause_ms) }),
        };
        let wanted = most.map_or(PARTITION_BYTES, |most| PARTITION_BYTES.min(most as usize));
        let limits = ReadLimits { upto: range.end, max_bytes: room.min(wanted).min(allowed), at_least_one: true, tags: None };
        match self.around.log.read(slot.number, range.start, limits) {
            Ok(plan) => {
                if throttle != Room::Free {
                    self.sending.lock().spend(plan.bytes);
                }
                Ok(plan)
            }
            Err(error) => {
                state.note_trouble(slot.number, &error);
                if speaks_of_damage(&error) {
                    self.suspect(slot.number, range.start, Offset(range.start.0 + 1));
                }
                Err(Look::Refused(Outcome::Unreadable))
            }
        }
    }

    /// Where the log here ends the epoch of the follower's last batch.
    fn known_epoch(&self, partition: PartitionNumber, fetch: &FollowerFetch) -> Result<Option<duolog_log::EpochEnd>, ReadError> {
        match fetch.last_epoch {
            LeaderEpoch::NONE => Ok(None),
            epoch => self.around.log.epoch_end(partition, epoch),
        }
    }

    async fn send(&self, session: &Session, draft: Draft) -> Result<Vec<Bytes>, CallRefusal> {
        let Draft { mut parts, plans, .. } = draft;
        let mut batches = Vec::new();
        for (part, (from, mut plan)) in parts.iter_mut().zip(plans) {
            let Outcome::Granted { bytes, .. } = &mut part.outcome else { continue };
            let tags = std::mem::take(&mut plan.tags);
            let next = plan.next;
            match bytes_of(plan).await {
                Ok(read) => {
                    part.tags = tags;
                    *bytes = read.iter().map(Bytes::len).sum::<usize>() as u32;
                    batches.extend(read);
                }
                Err(error) => {
                    tracing::warn!(partition = part.partition, %error, "a follower cannot be given its batches");
                    part.outcome = Outcome::Unreadable;
                    if speaks_of_damage(&error) {
                        self.suspect(PartitionNumber(part.partition), from, next);
                    }
                }
            }
        }
        let mut answer = vec![messages::encode_reply(&Reply::News { session: session.id(), parts })];
        answer.extend(batches);
        Ok(answer)
    }
}

/// The plan's bytes: what is in memory as it is, what is in files read, and undamaged.
async fn bytes_of(plan: ReadPlan) -> Result<Vec<Bytes>, ReadError> {
    if plan.is_in_memory() {
        let slice = |part| match part {
            ReadPart::Memory(bytes) => Some(bytes),
            ReadPart::File { .. } => None,
        };
        return Ok(plan.parts.into_iter().filter_map(slice).collect());
    }
    let bytes = crate::broker::materialize(plan).await?;
    // Batches of the dedicated layout were held to their places, not to their checksums.
    match are_sound(&bytes) {
        true => Ok(vec![bytes]),
        false => Err(ReadError::Io(Arc::new(std::io::ErrorKind::InvalidData.into()))),
    }
}
