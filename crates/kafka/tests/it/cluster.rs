//! Servers of one cluster in this process, on loopback, asked over the wire.

mod coordinators;
mod leaders;
mod nodes;
mod sharing;

use crate::client::Client;
use duolog_base::{NodeId, PartitionIndex, RealDisk, SystemClock};
use duolog_core::broker::{Broker, BrokerOptions};
use duolog_core::config::{BrokerConfig, Source};
use duolog_core::delay::Delays;
use duolog_core::group::GroupCoordinator;
use duolog_core::metadata::{
    ClusterOptions, CreateTopicError, DEFAULT_REPLICA_LAG, DEFAULT_VOTERS, Endpoint, NewTopic, PartitionImage, TopicImage,
};
use duolog_core::share::ShareGroups;
use duolog_kafka::{KafkaServer, Services};
use duolog_net::{Bound, ConnectionLimits, Door, Listener};
use duolog_peer::{Identity, PeerListener, Peers, Switchboard};
use duolog_wire::kafka::messages::metadata_request::{MetadataRequest, MetadataRequestTopic};
use duolog_wire::kafka::messages::metadata_response::MetadataResponse;
use duolog_wire::kafka::{DecodeError, Decoder, EncodeError, Encoder};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::task::JoinHandle;

const SECRET: &[u8] = b"the secret of these tests";
/// What is looked for must be there after so many looks.
const MAX_LOOKS: usize = 3_000;
const LOOK: Duration = Duration::from_millis(10);
const METADATA: i16 = 3;
const METADATA_VERSION: i16 = 12;

/// Waits until it is so; for what other nodes do in their own time.
async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    for _ in 0..MAX_LOOKS {
        if is_so().await {
            return;
        }
        tokio::time::sleep(LOOK).await;
    }
    panic!("in vain: {what}");
}

/// One server of a cluster.
struct Member {
    id: i32,
    broker: Arc<Broker>,
    groups: Arc<GroupCoordinator>,
    share: Arc<ShareGroups>,
    address: SocketAddr,
    peer_address: String,
    listener: PeerListener,
    peers: Arc<Peers>,
    stop: watch::Sender<bool>,
    serving: JoinHandle<std::io::Result<()>>,
    _dir: TempDir,
}

impl Member {
    async fn start(id: i32, join: &[String], settings: &[(&str, &str)]) -> Member {
        let dir = tempfile::tempdir().unwrap();
        let node_id = id.to_string();
        let rack = format!("rack-{id}");
        let fixed = [
            ("node.id", node_id.as_str()),
            ("broker.rack", &rack),
            ("log.file.bytes", "8388608"),
            ("log.disk.reserve.bytes", "0"),
            ("group.initial.rebalance.delay.ms", "0"),
            ("offsets.topic.num.partitions", "3"),
        ];
        let values = fixed.iter().chain(settings).map(|(key, value)| (key.to_string(), value.to_string(), Source::Flag));
        let config = BrokerConfig::from_values(values.collect()).unwrap();
        let identity = Arc::new(Identity::new(NodeId(id), "", SECRET).unwrap());
        let switchboard = Arc::new(Switchboard::default());
        let listener = PeerListener::bind("127.0.0.1:0", identity.clone(), switchboard.clone()).await.unwrap();
        let (peer_address, peers) = (listener.address().to_string(), Peers::new(identity));
        let kafka = Listener { name: "outside".to_owned(), address: SocketAddr::from(([127, 0, 0, 1], 0)), advertised: None };
        let bound = Bound::one(kafka).unwrap();
        let endpoint = |name: &str, scheme: &str, port| Endpoint {
            name: name.to_owned(),
            scheme: scheme.to_owned(),
            host: "127.0.0.1".to_owned(),
            port,
        };
        let cluster = ClusterOptions {
            peers: peers.clone(),
            switchboard,
            address: peer_address.clone(),
            // The first one is nobody's who came by the other.
            endpoints: vec![
                endpoint("inside", "kafka", 1),
                endpoint("outside", "kafka", bound.address().port()),
                endpoint("peer", "peer", listener.address().port()),
            ],
            join: join.to_vec(),
            incarnation: format!("life of {peer_address}"),
            voters: DEFAULT_VOTERS,
            session: Duration::from_millis(1500),
            heartbeat: Duration::from_millis(200),
            replica_lag: DEFAULT_REPLICA_LAG,
            request_limit: Duration::from_secs(20),
        };
        let broker = Broker::open(BrokerOptions {
            data_dirs: vec![dir.path().join("data")],
            config,
            disk: Arc::new(RealDisk),
            clock: Arc::new(SystemClock::default()),
            cluster: Some(cluster),
        });
        let broker = broker.await.unwrap();
        let groups = GroupCoordinator::start(&broker);
        let share = ShareGroups::start(&broker);
        let delays = Delays::start(&broker);
        let services = Arc::new(Services { broker: broker.clone(), groups: groups.clone(), share: share.clone(), delays });
        let server = KafkaServer::listen(vec![bound], services, Door::new(ConnectionLimits::default())).unwrap();
        let address = server.local_addresses()[0];
        let (stop, stopped) = watch::channel(false);
        let serving = tokio::spawn(server.serve(stopped));
        Member { id, broker, groups, share, address, peer_address, listener, peers, stop, serving, _dir: dir }
    }

    /// Stops without a word to the others.
    async fn stop(self) {
        self.stop.send_replace(true);
        self.broker.stop_waiting();
        self.groups.close().await;
        self.serving.await.unwrap().unwrap();
        self.share.close().await;
        self.broker.close().await;
        self.listener.stop().await;
        self.peers.close();
    }

    async fn client(&self) -> Client {
        Client::connect(self.address).await
    }

    fn topic(&self, name: &str) -> Option<Arc<TopicImage>> {
        self.broker.image().topic(name).cloned()
    }

    fn partition(&self, name: &str, index: i32) -> PartitionImage {
        self.topic(name).expect("the topic is known").partition(PartitionIndex(index)).expect("and the partition").clone()
    }
}

/// Three live members.
async fn three(settings: &[(&str, &str)]) -> Vec<Member> {
    some(3, settings).await
}

/// So many live members, with ids from 1 on.
async fn some(count: usize, settings: &[(&str, &str)]) -> Vec<Member> {
    let mut members = vec![Member::start(1, &[], settings).await];
    let join = [members[0].peer_address.clone()];
    for id in 2..=count as i32 {
        members.push(Member::start(id, &join, settings).await);
    }
    until("all are live everywhere", async || members.iter().all(|member| live(member) == count)).await;
    // As long as the set of voters changes, nobody of the old one can be missed.
    let votes = |member: &Member| {
        let metadata = member.broker.metadata();
        metadata.has_settled_voters() && (count < 3 || metadata.quorum().voters.len() == 3)
    };
    until("the voters are settled", async || members.iter().all(votes)).await;
    members
}

fn live(member: &Member) -> usize {
    member.broker.image().nodes.values().filter(|node| node.is_live()).count()
}

async fn stop_all(members: Vec<Member>) {
    for member in members {
        member.stop().await;
    }
}

/// Creates a topic with these replicas of its partitions, and waits until all members know it and its leaders act.
async fn create(members: &[Member], name: &str, replicas: &[&[i32]], configs: &[(&str, &str)]) {
    let nodes = |nodes: &[i32]| nodes.iter().copied().map(NodeId).collect();
    let topic = NewTopic {
        assignment: (0..).map(PartitionIndex).zip(replicas.iter().map(|replicas| nodes(replicas))).collect(),
        configs: configs.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect(),
        ..NewTopic::with_defaults(name)
    };
    // A controller that is overloaded, or has just become one, may not answer in time.
    until("the topic is created", async || {
        match members[0].broker.metadata().create_topics(vec![topic.clone()], false).await.remove(0) {
            Ok(_) | Err(CreateTopicError::Exists { .. }) => true,
            Err(CreateTopicError::Unavailable(_)) => false,
            Err(refusal) => panic!("{refusal}"),
        }
    })
    .await;
    settled(members, name).await;
}

/// Waits until all members know the topic, and its leaders act as such.
async fn settled(members: &[Member], name: &str) {
    until("the topic is led", async || {
        members.iter().all(|member| member.topic(name).is_some())
            && (0..members[0].topic(name).map_or(0, |topic| topic.partitions.len() as i32))
                .all(|index| members.iter().any(|member| member.broker.leads(&member.partition(name, index)).is_some()))
    })
    .await;
}

/// Asks, and reads all of the answer.
async fn ask<T>(
    client: &mut Client,
    key: i16,
    version: i16,
    encode: impl FnOnce(&mut Encoder, i16) -> Result<(), EncodeError>,
    read: impl FnOnce(&mut Decoder<'_>, i16) -> Result<T, DecodeError>,
) -> T {
    let response = client.call(key, version, |e| encode(e, version).unwrap()).await;
    let mut decoder = response.body().1;
    let answer = read(&mut decoder, version).unwrap();
    decoder.finish().unwrap();
    answer
}

/// A node as a client sees it: id, port, rack.
type Shown = (i32, i32, Option<String>);

/// Nodes, controller and the rows of a topic (leader, error, offline replicas), as this member shows them.
async fn metadata(member: &Member, topic: &str) -> (Vec<Shown>, i32, Vec<(i32, i16, Vec<i32>)>) {
    let topics = Some(vec![MetadataRequestTopic { name: Some(topic), ..Default::default() }]);
    let request = MetadataRequest { topics, ..Default::default() };
    let read = |decoder: &mut Decoder<'_>, version| {
        // What is shown outlives the answer's bytes.
        let answer = MetadataResponse::decode(decoder, version)?;
        let shown = |node: &duolog_wire::kafka::messages::metadata_response::MetadataResponseBroker<'_>| {
            assert_eq!(node.host, "127.0.0.1");
            (node.node_id, node.port, node.rack.map(str::to_owned))
        };
        let rows = answer.topics[0].partitions.iter();
        let rows = rows.map(|row| (row.leader_id, row.error_code, row.offline_replicas.clone()));
        Ok((answer.brokers.iter().map(shown).collect(), answer.controller_id, rows.collect()))
    };
    let mut client = member.client().await;
    ask(&mut client, METADATA, METADATA_VERSION, |e, version| request.encode(e, version), read).await
}
