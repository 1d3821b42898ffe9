//! One share group: its members, what each of them is to read, and the partitions that have a state.
//!
//! Invariants: `target` names members only; a member's epoch is not higher than the assignment's, and that not higher than the group's.

use super::super::GroupError;
use super::super::timers::Deadline;
use super::request::{DescribedShareGroup, DescribedShareMember, ShareAssignment, SharePartitions};
use super::{ASSIGNOR, JOIN_EPOCH, assign};
use crate::metadata::MetadataImage;
use duolog_base::{PartitionIndex, TopicId};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Where a share group stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum ShareState {
    Empty,
    Stable,
}

impl ShareState {
    /// Kafka's name for it.
    pub(in super::super) fn name(self) -> &'static str {
        match self {
            ShareState::Empty => "Empty",
            ShareState::Stable => "Stable",
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct ShareMember {
    pub(super) rack: Option<String>,
    pub(super) client_id: String,
    pub(super) client_host: String,
    pub(super) topics: BTreeSet<String>,
    /// The epoch of its share; [`JOIN_EPOCH`] before it has one.
    pub(super) epoch: i32,
    /// The one before, which it uses until it has heard of this one.
    pub(super) previous_epoch: i32,
    pub(super) assigned: ShareAssignment,
    pub(super) session: Deadline,
}

#[derive(Debug)]
pub(in super::super) struct ShareGroup {
    pub(super) id: Arc<str>,
    pub(super) epoch: i32,
    /// Of what the group's epoch was made for.
    pub(super) metadata_hash: i64,
    pub(super) assignment_epoch: i32,
    pub(super) members: BTreeMap<Arc<str>, ShareMember>,
    pub(super) target: BTreeMap<Arc<str>, ShareAssignment>,
    pub(super) initializing: ShareAssignment,
    pub(super) initialized: ShareAssignment,
    /// Of the topics in the two above.
    pub(super) names: BTreeMap<TopicId, String>,
}

impl ShareGroup {
    pub(super) fn new(id: Arc<str>) -> ShareGroup {
        ShareGroup {
            id,
            epoch: 0,
            metadata_hash: 0,
            assignment_epoch: 0,
            members: BTreeMap::new(),
            target: BTreeMap::new(),
            initializing: ShareAssignment::new(),
            initialized: ShareAssignment::new(),
            names: BTreeMap::new(),
        }
    }

    pub(in super::super) fn state(&self) -> ShareState {
        if self.members.is_empty() { ShareState::Empty } else { ShareState::Stable }
    }

    pub(in super::super) fn size(&self) -> usize {
        self.members.len()
    }

    pub(in super::super) fn session(&mut self, member_id: &str) -> Option<&mut Deadline> {
        self.members.get_mut(member_id).map(|member| &mut member.session)
    }

    /// Whether the member with this epoch is the one that is known, at what it was told last or before that.
    pub(super) fn check_epoch(&self, member_id: &str, asked: i32) -> Result<(), GroupError> {
        let member = self.members.get(member_id).ok_or(GroupError::UnknownMember)?;
        match asked == JOIN_EPOCH || asked == member.epoch || asked == member.previous_epoch {
            true => Ok(()),
            false => Err(GroupError::FencedMemberEpoch { asked, current: member.epoch }),
        }
    }

    /// The partitions there are of topics that a member subscribes to.
    pub(super) fn subscribed(&self, image: &MetadataImage) -> ShareAssignment {
        let names: BTreeSet<&String> = self.members.values().flat_map(|member| &member.topics).collect();
        let topics = names.into_iter().filter_map(|name| image.topic(name)).filter(|topic| !topic.internal);
        topics.map(|topic| (topic.id, (0..topic.partitions.len() as i32).map(PartitionIndex).collect())).collect()
    }

    /// Of the subscribed partitions those that have no state.
    pub(super) fn uninitialized(&self, subscribed: &ShareAssignment) -> ShareAssignment {
        difference(subscribed, &self.initialized)
    }

    /// Works out everybody's share; the members whose share is another one now.
    pub(super) fn retarget(&mut self, image: &MetadataImage, subscribed: &ShareAssignment) -> Vec<Arc<str>> {
        let ready: ShareAssignment =
            self.initialized.iter().filter_map(|(id, ready)| Some((*id, both(ready, subscribed.get(id)?)))).collect();
        let topics_of = |member: &ShareMember| -> BTreeSet<TopicId> {
            member.topics.iter().filter_map(|name| Some(image.topic(name)?.id)).filter(|id| ready.contains_key(id)).collect()
        };
        let wishes = self.members.iter().map(|(id, member)| (id.clone(), topics_of(member))).collect();
        let target = assign::share_out(&ready, &wishes, &self.target);
        let changed = target.iter().filter(|(member, share)| self.target.get(*member) != Some(share)).map(|(id, _)| id.clone());
        let changed = changed.collect();
        self.target = target;
        self.assignment_epoch = self.epoch;
        changed
    }

    /// Takes the partitions of topics that are gone out of what has a state; whether there were any.
    pub(super) fn forget_deleted_topics(&mut self, image: &MetadataImage) -> bool {
        let before = self.names.len();
        self.names.retain(|id, _| image.topic_by_id(*id).is_some());
        self.initialized.retain(|id, _| self.names.contains_key(id));
        self.initializing.retain(|id, _| self.names.contains_key(id));
        self.names.len() < before
    }

    /// Names are kept for what has a state only.
    pub(super) fn tidy_names(&mut self) {
        self.names.retain(|id, _| self.initialized.contains_key(id) || self.initializing.contains_key(id));
    }

    pub(super) fn partitions(&self) -> SharePartitions {
        SharePartitions {
            initialized: self.initialized.clone(),
            initializing: self.initializing.clone(),
            names: self.names.clone(),
            group_epoch: self.epoch,
        }
    }

    pub(super) fn describe(&self) -> DescribedShareGroup {
        let members = self.members.iter().map(|(id, member)| DescribedShareMember {
            member_id: id.to_string(),
            rack: member.rack.clone(),
            member_epoch: member.epoch,
            client_id: member.client_id.clone(),
            client_host: member.client_host.clone(),
            topics: member.topics.iter().cloned().collect(),
            assignment: member.assigned.clone(),
        });
        DescribedShareGroup {
            state: self.state().name(),
            group_epoch: self.epoch,
            assignment_epoch: self.assignment_epoch,
            assignor: ASSIGNOR,
            members: members.collect(),
        }
    }
}

fn both(one: &BTreeSet<PartitionIndex>, other: &BTreeSet<PartitionIndex>) -> BTreeSet<PartitionIndex> {
    one.intersection(other).copied().collect()
}

/// What is in the first and not in the second.
pub(super) fn difference(first: &ShareAssignment, second: &ShareAssignment) -> ShareAssignment {
    let none = BTreeSet::new();
    let rest = first.iter().map(|(topic, partitions)| {
        let known = second.get(topic).unwrap_or(&none);
        (*topic, partitions.difference(known).copied().collect::<BTreeSet<_>>())
    });
    rest.filter(|(_, partitions)| !partitions.is_empty()).collect()
}

/// Puts what is in the second into the first.
pub(super) fn extend(first: &mut ShareAssignment, second: &ShareAssignment) {
    for (topic, partitions) in second {
        first.entry(*topic).or_default().extend(partitions.iter().copied());
    }
}
