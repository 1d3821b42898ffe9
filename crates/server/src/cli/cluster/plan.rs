//! Where the replicas of a node that is drained go: pure.
//!
//! Each goes to the node that has the least so far, in a rack that the partition is not in yet if there is one; it takes the place of the
//! old one, so that a preferred leader is followed by a preferred leader.

use super::Failure;
use super::overview::Overview;
use crate::client::{MovingPartition, WantedReplicas};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

/// A node that may take replicas.
struct Place {
    rack: Option<String>,
    replicas: usize,
}

/// The partitions that have a replica on the node and do not lose it already, with those they are to have.
pub(super) fn drain(overview: &Overview, node: i32) -> Result<Vec<WantedReplicas>, Failure> {
    let live = overview.cluster.nodes.iter().filter(|known| known.id != node && !known.fenced);
    let place = |id: i32, rack: &Option<String>| (id, Place { rack: rack.clone(), replicas: overview.replicas(id) });
    let mut places: BTreeMap<i32, Place> = live.map(|known| place(known.id, &known.rack)).collect();
    let racks: BTreeMap<i32, Option<String>> =
        overview.cluster.nodes.iter().map(|known| (known.id, known.rack.clone())).collect();
    let mut wanted = Vec::new();
    for (topic, partition) in overview.partitions() {
        let moving = overview.moving.iter().find(|moving| moving.topic == topic && moving.partition == partition.index);
        let mut replicas = target(&partition.replicas, moving);
        let Some(at) = replicas.iter().position(|replica| *replica == node) else { continue };
        let others: Vec<i32> = replicas.iter().copied().filter(|replica| *replica != node).collect();
        let taken: BTreeSet<&str> = others.iter().filter_map(|other| racks.get(other)?.as_deref()).collect();
        let free = places.iter_mut().filter(|(id, _)| !others.contains(id));
        let rank = |id: i32, place: &Place| {
            let new_rack = place.rack.as_deref().is_some_and(|rack| !taken.contains(rack));
            (Reverse(new_rack), place.replicas, id)
        };
        let Some((id, place)) = free.min_by_key(|(id, place)| rank(**id, place)) else {
            let (topic, replicas) = (topic.to_owned(), partition.replicas.len());
            return Err(Failure::TooFewNodes { topic, replicas, others: places.len() });
        };
        place.replicas += 1;
        replicas[at] = *id;
        wanted.push(WantedReplicas { topic: topic.to_owned(), partition: partition.index, replicas: Some(replicas) });
    }
    Ok(wanted)
}

/// The replicas that a partition is going to have.
fn target(replicas: &[i32], moving: Option<&MovingPartition>) -> Vec<i32> {
    let going = moving.map_or(&[][..], |moving| &moving.removing);
    replicas.iter().copied().filter(|replica| !going.contains(replica)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::{ClusterDescription, NodeDescription, PartitionLayout, QuorumDescription, TopicLayout};

    /// Nodes with their racks and whether they are fenced; the replicas of each partition of one topic.
    fn overview(nodes: &[(i32, Option<&str>, bool)], partitions: &[&[i32]]) -> Overview {
        let node = |(id, rack, fenced): &(i32, Option<&str>, bool)| NodeDescription {
            id: *id,
            address: String::new(),
            rack: rack.map(str::to_owned),
            fenced: *fenced,
        };
        let cluster = ClusterDescription { id: String::new(), controller: 1, nodes: nodes.iter().map(node).collect() };
        let partition = |(index, replicas): (i32, &&[i32])| PartitionLayout {
            index,
            leader: replicas[0],
            leader_epoch: 0,
            replicas: replicas.to_vec(),
            in_sync: replicas.to_vec(),
        };
        let partitions = (0..).zip(partitions).map(partition).collect();
        let topic = TopicLayout { name: "t".to_owned(), id: Default::default(), internal: false, partitions };
        Overview {
            cluster,
            quorum: QuorumDescription::default(),
            topics: vec![topic],
            moving: Vec::new(),
            directories: BTreeMap::new(),
        }
    }

    fn plan(overview: &Overview, node: i32) -> Vec<(i32, Vec<i32>)> {
        let wanted = drain(overview, node).unwrap();
        wanted.into_iter().map(|one| (one.partition, one.replicas.unwrap())).collect()
    }

    #[test]
    fn replicas_go_to_those_who_have_the_least_and_keep_their_place() {
        let nodes = [(1, None, false), (2, None, false), (3, None, false), (4, None, false)];
        let given = overview(&nodes, &[&[3, 1], &[1, 3], &[1, 2]]);
        assert_eq!(plan(&given, 3), [(0, vec![4, 1]), (1, vec![1, 2])]);
        assert!(plan(&given, 4).is_empty());
    }

    #[test]
    fn another_rack_is_worth_more_than_an_even_load() {
        let nodes = [(1, Some("a"), false), (2, Some("a"), false), (3, Some("b"), false), (4, Some("b"), false)];
        let given = overview(&nodes, &[&[1, 3], &[4], &[4], &[4]]);
        assert_eq!(plan(&given, 3), [(0, vec![1, 4])]);
    }

    #[test]
    fn what_cannot_be_placed_is_refused_as_a_whole() {
        let nodes = [(1, None, false), (2, None, false), (3, None, true)];
        let refused = drain(&overview(&nodes, &[&[2], &[1, 2]]), 2);
        assert!(matches!(refused, Err(Failure::TooFewNodes { replicas: 2, others: 1, .. })), "a fenced node takes nothing");
    }

    #[test]
    fn a_partition_that_is_moving_already_is_judged_by_where_it_goes() {
        let nodes = [(1, None, false), (2, None, false), (3, None, false)];
        let mut given = overview(&nodes, &[&[2, 1, 3], &[3, 1, 2]]);
        let moving = |partition, replicas: &[i32], adding: i32, removing: i32| MovingPartition {
            topic: "t".to_owned(),
            partition,
            replicas: replicas.to_vec(),
            adding: vec![adding],
            removing: vec![removing],
        };
        given.moving = vec![moving(0, &[2, 1, 3], 2, 3), moving(1, &[3, 1, 2], 3, 2)];
        assert_eq!(plan(&given, 3), [(1, vec![2, 1])], "the first loses it anyway");
    }
}
