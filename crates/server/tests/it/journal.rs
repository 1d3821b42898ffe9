//! What clients know of a run: what they sent, what was acknowledged where, what a reader saw. And the load that fills it.
//!
//! The journal lives in the test, so it survives whatever happens to the server; the simulator's checker judges it.

use duolog_base::{Offset, PartitionNumber, ProducerEpoch, ProducerId, TimestampMs};
use duolog_server::client::{Cluster, FetchedRecord, Fetcher, OffsetQuery, OutgoingRecord, Producer, ProducerSettings};
use duolog_sim::{Crash, Event, Gaps, History, Origin, Promise, Reader, ValueHash};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;

pub(crate) const TOPIC: &str = "journal";
pub(crate) const PARTITIONS: i32 = 4;
const WRITERS: usize = 6;
const RECORDS_A_SEND: usize = 24;
const PADDING_BYTES: usize = 200;
const EPOCH: ProducerEpoch = ProducerEpoch(0);
const FETCH_WAIT: Duration = Duration::from_millis(100);

/// Partition and offset.
type Place = (i32, i64);

pub(crate) struct Journal {
    history: History,
    acked: BTreeSet<Place>,
    /// Records that readers got.
    seen: usize,
    readers: Reader,
}

pub(crate) type Shared = Arc<Mutex<Journal>>;

pub(crate) fn new() -> Shared {
    let history = History::new(Gaps::Illegal);
    Arc::new(Mutex::new(Journal { history, acked: BTreeSet::new(), seen: 0, readers: 0 }))
}

pub(crate) fn lock(journal: &Shared) -> MutexGuard<'_, Journal> {
    journal.lock().unwrap()
}

fn number(partition: i32) -> PartitionNumber {
    PartitionNumber(partition as u32)
}

fn hash(value: &[u8]) -> ValueHash {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

impl Journal {
    pub(crate) fn sent(&mut self, partition: i32, value: &str, producer: ProducerId, sequence: i32) {
        let origin = Some(Origin { producer, epoch: EPOCH, sequence });
        self.history.record(Event::Sent { partition: number(partition), value: hash(value.as_bytes()), origin });
    }

    /// With `flush=sync`, an acknowledgement of every replica means on disk.
    pub(crate) fn acked(&mut self, partition: i32, offset: i64, value: &str) {
        assert!(self.acked.insert((partition, offset)), "offset {offset} of partition {partition} was given twice");
        let (value, promise) = (hash(value.as_bytes()), Promise::Durable);
        self.history.record(Event::Acked { partition: number(partition), offset: Offset(offset), value, promise });
    }

    fn reader(&mut self, starts: impl Iterator<Item = Place>) -> Reader {
        self.readers += 1;
        let reader = self.readers;
        for (partition, offset) in starts {
            self.history.record(Event::Sought { reader, partition: number(partition), offset: Offset(offset) });
        }
        reader
    }

    /// With `flush=sync`, nothing is shown that is not on disk.
    fn polled(&mut self, reader: Reader, records: &[FetchedRecord]) {
        self.seen += records.len();
        for record in records {
            let value = hash(record.value.as_deref().unwrap());
            let (partition, records, promise) =
                (number(record.partition), vec![(Offset(record.offset), value)], Promise::Durable);
            self.history.record(Event::Polled { reader, partition, records, promise });
        }
    }
}

/// Writers and a reader at work on one server.
pub(crate) struct Load {
    runtime: Runtime,
    tasks: Vec<tokio::task::JoinHandle<()>>,
    stop: Arc<AtomicBool>,
    journal: Shared,
}

impl Load {
    /// Starts the load; values carry `round`, so that each is sent by one producer only.
    pub(crate) fn start(address: &str, journal: &Shared, round: usize) -> Load {
        // No second attempt: an answer that does not come leaves the record neither acknowledged nor refused.
        Load::tries_for(Duration::ZERO, address, journal, round)
    }

    /// The same with writers that send again until somebody answers: of a cluster, whose nodes take over from each other.
    pub(crate) fn patient(address: &str, journal: &Shared, round: usize) -> Load {
        Load::tries_for(crate::server::PATIENCE, address, journal, round)
    }

    fn tries_for(patience: Duration, address: &str, journal: &Shared, round: usize) -> Load {
        let write = |stop, producer| write(address.to_owned(), patience, journal.clone(), stop, producer);
        Load::of(address, journal, round, write)
    }

    /// The same with other writers, of whatever protocol.
    pub(crate) fn of<F>(address: &str, journal: &Shared, round: usize, write: impl Fn(Arc<AtomicBool>, ProducerId) -> F) -> Load
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let mut tasks = Vec::new();
        for writer in 0..WRITERS {
            let producer = ProducerId((round * WRITERS + writer) as i64);
            tasks.push(runtime.spawn(write(stop.clone(), producer)));
        }
        tasks.push(runtime.spawn(read(address.to_owned(), journal.clone(), stop.clone())));
        Load { runtime, tasks, stop, journal: journal.clone() }
    }

    /// Returns once `more` further records are acknowledged and a reader has seen some.
    pub(crate) fn wait_for(&self, more: usize) {
        let count = || {
            let journal = lock(&self.journal);
            (journal.acked.len(), journal.seen)
        };
        let (acked, seen) = count();
        let start = Instant::now();
        loop {
            let now = count();
            if now.0 >= acked + more && now.1 > seen {
                return;
            }
            assert!(start.elapsed() < crate::server::PATIENCE, "{now:?} acknowledged and seen, {more} more than {acked} wanted");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Lets every task finish what it is doing; those whose server is gone have finished.
    pub(crate) fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        for task in self.tasks {
            self.runtime.block_on(task).unwrap();
        }
    }
}

async fn write(address: String, patience: Duration, journal: Shared, stop: Arc<AtomicBool>, id: ProducerId) {
    let settings = ProducerSettings { patience, ..Default::default() };
    let Ok(cluster) = Cluster::connect(&[address]).await else { return };
    let Ok(mut producer) = Producer::open(cluster, TOPIC, settings).await else { return };
    let mut next = 0;
    while !stop.load(Ordering::Relaxed) {
        let mut records = Vec::new();
        let mut queues: BTreeMap<i32, VecDeque<String>> = BTreeMap::new();
        for _ in 0..1 + next % RECORDS_A_SEND {
            let partition = (next % PARTITIONS as usize) as i32;
            let value = format!("{id}-{next:-<PADDING_BYTES$}");
            lock(&journal).sent(partition, &value, id, next as i32);
            next += 1;
            queues.entry(partition).or_default().push_back(value.clone());
            let record = OutgoingRecord { value: Some(value.into_bytes()), timestamp: TimestampMs(1), ..Default::default() };
            records.push((partition, record));
        }
        let Ok(deliveries) = producer.send(&records).await else { return };
        let mut journal = lock(&journal);
        for delivery in deliveries {
            let queue = queues.get_mut(&delivery.partition).unwrap();
            for (offset, value) in (delivery.base_offset..).zip(queue.drain(..delivery.records)) {
                journal.acked(delivery.partition, offset, &value);
            }
        }
    }
}

async fn read(address: String, journal: Shared, stop: Arc<AtomicBool>) {
    let Ok(mut cluster) = Cluster::connect(&[address]).await else { return };
    let Ok(topic) = cluster.topic(TOPIC, false).await else { return };
    let partitions: Vec<i32> = (0..PARTITIONS).collect();
    let Ok(ends) = cluster.offsets(&topic, &partitions, OffsetQuery::Latest).await else { return };
    let mut fetcher = Fetcher::default();
    ends.iter().for_each(|(partition, end)| fetcher.seek(&topic, *partition, *end));
    let reader = lock(&journal).reader(ends.into_iter());
    while !stop.load(Ordering::Relaxed) {
        let Ok(records) = fetcher.fetch(&mut cluster, FETCH_WAIT).await else { return };
        lock(&journal).polled(reader, &records);
    }
}

/// After a fault: notes it, reads everything from the beginning, and panics if that contradicts what clients were told.
/// Returns how many records there are, and how many of them were never acknowledged.
pub(crate) fn verify(address: &str, journal: &Shared, fault: Option<Crash>) -> (usize, usize) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut guard = lock(journal);
    let journal = &mut *guard;
    runtime.block_on(async {
        if let Some(fault) = fault {
            journal.history.record(Event::Crashed(fault));
        }
        let mut cluster = Cluster::connect(&[address.to_owned()]).await.unwrap();
        let topic = cluster.topic(TOPIC, false).await.unwrap();
        let mut fetcher = Fetcher::default();
        (0..PARTITIONS).for_each(|partition| fetcher.seek(&topic, partition, 0));
        let reader = journal.reader((0..PARTITIONS).map(|partition| (partition, 0)));
        let (mut stored, mut in_doubt) = (0, 0);
        while !fetcher.is_at_end() {
            let records = fetcher.fetch(&mut cluster, FETCH_WAIT).await.unwrap();
            journal.polled(reader, &records);
            stored += records.len();
            in_doubt += records.iter().filter(|record| !journal.acked.contains(&(record.partition, record.offset))).count();
        }
        for (_, partition, end) in fetcher.positions() {
            journal.history.record(Event::AtEnd { partition: number(partition), end: Offset(end), promise: Promise::Durable });
        }
        assert_eq!(journal.history.check(), []);
        (stored, in_doubt)
    })
}
