//! Scenarios of creating, growing and deleting topics.

use super::*;
use crate::metadata::fold::fold;
use crate::metadata::image::Membership;
use crate::metadata::name::NameProblem;
use std::sync::atomic::{AtomicU64, Ordering};

/// Ids in sequence.
#[derive(Default)]
struct Counted(AtomicU64);

impl IdSource for Counted {
    fn next_id(&self) -> TopicId {
        TopicId(1000 + u128::from(self.0.fetch_add(1, Ordering::Relaxed)))
    }
}

fn cluster(nodes: &[i32]) -> MetadataImage {
    let mut records = vec![MetadataRecord::Cluster { id: "c".to_owned() }];
    records.extend(nodes.iter().map(|id| MetadataRecord::Node {
        id: *id,
        rack: None,
        directories: Vec::new(),
        endpoints: Vec::new(),
    }));
    fold(&MetadataImage::empty(Arc::new(BrokerConfig::default())), &records, 1).unwrap()
}

fn new(name: &str, partitions: i32) -> NewTopic {
    NewTopic { partitions, ..NewTopic::with_defaults(name) }
}

/// Decides and folds: the image after the request, and the answers.
fn create(image: &MetadataImage, topics: Vec<NewTopic>) -> (MetadataImage, Vec<Result<Arc<TopicImage>, CreateTopicError>>) {
    let ids = Counted(AtomicU64::new(u64::from(image.next_partition_number) * 1000));
    let decision = decide_create_topics(image, topics, &ids, &FreeSpace::new());
    (fold(image, &decision.records, image.applied + 1).unwrap(), decision.results)
}

fn refused(image: &MetadataImage, topic: NewTopic) -> CreateTopicError {
    create(image, vec![topic]).1.remove(0).unwrap_err()
}

fn numbers(topic: &TopicImage) -> Vec<u32> {
    topic.partitions.iter().map(|partition| partition.number.0).collect()
}

#[test]
fn the_answer_is_the_topic_as_the_image_will_have_it() {
    let topic = NewTopic { configs: BTreeMap::from([("flush".to_owned(), "async".to_owned())]), ..new("a", 3) };
    let (image, results) = create(&cluster(&[1]), vec![topic, NewTopic::with_defaults("b")]);
    for result in results {
        let answered = result.unwrap();
        assert_eq!(*answered, *image.topics[answered.name.as_str()]);
    }
    assert_eq!(image.topics["b"].partitions.len(), 1, "num.partitions");
}

#[test]
fn partition_numbers_are_never_given_twice() {
    let (image, _) = create(&cluster(&[1]), vec![new("a", 2), new("b", 3)]);
    assert_eq!((numbers(&image.topics["a"]), numbers(&image.topics["b"])), (vec![0, 1], vec![2, 3, 4]));
    let deleted = decide_delete_topics(&image, vec![TopicReference::Name("b".to_owned())]);
    let image = fold(&image, &deleted.records, 3).unwrap();
    let (image, _) = create(&image, vec![new("b", 1)]);
    assert_eq!(numbers(&image.topics["b"]), [5], "the same name again is another topic");
}

#[test]
fn good_and_bad_topics_of_one_request_do_not_disturb_each_other() {
    let (image, results) =
        create(&cluster(&[1]), vec![new("a", 1), new("bad name", 1), new("twice", 1), new("b", 0), new("twice", 1), new("c", 1)]);
    assert_eq!(image.topics.keys().map(|name| &**name).collect::<Vec<_>>(), ["a", "c"]);
    assert_eq!(results[1], Err(CreateTopicError::InvalidName { problem: NameProblem::Character }));
    assert_eq!(results[2], Err(CreateTopicError::Repeated { name: "twice".to_owned() }));
    assert_eq!(results[3], Err(CreateTopicError::InvalidPartitions { count: 0 }));
    assert_eq!(results[4], results[2]);
    assert_eq!(numbers(&image.topics["c"]), [1], "refused topics use up no numbers");
}

#[test]
fn a_name_that_exists_or_collides_is_refused() {
    let (image, results) = create(&cluster(&[1]), vec![new("a.b", 1), new("a_b", 1)]);
    assert_eq!(results[1], Err(CreateTopicError::Collision { name: "a_b".to_owned(), existing: "a.b".to_owned() }));
    assert_eq!(refused(&image, new("a_b", 1)), *results[1].as_ref().unwrap_err());
    assert_eq!(refused(&image, new("a.b", 1)), CreateTopicError::Exists { name: "a.b".to_owned() });
    assert!(create(&image, vec![new("a-b", 1)]).1[0].is_ok(), "a dash collides with nothing");
}

#[test]
fn more_replicas_than_nodes_are_refused() {
    let image = cluster(&[1]);
    let topic = |factor| NewTopic { replication_factor: factor, ..new("a", 1) };
    assert_eq!(refused(&image, topic(3)), CreateTopicError::TooFewNodes { factor: 3, nodes: 1 });
    assert_eq!(refused(&image, topic(0)), CreateTopicError::InvalidReplicationFactor { factor: 0 });
    let (image, _) = create(&cluster(&[1, 2, 3]), vec![NewTopic { replication_factor: 2, ..new("a", 3) }]);
    let mut leaders: Vec<_> = image.topics["a"].partitions.iter().map(|partition| partition.leader.0).collect();
    leaders.sort_unstable();
    assert_eq!(leaders, [1, 2, 3]);
}

/// A cluster whose node decides with these settings.
fn cluster_with(nodes: &[i32], settings: &[(&str, &str)]) -> MetadataImage {
    let values = settings.iter().map(|(key, value)| (key.to_string(), value.to_string(), Source::File));
    let config = Arc::new(BrokerConfig::from_values(values.collect()).unwrap());
    MetadataImage { config, ..cluster(nodes) }
}

/// Replicas and minimum in sync of a topic that says nothing of either, and whether the minimum is the topic's own.
fn safety(image: &MetadataImage, topic: NewTopic) -> (usize, i32, bool) {
    let name = topic.name.clone();
    let (image, results) = create(image, vec![topic]);
    let topic = results[0].as_ref().unwrap();
    assert_eq!(**topic, *image.topics[name.as_str()]);
    (topic.partitions[0].replicas.len(), topic.config.min_insync_replicas, topic.overrides.contains_key(MIN_IN_SYNC))
}

#[test]
fn a_topic_is_as_safe_as_the_cluster_allows_unless_somebody_says_otherwise() {
    let topic = || NewTopic::with_defaults("a");
    assert_eq!(safety(&cluster(&[1]), topic()), (1, 1, false));
    assert_eq!(safety(&cluster(&[1, 2]), topic()), (1, 1, false));
    assert_eq!(safety(&cluster(&[1, 2, 3, 4]), topic()), (3, 2, true));
    assert_eq!(safety(&cluster(&[1, 2, 3]), NewTopic { replication_factor: 2, ..topic() }), (2, 1, false));
    assert_eq!(safety(&cluster(&[1, 2, 3]), NewTopic { replication_factor: 3, ..topic() }), (3, 2, true));
    let set = |settings| safety(&cluster_with(&[1, 2, 3], settings), topic());
    assert_eq!(set(&[(DEFAULT_FACTOR, "1")]), (1, 1, false));
    assert_eq!(set(&[(DEFAULT_FACTOR, "2")]), (2, 1, false));
    assert_eq!(set(&[(MIN_IN_SYNC, "1")]), (3, 1, false));
    assert_eq!(set(&[(MIN_IN_SYNC, "3")]), (3, 3, false));
    let own = BTreeMap::from([(MIN_IN_SYNC.to_owned(), "1".to_owned())]);
    assert_eq!(safety(&cluster(&[1, 2, 3]), NewTopic { configs: own, ..topic() }), (3, 1, true));
}

#[test]
fn only_live_nodes_make_a_topic_safer() {
    let mut image = cluster(&[1, 2, 3]);
    let node = image.nodes.get_mut(&NodeId(3)).unwrap();
    let epoch = duolog_base::BrokerEpoch(1);
    node.membership = Some(Membership { epoch, incarnation: String::new(), fenced: true, stopping: false });
    assert_eq!(safety(&image, NewTopic::with_defaults("a")).0, 1);
}

#[test]
fn the_topic_of_the_groups_has_a_setting_of_its_own() {
    let offsets = || NewTopic::with_defaults(OFFSETS_TOPIC);
    assert_eq!(safety(&cluster(&[1, 2, 3]), offsets()), (3, 2, true));
    assert_eq!(safety(&cluster_with(&[1, 2, 3], &[(OFFSETS_FACTOR, "2")]), offsets()), (2, 1, false));
    assert_eq!(safety(&cluster_with(&[1, 2, 3], &[(OFFSETS_FACTOR, "2")]), NewTopic::with_defaults("a")), (3, 2, true));
    assert_eq!(safety(&cluster_with(&[1], &[("offsets.topic.num.partitions", "2")]), offsets()), (1, 1, false));
}

#[test]
fn replicas_by_hand_must_be_whole_and_name_known_nodes() {
    let image = cluster(&[1]);
    let topic = |assignment: &[(i32, &[i32])]| NewTopic {
        assignment: assignment
            .iter()
            .map(|(index, nodes)| (PartitionIndex(*index), nodes.iter().copied().map(NodeId).collect()))
            .collect(),
        ..NewTopic::with_defaults("a")
    };
    let (good, _) = create(&image, vec![topic(&[(1, &[1]), (0, &[1])])]);
    assert_eq!(good.topics["a"].partitions.len(), 2);
    type Assigned = &'static [(i32, &'static [i32])];
    let cases: [(Assigned, AssignmentProblem); 5] = [
        (&[(0, &[1]), (2, &[1])], AssignmentProblem::Gap { first: 0, missing: 1 }),
        (&[(0, &[1]), (0, &[1])], AssignmentProblem::RepeatedPartition { partition: 0 }),
        (&[(0, &[2])], AssignmentProblem::UnknownNode { partition: 0, node: NodeId(2) }),
        (&[(0, &[1, 1])], AssignmentProblem::RepeatedNode { partition: 0, node: NodeId(1) }),
        (&[(0, &[])], AssignmentProblem::NoReplicas { partition: 0 }),
    ];
    for (assignment, problem) in cases {
        assert_eq!(refused(&image, topic(assignment)), CreateTopicError::Assignment(problem));
    }
    let counted = NewTopic { partitions: 1, ..topic(&[(0, &[1])]) };
    assert_eq!(refused(&image, counted), CreateTopicError::AssignmentAndCount);
}

#[test]
fn one_request_cannot_create_more_than_the_limit() {
    let image = cluster(&[1]);
    let results = create(&image, vec![new("a", MAX_NEW_PARTITIONS as i32 - 1), new("b", 2), new("c", 1)]).1;
    assert!(results[0].is_ok() && results[2].is_ok());
    assert!(matches!(results[1], Err(CreateTopicError::TooManyPartitions { .. })));
    assert!(matches!(refused(&image, new("a", i32::MAX)), CreateTopicError::TooManyPartitions { .. }));
}

#[test]
fn a_topic_grows_but_does_not_shrink() {
    let (image, _) = create(&cluster(&[1]), vec![new("a", 2), new(OFFSETS_TOPIC, 1)]);
    let ask = |topic: &str, total| {
        let request = NewPartitions { topic: topic.to_owned(), total, assignment: Vec::new() };
        decide_create_partitions(&image, vec![request], &FreeSpace::new())
    };
    let grown = fold(&image, &ask("a", 4).records, 3).unwrap();
    assert_eq!(numbers(&grown.topics["a"]), [0, 1, 3, 4]);
    assert_eq!(ask("a", 2).results, [Err(CreatePartitionsError::NoIncrease { name: "a".to_owned(), have: 2, asked: 2 })]);
    assert_eq!(ask("b", 2).results, [Err(CreatePartitionsError::UnknownTopic { name: "b".to_owned() })]);
    assert_eq!(ask(OFFSETS_TOPIC, 2).results, [Err(CreatePartitionsError::Internal { name: OFFSETS_TOPIC.to_owned() })]);
}

#[test]
fn a_topic_is_deleted_by_name_or_id_once() {
    let (image, _) = create(&cluster(&[1]), vec![new("a", 1), new("b", 1), new(OFFSETS_TOPIC, 1)]);
    let name = |name: &str| TopicReference::Name(name.to_owned());
    let decision = decide_delete_topics(&image, vec![name("a"), TopicReference::Id(image.topics["b"].id)]);
    assert!(fold(&image, &decision.records, 3).unwrap().topics.contains_key(OFFSETS_TOPIC));
    assert_eq!(decision.records.len(), 2);
    let decision =
        decide_delete_topics(&image, vec![name("a"), TopicReference::Id(image.topics["a"].id), name("x"), name(OFFSETS_TOPIC)]);
    assert!(decision.records.is_empty());
    assert_eq!(decision.results[0], Err(DeleteTopicError::Repeated));
    assert_eq!(decision.results[2], Err(DeleteTopicError::UnknownName { name: "x".to_owned() }));
    assert_eq!(decision.results[3], Err(DeleteTopicError::Internal { name: OFFSETS_TOPIC.to_owned() }));
}

#[test]
fn deletion_can_be_switched_off() {
    let config = BrokerConfig::from_values(vec![("delete.topic.enable".to_owned(), "false".to_owned(), Source::File)]).unwrap();
    let image = MetadataImage::empty(Arc::new(config));
    let decision = decide_delete_topics(&image, vec![TopicReference::Name("a".to_owned())]);
    assert_eq!(decision.results, [Err(DeleteTopicError::Disabled)]);
}
