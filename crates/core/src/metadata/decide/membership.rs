//! The lives of nodes: registering, heartbeats, being fenced, stopping. (KIP-631, KIP-903)
//!
//! Each life has an epoch of its own. A node that starts takes nothing over from the life before but what its disks hold: it begins fenced,
//! its partitions go to others where there are any, and those it still leads get a new leader epoch. A data directory that is missing
//! from what it registers is lost: its replicas lead no more, and once the node is let in they begin anew in another one, neither in sync
//! nor eligible, whatever that costs.
//!
//! A registration that comes late, of a process that is gone, makes a life that nobody lives and ends the present one. The process
//! that learns from its heartbeats that its epoch is over must end, too, and start again. So what a registration says of directories
//! counts only once a heartbeat of that life has proven that somebody lives it.

use super::placement::{FreeSpace, Placement};
use super::settle::{Rules, set_leader, settle, versioned};
use crate::metadata::error::{MembershipError, UnregisterError};
use crate::metadata::fold::partition_changed;
use crate::metadata::image::{Endpoint, Membership, MetadataImage, NodeDirectory, NodeImage, PartitionImage};
use crate::metadata::record::MetadataRecord;
use duolog_base::{BrokerEpoch, DirectoryId, NodeId, PartitionIndex};

/// A node asks to be a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registration {
    pub node: NodeId,
    /// Different at each start of the process.
    pub incarnation: String,
    pub rack: Option<String>,
    pub directories: Vec<NodeDirectory>,
    /// Where it is reached.
    pub endpoints: Vec<Endpoint>,
}

/// A member says that it lives, and what it wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heartbeat {
    pub node: NodeId,
    pub epoch: BrokerEpoch,
    /// Index of the last metadata record it has applied.
    pub applied: u64,
    pub wants_stop: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeartbeatAnswer {
    pub fenced: bool,
    /// It leads nothing any more that another one could lead.
    pub may_stop: bool,
}

/// An answer, and the records that make it true.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decided<T> {
    pub answer: T,
    pub records: Vec<MetadataRecord>,
}

/// Decides a registration: the epoch of the life that begins.
pub fn decide_registration(image: &MetadataImage, registration: &Registration) -> Result<Decided<BrokerEpoch>, MembershipError> {
    let known = image.nodes.get(&registration.node);
    let membership = known.and_then(|known| known.membership.as_ref());
    if let (Some(known), Some(membership)) = (known, membership) {
        if membership.incarnation == registration.incarnation {
            return Ok(Decided { answer: membership.epoch, records: Vec::new() });
        }
        // The directories are locked by the process that uses them: who has one of them is the only one.
        let same_disks = known.directories.iter().any(|known| registration.directories.iter().any(|now| now.id == known.id));
        if !membership.fenced && !same_disks {
            return Err(MembershipError::Duplicate { node: registration.node });
        }
    }
    let epoch = BrokerEpoch(image.applied + 1);
    let incarnation = registration.incarnation.clone();
    let node = NodeImage {
        id: registration.node,
        rack: registration.rack.clone(),
        directories: registration.directories.clone(),
        endpoints: registration.endpoints.clone(),
        membership: Some(Membership { epoch, incarnation, fenced: true, stopping: false }),
    };
    let mut records = vec![node.to_record()];
    // First what others take over; then the new life, which raises the epochs of what the node still leads.
    let mut after = image.clone();
    let before = after.nodes.insert(node.id, node.clone());
    change_replicas(&after, node.id, &mut records, |partition, replica| {
        let home = || before.as_ref().and_then(|before| before.directories.first()).map(|home| home.id);
        let Some(held) = partition.directory_of(node.id).or_else(home) else { return };
        if is_missing(&node, held) {
            set_directory(partition, replica, held);
            leads_no_more(partition, node.id);
        }
    });
    records.extend(node.membership_record());
    Ok(Decided { answer: epoch, records })
}

/// Changes the node's replicas, and settles their partitions with the nodes as they are in `image`.
fn change_replicas(
    image: &MetadataImage,
    node: NodeId,
    records: &mut Vec<MetadataRecord>,
    mut change: impl FnMut(&mut PartitionImage, usize),
) {
    for topic in image.topics.values() {
        for (index, partition) in (0..).map(PartitionIndex).zip(&topic.partitions) {
            let Some(replica) = partition.replicas.iter().position(|replica| *replica == node) else { continue };
            let mut next = partition.clone();
            change(&mut next, replica);
            let next = settle(&next, Rules::of(topic, partition), &image.nodes).unwrap_or(next);
            let next = PartitionImage { partition_epoch: partition.partition_epoch, ..next };
            if let Some(changed) = versioned(partition, next) {
                records.push(partition_changed(topic.id, index, &changed));
            }
        }
    }
}

fn is_missing(node: &NodeImage, directory: DirectoryId) -> bool {
    node.directories.iter().all(|known| known.id != directory)
}

fn set_directory(partition: &mut PartitionImage, replica: usize, directory: DirectoryId) {
    partition.directories.resize(partition.replicas.len(), DirectoryId::NONE);
    partition.directories[replica] = directory;
}

fn leads_no_more(partition: &mut PartitionImage, node: NodeId) {
    if partition.leader == node {
        set_leader(partition, NodeId::NONE);
    }
}

/// The replica begins anew, in a directory that is there.
fn forget_replica(partition: &mut PartitionImage, replica: usize, placement: &mut Placement) {
    let node = partition.replicas[replica];
    partition.in_sync.retain(|member| *member != node);
    partition.eligible.retain(|member| *member != node);
    leads_no_more(partition, node);
    set_directory(partition, replica, placement.place(&[node]).first().copied().unwrap_or(DirectoryId::NONE));
}

/// Decides a heartbeat: lets a node in that knows of its own registration, and takes the lead from one that wants to stop. `free` is what is
/// known of the disks.
pub fn decide_heartbeat(
    image: &MetadataImage,
    heartbeat: &Heartbeat,
    free: &FreeSpace,
) -> Result<Decided<HeartbeatAnswer>, MembershipError> {
    let (node, membership) = member(image, heartbeat.node, heartbeat.epoch)?;
    let fenced = membership.fenced && heartbeat.applied < membership.epoch.0;
    let next = Membership { fenced, stopping: heartbeat.wants_stop, ..membership.clone() };
    let changed = next != *membership;
    let mut records = Vec::new();
    if changed {
        change_membership(image, node, next, free, &mut records);
    }
    // What it still leads is in the image only once these records are.
    let may_stop = heartbeat.wants_stop && !changed && !leads_for_others(image, heartbeat.node);
    Ok(Decided { answer: HeartbeatAnswer { fenced, may_stop }, records })
}

/// The epoch of a later life of the node than the one that sends this, if the image knows one.
pub fn successor(image: &MetadataImage, heartbeat: &Heartbeat) -> Option<BrokerEpoch> {
    match member(image, heartbeat.node, heartbeat.epoch) {
        Err(MembershipError::StaleEpoch { current, .. }) if current > heartbeat.epoch => Some(current),
        _ => None,
    }
}

fn leads_for_others(image: &MetadataImage, node: NodeId) -> bool {
    let partitions = image.topics.values().flat_map(|topic| &topic.partitions);
    partitions.filter(|partition| partition.leader == node).any(|partition| partition.in_sync.iter().any(|other| *other != node))
}

/// Decides that a node is fenced, because nothing was heard of it for too long. Nothing to do if it has begun another life since.
pub fn decide_fencing(image: &MetadataImage, node: NodeId, epoch: BrokerEpoch) -> Vec<MetadataRecord> {
    let mut records = Vec::new();
    if let Ok((node, membership)) = member(image, node, epoch)
        && !membership.fenced
    {
        change_membership(image, node, Membership { fenced: true, ..membership.clone() }, &FreeSpace::new(), &mut records);
    }
    records
}

/// Decides that a node is gone for good: one that is fenced and holds nothing.
pub fn decide_unregistration(image: &MetadataImage, node: NodeId) -> Result<Decided<()>, UnregisterError> {
    let known = image.nodes.get(&node).ok_or(UnregisterError::Unregistered { node })?;
    if known.is_live() {
        return Err(UnregisterError::Live { node });
    }
    let partitions = image.topics.values().flat_map(|topic| &topic.partitions);
    match partitions.filter(|partition| partition.replicas.contains(&node)).count() {
        0 => Ok(Decided { answer: (), records: vec![MetadataRecord::NodeRemoved { id: node.0 }] }),
        partitions => Err(UnregisterError::HoldsReplicas { node, partitions }),
    }
}

fn member(image: &MetadataImage, node: NodeId, epoch: BrokerEpoch) -> Result<(&NodeImage, &Membership), MembershipError> {
    let known = image.nodes.get(&node).and_then(|known| Some((known, known.membership.as_ref()?)));
    let (known, membership) = known.ok_or(MembershipError::Unregistered { node })?;
    match membership.epoch == epoch {
        true => Ok((known, membership)),
        false => Err(MembershipError::StaleEpoch { node, current: membership.epoch, got: epoch }),
    }
}

fn change_membership(
    image: &MetadataImage,
    node: &NodeImage,
    membership: Membership,
    free: &FreeSpace,
    records: &mut Vec<MetadataRecord>,
) {
    let node = NodeImage { membership: Some(membership), ..node.clone() };
    records.extend(node.membership_record());
    let mut after = image.clone();
    after.nodes.insert(node.id, node.clone());
    let mut placement = Placement::new(&after, free);
    change_replicas(&after, node.id, records, |partition, replica| {
        let lost = partition.directory_of(node.id).is_some_and(|held| is_missing(&node, held));
        if lost && node.is_live() {
            forget_replica(partition, replica, &mut placement);
        }
    });
}

#[cfg(test)]
#[path = "membership_tests.rs"]
mod tests;
