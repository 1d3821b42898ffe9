//! RocketMQ's gRPC clients under `kill -9`: what was acknowledged to senders is there, what consumers have not acknowledged comes
//! again, and what they have does not.

use super::{acks_before_fault, rounds};
use crate::grpc::{GROUP, GrpcClient, LISTENER, Received, grpc_address};
use crate::journal::{self, Load, PARTITIONS, Shared, TOPIC, lock, verify};
use crate::server::{PATIENCE, Server};
use duolog_base::ProducerId;
use duolog_server::client::Cluster;
use duolog_sim::Crash;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tempfile::tempdir;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

const ROUNDS: usize = 3;
const MOST_MESSAGES: usize = 5;
const PADDING_BYTES: usize = 100;
const SENDERS: usize = 3;
const CONSUMERS: usize = 2;
const BATCH: i32 = 16;
/// Once consumers are told so, they do not acknowledge one message in so many.
const KEPT: usize = 5;
const ACKS_BEFORE_KEEPING: usize = 200;
const KEPT_BEFORE_KILL: usize = 10;

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

/// The next bodies of a sender, and where to.
fn bodies(id: ProducerId, next: usize) -> Vec<(i32, String)> {
    let numbers = next..next + 1 + next % MOST_MESSAGES;
    numbers.map(|number| ((number % PARTITIONS as usize) as i32, format!("{id}-{number:-<PADDING_BYTES$}"))).collect()
}

async fn write_journal(address: String, journal: Shared, stop: Arc<AtomicBool>, id: ProducerId) {
    let Ok(mut client) = GrpcClient::connect(&address, TOPIC).await else { return };
    let mut next = 0;
    while !stop.load(Ordering::Relaxed) {
        let bodies = bodies(id, next);
        for (queue, body) in &bodies {
            lock(&journal).sent(*queue, body, id, next as i32);
            next += 1;
        }
        let Ok(offsets) = client.send(&bodies).await else { return };
        let mut journal = lock(&journal);
        for ((queue, body), offset) in bodies.iter().zip(offsets) {
            journal.acked(*queue, offset, body);
        }
    }
}

#[test]
fn nothing_acknowledged_over_grpc_is_lost_or_changed_by_kill_9() {
    let directory = tempdir().unwrap();
    let journal = journal::new();
    let mut server = Server::start_with(directory.path(), &LISTENER);
    server.run(&["topic", "create", TOPIC, "-p", &PARTITIONS.to_string()]);
    for round in 0..rounds(ROUNDS) {
        let address = grpc_address(&server);
        let load = Load::of(&server.kafka, &journal, round, |stop, id| write_journal(address.clone(), journal.clone(), stop, id));
        load.wait_for(acks_before_fault(round));
        server.kill();
        load.stop();
        server = Server::start_with(directory.path(), &LISTENER);
        let (records, in_doubt) = verify(&server.kafka, &journal, Some(Crash::Kill));
        println!("round {round}: {records} messages, {in_doubt} of them never acknowledged");
    }
    server.stop();
}

/// Queue and offset.
type Place = (i32, i64);

/// What clients know.
#[derive(Default)]
struct Book {
    /// Messages whose sender had its answer, and those that were received.
    known: BTreeMap<Place, String>,
    /// Messages of which consumers have said that they are done with, answered or not.
    given_up: BTreeSet<Place>,
    /// Those of which the consumers had their answer.
    acknowledged: BTreeSet<Place>,
    /// Received and not acknowledged, on purpose.
    kept: usize,
    is_keeping: bool,
}

impl Book {
    fn learn(&mut self, place: Place, body: &str) {
        let known = self.known.entry(place).or_insert_with(|| body.to_owned());
        assert_eq!(known, body, "another message at {place:?}");
    }

    /// Whether the consumer is to acknowledge it.
    fn received(&mut self, message: &Received) -> bool {
        let place = (message.queue, message.offset);
        self.learn(place, &message.body);
        if self.is_keeping && (message.offset as usize).is_multiple_of(KEPT) {
            self.kept += 1;
            return false;
        }
        self.given_up.insert(place);
        true
    }

    /// Messages that must come again.
    fn owed(&self) -> impl Iterator<Item = (&Place, &String)> {
        self.known.iter().filter(|(place, _)| !self.given_up.contains(place))
    }
}

/// Senders and consumers at work on one server.
struct Work {
    runtime: Runtime,
    tasks: Vec<JoinHandle<()>>,
    stop: Arc<AtomicBool>,
    book: Arc<Mutex<Book>>,
}

impl Work {
    fn start(server: &Server, book: &Arc<Mutex<Book>>, round: usize) -> Work {
        let (runtime, stop) = (runtime(), Arc::new(AtomicBool::new(false)));
        let mut tasks = Vec::new();
        for sender in 0..SENDERS {
            let id = ProducerId((round * SENDERS + sender) as i64);
            tasks.push(runtime.spawn(send(grpc_address(server), book.clone(), stop.clone(), id)));
        }
        for _ in 0..CONSUMERS {
            tasks.push(runtime.spawn(consume(grpc_address(server), book.clone(), stop.clone())));
        }
        Work { runtime, tasks, stop, book: book.clone() }
    }

    fn wait_until(&self, what: &str, is_reached: impl Fn(&Book) -> bool) {
        let start = Instant::now();
        while !is_reached(&self.book.lock().unwrap()) {
            assert!(start.elapsed() < PATIENCE, "waited for {what}");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn end(self) {
        self.stop.store(true, Ordering::Relaxed);
        for task in self.tasks {
            self.runtime.block_on(task).unwrap();
        }
    }
}

async fn send(address: String, book: Arc<Mutex<Book>>, stop: Arc<AtomicBool>, id: ProducerId) {
    let Ok(mut client) = GrpcClient::connect(&address, TOPIC).await else { return };
    let mut next = 0;
    while !stop.load(Ordering::Relaxed) {
        let bodies = bodies(id, next);
        next += bodies.len();
        let Ok(offsets) = client.send(&bodies).await else { return };
        let mut book = book.lock().unwrap();
        bodies.iter().zip(offsets).for_each(|((queue, body), offset)| book.learn((*queue, offset), body));
    }
}

async fn consume(address: String, book: Arc<Mutex<Book>>, stop: Arc<AtomicBool>) {
    let Ok(mut client) = GrpcClient::connect(&address, TOPIC).await else { return };
    while !stop.load(Ordering::Relaxed) {
        let Ok(messages) = client.receive(BATCH, 1).await else { return };
        for message in messages {
            if !book.lock().unwrap().received(&message) {
                continue;
            }
            let Ok(()) = client.acknowledge(&message).await else { return };
            book.lock().unwrap().acknowledged.insert((message.queue, message.offset));
        }
    }
}

/// The offsets of the group as they are stored, by queue: Kafka's protocol does not tell of those that are about to be.
async fn stored(server: &Server) -> BTreeMap<i32, i64> {
    let mut cluster = Cluster::connect(std::slice::from_ref(&server.kafka)).await.unwrap();
    let committed = cluster.committed(GROUP).await.unwrap();
    committed.into_iter().filter(|at| at.topic == TOPIC).map(|at| (at.partition, at.offset)).collect()
}

/// The stored offsets, once they come to so much together.
async fn stored_in_time(server: &Server, least: i64) -> BTreeMap<i32, i64> {
    let start = Instant::now();
    loop {
        let stored = stored(server).await;
        if stored.values().sum::<i64>() >= least {
            return stored;
        }
        assert!(start.elapsed() < PATIENCE, "{stored:?} are stored, {least} together wanted");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Receives and acknowledges all that there is.
async fn drain(server: &Server, book: &Mutex<Book>) -> BTreeMap<Place, String> {
    let mut client = GrpcClient::connect(&grpc_address(server), TOPIC).await.unwrap();
    let mut drained = BTreeMap::new();
    loop {
        let messages = client.receive(BATCH, 0).await.unwrap();
        if messages.is_empty() {
            return drained;
        }
        for message in messages {
            client.acknowledge(&message).await.unwrap();
            let (mut book, place) = (book.lock().unwrap(), (message.queue, message.offset));
            assert!(book.received(&message));
            assert!(book.acknowledged.insert(place), "{place:?} was acknowledged");
            let twice = drained.insert(place, message.body);
            assert_eq!(twice, None, "received and acknowledged already");
        }
    }
}

/// What a new process has of the group, after a kill.
async fn check(server: &Server, book: &Mutex<Book>, before: &BTreeMap<i32, i64>) {
    let now = stored(server).await;
    book.lock().unwrap().is_keeping = false;
    let owed: Vec<(Place, String)> = book.lock().unwrap().owed().map(|(place, body)| (*place, body.clone())).collect();
    for (queue, before) in before {
        assert!(now.get(queue) >= Some(before), "queue {queue} has fallen back: {before} was stored, and now {now:?}");
    }
    for ((queue, offset), _) in &owed {
        assert!(now.get(queue).is_none_or(|stored| stored <= offset), "queue {queue}: {now:?} is beyond {offset}");
    }
    let drained = drain(server, book).await;
    println!("{} messages are owed, {} came again", owed.len(), drained.len());
    for (place, body) in owed {
        assert_eq!(drained.get(&place), Some(&body), "{place:?} was never acknowledged");
    }
}

#[test]
fn what_grpc_consumers_have_not_acknowledged_comes_again_after_kill_9_and_what_they_have_does_not() {
    let directory = tempdir().unwrap();
    let (runtime, book) = (runtime(), Arc::new(Mutex::new(Book::default())));
    let mut server = Server::start_with(directory.path(), &LISTENER);
    server.run(&["topic", "create", TOPIC, "-p", &PARTITIONS.to_string()]);
    let mut total = 0;
    for round in 0..rounds(ROUNDS) {
        let work = Work::start(&server, &book, round);
        let more = work.book.lock().unwrap().acknowledged.len() + ACKS_BEFORE_KEEPING * (1 + round);
        work.wait_until("acknowledgements", |book| book.acknowledged.len() >= more);
        let before = runtime.block_on(stored_in_time(&server, total + 1));
        let kept = {
            let mut book = book.lock().unwrap();
            book.is_keeping = true;
            book.kept + KEPT_BEFORE_KILL
        };
        work.wait_until("messages that are kept", |book| book.kept >= kept);
        server.kill();
        work.end();
        server = Server::start_with(directory.path(), &LISTENER);
        runtime.block_on(check(&server, &book, &before));
        // All is acknowledged, and is stored soon although nobody stops the server.
        let all = book.lock().unwrap().known.len() as i64;
        let stored = runtime.block_on(stored_in_time(&server, all));
        total = stored.values().sum();
        assert_eq!(total, all, "{stored:?}");
    }
    server.kill();
    let server = Server::start_with(directory.path(), &LISTENER);
    let again = runtime.block_on(drain(&server, &book));
    assert_eq!(again, BTreeMap::new(), "stored is stored");
    server.stop();
}
