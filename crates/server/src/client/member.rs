//! A member of a classic consumer group: joins, is assigned partitions by the range assignor, heartbeats, commits, leaves.
//!
//! The caller drives it: [`GroupMember::poll`] at least every few seconds does what is due and says when the assignment
//! has changed. There is no task and no timer of its own.

use super::api::{HEARTBEAT, JOIN_GROUP, LEAVE_GROUP, SYNC_GROUP};
use super::assignor;
use super::cluster::{Cluster, PATIENCE};
use super::error::{ClientError, accept};
use super::offsets::{CommittedOffset, Committer};
use super::retry::Retry;
use duolog_wire::kafka::error_code::ErrorCode;
use duolog_wire::kafka::messages::consumer_protocol_assignment::{ConsumerProtocolAssignment, TopicPartition};
use duolog_wire::kafka::messages::consumer_protocol_subscription::ConsumerProtocolSubscription;
use duolog_wire::kafka::messages::heartbeat_request::HeartbeatRequest;
use duolog_wire::kafka::messages::heartbeat_response::HeartbeatResponse;
use duolog_wire::kafka::messages::join_group_request::{JoinGroupRequest, JoinGroupRequestProtocol};
use duolog_wire::kafka::messages::join_group_response::JoinGroupResponse;
use duolog_wire::kafka::messages::leave_group_request::{LeaveGroupRequest, MemberIdentity};
use duolog_wire::kafka::messages::leave_group_response::LeaveGroupResponse;
use duolog_wire::kafka::messages::sync_group_request::{SyncGroupRequest, SyncGroupRequestAssignment};
use duolog_wire::kafka::messages::sync_group_response::SyncGroupResponse;
use duolog_wire::kafka::{DecodeError, Decoder, EncodeError, Encoder};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::Instant;

const SESSION_TIMEOUT_MS: i32 = 45_000;
const REBALANCE_TIMEOUT_MS: i32 = 60_000;
const HEARTBEAT_EVERY: Duration = Duration::from_secs(3);
const PROTOCOL_TYPE: &str = "consumer";
const PROTOCOL: &str = "range";
/// Version of the subscription and assignment blobs we write; every client reads it.
const BLOB_VERSION: i16 = 0;

/// What a poll brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MemberEvent {
    Unchanged,
    /// These partitions (topic, index) are ours now, and no others.
    Assigned(Vec<(String, i32)>),
}

/// This process as a member of a group.
pub struct GroupMember {
    group: String,
    topics: Vec<String>,
    member: String,
    generation: i32,
    joined: bool,
    last_heartbeat: Instant,
}

impl GroupMember {
    pub fn new(group: &str, topics: &[String]) -> GroupMember {
        GroupMember {
            group: group.to_owned(),
            topics: topics.to_vec(),
            member: String::new(),
            generation: -1,
            joined: false,
            last_heartbeat: Instant::now(),
        }
    }

    /// Joins if need be, heartbeats if it is time.
    pub async fn poll(&mut self, cluster: &mut Cluster) -> Result<MemberEvent, ClientError> {
        if !self.joined {
            return self.join(cluster).await.map(MemberEvent::Assigned);
        }
        if self.last_heartbeat.elapsed() < HEARTBEAT_EVERY {
            return Ok(MemberEvent::Unchanged);
        }
        match self.heartbeat(cluster).await {
            Ok(()) => Ok(MemberEvent::Unchanged),
            Err(error) if self.must_rejoin(&error) => self.join(cluster).await.map(MemberEvent::Assigned),
            // The next heartbeat is soon enough, as the session lasts for many.
            Err(error) if error.is_passing() => Ok(MemberEvent::Unchanged),
            Err(error) => Err(error),
        }
    }

    /// Notes what an error says about our membership; true if joining again mends it.
    fn must_rejoin(&mut self, error: &ClientError) -> bool {
        match error.code() {
            Some(ErrorCode::RebalanceInProgress) => {}
            Some(ErrorCode::UnknownMemberId | ErrorCode::FencedInstanceId) => self.member.clear(),
            Some(ErrorCode::IllegalGeneration) => {}
            _ => return false,
        }
        self.joined = false;
        true
    }

    async fn heartbeat(&mut self, cluster: &mut Cluster) -> Result<(), ClientError> {
        self.last_heartbeat = Instant::now();
        let request = HeartbeatRequest {
            group_id: &self.group,
            generation_id: self.generation,
            member_id: &self.member,
            ..Default::default()
        };
        let coordinator = cluster.group_coordinator(&self.group).await?;
        let reply = cluster.ask(coordinator, HEARTBEAT, |e, version| request.encode(e, version)).await?;
        let response = reply.decode(HeartbeatResponse::decode)?;
        accept(response.error_code, None, || self.subject())
    }

    fn subject(&self) -> String {
        format!("group {}", self.group)
    }

    async fn join(&mut self, cluster: &mut Cluster) -> Result<Vec<(String, i32)>, ClientError> {
        let mut retry = Retry::within(PATIENCE + Duration::from_millis(REBALANCE_TIMEOUT_MS as u64));
        loop {
            match self.join_once(cluster).await {
                Ok(assigned) => {
                    self.joined = true;
                    self.last_heartbeat = Instant::now();
                    return Ok(assigned);
                }
                // The coordinator has named us; join again under that name, at once.
                Err(error) if error.code() == Some(ErrorCode::MemberIdRequired) => {}
                Err(error) => {
                    let mendable = self.must_rejoin(&error) || error.is_passing();
                    if !mendable || !retry.again().await {
                        return Err(error);
                    }
                }
            }
        }
    }

    async fn join_once(&mut self, cluster: &mut Cluster) -> Result<Vec<(String, i32)>, ClientError> {
        let coordinator = cluster.group_coordinator(&self.group).await?;
        let topics = self.topics.iter().map(String::as_str).collect();
        let subscription = ConsumerProtocolSubscription { topics, ..Default::default() };
        let metadata = blob(|e| subscription.encode(e, BLOB_VERSION)).map_err(|error| encode_error(JOIN_GROUP.name, error))?;
        let request = JoinGroupRequest {
            group_id: &self.group,
            session_timeout_ms: SESSION_TIMEOUT_MS,
            rebalance_timeout_ms: REBALANCE_TIMEOUT_MS,
            member_id: &self.member,
            protocol_type: PROTOCOL_TYPE,
            protocols: vec![JoinGroupRequestProtocol { name: PROTOCOL, metadata: &metadata }],
            ..Default::default()
        };
        let reply = cluster.ask(coordinator, JOIN_GROUP, |e, version| request.encode(e, version)).await?;
        let response = reply.decode(JoinGroupResponse::decode)?;
        if !response.member_id.is_empty() {
            self.member = response.member_id.to_owned();
        }
        accept(response.error_code, None, || self.subject())?;
        self.generation = response.generation_id;
        let leads = response.leader == self.member && !response.skip_assignment;
        let shares = if leads { self.divide(cluster, &response).await? } else { Vec::new() };
        self.sync(cluster, coordinator, &shares).await
    }

    /// As the leader: decides who gets what.
    async fn divide(
        &self,
        cluster: &mut Cluster,
        response: &JoinGroupResponse<'_>,
    ) -> Result<Vec<(String, assignor::Share)>, ClientError> {
        let mut subscriptions = BTreeMap::new();
        for member in &response.members {
            let topics =
                decode_subscription(member.metadata).map_err(|_| ClientError::Assignment { group: self.group.clone() })?;
            subscriptions.insert(member.member_id.to_owned(), topics);
        }
        let mut partitions = BTreeMap::new();
        for topic in subscriptions.values().flatten() {
            if !partitions.contains_key(topic) {
                let count = match cluster.topic(topic, false).await {
                    Ok(layout) => layout.partitions.len() as i32,
                    Err(error) if error.code() == Some(ErrorCode::UnknownTopicOrPartition) => 0,
                    Err(error) => return Err(error),
                };
                partitions.insert(topic.clone(), count);
            }
        }
        Ok(assignor::range(&subscriptions, &partitions).into_iter().collect())
    }

    async fn sync(
        &self,
        cluster: &mut Cluster,
        coordinator: i32,
        shares: &[(String, assignor::Share)],
    ) -> Result<Vec<(String, i32)>, ClientError> {
        let mut blobs = Vec::new();
        for (member, share) in shares {
            let encoded = encode_assignment(share).map_err(|error| encode_error(SYNC_GROUP.name, error))?;
            blobs.push((member.as_str(), encoded));
        }
        let assignments: Vec<SyncGroupRequestAssignment<'_>> =
            blobs.iter().map(|(member_id, assignment)| SyncGroupRequestAssignment { member_id, assignment }).collect();
        let request = SyncGroupRequest {
            group_id: &self.group,
            generation_id: self.generation,
            member_id: &self.member,
            protocol_type: Some(PROTOCOL_TYPE),
            protocol_name: Some(PROTOCOL),
            assignments,
            ..Default::default()
        };
        let reply = cluster.ask(coordinator, SYNC_GROUP, |e, version| request.encode(e, version)).await?;
        let response = reply.decode(SyncGroupResponse::decode)?;
        accept(response.error_code, None, || self.subject())?;
        decode_assignment(response.assignment).map_err(|_| ClientError::Assignment { group: self.group.clone() })
    }

    /// Commits as this member. An error about the membership makes the next poll join again.
    pub async fn commit(&mut self, cluster: &mut Cluster, offsets: &[CommittedOffset]) -> Result<(), ClientError> {
        if offsets.is_empty() || !self.joined {
            return Ok(());
        }
        let committer = Committer { group: &self.group, member: &self.member, generation: self.generation };
        match cluster.commit(&committer, offsets).await {
            Err(error) if self.must_rejoin(&error) => Ok(()),
            done => done,
        }
    }

    /// Says goodbye, so that the others need not wait for the session to end.
    pub async fn leave(&mut self, cluster: &mut Cluster) -> Result<(), ClientError> {
        if !self.joined {
            return Ok(());
        }
        self.joined = false;
        let coordinator = cluster.group_coordinator(&self.group).await?;
        let members = vec![MemberIdentity { member_id: &self.member, ..Default::default() }];
        let request = LeaveGroupRequest { group_id: &self.group, members, ..Default::default() };
        let reply = cluster.ask(coordinator, LEAVE_GROUP, |e, version| request.encode(e, version)).await?;
        let response = reply.decode(LeaveGroupResponse::decode)?;
        accept(response.error_code, None, || self.subject())
    }
}

fn encode_error(api: &'static str, error: EncodeError) -> ClientError {
    ClientError::Encode { api, error }
}

/// A versioned blob inside a message: two bytes of version, then the content.
fn blob(encode: impl FnOnce(&mut Encoder) -> Result<(), EncodeError>) -> Result<Vec<u8>, EncodeError> {
    let mut encoder = Encoder::new();
    encoder.i16(BLOB_VERSION);
    encode(&mut encoder)?;
    Ok(encoder.buffer().to_vec())
}

/// Opens a blob; a version newer than we know is read as the newest we know, since new fields are appended.
fn open_blob(bytes: &[u8], newest: i16) -> Result<(Decoder<'_>, i16), DecodeError> {
    let mut decoder = Decoder::new(bytes);
    let version = decoder.i16()?;
    Ok((decoder, version.min(newest)))
}

fn decode_subscription(bytes: &[u8]) -> Result<Vec<String>, DecodeError> {
    let (mut decoder, version) = open_blob(bytes, ConsumerProtocolSubscription::MAX_VERSION)?;
    let subscription = ConsumerProtocolSubscription::decode(&mut decoder, version)?;
    Ok(subscription.topics.iter().map(|topic| (*topic).to_owned()).collect())
}

fn encode_assignment(share: &assignor::Share) -> Result<Vec<u8>, EncodeError> {
    let assigned_partitions =
        share.iter().map(|(topic, partitions)| TopicPartition { topic, partitions: partitions.clone() }).collect();
    let assignment = ConsumerProtocolAssignment { assigned_partitions, user_data: None };
    blob(|e| assignment.encode(e, BLOB_VERSION))
}

/// Topic and index of each assigned partition. No bytes at all are no partitions.
pub(super) fn decode_assignment(bytes: &[u8]) -> Result<Vec<(String, i32)>, DecodeError> {
    if bytes.is_empty() {
        return Ok(Vec::new());
    }
    let (mut decoder, version) = open_blob(bytes, ConsumerProtocolAssignment::MAX_VERSION)?;
    let assignment = ConsumerProtocolAssignment::decode(&mut decoder, version)?;
    let topics = assignment.assigned_partitions.iter();
    Ok(topics.flat_map(|topic| topic.partitions.iter().map(|index| (topic.topic.to_owned(), *index))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_assignment_survives_its_blob() {
        let share = assignor::Share::from([("a".to_owned(), vec![0, 2]), ("b".to_owned(), vec![1])]);
        let bytes = encode_assignment(&share).unwrap();
        let partitions = decode_assignment(&bytes).unwrap();
        assert_eq!(partitions, [("a".to_owned(), 0), ("a".to_owned(), 2), ("b".to_owned(), 1)]);
        assert_eq!(decode_assignment(&[]), Ok(Vec::new()));
        assert!(decode_assignment(&bytes[..bytes.len() - 5]).is_err());
    }
}
