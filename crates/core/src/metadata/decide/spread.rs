//! Which nodes hold the replicas of new partitions: evenly, leaders and replicas alike, and each replica on another rack while there is one.
//!
//! Pure and deterministic. What the cluster holds already is counted in, so that a node that was added fills up. Nodes that are
//! not available, or are to be emptied, are taken only where there are too few others.

use crate::metadata::image::{MetadataImage, NodeImage};
use duolog_base::NodeId;

pub(super) struct Spread {
    nodes: Vec<Candidate>,
}

struct Candidate {
    node: NodeId,
    rack: Option<String>,
    is_available: bool,
    leads: usize,
    holds: usize,
}

impl Spread {
    pub(super) fn new(image: &MetadataImage) -> Spread {
        let candidate = |node: &NodeImage| {
            let is_drained = image.config.drained_nodes.contains(&node.id.0);
            let (rack, is_available) = (node.rack.clone(), node.is_available() && !is_drained);
            Candidate { node: node.id, rack, is_available, leads: 0, holds: 0 }
        };
        let mut spread = Spread { nodes: image.nodes.values().map(candidate).collect() };
        // Where there is nothing to choose, nothing need be counted.
        if spread.nodes.len() > 1 {
            for partition in image.topics.values().flat_map(|topic| &topic.partitions) {
                spread.count(&partition.replicas);
            }
        }
        spread
    }

    /// The first replica is the preferred leader: it counts as the one that leads, whoever does at the moment.
    pub(super) fn count(&mut self, replicas: &[NodeId]) {
        for (at, replica) in replicas.iter().enumerate() {
            if let Ok(found) = self.nodes.binary_search_by_key(replica, |candidate| candidate.node) {
                self.nodes[found].holds += 1;
                self.nodes[found].leads += usize::from(at == 0);
            }
        }
    }

    /// The replicas of the next partition, fewer than `factor` only if there are not so many nodes.
    pub(super) fn next(&mut self, factor: usize) -> Vec<NodeId> {
        self.extended(&[], factor)
    }

    /// The replicas of a partition that has some already, which are counted in, with others behind them.
    pub(super) fn extended(&mut self, replicas: &[NodeId], factor: usize) -> Vec<NodeId> {
        let position = |node: &NodeId| self.nodes.binary_search_by_key(node, |candidate| candidate.node).ok();
        let mut chosen: Vec<usize> = replicas.iter().filter_map(position).collect();
        while chosen.len() < factor.min(self.nodes.len()) {
            let left = (0..self.nodes.len()).filter(|at| !chosen.contains(at));
            let best = left.min_by_key(|at| {
                let candidate = &self.nodes[*at];
                let load = if chosen.is_empty() { candidate.leads } else { 0 };
                (!candidate.is_available, self.shares_rack(*at, &chosen), load, candidate.holds, candidate.node)
            });
            chosen.extend(best);
        }
        for (at, added) in chosen.iter().enumerate().skip(replicas.len()) {
            self.nodes[*added].holds += 1;
            self.nodes[*added].leads += usize::from(at == 0);
        }
        chosen.iter().map(|at| self.nodes[*at].node).collect()
    }

    /// How many of the chosen are on its rack; a node without a rack is alone.
    fn shares_rack(&self, at: usize, chosen: &[usize]) -> usize {
        let rack = &self.nodes[at].rack;
        chosen.iter().filter(|other| rack.is_some() && self.nodes[**other].rack == *rack).count()
    }
}

#[cfg(test)]
#[path = "spread_tests.rs"]
mod tests;
