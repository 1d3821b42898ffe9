//! What front ends ask of share groups: the group's shard decides, and the states of partitions are changed where they are kept.

use super::super::{GroupCoordinator, GroupError};
use super::request::{
    AlteredShareOffset, DescribedShareGroup, ShareAssignment, ShareHeartbeatAnswer, ShareHeartbeatRequest, SharePartitions,
};
use crate::metadata::MetadataImage;
use crate::share::{ShareError, ShareGroups, SharePartition};
use duolog_base::{Offset, PartitionIndex, TopicId};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// States that are changed at a time for one request.
const MAX_CHANGES: usize = 32;
/// How long a heartbeat waits for a state; what takes longer is tried again with the next one.
const INITIALIZE_WAIT: Duration = Duration::from_secs(5);

/// What became of the state of a partition.
pub type StateOutcome = ((TopicId, PartitionIndex), Result<(), ShareError>);

/// What to do with the state of a partition.
#[derive(Clone, Copy)]
enum Change {
    Initialize { epoch: i32, start: Option<Offset> },
    Delete,
}

impl GroupCoordinator {
    /// A heartbeat of a member. Partitions that have no state yet are given one, so that the answer has them shared out.
    pub async fn share_heartbeat(
        &self,
        request: ShareHeartbeatRequest,
        session_ms: u64,
        image: Arc<MetadataImage>,
        states: &Arc<ShareGroups>,
    ) -> Result<ShareHeartbeatAnswer, GroupError> {
        let request = Arc::new(request);
        let answer = self.beat(&request, session_ms, &image).await?;
        if answer.uninitialized.is_empty() {
            return Ok(answer);
        }
        let changes =
            flat(&answer.uninitialized).map(|at| (at, Change::Initialize { epoch: answer.group_epoch, start: None })).collect();
        let ready = succeeded(&change(states, &request.group_id, changes).await);
        if ready.is_empty() {
            return Ok(answer);
        }
        self.share_initialized(&request.group_id, ready).await?;
        self.beat(&request, session_ms, &image).await
    }

    async fn beat(
        &self,
        request: &Arc<ShareHeartbeatRequest>,
        session_ms: u64,
        image: &Arc<MetadataImage>,
    ) -> Result<ShareHeartbeatAnswer, GroupError> {
        let (asked, image) = (request.clone(), image.clone());
        self.call(&request.group_id, move |shard, ticket, now, out| {
            shard.share_heartbeat(&asked, session_ms, &image, ticket, now, out);
        })
        .await?
    }

    async fn share_initialized(&self, group_id: &str, ready: ShareAssignment) -> Result<(), GroupError> {
        let id = group_id.to_owned();
        self.call(group_id, move |shard, ticket, _, out| shard.share_initialized(&id, &ready, ticket, out)).await?
    }

    pub async fn share_describe(&self, group_id: &str) -> Result<DescribedShareGroup, GroupError> {
        let id = group_id.to_owned();
        self.query(group_id, move |shard, ticket, _, out| shard.share_describe(&id, ticket, out)).await?
    }

    /// What a share group has a state of.
    pub async fn share_partitions(&self, group_id: &str) -> Result<SharePartitions, GroupError> {
        self.states_of(group_id, false).await
    }

    async fn states_of(&self, group_id: &str, to_change: bool) -> Result<SharePartitions, GroupError> {
        let id = group_id.to_owned();
        self.query(group_id, move |shard, ticket, _, out| shard.share_partitions(&id, to_change, ticket, out)).await?
    }

    /// Sets where a group without members begins. The caller has made sure that the partitions exist; `names` are their topics'.
    pub async fn share_alter_offsets(
        &self,
        group_id: &str,
        wanted: &[AlteredShareOffset],
        names: BTreeMap<TopicId, String>,
        states: &Arc<ShareGroups>,
    ) -> Result<Vec<StateOutcome>, GroupError> {
        let mut partitions = ShareAssignment::new();
        for one in wanted {
            partitions.entry(one.topic).or_default().insert(one.partition);
        }
        let id = group_id.to_owned();
        let begin = move |shard: &mut super::super::GroupShard, ticket, _, out: &mut crate::coordinator::Output| {
            shard.share_begin_alter(&id, &partitions, &names, ticket, out);
        };
        let epoch = self.call(group_id, begin).await??;
        let changes =
            wanted.iter().map(|one| ((one.topic, one.partition), Change::Initialize { epoch, start: Some(one.start) })).collect();
        let outcomes = change(states, group_id, changes).await;
        self.share_initialized(group_id, succeeded(&outcomes)).await?;
        Ok(outcomes)
    }

    /// Deletes what a group without members has of these topics; the outcome of each partition it had.
    pub async fn share_delete_offsets(
        &self,
        group_id: &str,
        topics: &[TopicId],
        states: &Arc<ShareGroups>,
    ) -> Result<Vec<StateOutcome>, GroupError> {
        let mut known = self.states_of(group_id, true).await?.all();
        known.retain(|topic, _| topics.contains(topic));
        let outcomes = change(states, group_id, flat(&known).map(|at| (at, Change::Delete)).collect()).await;
        let failed = |topic: &TopicId| outcomes.iter().any(|((of, _), outcome)| of == topic && outcome.is_err());
        let gone: Vec<TopicId> = known.keys().filter(|topic| !failed(topic)).copied().collect();
        if !gone.is_empty() {
            let id = group_id.to_owned();
            self.call(group_id, move |shard, ticket, _, out| shard.share_forget(&id, &gone, ticket, out)).await??;
        }
        Ok(outcomes)
    }

    /// Deletes a share group that has no members, with all its states.
    pub async fn share_delete(&self, group_id: &str, states: &Arc<ShareGroups>) -> Result<(), GroupError> {
        let known = self.states_of(group_id, true).await?.all();
        let outcomes = change(states, group_id, flat(&known).map(|at| (at, Change::Delete)).collect()).await;
        if let Some((_, Err(error))) = outcomes.into_iter().find(|(_, outcome)| outcome.is_err()) {
            tracing::warn!(group = group_id, %error, "the states of a share group are not deleted");
            return Err(GroupError::StatesUnavailable);
        }
        let id = group_id.to_owned();
        self.call(group_id, move |shard, ticket, _, out| shard.share_delete(&id, ticket, out)).await?
    }
}

/// Changes states, several at a time.
async fn change(
    states: &Arc<ShareGroups>,
    group_id: &str,
    changes: Vec<((TopicId, PartitionIndex), Change)>,
) -> Vec<StateOutcome> {
    let group: Arc<str> = Arc::from(group_id);
    let mut running = JoinSet::new();
    let mut outcomes = Vec::with_capacity(changes.len());
    for (place, change) in changes {
        if running.len() >= MAX_CHANGES {
            outcomes.extend(running.join_next().await.and_then(Result::ok));
        }
        let states = states.clone();
        let at = SharePartition { group: group.clone(), topic: place.0, partition: place.1 };
        running.spawn(async move {
            let changed = timeout(INITIALIZE_WAIT, change_one(&states, &at, change)).await;
            (place, changed.unwrap_or_else(|_| Err(ShareError::Unavailable("the state is not there in time".to_owned()))))
        });
    }
    while let Some(ended) = running.join_next().await {
        outcomes.extend(ended.ok());
    }
    outcomes
}

async fn change_one(states: &ShareGroups, at: &SharePartition, change: Change) -> Result<(), ShareError> {
    match change {
        Change::Initialize { epoch, start } => states.initialize(at, epoch, start).await,
        Change::Delete => states.delete(at).await,
    }
}

fn succeeded(outcomes: &[StateOutcome]) -> ShareAssignment {
    let mut ready = ShareAssignment::new();
    for ((topic, partition), _) in outcomes.iter().filter(|(_, outcome)| outcome.is_ok()) {
        ready.entry(*topic).or_default().insert(*partition);
    }
    ready
}

fn flat(partitions: &ShareAssignment) -> impl Iterator<Item = (TopicId, PartitionIndex)> {
    partitions.iter().flat_map(|(topic, indexes)| indexes.iter().map(|index| (*topic, *index)))
}
