//! Questions to the producers of a group, wherever they are connected.

use super::messages::{self, TELL_PRODUCER};
use super::{CALL_LIMIT, DELIVERIES};
use crate::node::Node;
use bytes::Bytes;
use duolog_base::NodeId;
use duolog_peer::CallRefusal;
use duolog_wire::remoting::Command;
use serde::{Deserialize, Serialize};

/// Whom to ask; the frame lies behind it.
#[derive(Serialize, Deserialize)]
pub(super) struct Asked {
    group: String,
    turn: u32,
}

impl Node {
    /// Hands a question to any producer of the group, at a node that depends on the turn if there is a choice; false if there is none.
    pub(crate) async fn tell_producer(&self, group: &str, turn: u32, frame: Command) -> bool {
        let Some(cluster) = &self.cluster else { return self.tell_producer_here(group, turn, &frame) };
        let mut nodes: Vec<NodeId> = std::iter::once(self.broker.node()).chain(self.others()).collect();
        let (count, first) = (nodes.len() as u32, turn as usize % nodes.len());
        nodes.rotate_left(first);
        let asked = Asked { group: group.to_owned(), turn: turn / count };
        let body = messages::pack(&asked, |out| frame.encode(out));
        for node in nodes {
            let is_told = match node == self.broker.node() {
                true => self.tell_producer_here(group, asked.turn, &frame),
                false => match cluster.peers.call(node, DELIVERIES, TELL_PRODUCER, body.clone(), CALL_LIMIT).await {
                    Ok(answer) => messages::unpack_alone(answer) == Ok(true),
                    Err(error) => {
                        tracing::debug!(%node, group, %error, "a node is not asked for a producer");
                        false
                    }
                },
            };
            if is_told {
                return true;
            }
        }
        false
    }

    /// A question that another node has.
    pub(super) fn told_producer(&self, body: Bytes) -> Result<Vec<Bytes>, CallRefusal> {
        let (Asked { group, turn }, rest) = messages::unpack(body)?;
        let frame = messages::frame(rest)?;
        Ok(messages::whole(&self.tell_producer_here(&group, turn, &frame)))
    }
}
