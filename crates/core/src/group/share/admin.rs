//! What administrators ask of share groups: describing, listing, and changing or deleting what they have a state of.
//!
//! A group's states are kept elsewhere: whoever deletes a group, or a start offset, first learns here which there are and whether that
//! may be, then has the states changed, then says so here.

use super::super::request::ListedGroup;
use super::super::shard::GroupShard;
use super::super::{GroupCensus, GroupError};
use super::request::{DescribedShareGroup, ShareAssignment, SharePartitions};
use super::state::{ShareGroup, ShareState, extend};
use super::{GROUP_TYPE, records};
use crate::coordinator::{Output, Ticket};
use crate::metadata::MetadataImage;
use duolog_base::TopicId;
use std::collections::BTreeMap;
use std::sync::Arc;

impl GroupShard {
    pub fn share_describe(&self, group_id: &str, ticket: Ticket<Result<DescribedShareGroup, GroupError>>, out: &mut Output) {
        out.answer(ticket, self.share.get(group_id).map(ShareGroup::describe).ok_or(GroupError::GroupNotFound));
    }

    /// What a group has a state of; of one without members if its states are to be changed.
    pub fn share_partitions(
        &self,
        group_id: &str,
        to_change: bool,
        ticket: Ticket<Result<SharePartitions, GroupError>>,
        out: &mut Output,
    ) {
        let answer = match self.share.get(group_id) {
            None => Err(GroupError::GroupNotFound),
            Some(group) if to_change && group.state() != ShareState::Empty => Err(GroupError::NonEmptyGroup),
            Some(group) => Ok(group.partitions()),
        };
        out.answer(ticket, answer);
    }

    /// Makes ready to set the start offsets of partitions, in a new epoch of a group without members, which is made if there is none.
    /// Answers the epoch.
    pub fn share_begin_alter(
        &mut self,
        group_id: &str,
        partitions: &ShareAssignment,
        names: &BTreeMap<TopicId, String>,
        ticket: Ticket<Result<i32, GroupError>>,
        out: &mut Output,
    ) {
        if group_id.is_empty() {
            return out.answer(ticket, Err(GroupError::InvalidGroupId));
        }
        if self.groups.contains_key(group_id) {
            return out.answer(ticket, Err(GroupError::GroupNotFound));
        }
        let id: Arc<str> = Arc::from(group_id);
        let group = self.share.entry(id.clone()).or_insert_with(|| ShareGroup::new(id));
        if group.state() != ShareState::Empty {
            return out.answer(ticket, Err(GroupError::NonEmptyGroup));
        }
        extend(&mut group.initializing, partitions);
        group.names.extend(names.iter().map(|(id, name)| (*id, name.clone())));
        out.append(records::partitions(group));
        group.next_epoch(out);
        out.answer(ticket, Ok(group.epoch));
    }

    /// The states of these topics are gone.
    pub fn share_forget(&mut self, group_id: &str, topics: &[TopicId], ticket: Ticket<Result<(), GroupError>>, out: &mut Output) {
        let Some(group) = self.share.get_mut(group_id) else { return out.answer(ticket, Err(GroupError::GroupNotFound)) };
        for topic in topics {
            group.initialized.remove(topic);
            group.initializing.remove(topic);
        }
        group.tidy_names();
        out.append(records::partitions(group));
        out.answer(ticket, Ok(()));
    }

    /// Deletes a group that has no members.
    pub fn share_delete(&mut self, group_id: &str, ticket: Ticket<Result<(), GroupError>>, out: &mut Output) {
        let answer = match self.share.get(group_id).map(ShareGroup::state) {
            None => Err(GroupError::GroupNotFound),
            Some(ShareState::Stable) => Err(GroupError::NonEmptyGroup),
            Some(ShareState::Empty) => {
                self.share.remove(group_id);
                records::group_tombstones(group_id).into_iter().for_each(|record| out.append(record));
                Ok(())
            }
        };
        out.answer(ticket, answer);
    }

    /// What was deleted has no state any more.
    pub(in super::super) fn share_forget_deleted_topics(&mut self, image: &MetadataImage, out: &mut Output) {
        for group in self.share.values_mut() {
            if group.forget_deleted_topics(image) {
                out.append(records::partitions(group));
            }
        }
    }

    pub(in super::super) fn share_count(&self, census: &mut GroupCensus) {
        for group in self.share.values() {
            census.members += group.size() as u64;
            match group.state() {
                ShareState::Empty => census.empty += 1,
                ShareState::Stable => census.stable += 1,
            }
        }
    }
}

impl ShareGroup {
    pub(in super::super) fn list(&self) -> ListedGroup {
        ListedGroup {
            group_id: self.id.to_string(),
            protocol_type: GROUP_TYPE.to_owned(),
            state: self.state().name(),
            group_type: GROUP_TYPE,
        }
    }
}
