//! Storing messages of the server's making, and of gRPC's clients, wherever their queue is led.

use super::messages::{self, APPEND};
use super::{Patience, Place, SENDS};
use crate::append::{Gathering, Target};
use crate::message::{MessageLimits, Outgoing};
use crate::node::Node;
use crate::remoting::Refusal;
use bytes::{Bytes, BytesMut};
use duolog_base::{Offset, PartitionIndex};
use duolog_core::broker::{Acks, Origin, ProduceBatch};
use duolog_peer::{CallError, CallRefusal};
use serde::{Deserialize, Serialize};
use std::future::poll_fn;
use std::time::Duration;

/// How long a call may take: the disks of all replicas have to answer.
const APPEND_LIMIT: Duration = Duration::from_secs(10);

/// What a batch is for; it lies behind this.
#[derive(Serialize, Deserialize)]
pub(super) struct AppendHead {
    applied: u64,
    topic: String,
    queue: i32,
    tags: u64,
}

#[derive(Serialize, Deserialize)]
pub(super) enum Appended {
    /// The offset of the first message.
    At(i64),
    NotHere,
    Refused(i32, String),
}

impl Node {
    /// Stores one message and waits until it is safe.
    pub(crate) async fn store(&self, target: &Target, message: &Outgoing<'_>, limits: MessageLimits) -> Result<Offset, Refusal> {
        let mut patience = Patience::new(self);
        loop {
            patience.begin();
            let image = self.broker.image();
            let topic = image.topic(&target.topic.name).filter(|topic| topic.id == target.topic.id);
            let partition = topic.and_then(|topic| topic.partition(target.queue));
            let place = partition.map_or(Place::Here, |partition| self.place_of(&image, partition));
            let mut gathering = Gathering::default();
            let (at, _) = gathering.push(target, message, limits)?;
            let stored = match place {
                Place::Here => {
                    let mut appending = gathering.append(&self.broker);
                    poll_fn(|context| appending.poll_done(context)).await;
                    appending.offset(at).map_err(Refusal::from)
                }
                Place::At(node) => {
                    let (batch, tags) = gathering.into_batch();
                    let (topic, queue) = (target.topic.name.clone(), target.queue.0);
                    let head = AppendHead { applied: image.applied, topic, queue, tags };
                    self.append_at(node, &head, &batch).await
                }
                Place::Nowhere => Err(Refusal::not_here()),
            };
            match stored {
                Err(refusal) if refusal.is_not_here() => {}
                stored => return stored,
            }
            if !patience.wait().await {
                return Err(Refusal::unavailable());
            }
        }
    }

    async fn append_at(&self, node: duolog_base::NodeId, head: &AppendHead, batch: &[u8]) -> Result<Offset, Refusal> {
        let Some(cluster) = &self.cluster else { return Err(Refusal::not_here()) };
        let body = messages::pack(head, |out| out.extend_from_slice(batch));
        let appended = match cluster.peers.call(node, SENDS, APPEND, body, APPEND_LIMIT).await {
            Ok(answer) => messages::unpack_alone(answer).unwrap_or(Appended::NotHere),
            Err(error @ CallError::TooLong { .. }) => return Err(Refusal::new(Refusal::unavailable().code, error.to_string())),
            // It may have been stored; then it is stored twice, as when a client sends again.
            Err(error) => return Err(super::lost(&error)),
        };
        match appended {
            Appended::At(offset) => Ok(Offset(offset)),
            Appended::NotHere => Err(Refusal::not_here()),
            Appended::Refused(code, remark) => Err(Refusal::new(code, remark)),
        }
    }

    /// A batch that another node has made.
    pub(super) async fn appended(&self, body: Bytes) -> Result<Vec<Bytes>, CallRefusal> {
        let (head, batch): (AppendHead, Bytes) = messages::unpack(body)?;
        self.catch_up(head.applied).await;
        let appended = match self.append_here(&head, &batch).await {
            Ok(offset) => Appended::At(offset.0),
            Err(refusal) if refusal.is_not_here() => Appended::NotHere,
            Err(refusal) => Appended::Refused(refusal.code, refusal.remark),
        };
        Ok(messages::whole(&appended))
    }

    async fn append_here(&self, head: &AppendHead, batch: &[u8]) -> Result<Offset, Refusal> {
        let (image, queue) = (self.broker.image(), PartitionIndex(head.queue));
        let topic = image.topic(&head.topic).filter(|topic| !topic.internal).ok_or_else(Refusal::not_here)?;
        let partition = topic.partition(queue).ok_or_else(Refusal::not_here)?;
        if self.place_of(&image, partition) != Place::Here {
            return Err(Refusal::not_here());
        }
        let produce = [ProduceBatch { topic, partition: queue, range: 0..batch.len(), tag_filter: head.tags }];
        let mut pending = self.broker.append(BytesMut::from(batch), &produce, Acks::All, Origin::Client);
        poll_fn(|context| pending.poll_done(context)).await;
        let stored = pending.results().first().cloned().ok_or_else(Refusal::not_here)?;
        Ok(stored?.base_offset)
    }
}
