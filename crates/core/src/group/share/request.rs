//! What share groups are asked and what they answer, free of any protocol's wire form.

use duolog_base::{Offset, PartitionIndex, TopicId};
use std::collections::{BTreeMap, BTreeSet};

/// Partitions by topic.
pub type ShareAssignment = BTreeMap<TopicId, BTreeSet<PartitionIndex>>;

/// A member is alive, joins ([`super::JOIN_EPOCH`]) or leaves ([`super::LEAVE_EPOCH`]).
#[derive(Clone, Debug)]
pub struct ShareHeartbeatRequest {
    pub group_id: String,
    /// Made by the member itself.
    pub member_id: String,
    /// The epoch it was told last.
    pub member_epoch: i32,
    pub client_id: String,
    pub client_host: String,
    /// `None` if it is as before.
    pub rack: Option<String>,
    /// `None` if they are as before.
    pub topics: Option<Vec<String>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShareHeartbeatAnswer {
    pub member_epoch: i32,
    /// `None` if the member knows its share.
    pub assignment: Option<ShareAssignment>,
    /// The group's epoch, in which `uninitialized` are to be initialized.
    pub group_epoch: i32,
    /// Partitions of subscribed topics that cannot be shared out before their state is initialized.
    pub uninitialized: ShareAssignment,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DescribedShareGroup {
    pub state: &'static str,
    pub group_epoch: i32,
    pub assignment_epoch: i32,
    pub assignor: &'static str,
    pub members: Vec<DescribedShareMember>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DescribedShareMember {
    pub member_id: String,
    pub rack: Option<String>,
    pub member_epoch: i32,
    pub client_id: String,
    pub client_host: String,
    pub topics: Vec<String>,
    pub assignment: ShareAssignment,
}

/// What a group has a state of, or may have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SharePartitions {
    pub initialized: ShareAssignment,
    /// Whose initialization has begun.
    pub initializing: ShareAssignment,
    /// The topics' names when that happened.
    pub names: BTreeMap<TopicId, String>,
    pub group_epoch: i32,
}

impl SharePartitions {
    /// All that is to be deleted with the group.
    pub fn all(&self) -> ShareAssignment {
        let mut all = self.initialized.clone();
        for (topic, partitions) in &self.initializing {
            all.entry(*topic).or_default().extend(partitions.iter().copied());
        }
        all
    }
}

/// A partition's new start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AlteredShareOffset {
    pub topic: TopicId,
    pub partition: PartitionIndex,
    pub start: Offset,
}
