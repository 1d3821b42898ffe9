//! Brokers of one process, and what scenarios do with them.

use crate::broker::{Acks, Broker, BrokerOptions, Origin, ProduceBatch, ProduceError, Produced};
use crate::config::{BrokerConfig, Source};
use crate::metadata::{
    AlterConfigError, ClusterOptions, ConfigChange, ConfigOperation, ConfigResource, ConfigUpdate, CreateTopicError,
    DEFAULT_VOTERS, NewTopic, PartitionImage, TopicImage,
};
use bytes::BytesMut;
use duolog_base::{NodeId, Offset, PartitionIndex, SystemClock, TimestampMs};
use duolog_peer::{Identity, PeerListener, Peers, Switchboard};
use duolog_sim::SimDisk;
use duolog_wire::record::{BatchBuilder, Compression, NewRecord, batches, decode_batch};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

const SECRET: &[u8] = b"the secret of these tests";
/// What is looked for must be there after so many looks.
const MAX_LOOKS: usize = 3000;
const LOOK: Duration = Duration::from_millis(10);
/// So many requests to the controller are not all in vain.
const MAX_TRIES: usize = 10;
/// More rounds than a scenario's reads take.
const MAX_READS: usize = 10_000;

static INCARNATIONS: AtomicU64 = AtomicU64::new(0);

pub(super) async fn until(what: &str, is_so: impl Fn() -> bool) {
    for _ in 0..MAX_LOOKS {
        if is_so() {
            return;
        }
        tokio::time::sleep(LOOK).await;
    }
    panic!("in vain: {what}");
}

/// A place where a node runs, and runs again.
pub(super) struct Site {
    id: i32,
    /// Where the locks are; the data is on the simulated disk.
    dir: tempfile::TempDir,
    pub(super) disk: SimDisk,
    address: String,
    join: Vec<String>,
    lag: Duration,
}

impl Site {
    fn new(id: i32, join: &[String], lag: Duration) -> Site {
        let (dir, address) = (tempfile::tempdir().unwrap(), "127.0.0.1:0".to_owned());
        Site { id, dir, disk: SimDisk::new(id as u64), address, join: join.to_vec(), lag }
    }

    fn options(&self, cluster: ClusterOptions) -> BrokerOptions {
        let values = [("node.id", self.id.to_string()), ("log.file.bytes", (4 << 20).to_string())];
        let values = values.map(|(key, value)| (key.to_owned(), value, Source::Flag));
        BrokerOptions {
            data_dirs: vec![PathBuf::from(self.dir.path()).join("data")],
            config: BrokerConfig::from_values(values.into()).unwrap(),
            disk: Arc::new(self.disk.clone()),
            clock: Arc::new(SystemClock::default()),
            cluster: Some(cluster),
        }
    }

    pub(super) async fn start(mut self) -> Node {
        let identity = Arc::new(Identity::new(NodeId(self.id), "", SECRET).unwrap());
        let switchboard = Arc::new(Switchboard::default());
        let listener = PeerListener::bind(&self.address, identity.clone(), switchboard.clone()).await.unwrap();
        self.address = listener.address().to_string();
        let peers = Peers::new(identity);
        let options = self.options(ClusterOptions {
            peers: peers.clone(),
            switchboard,
            address: self.address.clone(),
            endpoints: Vec::new(),
            join: self.join.clone(),
            incarnation: format!("life {}", INCARNATIONS.fetch_add(1, Ordering::Relaxed)),
            voters: DEFAULT_VOTERS,
            session: Duration::from_millis(1200),
            heartbeat: Duration::from_millis(200),
            replica_lag: self.lag,
            request_limit: Duration::from_secs(30),
        });
        let broker = Broker::open(options).await.unwrap();
        Node { site: self, broker, peers, listener }
    }
}

/// A running node.
pub(super) struct Node {
    pub(super) site: Site,
    pub(super) broker: Arc<Broker>,
    pub(super) peers: Arc<Peers>,
    pub(super) listener: PeerListener,
}

impl Node {
    pub(super) fn id(&self) -> NodeId {
        NodeId(self.site.id)
    }

    pub(super) async fn stop(self) -> Site {
        self.broker.close().await;
        self.listener.stop().await;
        self.peers.close();
        self.site
    }

    /// The process is gone, and the machine: of the disk only what was synced is sure to be left.
    pub(super) async fn lose_power(self, seed: u64) -> Site {
        self.site.disk.crash_after(0);
        let Node { site, broker, peers, listener } = self;
        peers.close();
        listener.stop().await;
        broker.close().await;
        site.disk.reboot(seed);
        site
    }

    pub(super) fn topic(&self, name: &str) -> Arc<TopicImage> {
        self.broker.image().topic(name).cloned().expect("the topic is known")
    }

    pub(super) fn partition(&self, name: &str, index: i32) -> PartitionImage {
        self.topic(name).partition(PartitionIndex(index)).cloned().expect("the partition is known")
    }

    pub(super) fn leads(&self, name: &str, index: i32) -> bool {
        let image = self.broker.image();
        let partition = image.topic(name).and_then(|topic| topic.partition(PartitionIndex(index)));
        partition.is_some_and(|partition| self.broker.leads(partition).is_some())
    }

    pub(super) fn in_sync(&self, name: &str, index: i32) -> Vec<i32> {
        let mut nodes: Vec<i32> = self.partition(name, index).in_sync.iter().map(|node| node.0).collect();
        nodes.sort_unstable();
        nodes
    }

    pub(super) fn high_watermark(&self, name: &str, index: i32) -> i64 {
        self.broker.high_watermark(&self.topic(name), PartitionIndex(index)).map_or(-1, |offset| offset.0)
    }

    pub(super) fn log_end(&self, name: &str, index: i32) -> i64 {
        self.broker.log().ends(self.partition(name, index).number).map_or(-1, |ends| ends.end.0)
    }

    /// Appends a record.
    pub(super) async fn send(&self, name: &str, index: i32, value: &str, acks: Acks) -> Result<Produced, ProduceError> {
        self.send_all(name, &[(index, value)], acks).await.pop().unwrap()
    }

    /// Appends a record to each of some partitions with one request.
    pub(super) async fn send_all(&self, name: &str, records: &[(i32, &str)], acks: Acks) -> Vec<Result<Produced, ProduceError>> {
        self.append(&self.topic(name), records, acks, Origin::Client).await
    }

    /// The same by somebody who knows the topic so.
    pub(super) async fn append(
        &self,
        topic: &TopicImage,
        records: &[(i32, &str)],
        acks: Acks,
        origin: Origin,
    ) -> Vec<Result<Produced, ProduceError>> {
        let mut buffer = BytesMut::new();
        let mut request = Vec::new();
        for (index, value) in records {
            let start = buffer.len();
            let mut batch = BatchBuilder::new(Compression::None);
            let (timestamp, value) = (TimestampMs(1_700_000_000_000), Some(value.as_bytes()));
            batch.push(NewRecord { timestamp, value, ..NewRecord::default() }).unwrap();
            batch.build(&mut buffer).unwrap();
            let partition = PartitionIndex(*index);
            request.push(ProduceBatch { topic, partition, range: start..buffer.len(), tag_filter: 0 });
        }
        self.broker.append(buffer, &request, acks, origin).done().await
    }

    /// The values that a consumer sees here. Of one that was sent again because nobody knew what had become of it, only one.
    pub(super) fn values(&self, name: &str, index: i32) -> Vec<String> {
        let topic = self.topic(name);
        let index = PartitionIndex(index);
        let (mut from, mut found) = (self.broker.ends(&topic, index).unwrap().log_start, Vec::new());
        for _ in 0..MAX_READS {
            let plan = self.broker.read(&topic, index, from, 1 << 20, true, None).unwrap().plan;
            if plan.next == from {
                found.dedup();
                return found;
            }
            from = plan.next;
            let bytes = plan.materialize().unwrap();
            for batch in batches(&bytes) {
                let (_, range) = batch.unwrap();
                let batch = decode_batch(&bytes[range], Default::default()).unwrap();
                let value = |record: duolog_wire::record::Record<'_>| String::from_utf8(record.value.unwrap().to_vec()).unwrap();
                found.extend(batch.records().map(|record| value(record.unwrap())));
            }
        }
        panic!("no end");
    }
}

/// Nodes that run, by id.
pub(super) struct Cluster {
    pub(super) nodes: BTreeMap<i32, Node>,
}

impl Cluster {
    /// Three nodes, all let in.
    pub(super) async fn three() -> Cluster {
        Cluster::three_with(Duration::from_secs(30)).await
    }

    pub(super) async fn three_with(lag: Duration) -> Cluster {
        let first = Site::new(1, &[], lag).start().await;
        let join = [first.site.address.clone()];
        let (second, third) = tokio::join!(Site::new(2, &join, lag).start(), Site::new(3, &join, lag).start());
        let nodes = [first, second, third].map(|node| (node.site.id, node));
        let cluster = Cluster { nodes: nodes.into() };
        cluster.all_let_in().await;
        cluster
    }

    async fn all_let_in(&self) {
        let in_all = |node: &Node| {
            let image = node.broker.image();
            image.nodes.len() == 3 && image.nodes.values().all(|node| node.is_available())
        };
        until("all nodes are let in", || self.nodes.values().all(in_all)).await;
        let voters = |node: &Node| {
            let metadata = node.broker.metadata();
            metadata.quorum().voters.len() == 3 && metadata.has_settled_voters()
        };
        until("all nodes vote", || self.nodes.values().all(voters)).await;
    }

    pub(super) fn any(&self) -> &Node {
        self.nodes.values().next().expect("some node runs")
    }

    pub(super) async fn create(&self, name: &str, partitions: i32, replicas: i32, configs: &[(&str, &str)]) {
        let configs = configs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let topic = NewTopic { partitions, replication_factor: replicas as i16, configs, ..NewTopic::with_defaults(name) };
        let created =
            at_last(async || match self.any().broker.metadata().create_topics(vec![topic.clone()], false).await.pop().unwrap() {
                Err(CreateTopicError::Unavailable(_)) => None,
                done => Some(done),
            });
        let created = created.await;
        assert!(matches!(created, Ok(_) | Err(CreateTopicError::Exists { .. })), "{created:?}");
        until("all nodes know the topic", || self.nodes.values().all(|node| node.broker.image().topic(name).is_some())).await;
        let led = |index| self.nodes.values().any(|node| node.leads(name, index));
        until("every partition is led", || (0..partitions).all(led)).await;
    }

    /// The node that leads the partition.
    pub(super) async fn leader(&self, name: &str, index: i32) -> &Node {
        until("somebody leads", || self.nodes.values().any(|node| node.leads(name, index))).await;
        self.nodes.values().find(|node| node.leads(name, index)).expect("it led just now")
    }

    pub(super) async fn followers(&self, name: &str, index: i32) -> Vec<&Node> {
        let leader = self.leader(name, index).await.id();
        self.nodes.values().filter(|node| node.id() != leader).collect()
    }

    /// Waits until all the replicas that run are in sync, and show all there is.
    pub(super) async fn settled(&self, name: &str, index: i32, records: &[&str]) {
        let all: Vec<i32> = self.nodes.keys().copied().collect();
        let settled = |node: &Node| {
            node.high_watermark(name, index) == node.log_end(name, index)
                && node.values(name, index) == records
                && node.in_sync(name, index) == all
        };
        until("all are in sync and show the same", || self.nodes.values().all(settled)).await;
    }

    pub(super) async fn stop(self) {
        for node in self.nodes.into_values() {
            node.stop().await;
        }
    }
}

/// Asks until there is an answer: on a machine that has much else to do, a controller is lost now and then.
pub(super) async fn at_last<T>(ask: impl AsyncFn() -> Option<T>) -> T {
    for _ in 0..MAX_TRIES {
        if let Some(answer) = ask().await {
            return answer;
        }
    }
    panic!("nobody answers");
}

/// Sets keys of a resource, or takes them back, and waits until all nodes know.
pub(super) async fn configure(node: &Node, resource: ConfigResource, values: &[(&str, Option<&str>)]) {
    let operation = |(key, value): &(&str, Option<&str>)| match value {
        Some(value) => ((*key).to_owned(), ConfigOperation::Set(Some((*value).to_owned()))),
        None => ((*key).to_owned(), ConfigOperation::Delete),
    };
    let update = ConfigUpdate::Incremental(values.iter().map(operation).collect());
    let change = ConfigChange { resource, update };
    let result = at_last(async || match node.broker.metadata().alter_configs(vec![change.clone()], false).await.pop().unwrap() {
        Err(AlterConfigError::Unavailable(_)) => None,
        done => Some(done),
    });
    let result = result.await;
    assert!(result.is_ok(), "{result:?}");
}

/// Sends until it is taken, as a client does that tries again.
pub(super) async fn send_at_last(cluster: &Cluster, name: &str, index: i32, value: &str) -> Offset {
    for _ in 0..MAX_LOOKS {
        let leader = cluster.leader(name, index).await;
        match leader.send(name, index, value, Acks::All).await {
            Ok(produced) => return produced.base_offset,
            Err(
                ProduceError::NotLeader
                | ProduceError::UnknownPartition
                | ProduceError::NotEnoughReplicas { .. }
                | ProduceError::NotEnoughReplicasAfterAppend,
            ) => {
                tokio::time::sleep(LOOK).await;
            }
            Err(error) => panic!("{error}"),
        }
    }
    panic!("nobody takes it");
}
