//! The share coordinator: asks the shard that keeps a share-partition's state, here or at the node that leads its partition of
//! `__share_group_state`. Nothing that is asked does harm if it is done twice, so it is asked again until somebody knows. (KIP-932)

use super::door::{ASK, CALLS};
use super::shard::{ShareShard, StateError, Writer};
use super::state::{ShareState, ShareSummary, Write};
use super::{HOLD, PAUSE, SharePartition};
use crate::broker::Broker;
use crate::coordinator::{Now, Output, Runtime, Ticket, Unavailable};
use crate::group::partition_for;
use duolog_base::{LeaderEpoch, NodeId, Offset, PartitionIndex, TopicId};
use duolog_peer::{CallRefusal, head};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// How long a call to another node may take: it waits for the disks of all replicas.
const ASK_LIMIT: Duration = Duration::from_secs(10);

/// What is asked of the state of a share-partition.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Ask {
    Initialize { state_epoch: i32, start: Option<i64> },
    Delete,
    Read { leader_epoch: i32 },
    Write { by: Writer, write: Write },
    Summary,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Reply {
    Done,
    State(ShareState),
    Summary { start: Option<i64>, leader_epoch: i32, state_epoch: i32, delivery_complete_count: i32 },
}

/// Why there is no reply.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub(super) enum AskError {
    #[error(transparent)]
    State(#[from] StateError),
    #[error("no node leads the partition of the state for now")]
    NotHere,
    #[error("{0}")]
    Later(String),
}

impl From<Unavailable> for AskError {
    fn from(error: Unavailable) -> AskError {
        match error {
            Unavailable::NotCoordinator => AskError::NotHere,
            error => AskError::Later(error.to_string()),
        }
    }
}

/// A share-partition, and what is asked of its state.
#[derive(Serialize, Deserialize)]
pub(super) struct AskHead {
    group: String,
    /// Its two halves: JSON has no numbers of 128 bits.
    topic: (u64, u64),
    partition: i32,
    ask: Ask,
}

impl AskHead {
    pub(super) fn new(at: &SharePartition, ask: Ask) -> AskHead {
        let topic = ((at.topic.0 >> 64) as u64, at.topic.0 as u64);
        AskHead { group: at.group.to_string(), topic, partition: at.partition.0, ask }
    }

    pub(super) fn open(self) -> (SharePartition, Ask) {
        let topic = TopicId(u128::from(self.topic.0) << 64 | u128::from(self.topic.1));
        (SharePartition { group: Arc::from(self.group), topic, partition: PartitionIndex(self.partition) }, self.ask)
    }
}

/// The states of all share-partitions, wherever they are.
pub(super) struct States {
    pub(super) broker: Arc<Broker>,
    pub(super) runtime: Runtime<ShareShard>,
}

impl States {
    pub(super) async fn initialize(&self, at: &SharePartition, state_epoch: i32, start: Option<Offset>) -> Result<(), AskError> {
        let start = start.map(|start| start.0);
        self.insist(at, Ask::Initialize { state_epoch, start }).await.map(|_| ())
    }

    pub(super) async fn delete(&self, at: &SharePartition) -> Result<(), AskError> {
        self.insist(at, Ask::Delete).await.map(|_| ())
    }

    pub(super) async fn read(&self, at: &SharePartition, leader_epoch: LeaderEpoch) -> Result<ShareState, AskError> {
        match self.insist(at, Ask::Read { leader_epoch: leader_epoch.0 }).await? {
            Reply::State(state) => Ok(state),
            Reply::Done | Reply::Summary { .. } => Err(AskError::Later("the answer is to another question".to_owned())),
        }
    }

    pub(super) async fn write(&self, at: &SharePartition, by: Writer, write: Write) -> Result<(), AskError> {
        self.insist(at, Ask::Write { by, write }).await.map(|_| ())
    }

    pub(super) async fn summary(&self, at: &SharePartition) -> Result<ShareSummary, AskError> {
        match self.insist(at, Ask::Summary).await? {
            Reply::Summary { start, leader_epoch, state_epoch, delivery_complete_count } => Ok(ShareSummary {
                start_offset: start.map(Offset),
                leader_epoch: LeaderEpoch(leader_epoch),
                state_epoch,
                delivery_complete_count,
            }),
            Reply::Done | Reply::State(_) => Err(AskError::Later("the answer is to another question".to_owned())),
        }
    }

    /// Asks until somebody answers, for a while.
    async fn insist(&self, at: &SharePartition, ask: Ask) -> Result<Reply, AskError> {
        let deadline = Instant::now() + HOLD;
        loop {
            match self.ask(at, ask.clone()).await {
                Err(AskError::NotHere | AskError::Later(_)) if Instant::now() < deadline => tokio::time::sleep(PAUSE).await,
                answer => return answer,
            }
        }
    }

    async fn ask(&self, at: &SharePartition, ask: Ask) -> Result<Reply, AskError> {
        let partitions = self.runtime.log().ensure().await.map_err(|error| AskError::Later(error.to_string()))?;
        // As Kafka does: its key of a share-partition as text.
        let partition = partition_for(&format!("{}:{}:{}", at.group, at.topic, at.partition), partitions);
        match (self.runtime.log().leader(partition), self.broker.road()) {
            (Some(node), Some(_)) if node != self.broker.node() => self.ask_node(node, at, ask).await,
            _ => self.ask_here(partition, at.clone(), ask).await,
        }
    }

    async fn ask_node(&self, node: NodeId, at: &SharePartition, ask: Ask) -> Result<Reply, AskError> {
        let road = self.broker.road().ok_or(AskError::NotHere)?;
        let body = head::pack_alone(&AskHead::new(at, ask));
        // What may have been done is asked again.
        let answer = road.peers.call(node, CALLS, ASK, body, ASK_LIMIT).await;
        let answer = answer.map_err(|error| AskError::Later(error.to_string()))?;
        head::unpack_alone(&answer).unwrap_or_else(|refusal: CallRefusal| Err(AskError::Later(refusal.to_string())))
    }

    /// Asks the shard, as another node wants it.
    pub(super) async fn asked(&self, head: AskHead) -> Result<Reply, AskError> {
        let (at, ask) = head.open();
        let partitions = self.runtime.log().partitions();
        if partitions == 0 {
            return Err(AskError::NotHere);
        }
        let partition = partition_for(&format!("{}:{}:{}", at.group, at.topic, at.partition), partitions);
        self.ask_here(partition, at, ask).await
    }

    async fn ask_here(&self, partition: PartitionIndex, at: SharePartition, ask: Ask) -> Result<Reply, AskError> {
        match ask {
            Ask::Initialize { state_epoch, start } => {
                let start = start.map(Offset);
                self.call(partition, move |shard, ticket, now, out| shard.initialize(at, state_epoch, start, ticket, now, out))
                    .await
            }
            Ask::Delete => self.call(partition, move |shard, ticket, _, out| shard.delete(&at, ticket, out)).await,
            Ask::Read { leader_epoch } => {
                let epoch = LeaderEpoch(leader_epoch);
                let read = move |shard: &mut ShareShard, ticket: Ticket<_>, now: Now, out: &mut Output| {
                    shard.read(&at, epoch, ticket, now, out);
                };
                Ok(Reply::State(self.runtime.call(partition, read).await??))
            }
            Ask::Write { by, write } => {
                self.call(partition, move |shard, ticket, now, out| shard.write(&at, by, write, ticket, now, out)).await
            }
            Ask::Summary => {
                let ask = move |shard: &mut ShareShard, ticket: Ticket<_>, _: Now, out: &mut Output| {
                    shard.summary(&at, ticket, out);
                };
                let ShareSummary { start_offset, leader_epoch, state_epoch, delivery_complete_count } =
                    self.runtime.query(partition, ask).await??;
                let start = start_offset.map(|start| start.0);
                Ok(Reply::Summary { start, leader_epoch: leader_epoch.0, state_epoch, delivery_complete_count })
            }
        }
    }

    async fn call<F>(&self, partition: PartitionIndex, operation: F) -> Result<Reply, AskError>
    where
        F: FnOnce(&mut ShareShard, Ticket<Result<(), StateError>>, Now, &mut Output) + Send + 'static,
    {
        self.runtime.call(partition, operation).await??;
        Ok(Reply::Done)
    }
}
