//! DescribeGroups, ListGroups and DeleteGroups.

use super::member::Member;
use super::request::{DescribedGroup, DescribedMember, ListFilter, ListedGroup};
use super::shard::GroupShard;
use super::share::{self, ShareGroup};
use super::state::{Group, State};
use super::{GroupError, records};
use crate::coordinator::{Output, Ticket};
use bytes::Bytes;

/// The kind of group that is not a share group, as Kafka calls it.
const GROUP_TYPE: &str = "classic";

impl GroupShard {
    pub fn describe(&self, group_id: &str, ticket: Ticket<Option<DescribedGroup>>, out: &mut Output) {
        out.answer(ticket, self.groups.get(group_id).map(Group::describe));
    }

    pub fn list(&self, filter: &ListFilter, ticket: Ticket<Vec<ListedGroup>>, out: &mut Output) {
        let among = |names: &[String], name: &str| {
            names.is_empty() || names.iter().any(|wanted| wanted.trim().eq_ignore_ascii_case(name))
        };
        let wanted = |group: &&Group| among(&filter.states, group.state.name()) && among(&filter.types, GROUP_TYPE);
        let of_share_group =
            |group: &&ShareGroup| among(&filter.states, group.state().name()) && among(&filter.types, share::GROUP_TYPE);
        let listed = self.groups.values().filter(wanted).map(Group::list);
        out.answer(ticket, listed.chain(self.share.values().filter(of_share_group).map(ShareGroup::list)).collect());
    }

    /// Deletes a group without members, and its offsets.
    pub fn delete(&mut self, group_id: &str, ticket: Ticket<Result<(), GroupError>>, out: &mut Output) {
        let answer = match self.groups.get_mut(group_id) {
            None => Err(GroupError::GroupNotFound),
            Some(group) if group.state != State::Empty => Err(GroupError::NonEmptyGroup),
            Some(group) => {
                let all = group.offsets.select(|_, _| true);
                group.drop_offsets(all, out);
                if group.recorded {
                    out.append(records::group_tombstone(group_id));
                }
                self.groups.remove(group_id);
                Ok(())
            }
        };
        out.answer(ticket, answer);
    }
}

impl Group {
    fn describe(&self) -> DescribedGroup {
        let is_stable = self.state == State::Stable;
        let protocol_name = self.protocol_name.as_deref().filter(|_| is_stable);
        DescribedGroup {
            group_id: self.id.to_string(),
            state: self.state.name(),
            protocol_type: self.protocol_type.clone().unwrap_or_default(),
            protocol_name: protocol_name.unwrap_or_default().to_owned(),
            members: self.members.values().map(|member| describe_member(member, protocol_name)).collect(),
        }
    }

    fn list(&self) -> ListedGroup {
        ListedGroup {
            group_id: self.id.to_string(),
            protocol_type: self.protocol_type.clone().unwrap_or_default(),
            state: self.state.name(),
            group_type: GROUP_TYPE,
        }
    }
}

fn describe_member(member: &Member, protocol_name: Option<&str>) -> DescribedMember {
    DescribedMember {
        member_id: member.id.to_string(),
        instance_id: member.instance_id.as_deref().map(str::to_owned),
        client_id: member.client_id.clone(),
        client_host: member.client_host.clone(),
        metadata: protocol_name.map_or_else(Bytes::new, |name| member.metadata(Some(name))),
        assignment: member.assignment.clone(),
    }
}
