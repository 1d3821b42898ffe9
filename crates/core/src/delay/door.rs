//! What nodes ask of each other about timers: a head in JSON, and a batch behind it as it is ([`duolog_peer::head`]).

use super::Shared;
use super::leadership::Recall;
use super::ownership::{Ending, Resolution};
use super::pending::Timer;
use super::records::{Target, TimerId};
use bytes::Bytes;
use duolog_base::{NodeId, Offset, PartitionIndex, PartitionNumber, TimestampMs};
use duolog_peer::{Answer, CallKind, CallRefusal, PeerService, Purpose, head};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::ops::RangeInclusive;
use std::sync::{Arc, Weak};

/// Calls that are the timers'.
pub(super) const KINDS: RangeInclusive<u16> = 48..=63;
/// They wait for the disk and for replicas.
pub(super) const CALLS: Purpose = Purpose(11);
/// A batch for a partition: [`AppendHead`](super::anywhere::AppendHead) and the batch. The answer is its offset, or why not.
pub(super) const APPEND: CallKind = CallKind(48);
/// A timer is not to be delivered: [`RecallHead`]. The answer is whether it will not be, and nothing if this node does not know.
pub(super) const RECALL: CallKind = CallKind(49);
/// What the owner of a half says: [`EndHead`]. The answer is what came of it, and nothing if this node does not know.
pub(super) const END: CallKind = CallKind(50);

/// Longest head, in bytes.
const HEAD_BYTES: usize = 64 << 10;

#[derive(Serialize, Deserialize)]
pub(super) struct RecallHead {
    pub(super) partition: i32,
    pub(super) at: i64,
    pub(super) offset: i64,
    /// Its two halves: JSON has no numbers of 128 bits.
    pub(super) id: (u64, u64),
}

/// What the owner of a half says.
#[derive(Serialize, Deserialize)]
pub(super) struct EndHead {
    partition: i32,
    offset: i64,
    group: String,
    transaction: Option<String>,
    resolution: Said,
}

/// [`Resolution`], between nodes.
#[derive(Serialize, Deserialize)]
enum Said {
    Commit,
    Rollback,
    /// Number, topic and partition.
    Divert(u32, String, i32),
}

impl EndHead {
    pub(super) fn new(partition: PartitionIndex, ending: &Ending) -> EndHead {
        let resolution = match &ending.resolution {
            Resolution::Commit => Said::Commit,
            Resolution::Rollback => Said::Rollback,
            Resolution::Divert(target) => Said::Divert(target.number.0, target.topic.clone(), target.partition.0),
        };
        let Ending { offset, group, transaction, .. } = ending.clone();
        EndHead { partition: partition.0, offset: offset.0, group, transaction, resolution }
    }

    fn ending(self) -> Ending {
        let EndHead { offset, group, transaction, resolution, .. } = self;
        let resolution = match resolution {
            Said::Commit => Resolution::Commit,
            Said::Rollback => Resolution::Rollback,
            Said::Divert(number, topic, partition) => {
                Resolution::Divert(Target { number: PartitionNumber(number), topic, partition: PartitionIndex(partition) })
            }
        };
        Ending { offset: Offset(offset), group, transaction, resolution }
    }
}

pub(super) fn unpack<T: DeserializeOwned>(bytes: &[u8]) -> Result<(T, &[u8]), CallRefusal> {
    head::unpack_within(bytes, HEAD_BYTES)
}

/// Where other nodes' calls arrive.
pub(super) struct Door(pub(super) Weak<Shared>);

impl PeerService for Door {
    fn call(&self, _: NodeId, kind: CallKind, body: Bytes) -> Answer {
        let shared = self.0.upgrade();
        Box::pin(async move {
            let shared = shared.ok_or(CallRefusal::Stopping)?;
            match kind {
                APPEND => shared.appended(&body).await,
                RECALL => recalled(&shared, &body).await,
                END => {
                    let (end, _): (EndHead, &[u8]) = unpack(&body)?;
                    let partition = PartitionIndex(end.partition);
                    Ok(vec![head::pack_alone(&shared.end_here(partition, end.ending()).await)])
                }
                _ => Err(CallRefusal::NotServed),
            }
        })
    }
}

async fn recalled(shared: &Arc<Shared>, body: &[u8]) -> Result<Vec<Bytes>, CallRefusal> {
    let (RecallHead { partition, at, offset, id: (high, low) }, _) = unpack(body)?;
    let id = TimerId(u128::from(high) << 64 | u128::from(low));
    let recall = Recall { timer: Timer { at: TimestampMs(at), offset: Offset(offset) }, id };
    Ok(vec![head::pack_alone(&shared.recall_here(PartitionIndex(partition), recall).await)])
}
