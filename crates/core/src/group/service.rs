//! What both front ends call: finds the shard of a group and waits for its answer.
//!
//! Also has the shards follow the leaders of their partitions, and tells them of deleted topics.

use super::java_hash::partition_for;
use super::noted::{self, Basis, Dropped, Noted, Place};
use super::request::{
    CommitRequest, CommitTopic, CommittedTopic, DeleteOffsetsTopic, Departed, DescribedGroup, FetchRequest, HeartbeatRequest,
    JoinAnswer, JoinRequest, LeaveRequest, ListFilter, ListedGroup, SyncAnswer, SyncRequest, TopicOutcome,
};
use super::{GroupCensus, GroupError, GroupMetrics, GroupSettings, GroupShard};
use crate::broker::Broker;
use crate::coordinator::{BrokerLog, InternalLog, InternalTopic, Now, Output, Runtime, RuntimeMetrics, Ticket, Unavailable};
use crate::metadata::{IdSource, MetadataImage, RandomIds};
use duolog_base::{Clock, LeaderEpoch, NodeId, Offset, PartitionIndex};
use parking_lot::Mutex;
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::task::JoinHandle;

/// All groups of this node.
pub struct GroupCoordinator {
    runtime: Runtime<GroupShard>,
    metrics: Arc<GroupMetrics>,
    noted: Noted,
    ids: Box<dyn IdSource>,
    /// Guards the tasks that watch the metadata, until they are stopped.
    watchers: Mutex<Vec<JoinHandle<()>>>,
}

impl GroupCoordinator {
    /// Starts the service on the broker's `__consumer_offsets`. Needs a tokio runtime.
    pub fn start(broker: &Arc<Broker>) -> Arc<GroupCoordinator> {
        let log = Arc::new(BrokerLog::new(broker.clone(), InternalTopic::Offsets));
        let settings = GroupSettings::from_config(broker.config());
        let groups = Arc::new(GroupCoordinator::on(log, broker.clock().clone(), settings));
        groups.runtime.follow_leaders();
        let leaders = tokio::spawn(watch_leaders(broker.clone(), Arc::downgrade(&groups)));
        let topics = tokio::spawn(watch_topics(broker.clone(), Arc::downgrade(&groups)));
        *groups.watchers.lock() = vec![leaders, topics];
        groups
    }

    /// The service on any internal log; loads nothing by itself.
    pub fn on(log: Arc<dyn InternalLog>, clock: Arc<dyn Clock>, settings: GroupSettings) -> GroupCoordinator {
        let (settings, metrics) = (Arc::new(settings), Arc::new(GroupMetrics::default()));
        let counted = metrics.clone();
        let runtime = Runtime::new(log, clock, Box::new(move |_| GroupShard::new(settings.clone(), counted.clone())));
        GroupCoordinator { runtime, metrics, noted: Noted::default(), ids: Box::new(RandomIds), watchers: Mutex::default() }
    }

    /// Ends the service: what is on its way to the disk is answered, members that wait are sent away.
    pub async fn close(&self) {
        self.watchers.lock().drain(..).for_each(|watcher| watcher.abort());
        self.runtime.close().await;
    }

    pub fn metrics(&self) -> &GroupMetrics {
        &self.metrics
    }

    pub fn runtime_metrics(&self) -> &RuntimeMetrics {
        self.runtime.metrics()
    }

    /// Counts the groups of all partitions that are loaded.
    pub async fn census(&self) -> GroupCensus {
        let mut census = GroupCensus::default();
        for partition in self.runtime.active() {
            let count = |shard: &mut GroupShard, ticket: Ticket<GroupCensus>, _: Now, out: &mut Output| {
                out.answer(ticket, shard.census());
            };
            // One that has just failed is not counted.
            if let Ok(counted) = self.runtime.query(partition, count).await {
                census.add(counted);
            }
        }
        census
    }

    /// The partition that the group lives on; creates the topic if need be.
    pub async fn partition_of(&self, group_id: &str) -> Result<PartitionIndex, GroupError> {
        let partitions = self.runtime.log().ensure().await.map_err(Unavailable::from)?;
        Ok(partition_for(group_id, partitions))
    }

    /// The live node that keeps the group, if there is one: the leader of its partition. Others answer that they do not.
    pub async fn coordinator_of(&self, group_id: &str) -> Result<Option<NodeId>, GroupError> {
        let partition = self.partition_of(group_id).await?;
        Ok(self.runtime.log().leader(partition))
    }

    pub async fn join(&self, request: JoinRequest) -> JoinAnswer {
        let (member_id, group_id) = (request.member_id.clone(), request.group_id.clone());
        let fresh_id = self.ids.next_id().0;
        let call = move |shard: &mut GroupShard, ticket: Ticket<JoinAnswer>, now: Now, out: &mut Output| {
            shard.join(request, fresh_id, ticket, now, out);
        };
        match self.call(&group_id, call).await {
            Ok(answer) => answer,
            Err(error) => JoinAnswer { member_id, outcome: Err(error) },
        }
    }

    pub async fn sync(&self, request: SyncRequest) -> Result<SyncAnswer, GroupError> {
        let group_id = request.group_id.clone();
        self.call(&group_id, move |shard, ticket, now, out| shard.sync(request, ticket, now, out)).await?
    }

    pub async fn heartbeat(&self, request: HeartbeatRequest) -> Result<(), GroupError> {
        let group_id = request.group_id.clone();
        self.query(&group_id, move |shard, ticket, now, out| shard.heartbeat(request, ticket, now, out)).await?
    }

    pub async fn leave(&self, request: LeaveRequest) -> Result<Vec<Departed>, GroupError> {
        let group_id = request.group_id.clone();
        self.call(&group_id, move |shard, ticket, now, out| shard.leave(request, ticket, now, out)).await?
    }

    pub async fn commit(&self, request: CommitRequest) -> Result<Vec<TopicOutcome>, GroupError> {
        let group_id = request.group_id.clone();
        let partitions = |topic: &CommitTopic| topic.partitions.iter().map(|one| one.partition).collect::<Vec<_>>();
        let places = request.topics.iter().flat_map(|topic| partitions(topic).into_iter().map(|one| (&*topic.name, one)));
        let dropped = self.noted.drop_partitions(&group_id, places);
        let operation = self.call(&group_id, move |shard, ticket, now, out| shard.commit(request, ticket, now, out));
        self.overrule(&group_id, dropped, operation).await
    }

    /// Notes an offset to be committed a moment later, unless `is_held` says that it does not count; whether it does.
    pub fn note(&self, at: Place<'_>, offset: Offset, basis: Basis, is_held: impl FnOnce() -> bool) -> bool {
        self.noted.note(at, offset, basis, is_held)
    }

    /// The offset that was noted and is not committed yet, and when it counts.
    pub fn noted(&self, at: Place<'_>) -> Option<(Offset, Basis)> {
        self.noted.find(at)
    }

    /// Commits what was noted, as one who uses the groups as a store of offsets only.
    pub async fn store_noted(&self, image: &MetadataImage) {
        let _turn = self.noted.turn.lock().await;
        for (group_id, notes) in &*self.noted.begin_storing() {
            let (topics, bases) = noted::to_commit(image, notes);
            if topics.is_empty() {
                continue;
            }
            let request = CommitRequest::anonymous(group_id, topics);
            let store = move |shard: &mut GroupShard, ticket: Ticket<_>, now: Now, out: &mut Output| {
                shard.commit_noted(request, &bases, ticket, now, out);
            };
            let stored: Result<Vec<TopicOutcome>, GroupError> = self.call(group_id, store).await.and_then(|stored| stored);
            if let Err(error) = stored
                && error != GroupError::Unavailable(Unavailable::NotCoordinator)
            {
                tracing::warn!(group = group_id, %error, "offsets that were noted are not stored");
            }
        }
        self.noted.end_storing();
    }

    /// Carries out what counts more than what was noted before.
    async fn overrule<T>(
        &self,
        group_id: &str,
        dropped: Dropped,
        operation: impl Future<Output = Result<Result<T, GroupError>, GroupError>>,
    ) -> Result<T, GroupError> {
        if dropped.is_storing {
            drop(self.noted.turn.lock().await);
        }
        let outcome = operation.await.and_then(|outcome| outcome);
        if outcome.is_err() {
            self.noted.restore(group_id, dropped);
        }
        outcome
    }

    pub async fn fetch(&self, request: FetchRequest) -> Result<Vec<CommittedTopic>, GroupError> {
        let group_id = request.group_id.clone();
        self.query(&group_id, move |shard, ticket, _, out| shard.fetch(&request, ticket, out)).await
    }

    pub async fn delete_offsets(&self, group_id: &str, topics: Vec<DeleteOffsetsTopic>) -> Result<Vec<TopicOutcome>, GroupError> {
        let id = group_id.to_owned();
        let partitions = |topic: &DeleteOffsetsTopic| topic.partitions.clone();
        let places = topics.iter().flat_map(|topic| partitions(topic).into_iter().map(|one| (&*topic.name, one)));
        let dropped = self.noted.drop_partitions(group_id, places);
        let operation = self.call(group_id, move |shard, ticket, now, out| shard.delete_offsets(&id, &topics, ticket, now, out));
        self.overrule(group_id, dropped, operation).await
    }

    /// `None` for a group that does not exist.
    pub async fn describe(&self, group_id: &str) -> Result<Option<DescribedGroup>, GroupError> {
        let id = group_id.to_owned();
        self.query(group_id, move |shard, ticket, _, out| shard.describe(&id, ticket, out)).await
    }

    /// The groups that this node keeps, by partition and name.
    pub async fn list(&self, filter: ListFilter) -> Result<Vec<ListedGroup>, GroupError> {
        let filter = Arc::new(filter);
        let mut groups = Vec::new();
        for (partition, _) in self.runtime.led() {
            let filter = filter.clone();
            let list = move |shard: &mut GroupShard, ticket: Ticket<Vec<ListedGroup>>, _: Now, out: &mut Output| {
                shard.list(&filter, ticket, out);
            };
            match self.runtime.query(partition, list).await {
                Ok(listed) => groups.extend(listed),
                // They are on the list of another node now.
                Err(Unavailable::NotCoordinator) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(groups)
    }

    pub async fn delete(&self, group_id: &str) -> Result<(), GroupError> {
        let id = group_id.to_owned();
        let dropped = self.noted.drop_group(group_id);
        let operation = self.call(group_id, move |shard, ticket, _, out| shard.delete(&id, ticket, out));
        self.overrule(group_id, dropped, operation).await
    }

    /// Forgets the offsets of topics that are not in the image, in all groups that this node keeps.
    pub async fn forget_deleted_topics(&self, image: Arc<MetadataImage>) -> Result<(), GroupError> {
        for (partition, _) in self.runtime.led() {
            let image = image.clone();
            let forget = move |shard: &mut GroupShard, ticket: Ticket<()>, _: Now, out: &mut Output| {
                shard.forget_deleted_topics(&image, ticket, out);
            };
            self.runtime.call(partition, forget).await?;
        }
        Ok(())
    }

    pub(super) async fn call<T, F>(&self, group_id: &str, operation: F) -> Result<T, GroupError>
    where
        T: Send + 'static,
        F: FnOnce(&mut GroupShard, Ticket<T>, Now, &mut Output) + Send + 'static,
    {
        let partition = self.partition_of(group_id).await?;
        Ok(self.runtime.call(partition, operation).await?)
    }

    /// Like `call`, for what writes nothing.
    pub(super) async fn query<T, F>(&self, group_id: &str, operation: F) -> Result<T, GroupError>
    where
        T: Send + 'static,
        F: FnOnce(&mut GroupShard, Ticket<T>, Now, &mut Output) + Send + 'static,
    {
        let partition = self.partition_of(group_id).await?;
        Ok(self.runtime.query(partition, operation).await?)
    }
}

/// Has the shards follow the leaders of their partitions as the metadata moves on, so that members' sessions run wherever their group is.
async fn watch_leaders(broker: Arc<Broker>, groups: Weak<GroupCoordinator>) {
    let mut changes = broker.metadata().changes();
    loop {
        // What comes from now on is another change.
        changes.borrow_and_update();
        match groups.upgrade() {
            Some(groups) => groups.runtime.follow_leaders(),
            None => return,
        }
        if changes.changed().await.is_err() {
            return;
        }
    }
}

/// How long what could not be told is put off, in milliseconds.
const RETELL_PAUSE_MS: u64 = 5_000;

/// Tells the groups when topics have gone: as the metadata moves on, and once when this node begins to lead, for what the last leader left
/// undone.
async fn watch_topics(broker: Arc<Broker>, groups: Weak<GroupCoordinator>) {
    let mut changes = broker.metadata().changes();
    let mut known = broker.image();
    let mut led: Vec<(PartitionIndex, LeaderEpoch)> = Vec::new();
    let mut is_due = true;
    loop {
        if is_due {
            let Some(groups) = groups.upgrade() else { return };
            led = groups.runtime.led();
            if let Err(error) = groups.forget_deleted_topics(known.clone()).await {
                tracing::warn!(%error, "offsets of deleted topics are kept for now");
            } else {
                is_due = false;
            }
        }
        let pause = tokio::time::sleep(Duration::from_millis(RETELL_PAUSE_MS));
        tokio::select! {
            changed = changes.changed() => if changed.is_err() { return },
            () = pause, if is_due => {}
        }
        let image = broker.image();
        let Some(groups) = groups.upgrade() else { return };
        is_due |= has_lost_topics(&known, &image) || groups.runtime.led() != led;
        known = image;
    }
}

/// A topic of the old image is not there any more, or is another one now.
fn has_lost_topics(old: &MetadataImage, new: &MetadataImage) -> bool {
    old.topics.iter().any(|(name, topic)| new.topic(name).is_none_or(|found| found.id != topic.id))
}
