//! Which data directory a new replica goes to: the one with the fewest partitions, then the one with the most free space.
//!
//! Pure and deterministic: the partitions are counted in the image, the free space is a parameter. A directory whose disk is full
//! comes last, whatever it holds. Of a node that has not said which directories it has, nothing is decided here.

use crate::metadata::image::{MetadataImage, PartitionImage};
use duolog_base::{DirectoryId, NodeId};
use hashbrown::HashMap;
use std::cmp::Reverse;
use std::collections::BTreeMap;

/// Free bytes of data directories, as far as they are known.
pub type FreeSpace = BTreeMap<DirectoryId, u64>;

/// The directories of all nodes, with what has been placed so far counted in.
pub(super) struct Placement {
    nodes: HashMap<NodeId, Vec<Candidate>>,
}

struct Candidate {
    id: DirectoryId,
    is_full: bool,
    partitions: usize,
    free_bytes: u64,
}

impl Placement {
    pub(super) fn new(image: &MetadataImage, free: &FreeSpace) -> Placement {
        let candidate = |id: DirectoryId| {
            let free_bytes = free.get(&id).copied();
            let is_full = free_bytes.is_some_and(|free| free <= image.config.disk_reserve_bytes);
            Candidate { id, is_full, partitions: 0, free_bytes: free_bytes.unwrap_or(0) }
        };
        let nodes = image.nodes.values();
        let candidates = nodes.map(|node| (node.id, node.directories.iter().map(|known| candidate(known.id)).collect()));
        let mut placement = Placement { nodes: candidates.collect() };
        // Where there is nothing to choose, nothing need be counted.
        if placement.nodes.values().any(|directories: &Vec<_>| directories.len() > 1) {
            image.topics.values().flat_map(|topic| &topic.partitions).for_each(|partition| placement.count(partition));
        }
        placement
    }

    fn count(&mut self, partition: &PartitionImage) {
        for (replica, directory) in partition.replicas.iter().zip(&partition.directories) {
            let candidates = self.nodes.get_mut(replica).into_iter().flatten();
            candidates.filter(|candidate| candidate.id == *directory).for_each(|candidate| candidate.partitions += 1);
        }
    }

    /// Directories for the replicas of one partition; empty if none of the nodes has said which it has.
    pub(super) fn place(&mut self, replicas: &[NodeId]) -> Vec<DirectoryId> {
        let directories: Vec<_> = replicas.iter().map(|node| self.place_on(*node)).collect();
        match directories.iter().all(|id| *id == DirectoryId::NONE) {
            true => Vec::new(),
            false => directories,
        }
    }

    fn place_on(&mut self, node: NodeId) -> DirectoryId {
        let candidates = self.nodes.get_mut(&node).into_iter().flatten();
        // Of equals the first is taken.
        let best = candidates.min_by_key(|candidate| (candidate.is_full, candidate.partitions, Reverse(candidate.free_bytes)));
        best.map_or(DirectoryId::NONE, |best| {
            best.partitions += 1;
            best.id
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::BrokerConfig;
    use crate::metadata::image::{NodeDirectory, NodeImage};
    use std::sync::Arc;

    const HERE: NodeId = NodeId(1);
    const A: DirectoryId = DirectoryId(1);
    const B: DirectoryId = DirectoryId(2);
    const C: DirectoryId = DirectoryId(3);

    fn cluster(directories: &[DirectoryId]) -> MetadataImage {
        let mut image = MetadataImage::empty(Arc::new(BrokerConfig::default()));
        let directories = directories.iter().map(|id| NodeDirectory { id: *id, path: "/data".into() }).collect();
        image.nodes.insert(HERE, NodeImage { id: HERE, rack: None, directories, endpoints: Vec::new(), membership: None });
        image.nodes.insert(
            NodeId(2),
            NodeImage { id: NodeId(2), rack: None, directories: Vec::new(), endpoints: Vec::new(), membership: None },
        );
        image
    }

    fn placed(image: &MetadataImage, free: &[(DirectoryId, u64)], count: usize) -> Vec<DirectoryId> {
        let mut placement = Placement::new(image, &free.iter().copied().collect());
        (0..count).flat_map(|_| placement.place(&[HERE])).collect()
    }

    #[test]
    fn partitions_go_round_and_of_equals_to_the_one_with_more_room() {
        let image = cluster(&[A, B, C]);
        let free = [(A, 1 << 40), (B, 3 << 40), (C, 2 << 40)];
        assert_eq!(placed(&image, &free, 6), [B, C, A, B, C, A]);
        assert_eq!(placed(&image, &[], 4), [A, B, C, A], "where nothing is known the order decides");
    }

    #[test]
    fn a_directory_that_is_behind_catches_up_first() {
        let mut image = cluster(&[A, B]);
        let partition = |directory| PartitionImage {
            leader: HERE,
            replicas: vec![HERE],
            in_sync: vec![HERE],
            directories: vec![directory],
            ..PartitionImage::default()
        };
        let topic = crate::metadata::TopicImage {
            id: Default::default(),
            name: "t".to_owned(),
            partitions: vec![partition(A), partition(A), partition(B), partition(A)],
            overrides: Default::default(),
            config: image.config.topic.clone(),
            internal: false,
        };
        image.topics.insert("t".into(), Arc::new(topic));
        assert_eq!(placed(&image, &[(A, 2 << 40), (B, 1 << 40)], 4), [B, B, A, B]);
    }

    #[test]
    fn a_full_disk_takes_only_what_nobody_else_can() {
        let image = cluster(&[A, B]);
        let reserve = image.config.disk_reserve_bytes;
        assert_eq!(placed(&image, &[(A, reserve), (B, reserve + 1)], 3), [B, B, B]);
        assert_eq!(placed(&cluster(&[A]), &[(A, 0)], 2), [A, A]);
    }

    #[test]
    fn a_node_that_names_no_directories_is_left_to_itself() {
        let mut placement = Placement::new(&cluster(&[A]), &FreeSpace::new());
        assert_eq!(placement.place(&[NodeId(2)]), []);
        assert_eq!(placement.place(&[NodeId(2), HERE]), [DirectoryId::NONE, A]);
    }
}
