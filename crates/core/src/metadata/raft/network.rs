//! The way to other members, and what is known of them by the way. A node alone has none, and nothing is ever sent.

use super::messages::{
    APPEND, Append, AppendAnswer, CHUNK, ChunkAnswer, VOTE, VoteAnswer, VoteCall, decode, encode, encode_chunk,
};
use super::types::{Types, node_id, raft_id, raft_vote};
use bytes::Bytes;
use duolog_base::{Clock, NodeId, TimestampMs};
use duolog_peer::{CallError, CallKind, Peers, Purpose};
use openraft::error::{
    InstallSnapshotError, NetworkError, PayloadTooLarge, RPCError, RaftError, RemoteError, SnapshotMismatch, Unreachable,
};
use openraft::network::{Backoff, RPCOption, RaftNetwork, RaftNetworkFactory};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, InstallSnapshotRequest, InstallSnapshotResponse, VoteRequest, VoteResponse,
};
use openraft::{BasicNode, SnapshotSegmentId};
use parking_lot::Mutex;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// How long a member that cannot be reached is left alone.
const UNREACHABLE_PAUSE: Duration = Duration::from_millis(100);

/// What a leader knows of a member.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::metadata) struct Contact {
    /// Index after the last entry that it is known to have.
    pub(in crate::metadata) end: u64,
    /// When it last answered, and when it last had all there was.
    pub(in crate::metadata) answered: Option<TimestampMs>,
    pub(in crate::metadata) caught_up: Option<TimestampMs>,
    /// When it was called last, nobody listened at its address: its process has ended.
    pub(in crate::metadata) refused: bool,
}

/// What the members answered to this node.
#[derive(Default)]
pub(in crate::metadata) struct Contacts {
    /// Index after the last entry of this node's log.
    log_end: AtomicU64,
    members: Mutex<BTreeMap<NodeId, Contact>>,
}

impl Contacts {
    pub(super) fn log_ends(&self, end: u64) {
        self.log_end.store(end, Ordering::Relaxed);
    }

    fn answered(&self, node: NodeId, end: u64, now: TimestampMs) {
        let mut members = self.members.lock();
        let contact = members.entry(node).or_default();
        contact.end = end;
        contact.answered = Some(now);
        contact.refused = false;
        if end >= self.log_end.load(Ordering::Relaxed) {
            contact.caught_up = Some(now);
        }
    }

    /// A call to the node came to nothing.
    fn failed(&self, node: NodeId, error: &CallError) {
        let refused = matches!(
            error,
            CallError::Unreachable { problem: duolog_peer::Unreachable::Connect { kind: ErrorKind::ConnectionRefused }, .. }
        );
        self.members.lock().entry(node).or_default().refused = refused;
    }

    /// The node begins anew.
    pub(in crate::metadata) fn forget(&self, node: NodeId) {
        self.members.lock().remove(&node);
    }

    pub(in crate::metadata) fn of(&self, node: NodeId) -> Contact {
        self.members.lock().get(&node).copied().unwrap_or_default()
    }
}

/// The way to the other members.
#[derive(Clone)]
pub(in crate::metadata) struct Road {
    pub(in crate::metadata) peers: Arc<Peers>,
    pub(in crate::metadata) contacts: Arc<Contacts>,
    pub(in crate::metadata) clock: Arc<dyn Clock>,
}

/// What the library gets its connections from; without a road for a node alone.
pub(super) struct Network(pub(super) Option<Road>);

/// The way to one member.
pub(super) struct Connection {
    target: NodeId,
    road: Option<Road>,
}

#[derive(Debug, thiserror::Error)]
#[error("this node is the only member")]
struct NoOtherMember;

#[derive(Debug, thiserror::Error)]
#[error("the answer cannot be understood")]
struct Garbled;

type RpcError<E = openraft::error::Infallible> = RPCError<u64, BasicNode, RaftError<u64, E>>;

impl RaftNetworkFactory<Types> for Network {
    type Network = Connection;

    async fn new_client(&mut self, target: u64, node: &BasicNode) -> Connection {
        let target = node_id(target);
        if let Some(road) = &self.0
            && !node.addr.is_empty()
        {
            road.peers.set_address(target, &node.addr);
        }
        Connection { target, road: self.0.clone() }
    }
}

impl Connection {
    async fn call<T: DeserializeOwned, E: std::error::Error>(
        &self,
        purpose: Purpose,
        kind: CallKind,
        body: Bytes,
        option: &RPCOption,
    ) -> Result<T, RpcError<E>> {
        let Some(road) = &self.road else { return Err(RPCError::Unreachable(Unreachable::new(&NoOtherMember))) };
        let called = road.peers.call(self.target, purpose, kind, body, option.hard_ttl()).await;
        if let Err(error) = &called {
            road.contacts.failed(self.target, error);
        }
        match called {
            Ok(answer) => decode(&answer).ok_or_else(|| RPCError::Network(NetworkError::new(&Garbled))),
            Err(error @ (CallError::Unreachable { .. } | CallError::Refused { .. })) => {
                Err(RPCError::Unreachable(Unreachable::new(&error)))
            }
            Err(error) => Err(RPCError::Network(NetworkError::new(&error))),
        }
    }
}

impl RaftNetwork<Types> for Connection {
    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<Types>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<u64>, RpcError> {
        let last = request.entries.last().map(|entry| entry.log_id).or(request.prev_log_id);
        let (end, entries) = (last.map_or(0, |id| id.index + 1), request.entries.len() as u64);
        let body = encode(&Append::from(request));
        if body.len() > duolog_peer::MAX_BODY_BYTES && entries > 1 {
            return Err(RPCError::PayloadTooLarge(PayloadTooLarge::new_entries_hint(entries / 2)));
        }
        let answer: Result<AppendAnswer, RpcError> = self.call(Purpose::CONTROL, APPEND, body, &option).await;
        let answer = answer?;
        if let (Some(road), AppendAnswer::Taken) = (&self.road, answer) {
            road.contacts.answered(self.target, end, road.clock.now());
        }
        Ok(answer.into())
    }

    async fn install_snapshot(
        &mut self,
        request: InstallSnapshotRequest<Types>,
        option: RPCOption,
    ) -> Result<InstallSnapshotResponse<u64>, RpcError<InstallSnapshotError>> {
        let answer: Result<_, RpcError<InstallSnapshotError>> =
            self.call(Purpose::BULK, CHUNK, encode_chunk(request), &option).await;
        match answer? {
            ChunkAnswer::Taken(vote) => Ok(InstallSnapshotResponse { vote: raft_vote(vote) }),
            ChunkAnswer::Mismatch { expected, got } => {
                let part = |(id, offset)| SnapshotSegmentId { id, offset };
                let mismatch = SnapshotMismatch { expect: part(expected), got: part(got) };
                let error = RaftError::APIError(InstallSnapshotError::SnapshotMismatch(mismatch));
                Err(RPCError::RemoteError(RemoteError::new(raft_id(self.target), error)))
            }
        }
    }

    async fn vote(&mut self, request: VoteRequest<u64>, option: RPCOption) -> Result<VoteResponse<u64>, RpcError> {
        let answer: Result<VoteAnswer, RpcError> =
            self.call(Purpose::CONTROL, VOTE, encode(&VoteCall::from(request)), &option).await;
        Ok(answer?.into())
    }

    fn backoff(&self) -> Backoff {
        Backoff::new(std::iter::repeat(UNREACHABLE_PAUSE))
    }
}
