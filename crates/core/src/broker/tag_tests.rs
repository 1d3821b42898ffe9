//! A subscription's tags go with a read to the log, which leaves out the batches that cannot match.

use super::*;
use crate::config::BrokerConfig;
use crate::filter::{Subscription, java_hash, tag_word};
use crate::metadata::{NewTopic, TopicImage};
use bytes::BytesMut;
use duolog_base::{SystemClock, TimestampMs};
use duolog_sim::SimDisk;
use duolog_wire::record::{BatchBuilder, Compression, NewRecord, batches};

async fn topic(broker: &Broker, layout: &str) -> Arc<TopicImage> {
    let configs = [("duolog.layout".to_owned(), layout.to_owned())].into();
    let topic = NewTopic { partitions: 1, configs, ..NewTopic::with_defaults(layout) };
    broker.metadata().create_topics(vec![topic], false).await.remove(0).unwrap()
}

/// Appends a batch of one record for each word.
async fn append(broker: &Broker, topic: &TopicImage, words: &[u64]) {
    let mut buffer = BytesMut::new();
    let mut request = Vec::new();
    for word in words {
        let start = buffer.len();
        let mut batch = BatchBuilder::new(Compression::None);
        batch.push(NewRecord { timestamp: TimestampMs(1_700_000_000_000), ..NewRecord::default() }).unwrap();
        batch.build(&mut buffer).unwrap();
        request.push(ProduceBatch { topic, partition: PartitionIndex(0), range: start..buffer.len(), tag_filter: *word });
    }
    let results = broker.append(buffer, &request, Acks::All, Origin::Client).done().await;
    assert!(results.iter().all(Result::is_ok));
}

/// The offsets that one read gives, and where to go on.
fn read(broker: &Broker, topic: &TopicImage, from: i64, subscription: &Subscription) -> (Vec<i64>, Offset) {
    let tags = subscription.tag_filter();
    let plan = broker.read(topic, PartitionIndex(0), Offset(from), 1 << 20, true, tags).unwrap().plan;
    let bytes = plan.materialize().unwrap();
    (batches(&bytes).map(|batch| batch.unwrap().0.base_offset.0).collect(), plan.next)
}

#[tokio::test]
async fn batches_that_cannot_match_are_left_out_where_their_tags_are_known() {
    let place = tempfile::tempdir().unwrap();
    let broker = Broker::open(BrokerOptions {
        data_dirs: vec![place.path().join("data")],
        config: BrokerConfig::from_values(Vec::new()).unwrap(),
        disk: Arc::new(SimDisk::new(1)),
        clock: Arc::new(SystemClock::default()),
        cluster: None,
    })
    .await
    .unwrap();
    let word = |tags: &[&str]| tag_word(tags.iter().map(|tag| java_hash(tag)));
    let words = [word(&["TagA"]), word(&["TagB"]), word(&["TagB", "TagA"]), 0, word(&[]), word(&["TagB"])];
    let [shared, dedicated] = [topic(&broker, "shared").await, topic(&broker, "dedicated").await];
    for topic in [&shared, &dedicated] {
        append(&broker, topic, &words).await;
    }
    let wanted = Subscription::tags("TagA").unwrap();
    assert_eq!(read(&broker, &shared, 0, &wanted), (vec![0, 2, 3], Offset(6)));
    assert_eq!(read(&broker, &shared, 4, &wanted), (Vec::new(), Offset(6)));
    assert_eq!(read(&broker, &dedicated, 0, &wanted), ((0..6).collect(), Offset(6)), "this layout keeps no tags");
    assert_eq!(read(&broker, &shared, 0, &Subscription::all()), ((0..6).collect(), Offset(6)));
    broker.close().await;
}
