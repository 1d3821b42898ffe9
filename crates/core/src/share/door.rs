//! What nodes ask of each other about share-partitions: the state that another node keeps, and that a leader forgets what it has read of it.

use super::Shared;
use super::states::AskHead;
use bytes::Bytes;
use duolog_base::NodeId;
use duolog_peer::{Answer, CallKind, CallRefusal, PeerService, Purpose, head};
use std::ops::RangeInclusive;
use std::sync::Weak;

/// Calls that are those of share groups.
pub(super) const KINDS: RangeInclusive<u16> = 96..=111;
/// They wait for the disk and for replicas.
pub(super) const CALLS: Purpose = Purpose(12);
/// A question to whoever keeps the state: [`AskHead`]. The answer is the reply, or why there is none.
pub(super) const ASK: CallKind = CallKind(96);
/// The state of a share-partition has begun anew, or is gone: [`AskHead`], of which only the place counts. The answer is empty.
pub(super) const FORGET: CallKind = CallKind(97);

/// Where other nodes' calls arrive.
pub(super) struct Door(pub(super) Weak<Shared>);

impl PeerService for Door {
    fn call(&self, _: NodeId, kind: CallKind, body: Bytes) -> Answer {
        let shared = self.0.upgrade();
        Box::pin(async move {
            let shared = shared.ok_or(CallRefusal::Stopping)?;
            let asked: AskHead = head::unpack_alone(&body)?;
            match kind {
                ASK => Ok(vec![head::pack_alone(&shared.states.asked(asked).await)]),
                FORGET => {
                    shared.forget(&asked.open().0);
                    Ok(Vec::new())
                }
                _ => Err(CallRefusal::NotServed),
            }
        })
    }
}
