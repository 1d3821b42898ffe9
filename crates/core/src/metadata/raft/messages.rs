//! What Raft says to other nodes, in forms of our own: JSON of the same values that the journal stores.

use super::types::{
    RaftMembership, Types, log_id, membership, raft_entry, raft_vote, stored_entry, stored_id, stored_members, stored_vote,
};
use crate::metadata::storage::{Entry, EntryId, Members, Vote};
use bytes::Bytes;
use duolog_peer::{CallKind, head};
use openraft::SnapshotMeta;
use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse, InstallSnapshotRequest, VoteRequest, VoteResponse};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

pub(in crate::metadata) const APPEND: CallKind = CallKind(1);
pub(in crate::metadata) const VOTE: CallKind = CallKind(2);
pub(in crate::metadata) const CHUNK: CallKind = CallKind(3);

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Append {
    pub(super) vote: Vote,
    previous: Option<EntryId>,
    entries: Vec<Entry>,
    committed: Option<EntryId>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum AppendAnswer {
    Taken,
    TakenUpTo(Option<EntryId>),
    Conflict,
    HigherVote(Vote),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct VoteCall {
    pub(super) vote: Vote,
    last: Option<EntryId>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct VoteAnswer {
    vote: Vote,
    granted: bool,
    last: Option<EntryId>,
}

/// What comes before a part of a snapshot: its length in four bytes, and this.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ChunkHead {
    pub(super) vote: Vote,
    last: Option<EntryId>,
    members: Members,
    members_from: Option<EntryId>,
    snapshot: String,
    offset: u64,
    done: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum ChunkAnswer {
    Taken(Vote),
    /// Another part was expected: snapshot and offset of that one, and of the one that came.
    Mismatch {
        expected: (String, u64),
        got: (String, u64),
    },
}

/// The bytes of a message.
pub(in crate::metadata) fn encode<T: Serialize>(message: &T) -> Bytes {
    serde_json::to_vec(message).expect("plain values with numbers and strings as keys").into()
}

/// `None` if it is no such message.
pub(in crate::metadata) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    serde_json::from_slice(bytes).ok()
}

/// The bytes as each message that they are, written again. For the fuzz targets.
pub(in crate::metadata) fn recode_all(bytes: &[u8]) -> Vec<Bytes> {
    let chunk = decode_chunk(Bytes::copy_from_slice(bytes)).map(|(head, data)| {
        let request = raft_chunk(head, &data);
        encode_chunk(request)
    });
    let append = decode::<Append>(bytes).map(|append| encode(&Append::from(AppendEntriesRequest::from(append))));
    let vote = decode::<VoteCall>(bytes).map(|vote| encode(&VoteCall::from(VoteRequest::from(vote))));
    let answers = [recode::<AppendAnswer>(bytes), recode::<VoteAnswer>(bytes), recode::<ChunkAnswer>(bytes)];
    [chunk, append, vote].into_iter().chain(answers).flatten().collect()
}

/// The bytes as a message of this type, written again.
pub(in crate::metadata) fn recode<T: Serialize + DeserializeOwned>(bytes: &[u8]) -> Option<Bytes> {
    decode::<T>(bytes).map(|message| encode(&message))
}

impl From<AppendEntriesRequest<Types>> for Append {
    fn from(request: AppendEntriesRequest<Types>) -> Append {
        Append {
            vote: stored_vote(&request.vote),
            previous: request.prev_log_id.map(stored_id),
            entries: request.entries.into_iter().map(stored_entry).collect(),
            committed: request.leader_commit.map(stored_id),
        }
    }
}

impl From<Append> for AppendEntriesRequest<Types> {
    fn from(append: Append) -> AppendEntriesRequest<Types> {
        AppendEntriesRequest {
            vote: raft_vote(append.vote),
            prev_log_id: append.previous.map(log_id),
            entries: append.entries.into_iter().map(raft_entry).collect(),
            leader_commit: append.committed.map(log_id),
        }
    }
}

impl From<AppendEntriesResponse<u64>> for AppendAnswer {
    fn from(response: AppendEntriesResponse<u64>) -> AppendAnswer {
        match response {
            AppendEntriesResponse::Success => AppendAnswer::Taken,
            AppendEntriesResponse::PartialSuccess(last) => AppendAnswer::TakenUpTo(last.map(stored_id)),
            AppendEntriesResponse::Conflict => AppendAnswer::Conflict,
            AppendEntriesResponse::HigherVote(vote) => AppendAnswer::HigherVote(stored_vote(&vote)),
        }
    }
}

impl From<AppendAnswer> for AppendEntriesResponse<u64> {
    fn from(answer: AppendAnswer) -> AppendEntriesResponse<u64> {
        match answer {
            AppendAnswer::Taken => AppendEntriesResponse::Success,
            AppendAnswer::TakenUpTo(last) => AppendEntriesResponse::PartialSuccess(last.map(log_id)),
            AppendAnswer::Conflict => AppendEntriesResponse::Conflict,
            AppendAnswer::HigherVote(vote) => AppendEntriesResponse::HigherVote(raft_vote(vote)),
        }
    }
}

impl From<VoteRequest<u64>> for VoteCall {
    fn from(request: VoteRequest<u64>) -> VoteCall {
        VoteCall { vote: stored_vote(&request.vote), last: request.last_log_id.map(stored_id) }
    }
}

impl From<VoteCall> for VoteRequest<u64> {
    fn from(call: VoteCall) -> VoteRequest<u64> {
        VoteRequest { vote: raft_vote(call.vote), last_log_id: call.last.map(log_id) }
    }
}

impl From<VoteResponse<u64>> for VoteAnswer {
    fn from(response: VoteResponse<u64>) -> VoteAnswer {
        let last = response.last_log_id.map(stored_id);
        VoteAnswer { vote: stored_vote(&response.vote), granted: response.vote_granted, last }
    }
}

impl From<VoteAnswer> for VoteResponse<u64> {
    fn from(answer: VoteAnswer) -> VoteResponse<u64> {
        let last_log_id = answer.last.map(log_id);
        VoteResponse { vote: raft_vote(answer.vote), vote_granted: answer.granted, last_log_id }
    }
}

pub(super) fn encode_chunk(request: InstallSnapshotRequest<Types>) -> Bytes {
    let head = ChunkHead {
        vote: stored_vote(&request.vote),
        last: request.meta.last_log_id.map(stored_id),
        members: stored_members(request.meta.last_membership.membership()),
        members_from: request.meta.last_membership.log_id().map(stored_id),
        snapshot: request.meta.snapshot_id,
        offset: request.offset,
        done: request.done,
    };
    head::pack(&head, &request.data)
}

pub(super) fn decode_chunk(bytes: Bytes) -> Option<(ChunkHead, Bytes)> {
    let (head, data) = head::unpack(&bytes).ok()?;
    Some((head, bytes.slice_ref(data)))
}

pub(super) fn raft_chunk(head: ChunkHead, data: &[u8]) -> InstallSnapshotRequest<Types> {
    let members = RaftMembership::new(head.members_from.map(log_id), membership(head.members));
    InstallSnapshotRequest {
        vote: raft_vote(head.vote),
        meta: SnapshotMeta { last_log_id: head.last.map(log_id), last_membership: members, snapshot_id: head.snapshot },
        offset: head.offset,
        data: data.to_vec(),
        done: head.done,
    }
}

#[cfg(test)]
#[path = "messages_tests.rs"]
mod tests;
