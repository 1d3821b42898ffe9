//! What the clients of several topics know: fed while they work, it judges what the server shows after a fault.
//!
//! Beside the records it follows a group's committed offsets: what a server has confirmed may not go back.

use duolog_base::{Offset, PartitionNumber};
use duolog_server::client::{Cluster, Fetcher, OffsetQuery};
use duolog_sim::{Crash, Event, Gaps, History, Origin, Promise, Reader, ValueHash};
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

const FETCH_WAIT: Duration = Duration::from_millis(100);
/// More partitions than any topic here has; keeps the topics' numbers in the history apart.
const MOST_PARTITIONS: u32 = 100;

/// A topic as a test makes it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Topic {
    pub(super) name: &'static str,
    pub(super) partitions: i32,
    /// What an acknowledgement by all replicas, or being read, promises.
    pub(super) promise: Promise,
}

/// Everything in every partition: what one complete reading has found.
pub(super) type Contents = BTreeMap<(&'static str, i32), Vec<(Offset, ValueHash)>>;

pub(super) struct Ledger {
    topics: &'static [Topic],
    history: History,
    readers: Reader,
    acked_records: usize,
    /// Highest offset that was, and that may have been, committed.
    confirmed: i64,
    attempted: i64,
}

pub(super) fn hash(value: &[u8]) -> ValueHash {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

impl Ledger {
    pub(super) fn new(topics: &'static [Topic]) -> Ledger {
        let history = History::new(Gaps::Illegal);
        Ledger { topics, history, readers: 0, acked_records: 0, confirmed: 0, attempted: 0 }
    }

    fn number(&self, topic: &str, partition: i32) -> PartitionNumber {
        let index = self.topics.iter().position(|known| known.name == topic).unwrap();
        PartitionNumber(index as u32 * MOST_PARTITIONS + partition as u32)
    }

    pub(super) fn sent(&mut self, topic: &str, partition: i32, value: ValueHash, origin: Option<Origin>) {
        let partition = self.number(topic, partition);
        self.history.record(Event::Sent { partition, value, origin });
    }

    /// A batch was acknowledged; the first of its values lies at `base`.
    pub(super) fn acked(&mut self, topic: &str, partition: i32, base: i64, values: &[ValueHash], promise: Promise) {
        let partition = self.number(topic, partition);
        self.acked_records += values.len();
        for (offset, value) in (base..).map(Offset).zip(values.iter().copied()) {
            self.history.record(Event::Acked { partition, offset, value, promise });
        }
    }

    pub(super) fn refused(&mut self, topic: &str, partition: i32, value: ValueHash) {
        let partition = self.number(topic, partition);
        self.history.record(Event::Refused { partition, value });
    }

    pub(super) fn deleted_before(&mut self, topic: &str, partition: i32, start: i64) {
        let partition = self.number(topic, partition);
        self.history.record(Event::LogStart { partition, start: Offset(start) });
    }

    pub(super) fn crashed(&mut self, crash: Crash) {
        self.history.record(Event::Crashed(crash));
    }

    pub(super) fn acked_records(&self) -> usize {
        self.acked_records
    }

    /// The next offset to commit, which from now on may have been committed.
    pub(super) fn commit_attempt(&mut self) -> i64 {
        self.attempted += 1;
        self.attempted
    }

    pub(super) fn committed(&mut self, offset: i64) {
        self.confirmed = self.confirmed.max(offset);
    }

    /// Judges the group's offsets as the server has them now. They are the floor from here on.
    pub(super) fn check_committed(&mut self, offsets: &[i64]) {
        for offset in offsets {
            let range = self.confirmed..=self.attempted;
            assert!(range.contains(offset), "offset {offset} is committed, where {range:?} was confirmed and attempted");
        }
        self.confirmed = offsets.iter().copied().fold(self.confirmed, i64::max);
    }

    /// Reads these topics from their beginnings to their ends and fails the test if anything seen is not possible.
    pub(super) async fn read_all(&mut self, address: &str, topics: &[Topic]) -> Contents {
        let mut cluster = Cluster::connect(&[address.to_owned()]).await.unwrap();
        self.readers += 1;
        let reader = self.readers;
        let mut contents = Contents::new();
        for topic in topics {
            let layout = cluster.topic(topic.name, false).await.unwrap();
            let partitions: Vec<i32> = (0..topic.partitions).collect();
            let mut fetcher = Fetcher::default();
            for (partition, start) in cluster.offsets(&layout, &partitions, OffsetQuery::Earliest).await.unwrap() {
                fetcher.seek(&layout, partition, start);
                contents.insert((topic.name, partition), Vec::new());
                let partition = self.number(topic.name, partition);
                self.history.record(Event::Sought { reader, partition, offset: Offset(start) });
            }
            while !fetcher.is_at_end() {
                for record in fetcher.fetch(&mut cluster, FETCH_WAIT).await.unwrap() {
                    let found = (Offset(record.offset), hash(record.value.as_deref().unwrap()));
                    contents.get_mut(&(topic.name, record.partition)).unwrap().push(found);
                    let (partition, records) = (self.number(topic.name, record.partition), vec![found]);
                    self.history.record(Event::Polled { reader, partition, records, promise: topic.promise });
                }
            }
            for (_, partition, end) in fetcher.positions() {
                let (partition, end) = (self.number(topic.name, partition), Offset(end));
                // Nothing is being written now, so what was only promised to be written has to be there as well.
                for promise in [Promise::Written, topic.promise] {
                    self.history.record(Event::AtEnd { partition, end, promise });
                }
            }
        }
        assert_eq!(self.history.check(), []);
        contents
    }
}
