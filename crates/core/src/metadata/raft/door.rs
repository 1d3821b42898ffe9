//! Calls of other members' Raft, answered by this node's.

use super::messages::{
    APPEND, Append, AppendAnswer, CHUNK, ChunkAnswer, VOTE, VoteAnswer, VoteCall, decode, decode_chunk, encode, raft_chunk,
};
use super::types::{RaftNode, raft_id, stored_vote};
use bytes::Bytes;
use duolog_base::NodeId;
use duolog_peer::{CallKind, CallRefusal};
use openraft::error::{InstallSnapshotError, RaftError};

/// Answers one call.
pub(super) async fn serve(raft: &RaftNode, from: NodeId, kind: CallKind, body: Bytes) -> Result<Bytes, CallRefusal> {
    match kind {
        APPEND => append(raft, from, &body).await,
        VOTE => vote(raft, from, &body).await,
        CHUNK => chunk(raft, from, body).await,
        _ => Err(CallRefusal::NotServed),
    }
}

async fn append(raft: &RaftNode, from: NodeId, body: &[u8]) -> Result<Bytes, CallRefusal> {
    let append: Append =
        decode(body).filter(|append: &Append| append.vote.node == raft_id(from)).ok_or(CallRefusal::Malformed)?;
    let response = raft.append_entries(append.into()).await.map_err(|_| CallRefusal::Stopping)?;
    Ok(encode(&AppendAnswer::from(response)))
}

async fn vote(raft: &RaftNode, from: NodeId, body: &[u8]) -> Result<Bytes, CallRefusal> {
    let call: VoteCall = decode(body).filter(|call: &VoteCall| call.vote.node == raft_id(from)).ok_or(CallRefusal::Malformed)?;
    let response = raft.vote(call.into()).await.map_err(|_| CallRefusal::Stopping)?;
    Ok(encode(&VoteAnswer::from(response)))
}

async fn chunk(raft: &RaftNode, from: NodeId, body: Bytes) -> Result<Bytes, CallRefusal> {
    let chunk = decode_chunk(body).filter(|(head, _)| head.vote.node == raft_id(from));
    let (head, data) = chunk.ok_or(CallRefusal::Malformed)?;
    let answer = match raft.install_snapshot(raft_chunk(head, &data)).await {
        Ok(response) => ChunkAnswer::Taken(stored_vote(&response.vote)),
        Err(RaftError::APIError(InstallSnapshotError::SnapshotMismatch(mismatch))) => ChunkAnswer::Mismatch {
            expected: (mismatch.expect.id, mismatch.expect.offset),
            got: (mismatch.got.id, mismatch.got.offset),
        },
        Err(RaftError::Fatal(_)) => return Err(CallRefusal::Stopping),
    };
    Ok(encode(&answer))
}
