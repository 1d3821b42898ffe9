//! What nodes say of the bytes that their replicas take, and what the controller makes of it.
//!
//! In memory only: a new controller knows nothing until all have reported. A report is bounded, whatever a node holds: all of it as one
//! number, and the largest replicas one by one.

use super::balance::{partitions, target};
use crate::metadata::image::MetadataImage;
use duolog_base::{NodeId, PartitionNumber};
use hashbrown::{HashMap, HashSet};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Replicas that a report lists one by one.
pub const MAX_LISTED_REPLICAS: usize = 1_000;

/// What one node holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StorageReport {
    pub node: i32,
    /// Replicas that are there to stay.
    pub replicas: usize,
    /// Of all of them.
    pub bytes: u64,
    /// The largest ones: the number of the partition, and the bytes.
    pub largest: Vec<(u32, u64)>,
}

impl StorageReport {
    /// As of this image; `bytes_of` says what the node's replica of a partition takes.
    pub fn of(image: &MetadataImage, node: NodeId, bytes_of: impl Fn(PartitionNumber) -> u64) -> StorageReport {
        let held = partitions(image).filter(|(_, _, partition)| target(partition).contains(&node));
        let mut all: Vec<(u32, u64)> = held.map(|(_, _, partition)| (partition.number.0, bytes_of(partition.number))).collect();
        let (replicas, bytes) = (all.len(), all.iter().fold(0, |sum: u64, (_, bytes)| sum.saturating_add(*bytes)));
        all.sort_unstable_by_key(|(number, bytes)| (std::cmp::Reverse(*bytes), *number));
        all.truncate(MAX_LISTED_REPLICAS);
        StorageReport { node: node.0, replicas, bytes, largest: all }
    }
}

/// The last report of each node.
#[derive(Clone, Debug, Default)]
pub struct Storage {
    reports: BTreeMap<NodeId, StorageReport>,
}

/// What a node holds, for look-ups.
#[derive(Clone, Debug)]
pub(super) struct Held {
    pub(super) bytes: u64,
    pub(super) listed: HashMap<PartitionNumber, u64>,
}

impl Storage {
    /// Takes a report; `false` if it lists more than it may.
    pub fn note(&mut self, report: StorageReport) -> bool {
        let sound = report.largest.len() <= MAX_LISTED_REPLICAS;
        if sound {
            self.reports.insert(NodeId(report.node), report);
        }
        sound
    }

    /// What these nodes hold, if all of them have reported since the last replica came or went: what is decided on must be true
    /// together with the image.
    pub(super) fn held(&self, image: &MetadataImage, nodes: &[NodeId]) -> Option<BTreeMap<NodeId, Held>> {
        let mut there: BTreeMap<NodeId, HashSet<u32>> = nodes.iter().map(|node| (*node, HashSet::new())).collect();
        for (_, _, partition) in partitions(image) {
            for node in target(partition) {
                if let Some(there) = there.get_mut(&node) {
                    there.insert(partition.number.0);
                }
            }
        }
        let held = |(node, there): (NodeId, HashSet<u32>)| {
            let report = self.reports.get(&node).filter(|report| report.replicas == there.len())?;
            let is_current = report.largest.iter().all(|(number, _)| there.contains(number));
            let listed = report.largest.iter().map(|(number, bytes)| (PartitionNumber(*number), *bytes)).collect();
            is_current.then_some((node, Held { bytes: report.bytes, listed }))
        };
        there.into_iter().map(held).collect()
    }
}
