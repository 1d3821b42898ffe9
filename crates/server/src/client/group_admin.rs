//! Groups seen from outside: list, describe, delete.

use super::api::{DELETE_GROUPS, DESCRIBE_GROUPS, LIST_GROUPS};
use super::cluster::{Cluster, PATIENCE};
use super::error::{ClientError, accept};
use super::member::decode_assignment;
use super::retry::Retry;
use duolog_wire::kafka::messages::delete_groups_request::DeleteGroupsRequest;
use duolog_wire::kafka::messages::delete_groups_response::DeleteGroupsResponse;
use duolog_wire::kafka::messages::describe_groups_request::DescribeGroupsRequest;
use duolog_wire::kafka::messages::describe_groups_response::{DescribeGroupsResponse, DescribedGroup};
use duolog_wire::kafka::messages::list_groups_request::ListGroupsRequest;
use duolog_wire::kafka::messages::list_groups_response::ListGroupsResponse;

/// A group in a list.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct GroupSummary {
    pub group: String,
    pub protocol_type: String,
    /// Empty if the server does not tell.
    pub state: String,
}

/// A group and its members.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupDescription {
    pub group: String,
    /// Kafka's name of the state: Empty, Stable, Dead ...
    pub state: String,
    /// Name of the chosen assignor.
    pub protocol: String,
    pub coordinator: i32,
    pub members: Vec<GroupMemberDescription>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupMemberDescription {
    pub member: String,
    pub instance: Option<String>,
    pub client: String,
    pub host: String,
    /// Topic and partition.
    pub assignment: Vec<(String, i32)>,
}

impl GroupDescription {
    /// The member that owns a partition.
    pub fn owner(&self, topic: &str, partition: i32) -> Option<&GroupMemberDescription> {
        self.members.iter().find(|member| member.assignment.iter().any(|(name, index)| name == topic && *index == partition))
    }
}

impl Cluster {
    /// All groups of all nodes.
    pub async fn groups(&mut self) -> Result<Vec<GroupSummary>, ClientError> {
        let mut groups = Vec::new();
        for node in self.nodes() {
            let request = ListGroupsRequest::default();
            let reply = self.ask(node.id, LIST_GROUPS, |e, version| request.encode(e, version)).await?;
            let response = reply.decode(ListGroupsResponse::decode)?;
            accept(response.error_code, None, || node.address.clone())?;
            groups.extend(response.groups.iter().map(|group| GroupSummary {
                group: group.group_id.to_owned(),
                protocol_type: group.protocol_type.to_owned(),
                state: group.group_state.to_owned(),
            }));
        }
        groups.sort();
        Ok(groups)
    }

    /// A group that does not exist is described as `Dead`, without members.
    pub async fn describe_group(&mut self, group: &str) -> Result<GroupDescription, ClientError> {
        let mut retry = Retry::within(PATIENCE);
        loop {
            match self.describe_group_once(group).await {
                Err(error) if error.is_passing() && retry.again().await => {}
                done => return done,
            }
        }
    }

    async fn describe_group_once(&mut self, group: &str) -> Result<GroupDescription, ClientError> {
        let coordinator = self.group_coordinator(group).await?;
        let request = DescribeGroupsRequest { groups: vec![group], ..Default::default() };
        let reply = self.ask(coordinator, DESCRIBE_GROUPS, |e, version| request.encode(e, version)).await?;
        let response = reply.decode(DescribeGroupsResponse::decode)?;
        let described = response.groups.first().ok_or_else(|| ClientError::Incomplete { topic: group.to_owned() })?;
        accept(described.error_code, described.error_message, || format!("group {group}"))?;
        Ok(description(described, coordinator))
    }

    pub async fn delete_group(&mut self, group: &str) -> Result<(), ClientError> {
        let mut retry = Retry::within(PATIENCE);
        loop {
            match self.delete_group_once(group).await {
                // Only what the coordinator has refused: an answer that was lost may have been that it is done.
                Err(error @ ClientError::Refused { .. }) if error.is_passing() && retry.again().await => {}
                done => return done,
            }
        }
    }

    async fn delete_group_once(&mut self, group: &str) -> Result<(), ClientError> {
        let coordinator = self.group_coordinator(group).await?;
        let request = DeleteGroupsRequest { groups_names: vec![group] };
        let reply = self.ask(coordinator, DELETE_GROUPS, |e, version| request.encode(e, version)).await?;
        let response = reply.decode(DeleteGroupsResponse::decode)?;
        for result in &response.results {
            accept(result.error_code, None, || format!("group {group}"))?;
        }
        Ok(())
    }
}

fn description(group: &DescribedGroup<'_>, coordinator: i32) -> GroupDescription {
    let member = |member: &duolog_wire::kafka::messages::describe_groups_response::DescribedGroupMember<'_>| {
        GroupMemberDescription {
            member: member.member_id.to_owned(),
            instance: member.group_instance_id.map(str::to_owned),
            client: member.client_id.to_owned(),
            host: member.client_host.to_owned(),
            // Members of other protocol types have assignments of their own form.
            assignment: decode_assignment(member.member_assignment).unwrap_or_default(),
        }
    };
    GroupDescription {
        group: group.group_id.to_owned(),
        state: group.group_state.to_owned(),
        protocol: group.protocol_data.to_owned(),
        coordinator,
        members: group.members.iter().map(member).collect(),
    }
}
