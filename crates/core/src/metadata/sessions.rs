//! When the controller last heard of each member: who has been silent for too long is to be fenced.
//!
//! In memory only. A new controller has heard of nobody and gives everybody the time of a session. Time is a parameter, monotonic.

use super::image::MetadataImage;
use duolog_base::{BrokerEpoch, NodeId};
use std::collections::BTreeMap;

#[derive(Debug, Default)]
pub struct Sessions {
    heard_ms: BTreeMap<NodeId, (BrokerEpoch, u64)>,
}

impl Sessions {
    /// A heartbeat (or the registration) of this life of the node was accepted.
    pub fn heard(&mut self, node: NodeId, epoch: BrokerEpoch, now_ms: u64) {
        let known = self.heard_ms.entry(node).or_insert((epoch, now_ms));
        if epoch >= known.0 {
            *known = (epoch, now_ms.max(known.1));
        }
    }

    /// The members that are let in and have been silent for more than `session_ms`.
    pub fn overdue(&mut self, image: &MetadataImage, session_ms: u64, now_ms: u64) -> Vec<(NodeId, BrokerEpoch)> {
        self.heard_ms.retain(|node, _| image.nodes.contains_key(node));
        let mut overdue = Vec::new();
        for (node, known) in &image.nodes {
            let Some(membership) = known.membership.as_ref().filter(|membership| !membership.fenced) else { continue };
            let (_, heard_ms) = *self.heard_ms.entry(*node).or_insert((membership.epoch, now_ms));
            if now_ms.saturating_sub(heard_ms) > session_ms {
                overdue.push((*node, membership.epoch));
            }
        }
        overdue
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::image::{Membership, NodeImage};

    #[test]
    fn who_is_silent_for_longer_than_a_session_is_overdue() {
        let mut image = MetadataImage::default();
        for (id, fenced) in [(1, false), (2, false), (3, true)] {
            let membership = Membership { epoch: BrokerEpoch(7), incarnation: String::new(), fenced, stopping: false };
            let node = NodeImage {
                id: NodeId(id),
                rack: None,
                directories: Vec::new(),
                endpoints: Vec::new(),
                membership: Some(membership),
            };
            image.nodes.insert(node.id, node);
        }
        let mut sessions = Sessions::default();
        assert_eq!(sessions.overdue(&image, 100, 1000), [], "a new controller gives everybody time");
        sessions.heard(NodeId(1), BrokerEpoch(7), 1050);
        sessions.heard(NodeId(2), BrokerEpoch(6), 1050);
        assert_eq!(sessions.overdue(&image, 100, 1100), []);
        assert_eq!(sessions.overdue(&image, 100, 1101), [(NodeId(2), BrokerEpoch(7))], "an earlier life does not speak for it");
        assert_eq!(sessions.overdue(&image, 100, 1151), [(NodeId(1), BrokerEpoch(7)), (NodeId(2), BrokerEpoch(7))]);
    }
}
