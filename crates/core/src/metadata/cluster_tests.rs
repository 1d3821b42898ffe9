//! Scenarios of several nodes over the loopback interface: joining, requests anywhere, lost leaders and majorities, restarts, partitions.

use super::raft::LogLimits;
use super::*;
use crate::config::{BrokerConfig, Source};
use bytes::Bytes;
use duolog_base::{DirectoryId, NodeId, RealDisk, SystemClock};
use duolog_peer::{CallError, CallKind, Identity, PeerListener, Peers, Purpose, Switchboard};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tempfile::TempDir;

const SECRET: &[u8] = b"the secret of these tests";
/// What is looked for must be there after so many looks.
const MAX_LOOKS: usize = 3000;
const LOOK: Duration = Duration::from_millis(10);
/// How long a request goes on, in scenarios where it succeeds, and where it cannot.
const PATIENT: Duration = Duration::from_secs(30);
const IMPATIENT: Duration = Duration::from_millis(1500);
/// How long a member may be silent, in scenarios where nobody waits for it to be over, and where it is to last.
const SESSION: Duration = Duration::from_secs(1);
const LONG_SESSION: Duration = Duration::from_secs(30);
const LIMITS: LogLimits = LogLimits { segment_bytes: 1 << 20, snapshot_after_bytes: 8 << 20 };
/// So small that the log is soon replaced by a snapshot.
const SMALL: LogLimits = LogLimits { segment_bytes: 4_000, snapshot_after_bytes: 10_000 };

static INCARNATIONS: AtomicU64 = AtomicU64::new(0);

struct Deaf;

impl ImageListener for Deaf {
    fn image_changed(&self, _old: &MetadataImage, _new: &MetadataImage) {}
}

/// A place where a node runs, and runs again.
struct Site {
    id: i32,
    dir: TempDir,
    address: String,
    join: Vec<String>,
    limits: LogLimits,
    request_limit: Duration,
    session: Duration,
}

impl Site {
    fn new(id: i32, join: &[String], limits: LogLimits) -> Site {
        let (dir, address) = (tempfile::tempdir().unwrap(), "127.0.0.1:0".to_owned());
        Site { id, dir, address, join: join.to_vec(), limits, request_limit: PATIENT, session: SESSION }
    }

    fn options(&self) -> MetadataOptions {
        options(self.id, self.dir.path())
    }

    async fn start(mut self) -> Node {
        let identity = Arc::new(Identity::new(NodeId(self.id), "", SECRET).unwrap());
        let switchboard = Arc::new(Switchboard::default());
        let listener = PeerListener::bind(&self.address, identity.clone(), switchboard.clone()).await.unwrap();
        self.address = listener.address().to_string();
        let peers = Peers::new(identity);
        let cluster = ClusterOptions {
            peers: peers.clone(),
            switchboard,
            address: self.address.clone(),
            endpoints: Vec::new(),
            join: self.join.clone(),
            incarnation: format!("life {}", INCARNATIONS.fetch_add(1, Ordering::Relaxed)),
            voters: DEFAULT_VOTERS,
            session: self.session,
            heartbeat: Duration::from_millis(200),
            replica_lag: DEFAULT_REPLICA_LAG,
            request_limit: self.request_limit,
        };
        let metadata = Metadata::open_in_cluster_with_limits(self.options(), cluster, self.limits).await.unwrap();
        Node { site: self, metadata, peers, listener }
    }
}

fn options(id: i32, dir: &Path) -> MetadataOptions {
    let config = BrokerConfig::from_values(vec![("node.id".to_owned(), id.to_string(), Source::Flag)]).unwrap();
    let directory = NodeDirectory { id: DirectoryId(100 + id as u128), path: PathBuf::from("/data") };
    MetadataOptions {
        dir: dir.join("meta"),
        directories: vec![directory],
        node: NodeId(id),
        disk: Arc::new(RealDisk),
        static_config: Arc::new(config),
        listener: Arc::new(Deaf),
        clock: Arc::new(SystemClock::default()),
    }
}

/// A running node.
struct Node {
    site: Site,
    metadata: Arc<Metadata>,
    peers: Arc<Peers>,
    listener: PeerListener,
}

impl Node {
    fn id(&self) -> NodeId {
        NodeId(self.site.id)
    }

    async fn stop(self) -> Site {
        self.metadata.close().await;
        self.listener.stop().await;
        self.peers.close();
        self.site
    }

    async fn create(&self, name: &str) -> Result<Arc<TopicImage>, CreateTopicError> {
        let topic = NewTopic { partitions: 2, ..NewTopic::with_defaults(name) };
        self.metadata.create_topics(vec![topic], false).await.pop().unwrap()
    }

    fn knows(&self, name: &str) -> bool {
        self.metadata.image().topic(name).is_some()
    }

    fn leads(&self) -> bool {
        self.metadata.quorum().leader == Some(self.id())
    }

    fn voters(&self) -> Vec<i32> {
        self.metadata.quorum().voters.iter().map(|node| node.0).collect()
    }
}

async fn until(what: &str, is_so: impl Fn() -> bool) {
    for _ in 0..MAX_LOOKS {
        if is_so() {
            return;
        }
        tokio::time::sleep(LOOK).await;
    }
    panic!("in vain: {what}");
}

/// Three nodes, all voters.
async fn three(limits: LogLimits) -> [Node; 3] {
    three_with(limits, PATIENT).await
}

async fn three_with(limits: LogLimits, request_limit: Duration) -> [Node; 3] {
    three_of(|id, join| Site { request_limit, ..Site::new(id, join, limits) }).await
}

async fn three_of(site: impl Fn(i32, &[String]) -> Site) -> [Node; 3] {
    let first = site(1, &[]).start().await;
    let join = [first.site.address.clone()];
    let (second, third) = tokio::join!(site(2, &join).start(), site(3, &join).start());
    let nodes = [first, second, third];
    // As long as the set of voters changes, the first one alone is a majority that is needed.
    until("three voters", || nodes.iter().all(|node| node.voters() == [1, 2, 3])).await;
    nodes
}

async fn stop_all(nodes: impl IntoIterator<Item = Node>) {
    for node in nodes {
        node.stop().await;
    }
}

/// The node that leads, and the others.
fn split(nodes: [Node; 3]) -> (Node, [Node; 2]) {
    let mut nodes: Vec<Node> = nodes.into();
    let leader = nodes.iter().position(Node::leads).expect("somebody leads");
    let leader = nodes.remove(leader);
    (leader, nodes.try_into().ok().expect("two are left"))
}

/// A connection that is cut ends a moment later; nothing of what one says reaches the other after this.
async fn until_cut(from: &Node, to: &Node) {
    for _ in 0..MAX_LOOKS {
        let called = from.peers.call(to.id(), Purpose::CONTROL, CallKind(0), Bytes::new(), IMPATIENT).await;
        if matches!(called, Err(CallError::Unreachable { .. })) {
            return;
        }
        tokio::time::sleep(LOOK).await;
    }
    panic!("the nodes can still talk");
}

/// Creates a topic at a node as a client would, that tries again after what may pass.
async fn create_at_last(node: &Node, name: &str) {
    for _ in 0..MAX_LOOKS {
        match node.create(name).await {
            Ok(_) | Err(CreateTopicError::Exists { .. }) => return,
            Err(CreateTopicError::Unavailable(Unavailable::NotController | Unavailable::TimedOut)) => {}
            Err(error) => panic!("{error}"),
        }
    }
    panic!("no leader was found");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_nodes_become_a_cluster_and_each_sees_what_it_asked_for() {
    let nodes = three(LIMITS).await;
    for (node, name) in nodes.iter().zip(["a", "b", "c"]) {
        node.create(name).await.unwrap();
        assert!(node.knows(name), "the answer comes after this node's own image has it");
    }
    let exists = nodes[2].create("a").await;
    assert_eq!(exists, Err(CreateTopicError::Exists { name: "a".to_owned() }));
    let ids: Vec<_> = [&nodes[0], &nodes[1], &nodes[2]].map(|node| node.metadata.allocate_producer_ids(10)).into();
    let mut ranges = Vec::new();
    for range in ids {
        ranges.push(range.await.unwrap().start);
    }
    ranges.sort_unstable();
    assert_eq!(ranges, [0, 10, 20]);
    until("one image", || nodes.iter().all(|node| node.metadata.image().topics == nodes[0].metadata.image().topics)).await;
    let cluster = nodes[0].metadata.image().cluster_id.clone();
    assert!(nodes.iter().all(|node| node.metadata.image().cluster_id == cluster));
    let quorum = nodes[1].metadata.describe_quorum().await.unwrap();
    let seen =
        |member: &QuorumMember| member.log_end.is_some() && (member.last_fetch.is_some() || Some(member.node) == quorum.leader);
    assert!(quorum.members.len() == 3 && quorum.members.iter().all(seen), "{quorum:?}");
    stop_all(nodes).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_requests_at_all_nodes_at_once_are_each_done_once() {
    let nodes = three(LIMITS).await;
    let mut tasks = Vec::new();
    for node in &nodes {
        for number in 0..10 {
            let metadata = node.metadata.clone();
            tasks.push(tokio::spawn(async move {
                // All three ask for the same ten topics.
                let topic = NewTopic { partitions: 3, ..NewTopic::with_defaults(&format!("t-{number}")) };
                metadata.create_topics(vec![topic], false).await.pop().unwrap()
            }));
        }
    }
    let mut created = 0;
    for task in tasks {
        match task.await.unwrap() {
            Ok(_) => created += 1,
            Err(error) => assert!(matches!(error, CreateTopicError::Exists { .. }), "{error}"),
        }
    }
    assert_eq!(created, 10);
    assert_eq!(nodes[0].metadata.image().next_partition_number, 30);
    stop_all(nodes).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_leader_is_replaced_and_finds_what_it_missed_when_it_comes_back() {
    let nodes = three(LIMITS).await;
    nodes[1].create("before").await.unwrap();
    let (leader, others) = split(nodes);
    let site = leader.stop().await;
    create_at_last(&others[0], "after").await;
    assert!(others[0].knows("before") && others[0].knows("after"));
    until("the other one has it, too", || others[1].knows("after")).await;
    let back = site.start().await;
    assert!(back.knows("before") && back.knows("after"));
    create_at_last(&back, "again").await;
    stop_all(others.into_iter().chain([back])).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_majority_changes_are_refused_and_reads_go_on() {
    let nodes = three_with(LIMITS, IMPATIENT).await;
    nodes[0].create("kept").await.unwrap();
    let (leader, [second, third]) = split(nodes);
    until("all have it", || second.knows("kept")).await;
    let (first_site, third_site) = (leader.stop().await, third.stop().await);
    let refused = second.create("refused").await;
    let retriable = [Unavailable::NotController, Unavailable::TimedOut].map(|error| Err(CreateTopicError::Unavailable(error)));
    assert!(retriable.contains(&refused), "{refused:?}");
    assert!(second.knows("kept"));
    let (first, third) = tokio::join!(first_site.start(), third_site.start());
    create_at_last(&second, "accepted").await;
    assert!(!first.knows("refused") && first.knows("kept") && third.knows("kept"));
    stop_all([first, second, third]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_nodes_restart_and_nothing_is_lost() {
    let nodes = three(LIMITS).await;
    for number in 0..6 {
        nodes[number % 3].create(&format!("t-{number}")).await.unwrap();
    }
    let mut sites = Vec::new();
    for node in nodes {
        sites.push(node.stop().await);
    }
    let [first, second, third]: [Site; 3] = sites.try_into().ok().unwrap();
    let (first, second, third) = tokio::join!(first.start(), second.start(), third.start());
    for node in [&first, &second, &third] {
        assert!((0..6).all(|number| node.knows(&format!("t-{number}"))));
    }
    stop_all([first, second, third]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_is_cut_off_acknowledges_nothing_and_follows_when_it_is_back() {
    let (leader, others) = split(three_with(LIMITS, IMPATIENT).await);
    let cut = |cut: bool| {
        for other in &others {
            leader.peers.cut(other.id(), cut);
            other.peers.cut(leader.id(), cut);
        }
    };
    cut(true);
    for other in &others {
        until_cut(&leader, other).await;
        until_cut(other, &leader).await;
    }
    let (alone, ()) = tokio::join!(leader.create("alone"), create_at_last(&others[0], "together"));
    assert!(alone.is_err() && !leader.knows("alone") && !leader.knows("together"));
    until("one of the others leads", || others.iter().any(Node::leads)).await;
    assert!(!others[0].knows("alone"));
    cut(false);
    until("the old leader follows", || leader.knows("together")).await;
    create_at_last(&leader, "healed").await;
    until("one image", || others.iter().all(|node| node.metadata.image().topics == leader.metadata.image().topics)).await;
    assert!(!leader.knows("alone"), "what it could not commit was decided on a state that others have changed");
    stop_all(others.into_iter().chain([leader])).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_lags_behind_or_comes_new_catches_up_by_a_snapshot() {
    let (leader, [second, third]) = split(three(SMALL).await);
    let site = third.stop().await;
    let journal = |site: &Site| site.dir.path().join("meta/journal-00000000000000000000");
    let mut rounds = 0;
    while journal(&leader.site).exists() || journal(&second.site).exists() {
        assert!(rounds < 3000, "no snapshot after so many changes");
        leader.create(&format!("t-{rounds}")).await.unwrap();
        rounds += 1;
    }
    let back = site.start().await;
    let fourth = Site::new(4, std::slice::from_ref(&leader.site.address), SMALL).start().await;
    for node in [&back, &fourth] {
        assert!((0..rounds).all(|number| node.knows(&format!("t-{number}"))));
    }
    assert_eq!(fourth.voters(), [1, 2, 3], "there are enough voters");
    // What came as a snapshot is also there after a restart.
    let fourth = fourth.stop().await.start().await;
    assert!(fourth.knows("t-0"));
    create_at_last(&fourth, "more").await;
    stop_all([leader, second, back, fourth]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn voters_are_removed_and_added_while_it_runs() {
    let nodes = three(LIMITS).await;
    let fourth = Site::new(4, std::slice::from_ref(&nodes[1].site.address), LIMITS).start().await;
    assert_eq!(fourth.metadata.add_voter(NodeId(9)).await, Err(ChangeVotersError::UnknownNode { node: NodeId(9) }));
    let (leader, [second, third]) = split(nodes);
    let gone = third.id();
    third.stop().await;
    leader.metadata.remove_voter(gone).await.unwrap();
    // The observer takes the free place by itself.
    until("three voters again", || leader.voters().len() == 3 && leader.voters().contains(&4)).await;
    assert!(!leader.voters().contains(&gone.0));
    let fifth = Site::new(5, std::slice::from_ref(&fourth.site.address), LIMITS).start().await;
    fifth.metadata.add_voter(NodeId(5)).await.unwrap();
    until("four voters", || second.voters().len() == 4).await;
    // The leader itself can go, too.
    second.metadata.remove_voter(leader.id()).await.unwrap();
    leader.stop().await;
    create_at_last(&fifth, "after").await;
    assert_eq!(fifth.voters().len(), 3);
    stop_all([second, fourth, fifth]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_was_alone_keeps_its_data_when_others_come() {
    let site = Site::new(1, &[], LIMITS);
    let alone = Metadata::open(site.options()).await.unwrap();
    alone.ensure_topic("old").await.unwrap();
    let cluster = alone.image().cluster_id.clone();
    alone.close().await;
    drop(alone);
    let first = site.start().await;
    assert_eq!(first.metadata.image().cluster_id, cluster);
    let join = [first.site.address.clone()];
    let (second, third) = tokio::join!(Site::new(2, &join, LIMITS).start(), Site::new(3, &join, LIMITS).start());
    until("three voters", || [&second, &third].iter().all(|node| node.voters() == [1, 2, 3])).await;
    assert!(second.knows("old") && third.knows("old"));
    let site = first.stop().await;
    create_at_last(&second, "new").await;
    let refused = Metadata::open(site.options()).await;
    assert!(matches!(refused, Err(MetadataOpenError::NotAlone { .. })), "it may not decide alone any more");
    stop_all([second, third]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_voter_that_has_lost_its_disk_begins_anew() {
    let (leader, [second, third]) = split(three(LIMITS).await);
    leader.create("kept").await.unwrap();
    let mut site = third.stop().await;
    site.dir = tempfile::tempdir().unwrap();
    site.join = vec![second.site.address.clone()];
    let third = site.start().await;
    assert!(third.knows("kept"));
    until("it votes again", || leader.voters().len() == 3 && third.voters().len() == 3).await;
    stop_all([leader, second, third]).await;
}

fn fenced(watcher: &Node, id: i32) -> Option<bool> {
    let image = watcher.metadata.image();
    image.nodes.get(&NodeId(id)).and_then(|node| node.membership.as_ref().map(|membership| membership.fenced))
}

fn beat(node: &Node) -> tokio::task::JoinHandle<()> {
    let metadata = node.metadata.clone();
    tokio::spawn(async move {
        loop {
            let _ = metadata.heartbeat(false).await;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_whose_address_refuses_connections_is_fenced_before_one_that_is_only_silent() {
    let nodes = three_of(|id, join| Site { session: LONG_SESSION, ..Site::new(id, join, LIMITS) }).await;
    let beats = nodes.each_ref().map(beat);
    until("all are in", || nodes.iter().all(|node| (1..=3).all(|id| fenced(node, id) == Some(false)))).await;
    until("somebody leads", || nodes.iter().any(Node::leads)).await;
    let mut nodes = Vec::from(nodes);
    let leader = nodes.remove(nodes.iter().position(Node::leads).expect("it led just now"));
    let [silent, ended] = <[Node; 2]>::try_from(nodes).ok().expect("two are left");
    let (silent_id, ended_id) = (silent.site.id, ended.site.id);
    // Both have beaten for the last time when the process of one of them ends.
    [silent_id, ended_id].iter().for_each(|id| beats[*id as usize - 1].abort());
    ended.stop().await;
    until("the one that has ended is fenced", || fenced(&leader, ended_id) == Some(true)).await;
    assert_eq!(fenced(&leader, silent_id), Some(false), "its session is not over yet");
    beats.iter().for_each(|beat| beat.abort());
    stop_all([leader, silent]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_are_let_in_by_their_heartbeats_and_fenced_when_they_are_silent() {
    let nodes = three(LIMITS).await;
    until("all are registered, and fenced at first", || (1..=3).all(|id| fenced(&nodes[2], id) == Some(true))).await;
    let beats = nodes.each_ref().map(beat);
    until("all are in", || (1..=3).all(|id| fenced(&nodes[0], id) == Some(false))).await;
    let silent = usize::from(nodes[0].leads());
    beats[silent].abort();
    let id = nodes[silent].site.id;
    until("the silent one is fenced", || fenced(&nodes[2], id) == Some(true)).await;
    assert!(nodes[silent].metadata.heartbeat(false).await.is_ok());
    until("it is let in again", || fenced(&nodes[2], id) == Some(false)).await;
    // Another life of the node ends this one.
    let registration = Registration {
        node: NodeId(id),
        incarnation: "another".to_owned(),
        rack: None,
        directories: nodes[silent].site.options().directories,
        endpoints: Vec::new(),
    };
    let next = nodes[2].metadata.register_member(&registration).await.unwrap();
    let over = nodes[silent].metadata.heartbeat(false).await;
    assert!(matches!(over, Err(MembershipError::StaleEpoch { current, .. }) if current == next), "{over:?}");
    beats.iter().for_each(|beat| beat.abort());
    stop_all(nodes).await;
}
