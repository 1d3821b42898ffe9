//! Several nodes in this process, each with listeners for RocketMQ's clients.

use crate::client::{Client, SUBSCRIPTION, SUSPEND, pull_header};
use crate::node::{FOR_EVER, Served, door, listener as listener_of};
use duolog_base::{NodeId, PartitionIndex, RealDisk, SystemClock};
use duolog_core::broker::{Broker, BrokerOptions};
use duolog_core::config::{BrokerConfig, Source};
use duolog_core::delay::Delays;
use duolog_core::group::{GroupCoordinator, partition_for};
use duolog_core::metadata::{ClusterOptions, DEFAULT_VOTERS, Endpoint, NewTopic};
use duolog_core::share::ShareGroups;
use duolog_peer::{Identity, PeerListener, Peers, Switchboard};
use duolog_rocketmq::{GrpcServer, Node, RocketMqServer};
use duolog_wire::remoting::Command;
use duolog_wire::remoting::body::{ConsumerIdList, from_json};
use duolog_wire::remoting::code::request;
use duolog_wire::remoting::header::{ConsumerGroupRequest, Header, MaxOffsetRequest, OffsetResponse, PullMessageRequest};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tempfile::TempDir;
use tokio::sync::watch::Receiver;
use tokio::sync::{Semaphore, SemaphorePermit};

const SECRET: &[u8] = b"the secret of these tests";
/// What is looked for must be there after so many looks.
const MAX_LOOKS: usize = 3000;
const LOOK: Duration = Duration::from_millis(10);

/// Clusters that run at a time: more of them starve each other on a small machine.
static CLUSTERS: Semaphore = Semaphore::const_new(2);
static LIVES: AtomicU64 = AtomicU64::new(0);

pub async fn until(what: &str, is_so: impl AsyncFn() -> bool) {
    for _ in 0..MAX_LOOKS {
        if is_so().await {
            return;
        }
        tokio::time::sleep(LOOK).await;
    }
    panic!("in vain: {what}");
}

/// A node of a cluster, with a listener for RocketMQ's clients.
pub struct Member {
    pub node: Arc<Node>,
    pub address: SocketAddr,
    pub grpc_address: SocketAddr,
    pub peers: Arc<Peers>,
    listener: PeerListener,
    served: Served,
}

impl Member {
    async fn start(id: i32, join: &[String], replicas: i32, session: Duration) -> Member {
        let dir: TempDir = tempfile::tempdir().unwrap();
        let identity = Arc::new(Identity::new(NodeId(id), "", SECRET).unwrap());
        let switchboard = Arc::new(Switchboard::default());
        let listener = PeerListener::bind("127.0.0.1:0", identity.clone(), switchboard.clone()).await.unwrap();
        let peers = Peers::new(identity);
        let (bound, grpc) = (listener_of("rocketmq"), listener_of("grpc"));
        let (address, grpc_address) = (bound[0].address(), grpc[0].address());
        let endpoint = |scheme: &str, at: SocketAddr| Endpoint {
            name: scheme.to_owned(),
            scheme: scheme.to_owned(),
            host: at.ip().to_string(),
            port: at.port(),
        };
        let cluster = ClusterOptions {
            peers: peers.clone(),
            switchboard,
            address: listener.address().to_string(),
            endpoints: vec![endpoint("rocketmq", address), endpoint("grpc", grpc_address)],
            join: join.to_vec(),
            incarnation: format!("life {}", LIVES.fetch_add(1, Ordering::Relaxed)),
            voters: DEFAULT_VOTERS,
            session,
            heartbeat: Duration::from_millis(100),
            replica_lag: Duration::from_secs(10),
            request_limit: Duration::from_secs(30),
        };
        let values = [
            ("node.id", id.to_string()),
            ("log.file.bytes", "8388608".to_owned()),
            ("log.disk.reserve.bytes", "0".to_owned()),
            ("default.replication.factor", replicas.to_string()),
            ("offsets.topic.replication.factor", replicas.to_string()),
            ("offsets.topic.num.partitions", "8".to_owned()),
            ("share.coordinator.state.topic.replication.factor", replicas.to_string()),
            ("share.coordinator.state.topic.num.partitions", "8".to_owned()),
            ("rocketmq.delay.levels", "0s".to_owned()),
        ];
        let values = values.into_iter().map(|(key, value)| (key.to_owned(), value, Source::Flag)).collect();
        let options = BrokerOptions {
            data_dirs: vec![dir.path().to_owned()],
            config: BrokerConfig::from_values(values).unwrap(),
            disk: Arc::new(RealDisk),
            clock: Arc::new(SystemClock::default()),
            cluster: Some(cluster),
        };
        let broker = Broker::open(options).await.unwrap();
        let groups = GroupCoordinator::start(&broker);
        let delays = Delays::start(&broker);
        let share = ShareGroups::start(&broker);
        let node = Arc::new(Node::new(broker, groups, delays, &share));
        let server = RocketMqServer::listen(bound, Vec::new(), node.clone(), door()).unwrap();
        let grpc = GrpcServer::listen(grpc, node.clone(), door()).unwrap();
        let served = Served::start(node.clone(), dir, |stopped: Receiver<bool>| async move {
            tokio::try_join!(server.serve(stopped.clone()), grpc.serve(stopped)).map(|_| ())
        });
        Member { node, address, grpc_address, peers, listener, served }
    }

    pub fn peer_address(&self) -> String {
        self.listener.address().to_string()
    }

    pub async fn client(&self) -> Client {
        Client::connect(self.address).await
    }

    /// As if the process had ended.
    pub async fn die(self) {
        self.listener.stop().await;
        self.peers.close();
        self.served.stop().await;
    }
}

pub struct Cluster {
    pub members: Vec<Member>,
    _turn: SemaphorePermit<'static>,
}

impl Cluster {
    /// Nodes whose topics have one replica.
    pub async fn start(nodes: i32) -> Cluster {
        Cluster::replicated(nodes, 1, FOR_EVER).await
    }

    /// Nodes whose topics have so many replicas, and that are given up after so long.
    pub async fn replicated(nodes: i32, replicas: i32, session: Duration) -> Cluster {
        let turn = CLUSTERS.acquire().await.unwrap();
        let mut members = vec![Member::start(1, &[], replicas, session).await];
        for id in 2..=nodes {
            let join = [members[0].peer_address()];
            members.push(Member::start(id, &join, replicas, session).await);
        }
        let cluster = Cluster { members, _turn: turn };
        cluster.settle(nodes as usize).await;
        cluster
    }

    async fn settle(&self, live: usize) {
        until("all nodes live", async || {
            self.members.iter().all(|member| {
                let metadata = member.node.broker.metadata();
                // As long as the set of voters changes, nobody of the old one can be missed.
                let votes = metadata.has_settled_voters() && (live < 3 || metadata.quorum().voters.len() >= 3);
                votes && metadata.image().nodes.values().filter(|node| node.is_live()).count() == live
            })
        })
        .await;
    }

    /// A topic with a queue on each of these nodes, in this order, that all nodes know.
    pub async fn topic(&self, name: &str, leaders: &[i32]) {
        self.place(name, leaders.iter().map(|id| vec![NodeId(*id)])).await;
    }

    /// A topic whose queues have their replicas on these nodes.
    pub async fn place(&self, name: &str, places: impl Iterator<Item = Vec<NodeId>>) {
        let assignment = (0..).map(PartitionIndex).zip(places).collect();
        let topic = NewTopic { partitions: -1, replication_factor: -1, assignment, ..NewTopic::with_defaults(name) };
        self.members[0].node.broker.metadata().create_topics(vec![topic], false).await.pop().unwrap().unwrap();
        until("the topic is known", async || self.members.iter().all(|member| member.node.broker.image().topic(name).is_some()))
            .await;
    }

    /// A group whose home is the node.
    pub async fn group_at(&self, id: i32) -> String {
        let offsets = self.members[0].node.broker.metadata().ensure_offsets_topic().await.unwrap();
        let lives_there = |group: &String| {
            let home = partition_for(group, offsets.partitions.len() as i32);
            offsets.partition(home).unwrap().leader == NodeId(id)
        };
        (0..).map(|number| format!("consumers-{number}")).find(lives_there).unwrap()
    }

    pub async fn stop(self) {
        for member in self.members.into_iter().rev() {
            member.die().await;
        }
    }
}

pub async fn members(client: &mut Client, group: &str) -> Option<Vec<String>> {
    let answer = client.ask(request::GET_CONSUMER_LIST_BY_GROUP, ConsumerGroupRequest { consumer_group: group }).await;
    (answer.code == 0).then(|| from_json::<ConsumerIdList>(&answer.body).unwrap().consumer_id_list)
}

pub async fn max_offset(client: &mut Client, topic: &str, queue_id: i32) -> i64 {
    let answer = client.ask(request::GET_MAX_OFFSET, MaxOffsetRequest { topic, queue_id, committed: None }).await;
    assert_eq!(answer.code, 0, "{:?}", answer.remark);
    OffsetResponse::from_fields(&answer.fields).unwrap().offset
}

pub fn holding<'a>(topic: &'a str, queue: i32, from: i64) -> PullMessageRequest<'a> {
    PullMessageRequest { sys_flag: SUSPEND | SUBSCRIPTION, ..pull_header(topic, queue, from) }
}

/// The next request to the client other than notices of who is in its groups, of which it is one.
pub async fn asked_of(client: &mut Client) -> Command {
    loop {
        let told = client.told().await;
        if told.code != request::NOTIFY_CONSUMER_IDS_CHANGED {
            return told;
        }
    }
}
