//! The way to other members. A quorum of one has none, so nothing is ever sent.

use super::types::Types;
use openraft::BasicNode;
use openraft::error::{InstallSnapshotError, RPCError, RaftError, Unreachable};
use openraft::network::{RPCOption, RaftNetwork, RaftNetworkFactory};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, InstallSnapshotRequest, InstallSnapshotResponse, VoteRequest, VoteResponse,
};

/// A network without other members.
pub(super) struct Alone;

#[derive(Debug, thiserror::Error)]
#[error("this node is the only member")]
struct NoOtherMember;

type CallError<E = openraft::error::Infallible> = RPCError<u64, BasicNode, RaftError<u64, E>>;

fn unreachable<E: std::error::Error>() -> CallError<E> {
    RPCError::Unreachable(Unreachable::new(&NoOtherMember))
}

impl RaftNetworkFactory<Types> for Alone {
    type Network = Alone;

    async fn new_client(&mut self, _target: u64, _node: &BasicNode) -> Alone {
        Alone
    }
}

impl RaftNetwork<Types> for Alone {
    async fn append_entries(
        &mut self,
        _request: AppendEntriesRequest<Types>,
        _option: RPCOption,
    ) -> Result<AppendEntriesResponse<u64>, CallError> {
        Err(unreachable())
    }

    async fn install_snapshot(
        &mut self,
        _request: InstallSnapshotRequest<Types>,
        _option: RPCOption,
    ) -> Result<InstallSnapshotResponse<u64>, CallError<InstallSnapshotError>> {
        Err(unreachable())
    }

    async fn vote(&mut self, _request: VoteRequest<u64>, _option: RPCOption) -> Result<VoteResponse<u64>, CallError> {
        Err(unreachable())
    }
}
