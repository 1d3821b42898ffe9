//! What followers and leaders say to each other: a version, a head in JSON, and behind an answer's head the batches.
//!
//! ```text
//! call   = version u8 | head
//! answer = version u8 | head length u32 | head | batches of each partition, in the order of the head      big-endian
//! ```
//! Calls form a session, as Kafka's fetch sessions do (KIP-227): a call carries only what is asked anew. What was asked stays asked
//! until it is answered, and an answer has only partitions of which there is news.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use duolog_base::{BrokerEpoch, LeaderEpoch, NodeId, Offset, PartitionNumber};
use duolog_log::EpochEnd;
use duolog_peer::{CallKind, CallRefusal};
use duolog_replica::{FetchGrant, FetchRefusal, FollowerFetch};
use serde::{Deserialize, Serialize};
use std::ops::{Range, RangeInclusive};

/// All kinds of calls of replication.
pub(super) const KINDS: RangeInclusive<u16> = 32..=47;
pub(super) const FETCH: CallKind = CallKind(32);
/// Asks for the answer to the fetch of a session that is under way, whatever is in it.
pub(super) const NUDGE: CallKind = CallKind(33);

const VERSION: u8 = 1;
/// Longest call, in bytes.
const MAX_CALL_BYTES: usize = 4 << 20;
/// Longest head of an answer, in bytes.
const MAX_HEAD_BYTES: usize = 16 << 20;
/// Partitions asked for, and given up, in one call.
pub(super) const MAX_ASKS: usize = 10_000;

/// A call of a session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct FetchCall {
    /// 0 begins one.
    pub(super) session: u64,
    /// Counts the calls of a session, from 0.
    pub(super) number: u64,
    pub(super) broker_epoch: u64,
    pub(super) asks: Vec<Ask>,
    /// Numbers of partitions that are not asked for any more.
    pub(super) gone: Vec<u32>,
}

/// A [`FollowerFetch`] of the node that calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Ask {
    #[serde(rename = "p")]
    pub(super) partition: u32,
    #[serde(rename = "l")]
    leader_epoch: i32,
    #[serde(rename = "o")]
    offset: i64,
    #[serde(rename = "d")]
    durable: i64,
    #[serde(rename = "e")]
    last_epoch: i32,
    #[serde(rename = "n")]
    number: u64,
    /// Most bytes to send, but at least a batch; of a follower that is throttled.
    #[serde(rename = "m", default, skip_serializing_if = "Option::is_none")]
    pub(super) most: Option<u32>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Reply {
    News {
        session: u64,
        parts: Vec<Part>,
    },
    /// No session of this id expects a call of this number: begin another one.
    UnknownSession,
}

/// What there is to say of one partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Part {
    #[serde(rename = "p")]
    pub(super) partition: u32,
    /// Of the fetch that it answers.
    #[serde(rename = "n")]
    pub(super) number: u64,
    #[serde(rename = "a")]
    pub(super) outcome: Outcome,
    /// Which of the batches have a word of their tags, and which; in their order.
    #[serde(rename = "t", default, skip_serializing_if = "Vec::is_empty")]
    pub(super) tags: Vec<(u32, u64)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Outcome {
    /// So many bytes of batches belong to it.
    #[serde(rename = "g")]
    Granted {
        #[serde(rename = "h")]
        high_watermark: i64,
        #[serde(rename = "s")]
        log_start: i64,
        #[serde(rename = "b")]
        bytes: u32,
    },
    NotLeader,
    FencedEpoch {
        current: i32,
    },
    UnknownEpoch {
        current: i32,
    },
    NotReplica,
    StaleBrokerEpoch {
        current: u64,
    },
    Diverging {
        epoch: i32,
        end: i64,
    },
    OutOfRange {
        start: i64,
        end: i64,
    },
    /// The leader cannot read its log.
    Unreadable,
}

impl Ask {
    pub(super) fn new(partition: PartitionNumber, fetch: &FollowerFetch, most: Option<u32>) -> Ask {
        Ask {
            partition: partition.0,
            leader_epoch: fetch.leader_epoch.0,
            offset: fetch.offset.0,
            durable: fetch.durable.0,
            last_epoch: fetch.last_epoch.0,
            number: fetch.number,
            most,
        }
    }

    /// The fetch of the node that has called.
    pub(super) fn fetch(&self, node: NodeId, broker_epoch: BrokerEpoch) -> FollowerFetch {
        FollowerFetch {
            node,
            broker_epoch,
            leader_epoch: LeaderEpoch(self.leader_epoch),
            offset: Offset(self.offset),
            durable: Offset(self.durable),
            last_epoch: LeaderEpoch(self.last_epoch),
            number: self.number,
        }
    }

    fn is_sound(&self) -> bool {
        self.durable >= 0 && self.durable <= self.offset && self.leader_epoch >= 0
    }
}

impl Outcome {
    pub(super) fn granted(grant: FetchGrant, bytes: usize) -> Outcome {
        Outcome::Granted { high_watermark: grant.high_watermark.0, log_start: grant.log_start.0, bytes: bytes as u32 }
    }

    pub(super) fn refused(refusal: FetchRefusal) -> Outcome {
        match refusal {
            FetchRefusal::NotLeader => Outcome::NotLeader,
            FetchRefusal::FencedEpoch { current, .. } => Outcome::FencedEpoch { current: current.0 },
            FetchRefusal::UnknownEpoch { current, .. } => Outcome::UnknownEpoch { current: current.0 },
            FetchRefusal::NotReplica { .. } => Outcome::NotReplica,
            FetchRefusal::StaleBrokerEpoch { current, .. } => Outcome::StaleBrokerEpoch { current: current.0 },
            FetchRefusal::Diverging(EpochEnd { epoch, end }) => Outcome::Diverging { epoch: epoch.0, end: end.0 },
            FetchRefusal::OutOfRange { start, end, .. } => Outcome::OutOfRange { start: start.0, end: end.0 },
        }
    }

    /// What it says to the one who sent this fetch, and the length of the batches. What tells nothing is taken for the answer of one who
    /// does not lead.
    pub(super) fn answer(self, fetch: &FollowerFetch) -> (Result<FetchGrant, FetchRefusal>, usize) {
        let refusal = match self {
            Outcome::Granted { high_watermark, log_start, bytes } => {
                let grant = FetchGrant { high_watermark: Offset(high_watermark), log_start: Offset(log_start) };
                return (Ok(grant), bytes as usize);
            }
            Outcome::NotLeader | Outcome::Unreadable => FetchRefusal::NotLeader,
            Outcome::FencedEpoch { current } => {
                FetchRefusal::FencedEpoch { current: LeaderEpoch(current), got: fetch.leader_epoch }
            }
            Outcome::UnknownEpoch { current } => {
                FetchRefusal::UnknownEpoch { current: LeaderEpoch(current), got: fetch.leader_epoch }
            }
            Outcome::NotReplica => FetchRefusal::NotReplica { node: fetch.node },
            Outcome::StaleBrokerEpoch { current } => {
                let (node, got) = (fetch.node, fetch.broker_epoch);
                FetchRefusal::StaleBrokerEpoch { node, current: BrokerEpoch(current), got }
            }
            Outcome::Diverging { epoch, end } => {
                FetchRefusal::Diverging(EpochEnd { epoch: LeaderEpoch(epoch), end: Offset(end.max(0)) })
            }
            Outcome::OutOfRange { start, end } => {
                FetchRefusal::OutOfRange { asked: fetch.offset, start: Offset(start.max(0)), end: Offset(end.max(0)) }
            }
        };
        (Err(refusal), 0)
    }
}

/// A call, of either kind: the head of a nudge is its session.
pub(super) fn encode_call<T: Serialize>(head: &T) -> Bytes {
    let mut bytes = vec![VERSION];
    serde_json::to_writer(&mut bytes, head).expect("plain values");
    bytes.into()
}

pub(super) fn decode_fetch(body: &[u8]) -> Result<FetchCall, CallRefusal> {
    let call: FetchCall = decode_head(body).ok_or(CallRefusal::Malformed)?;
    let sound = call.asks.len() <= MAX_ASKS && call.gone.len() <= MAX_ASKS && call.asks.iter().all(Ask::is_sound);
    sound.then_some(call).ok_or(CallRefusal::Malformed)
}

pub(super) fn decode_nudge(body: &[u8]) -> Result<u64, CallRefusal> {
    decode_head(body).ok_or(CallRefusal::Malformed)
}

fn decode_head<T: for<'a> Deserialize<'a>>(body: &[u8]) -> Option<T> {
    let (version, head) = body.split_first().filter(|_| body.len() <= MAX_CALL_BYTES)?;
    (*version == VERSION).then(|| serde_json::from_slice(head).ok()).flatten()
}

/// What comes before the batches.
pub(super) fn encode_reply(reply: &Reply) -> Bytes {
    let head = serde_json::to_vec(reply).expect("plain values");
    let mut bytes = BytesMut::with_capacity(head.len() + 5);
    bytes.put_u8(VERSION);
    bytes.put_u32(head.len() as u32);
    bytes.put_slice(&head);
    bytes.freeze()
}

/// An answer, and where in it the batches of each part lie; `None` if it cannot be understood.
pub(super) fn decode_reply(body: &Bytes) -> Option<(Reply, Vec<Range<usize>>)> {
    let mut rest = &body[..];
    if rest.try_get_u8().ok()? != VERSION {
        return None;
    }
    let head_bytes = rest.try_get_u32().ok()? as usize;
    let head = rest.get(..head_bytes).filter(|head| head.len() <= MAX_HEAD_BYTES)?;
    let reply: Reply = serde_json::from_slice(head).ok()?;
    let mut at = body.len() - rest.len() + head_bytes;
    let mut places = Vec::new();
    if let Reply::News { parts, .. } = &reply {
        for part in parts {
            let bytes = match part.outcome {
                Outcome::Granted { bytes, .. } => bytes as usize,
                _ => 0,
            };
            let end = at.checked_add(bytes).filter(|end| *end <= body.len())?;
            places.push(at..end);
            at = end;
        }
    }
    (at == body.len()).then_some((reply, places))
}
