//! Scenarios of elections and moves of replicas that clients ask for, across restarts.

use super::*;
use duolog_base::{RealDisk, SystemClock};
use std::path::Path;

struct Nobody;

impl ImageListener for Nobody {
    fn image_changed(&self, _: &MetadataImage, _: &MetadataImage) {}
}

async fn open(dir: &Path) -> Arc<Metadata> {
    let config = BrokerConfig::default();
    let options = MetadataOptions {
        dir: dir.join("meta"),
        directories: Vec::new(),
        node: NodeId(config.node_id),
        disk: Arc::new(RealDisk),
        static_config: Arc::new(config),
        listener: Arc::new(Nobody),
        clock: Arc::new(SystemClock::default()),
    };
    Metadata::open(options).await.unwrap()
}

/// Two nodes; as many partitions on the first.
async fn found(dir: &Path, partitions: i32) -> Arc<Metadata> {
    let metadata = open(dir).await;
    let second = MetadataRecord::Node { id: 2, rack: None, directories: Vec::new(), endpoints: Vec::new() };
    metadata.commit(metadata.turn().await, vec![second]).await.unwrap();
    let assignment = (0..partitions).map(|index| (PartitionIndex(index), vec![NodeId(1)])).collect();
    let topic = NewTopic { assignment, ..NewTopic::with_defaults("t") };
    metadata.create_topics(vec![topic], false).await.remove(0).unwrap();
    metadata
}

fn to(index: i32, target: Option<&[i32]>) -> Reassignment {
    let target = target.map(|nodes| nodes.iter().copied().map(NodeId).collect());
    Reassignment { topic: "t".to_owned(), index: PartitionIndex(index), target, same_factor: false }
}

fn numbers(nodes: &[NodeId]) -> Vec<i32> {
    nodes.iter().map(|node| node.0).collect()
}

/// Replicas, those that are added and those that go, of the first partition.
fn replicas(metadata: &Metadata) -> [Vec<i32>; 3] {
    let image = metadata.image();
    let partition = &image.topics["t"].partitions[0];
    [&partition.replicas, &partition.adding, &partition.removing].map(|nodes| numbers(nodes))
}

#[tokio::test]
async fn a_move_goes_on_after_a_restart_and_can_be_taken_back() {
    let dir = tempfile::tempdir().unwrap();
    let metadata = found(dir.path(), 1).await;
    let moved = metadata.reassign(&[to(0, Some(&[2])), to(7, None)]).await;
    assert_eq!(numbers(&moved[0].as_ref().unwrap().replicas), [2, 1]);
    assert_eq!(moved[1], Err(ReassignError::UnknownPartition));
    let under_way = [vec![2, 1], vec![2], vec![1]];
    assert_eq!(replicas(&metadata), under_way);
    metadata.close().await;
    drop(metadata);
    let metadata = open(dir.path()).await;
    assert_eq!(replicas(&metadata), under_way);
    assert!(metadata.reassign(&[to(0, None)]).await[0].is_ok());
    assert_eq!(replicas(&metadata), [vec![1], vec![], vec![]]);
    assert_eq!(metadata.reassign(&[to(0, None)]).await, [Err(ReassignError::NotInProgress)]);
    metadata.close().await;
}

#[tokio::test]
async fn more_partitions_than_one_record_changes_are_all_changed() {
    let dir = tempfile::tempdir().unwrap();
    let count = MAX_CHANGED_PARTITIONS as i32 + 1;
    let metadata = found(dir.path(), count).await;
    let before = metadata.image().applied;
    let all: Vec<_> = (0..count).map(|index| to(index, Some(&[1, 2]))).collect();
    assert!(metadata.reassign(&all).await.iter().all(Result::is_ok));
    let image = metadata.image();
    assert_eq!(image.applied, before + 2);
    assert!(image.topics["t"].partitions.iter().all(|partition| numbers(&partition.adding) == [2]));
    metadata.close().await;
}

#[tokio::test]
async fn an_elected_leader_is_in_the_image() {
    let dir = tempfile::tempdir().unwrap();
    let metadata = found(dir.path(), 1).await;
    let asked = [("t".to_owned(), PartitionIndex(0))];
    assert_eq!(metadata.elect_leaders(&asked, Election::Preferred).await, [Err(ElectLeaderError::NotNeeded)]);
    let mut partition = metadata.image().topics["t"].partitions[0].clone();
    (partition.replicas, partition.in_sync) = (vec![NodeId(2), NodeId(1)], vec![NodeId(1), NodeId(2)]);
    let topic = metadata.image().topics["t"].id;
    let both = super::super::fold::partition_changed(topic, PartitionIndex(0), &partition);
    metadata.commit(metadata.turn().await, vec![both]).await.unwrap();
    assert_eq!(metadata.elect_leaders(&asked, Election::Preferred).await, [Ok(NodeId(2))]);
    let elected = metadata.image().topics["t"].partitions[0].clone();
    assert_eq!((elected.leader, elected.leader_epoch.0), (NodeId(2), partition.leader_epoch.0 + 1));
    metadata.close().await;
    assert_eq!(metadata.reassign(&[to(0, Some(&[1]))]).await, [Err(ReassignError::Unavailable(Unavailable::Stopped))]);
}
