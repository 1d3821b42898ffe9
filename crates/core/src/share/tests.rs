//! Share-partitions on the real broker: what was acknowledged outlives the process, and everything else is delivered again.

use super::dead_letters::{self, BuryError};
use super::partition::{Burial, Reason};
use super::{Acknowledgement, Acquire, AcquiredRange, Pick, ShareError, ShareGroups, SharePartition};
use crate::broker::{Acks, Broker, BrokerOptions, Origin, ProduceBatch, materialize};
use crate::config::{BrokerConfig, ShareGroupConfig, Source};
use crate::delay::Delays;
use crate::metadata::{
    ConfigChange, ConfigOperation, ConfigResource, ConfigUpdate, NewTopic, SHARE_STATE_TOPIC, TopicImage, TopicReference,
};
use bytes::BytesMut;
use duolog_base::{Offset, PartitionIndex, SystemClock, TimestampMs};
use duolog_sim::SimDisk;
use duolog_wire::record::{BatchBuilder, Compression, DecompressLimits, Header, NewRecord, batches, decode_batch};
use std::path::Path;
use std::sync::Arc;

const TOPIC: &str = "orders";
const RECORDS: i64 = 10;
const LETTERS: &str = "dlq.orders";

async fn open(disk: &SimDisk, directory: &Path) -> Arc<Broker> {
    let set = |key: &str, value: &str| (key.to_owned(), value.to_owned(), Source::Flag);
    let values = vec![set("log.file.bytes", "4194304"), set("share.coordinator.state.topic.num.partitions", "3")];
    let opened = Broker::open(BrokerOptions {
        data_dirs: vec![directory.to_owned()],
        config: BrokerConfig::from_values(values).expect("known keys"),
        disk: Arc::new(disk.clone()),
        clock: Arc::new(SystemClock::default()),
        cluster: None,
    });
    opened.await.expect("a broker")
}

fn start(broker: &Arc<Broker>) -> (Arc<Delays>, Arc<ShareGroups>) {
    let (delays, shares) = (Delays::start(broker), ShareGroups::start(broker));
    shares.bury_by(&delays);
    (delays, shares)
}

/// A node with a topic of ten records.
struct Site {
    directory: tempfile::TempDir,
    disk: SimDisk,
    broker: Arc<Broker>,
    delays: Arc<Delays>,
    shares: Arc<ShareGroups>,
    topic: Arc<TopicImage>,
}

impl Site {
    async fn new() -> Site {
        let (directory, disk) = (tempfile::tempdir().unwrap(), SimDisk::new(1));
        let broker = open(&disk, &directory.path().join("data")).await;
        let topic = NewTopic { partitions: 1, ..NewTopic::with_defaults(TOPIC) };
        let topic = broker.metadata().create_topics(vec![topic], false).await.pop().unwrap().unwrap();
        let (delays, shares) = start(&broker);
        let site = Site { directory, disk, broker, delays, shares, topic };
        site.send(RECORDS).await;
        site
    }

    async fn send(&self, count: i64) {
        let mut batch = BatchBuilder::new(Compression::None);
        for _ in 0..count {
            let (timestamp, value) = (TimestampMs(1_700_000_000_000), Some(&b"value"[..]));
            let headers = &[Header { key: b"own", value: Some(b"header") }];
            batch.push(NewRecord { timestamp, key: Some(b"key"), value, headers }).unwrap();
        }
        let mut buffer = BytesMut::new();
        batch.build(&mut buffer).unwrap();
        let range = 0..buffer.len();
        let batches = [ProduceBatch { topic: &self.topic, partition: PartitionIndex(0), range, tag_filter: 0 }];
        let pending = self.broker.append(buffer, &batches, Acks::All, Origin::Client);
        pending.done().await.pop().unwrap().unwrap();
    }

    /// The process is gone, without a word and with its page cache, and comes back.
    async fn lose_power(self) -> Site {
        let Site { directory, disk, broker, delays, shares, .. } = self;
        disk.crash_after(0);
        shares.close().await;
        delays.close();
        broker.close().await;
        disk.reboot(5);
        drop((shares, delays, broker));
        let broker = open(&disk, &directory.path().join("data")).await;
        let topic = broker.image().topic(TOPIC).cloned().unwrap();
        let (delays, shares) = start(&broker);
        Site { directory, disk, broker, delays, shares, topic }
    }

    async fn stop(self) {
        self.shares.close().await;
        self.delays.close();
        self.broker.close().await;
    }

    fn at(&self, group: &str) -> SharePartition {
        SharePartition { group: Arc::from(group), topic: self.topic.id, partition: PartitionIndex(0) }
    }

    /// As a front end does: where to read, what can be read, and who gets it.
    async fn receive(&self, group: &str, member: &str, max: usize) -> Vec<(i64, i64, i16)> {
        let at = self.at(group);
        let Some(from) = self.shares.next_fetch(&at).await.unwrap() else { return Vec::new() };
        let end = self.broker.high_watermark(&self.topic, PartitionIndex(0)).unwrap();
        let wanted = Acquire { member, window: from..end, max_records: max, lock: None, pick: Pick::All, unwanted: &[] };
        let acquired = self.shares.acquire(&at, wanted).await.unwrap();
        let plain = |AcquiredRange { first, last, delivery_count }: &AcquiredRange| (first.0, last.0, *delivery_count);
        acquired.iter().map(plain).collect()
    }

    async fn say(&self, group: &str, member: &str, first: i64, types: &[i8]) -> Result<(), ShareError> {
        let last = Offset(first + types.len() as i64 - 1);
        let batch = Acknowledgement { first: Offset(first), last, types: types.to_vec() };
        self.shares.acknowledge(&self.at(group), member, &[batch]).await
    }

    async fn configure(&self, group: &str, key: &str, value: &str) {
        let operation = (key.to_owned(), ConfigOperation::Set(Some(value.to_owned())));
        let update = ConfigUpdate::Incremental(vec![operation]);
        let change = ConfigChange { resource: ConfigResource::Group(group.to_owned()), update };
        assert_eq!(self.broker.metadata().alter_configs(vec![change], false).await, [Ok(())]);
    }

    /// Offsets, reasons and contents of the dead letters.
    async fn letters(&self) -> Vec<(String, String, String, Option<Vec<u8>>)> {
        let image = self.broker.image();
        let Some(topic) = image.topic(LETTERS) else { return Vec::new() };
        let plan = self.broker.read(topic, PartitionIndex(0), Offset(0), 1 << 20, true, None).unwrap().plan;
        let bytes = materialize(plan).await.unwrap();
        let mut letters = Vec::new();
        for batch in batches(&bytes) {
            let batch = decode_batch(&bytes[batch.unwrap().1], DecompressLimits::default()).unwrap();
            for record in batch.records().map(Result::unwrap) {
                let text = |name: &str| {
                    let value = record.headers.last_value(name.as_bytes()).flatten().unwrap_or_default();
                    String::from_utf8(value.to_vec()).unwrap()
                };
                assert_eq!((text(dead_letters::TOPIC), text(dead_letters::GROUP)), (TOPIC.to_owned(), "g".to_owned()));
                assert_eq!(text("own").is_empty(), record.key.is_none());
                let (offset, deliveries) = (text(dead_letters::OFFSET), text(dead_letters::DELIVERIES));
                letters.push((offset, deliveries, text(dead_letters::MESSAGE), record.value.map(<[u8]>::to_vec)));
            }
        }
        letters
    }

    async fn until_letters(&self, count: usize) -> Vec<(String, String, String, Option<Vec<u8>>)> {
        loop {
            let letters = self.letters().await;
            if letters.len() >= count {
                return letters;
            }
            tokio::task::yield_now().await;
        }
    }

    async fn make_letters(&self) {
        let configs = [("errors.deadletterqueue.group.enable".to_owned(), "true".to_owned())].into();
        let topic = NewTopic { partitions: 1, configs, ..NewTopic::with_defaults(LETTERS) };
        self.broker.metadata().create_topics(vec![topic], false).await.pop().unwrap().unwrap();
    }

    async fn until_start(&self, group: &str, start: i64) {
        while self.start_offset(group).await != Some(start) {
            tokio::task::yield_now().await;
        }
    }

    async fn start_offset(&self, group: &str) -> Option<i64> {
        self.shares.read_summary(&self.at(group)).await.unwrap().start_offset.map(|offset| offset.0)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_outlives_the_process_and_all_else_is_delivered_again() {
    let site = Site::new().await;
    site.shares.initialize(&site.at("g"), 1, Some(Offset(0))).await.unwrap();
    assert_eq!(site.receive("g", "a", 6).await, [(0, 5, 1)]);
    assert_eq!(site.receive("g", "b", 100).await, [(6, 9, 1)]);
    site.say("g", "a", 0, &[1, 1, 2, 3, 0]).await.unwrap();
    assert_eq!(site.say("g", "b", 0, &[1, 1, 1]).await, Err(ShareError::InvalidRecordState));
    site.say("g", "b", 8, &[1]).await.unwrap();
    let summary = site.shares.read_summary(&site.at("g")).await.unwrap();
    assert_eq!((summary.start_offset, summary.delivery_complete_count), (Some(Offset(2)), 3));

    let site = site.lose_power().await;
    assert_eq!(site.receive("g", "c", 100).await, [(2, 2, 2), (5, 7, 1), (9, 9, 1)]);
    site.say("g", "c", 2, &[1]).await.unwrap();
    site.say("g", "c", 5, &[1, 1, 1]).await.unwrap();
    site.say("g", "c", 9, &[1]).await.unwrap();
    assert_eq!(site.start_offset("g").await, Some(RECORDS));

    let site = site.lose_power().await;
    assert_eq!(site.receive("g", "d", 100).await, []);
    site.send(2).await;
    assert_eq!(site.receive("g", "d", 100).await, [(10, 11, 1)]);
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_begins_where_it_is_configured_to_and_stays_there() {
    let site = Site::new().await;
    site.configure("early", "share.auto.offset.reset", "earliest").await;
    for group in ["early", "late"] {
        site.shares.initialize(&site.at(group), 1, None).await.unwrap();
        assert_eq!(site.start_offset(group).await, None);
    }
    assert_eq!(site.receive("early", "a", 1).await, [(0, 0, 1)]);
    assert_eq!(site.receive("late", "a", 1).await, []);
    assert_eq!(site.start_offset("late").await, Some(RECORDS));
    site.send(1).await;
    let site = site.lose_power().await;
    assert_eq!(site.receive("early", "a", 1).await, [(0, 0, 1)]);
    assert_eq!(site.receive("late", "a", 1).await, [(RECORDS, RECORDS, 1)], "what came meanwhile is not passed over");
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_given_up_becomes_a_dead_letter_once_whatever_ends_in_between() {
    let site = Site::new().await;
    site.configure("g", "errors.deadletterqueue.topic.name", LETTERS).await;
    site.configure("g", "share.delivery.count.limit", "2").await;
    site.shares.initialize(&site.at("g"), 1, Some(Offset(0))).await.unwrap();
    assert_eq!(site.receive("g", "a", 3).await, [(0, 2, 1)]);
    site.say("g", "a", 0, &[3, 1, 2]).await.unwrap();
    assert_eq!(site.receive("g", "a", 1).await, [(2, 2, 2)]);
    site.say("g", "a", 2, &[2]).await.unwrap();
    // There is nowhere to bury them yet: they wait, and others go on.
    assert_eq!(site.receive("g", "a", 1).await, [(3, 3, 1)]);
    assert_eq!(site.start_offset("g").await, Some(0));

    let site = site.lose_power().await;
    assert_eq!(site.receive("g", "b", 1).await, [(3, 3, 1)]);
    site.make_letters().await;
    site.until_start("g", 3).await;
    let letter = |offset: &str, deliveries: &str, why: Reason, value: Option<&[u8]>| {
        (offset.to_owned(), deliveries.to_owned(), why.message().to_owned(), value.map(<[u8]>::to_vec))
    };
    let value = Some(&b"value"[..]);
    let two = [letter("0", "1", Reason::Rejected, value), letter("2", "2", Reason::Attempts, value)];
    assert_eq!(site.until_letters(2).await, two);

    // As a leader does that did not know that the letter was written.
    let burial = Burial { offset: Offset(0), deliveries: 1, reason: None };
    let config = site.broker.image().share_config("g");
    let letters = site.shares.shared.dead_letters.get().unwrap();
    letters.bury(&site.at("g"), 1, burial, &config).await.unwrap();
    assert_eq!(site.letters().await, two);
    letters.bury(&site.at("g"), 2, burial, &config).await.unwrap();
    assert_eq!(site.letters().await.len(), 3, "who begins anew may give it up anew");

    site.configure("g", "errors.deadletterqueue.copy.record.enable", "false").await;
    site.say("g", "b", 3, &[3]).await.unwrap();
    site.until_start("g", 4).await;
    assert_eq!(site.until_letters(4).await[3], letter("3", "1", Reason::Rejected, None));
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_takes_dead_letters_only_if_it_says_so_and_a_group_without_one_has_none() {
    let site = Site::new().await;
    site.configure("g", "errors.deadletterqueue.topic.name", TOPIC).await;
    site.shares.initialize(&site.at("g"), 1, Some(Offset(0))).await.unwrap();
    site.receive("g", "a", 3).await;
    site.say("g", "a", 0, &[3]).await.unwrap();
    let burial = Burial { offset: Offset(0), deliveries: 1, reason: None };
    let letters = site.shares.shared.dead_letters.get().unwrap();
    let bury = async |name: &str| {
        let config = ShareGroupConfig { dead_letter_topic: Some(name.to_owned()), ..ShareGroupConfig::default() };
        letters.bury(&site.at("g"), 1, burial, &config).await
    };
    assert!(matches!(bury(TOPIC).await, Err(BuryError::Name { .. })));
    assert!(matches!(bury(LETTERS).await, Err(BuryError::NoTopic(_))));
    site.broker.metadata().create_topics(vec![NewTopic::with_defaults(LETTERS)], false).await.pop().unwrap().unwrap();
    assert!(matches!(bury(LETTERS).await, Err(BuryError::NotTaken(_))));
    // Whoever wants no dead letters any more is not kept by one that cannot be written.
    site.configure("g", "errors.deadletterqueue.topic.name", "").await;
    site.until_start("g", 1).await;
    assert_eq!(site.letters().await, []);
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_state_that_begins_anew_or_is_deleted_is_forgotten_by_its_leader() {
    let site = Site::new().await;
    let at = site.at("g");
    assert_eq!(site.shares.next_fetch(&at).await, Err(ShareError::GroupIdNotFound));
    site.shares.initialize(&at, 1, Some(Offset(0))).await.unwrap();
    assert_eq!(site.receive("g", "a", 5).await, [(0, 4, 1)]);
    site.shares.initialize(&at, 2, Some(Offset(7))).await.unwrap();
    assert_eq!(site.say("g", "a", 0, &[1]).await, Ok(()), "it lies below the start now");
    assert_eq!(site.receive("g", "a", 5).await, [(7, 9, 1)]);
    assert_eq!(site.shares.initialize(&at, 1, Some(Offset(0))).await, Err(ShareError::FencedStateEpoch));
    site.shares.delete(&at).await.unwrap();
    site.shares.delete(&at).await.unwrap();
    assert_eq!(site.say("g", "a", 7, &[1]).await, Err(ShareError::GroupIdNotFound));
    assert_eq!(site.shares.read_summary(&at).await, Err(ShareError::GroupIdNotFound));
    site.shares.initialize(&at, 1, Some(Offset(3))).await.unwrap();
    let site = site.lose_power().await;
    assert_eq!(site.receive("g", "a", 5).await, [(3, 7, 1)]);
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waits_is_woken_when_records_are_given_back_or_locks_expire() {
    let site = Site::new().await;
    site.configure("g", "share.record.lock.duration.ms", "1000").await;
    site.shares.initialize(&site.at("g"), 1, Some(Offset(0))).await.unwrap();
    let watch = site.shares.watch([site.at("g")]);
    let mut delivered = 0;
    while delivered < 5 {
        match site.receive("g", "a", 100).await.first() {
            None => watch.changed().await,
            Some((first, last, count)) => {
                delivered += 1;
                assert_eq!((*first, *last, *count), (0, RECORDS - 1, delivered));
                // Every second time the lock has to expire.
                if delivered % 2 == 1 {
                    site.shares.release(&site.at("g"), "a", true).unwrap();
                }
            }
        }
    }
    // They are given up, which is stored a moment later.
    while site.start_offset("g").await != Some(RECORDS) {
        tokio::task::yield_now().await;
    }
    assert_eq!(site.receive("g", "a", 100).await, []);
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_that_are_gone_are_passed_over_and_so_are_topics() {
    let site = Site::new().await;
    site.shares.initialize(&site.at("g"), 1, Some(Offset(0))).await.unwrap();
    assert_eq!(site.receive("g", "a", 4).await, [(0, 3, 1)]);
    site.broker.delete_records(&site.topic, PartitionIndex(0), Some(Offset(6))).await.unwrap();
    assert_eq!(site.receive("g", "b", 1).await, [(6, 6, 1)]);
    site.say("g", "a", 0, &[1, 1, 1, 1]).await.unwrap();
    assert_eq!(site.start_offset("g").await, Some(6));
    let gone = TopicReference::Id(site.topic.id);
    site.broker.metadata().delete_topics(vec![gone]).await.pop().unwrap().unwrap();
    assert_eq!(site.shares.next_fetch(&site.at("g")).await, Err(ShareError::UnknownPartition));
    assert_eq!(site.shares.initialize(&site.at("g"), 9, None).await, Err(ShareError::UnknownPartition));
    // The shard is told a moment later.
    while site.shares.read_summary(&site.at("g")).await != Err(ShareError::GroupIdNotFound) {
        tokio::task::yield_now().await;
    }
    let state = site.broker.image().topic(SHARE_STATE_TOPIC).cloned().unwrap();
    assert!(state.internal && state.config.compact && state.partitions.len() == 3);
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn members_that_work_side_by_side_get_every_record_once() {
    const MEMBERS: usize = 6;
    let site = Arc::new(Site::new().await);
    site.send(290).await;
    site.shares.initialize(&site.at("g"), 1, Some(Offset(0))).await.unwrap();
    let work = |member: usize| {
        let site = site.clone();
        async move {
            let (name, mut done) = (format!("m{member}"), Vec::new());
            loop {
                let got = site.receive("g", &name, 7).await;
                if got.is_empty() && site.start_offset("g").await == Some(300) {
                    return done;
                }
                for (first, last, _) in got {
                    // Every third time it gives the first back.
                    let is_reluctant = done.len() % 3 == 2;
                    let mut types = vec![1; (last - first + 1) as usize];
                    if is_reluctant {
                        types[0] = 2;
                    }
                    site.say("g", &name, first, &types).await.unwrap();
                    done.extend(first + i64::from(is_reluctant)..=last);
                }
            }
        }
    };
    let tasks: Vec<_> = (0..MEMBERS).map(|member| tokio::spawn(work(member))).collect();
    let mut done = Vec::new();
    for task in tasks {
        done.extend(task.await.unwrap());
    }
    done.sort_unstable();
    let before = done.len();
    done.dedup();
    assert_eq!(before, done.len(), "a record was accepted twice");
    // One that was given back five times is given up.
    assert!(done.iter().all(|at| (0..300).contains(at)) && done.len() > 200);
    let site = Arc::into_inner(site).expect("all have ended");
    site.stop().await;
}
