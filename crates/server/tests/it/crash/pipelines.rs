//! `kill -9` and loss of power under producers that keep several batches in flight and outlive the server, and `kill -9` during
//! the start after it.

use super::ledger::{Contents, Ledger, Topic};
use super::raw::{ACKS_ALL, ACKS_LEADER};
use super::rounds;
use super::writer::Writer;
use crate::power::Loop;
use crate::server::{PATIENCE, Server, duolog, finish};
use duolog_server::client::{Cluster, CommittedOffset};
use duolog_sim::{Crash, Promise, Random};
use std::path::Path;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tempfile::tempdir;
use tokio::runtime::Runtime;

const DEFAULT_ROUNDS: usize = 5;
const DEFAULT_POWER_ROUNDS: usize = 3;
const MOST_ACKS_BEFORE_KILL: u64 = 3_000;
/// The smallest files there can be, so that several are filled and sealed.
const SMALL_FILES: [&str; 2] = ["--set", "log.file.bytes=4194304"];
const ORDERS: Topic = Topic { name: "orders", partitions: 3, promise: Promise::Durable };
/// With `flush=async`.
const CLICKS: Topic = Topic { name: "clicks", partitions: 2, promise: Promise::Written };
const TOPICS: [Topic; 2] = [ORDERS, CLICKS];
const GROUP: &str = "readers";

fn writers(random: &mut Random) -> Vec<Writer> {
    let mut seed = || Random::new(random.next_u64());
    vec![
        Writer::new("first of two", ORDERS, 0, ACKS_ALL, seed()).idempotent(),
        Writer::new("second of two", ORDERS, 0, ACKS_ALL, seed()).idempotent(),
        Writer::new("beside a plain one", ORDERS, 1, ACKS_ALL, seed()).idempotent(),
        Writer::new("plain", ORDERS, 1, ACKS_ALL, seed()),
        Writer::new("plain, one ack", ORDERS, 2, ACKS_LEADER, seed()),
        Writer::new("one ack", ORDERS, 2, ACKS_LEADER, seed()).idempotent(),
        Writer::new("async", CLICKS, 0, ACKS_ALL, seed()).idempotent(),
        Writer::new("async, plain, one ack", CLICKS, 1, ACKS_LEADER, seed()),
    ]
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

/// Commits rising offsets until it is aborted.
async fn commit(address: String, ledger: Arc<Mutex<Ledger>>) {
    let Ok(mut cluster) = Cluster::connect(&[address]).await else { return };
    loop {
        let offset = ledger.lock().unwrap().commit_attempt();
        let of = |partition| CommittedOffset { topic: ORDERS.name.to_owned(), partition, offset };
        let offsets: Vec<CommittedOffset> = (0..ORDERS.partitions).map(of).collect();
        if cluster.commit_for_empty_group(GROUP, &offsets).await.is_err() {
            return;
        }
        ledger.lock().unwrap().committed(offset);
    }
}

/// Runs the writers and a committer against `server`; once `acks` more records are acknowledged, `fault` happens under them.
fn load(writers: &mut [Writer], ledger: &Arc<Mutex<Ledger>>, server: &mut Server, acks: usize, fault: impl FnOnce(&mut Server)) {
    let stop = AtomicBool::new(false);
    let address = server.kafka.clone();
    let runtime = runtime();
    let wanted = ledger.lock().unwrap().acked_records() + acks;
    let committer = runtime.spawn(commit(address.clone(), ledger.clone()));
    std::thread::scope(|scope| {
        for writer in writers {
            scope.spawn(|| writer.run(&address, ledger, &stop));
        }
        let start = Instant::now();
        while ledger.lock().unwrap().acked_records() < wanted && start.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_millis(1));
        }
        fault(server);
        stop.store(true, Ordering::Relaxed);
    });
    committer.abort();
    assert!(ledger.lock().unwrap().acked_records() >= wanted, "too few acknowledgements; the server said:\n{}", server.said());
}

/// Starts a server and kills it after `delay`, whatever it is doing then.
fn kill_while_starting(data: &Path, delay: Duration) {
    let mut command = duolog();
    command.arg("serve").arg("--data-dir").arg(data).args(["--listen", "kafka://127.0.0.1:0", "--http", "127.0.0.1:0"]);
    let mut child = command.args(SMALL_FILES).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    std::thread::sleep(delay);
    let ended = child.try_wait().unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(ended, None, "a server that starts does not end by itself");
}

/// Reads everything, which must fit what the clients know.
fn read_all(server: &Server, ledger: &Mutex<Ledger>) -> Contents {
    let runtime = runtime();
    let mut ledger = ledger.lock().unwrap();
    let committed = runtime.block_on(async {
        let mut cluster = Cluster::connect(std::slice::from_ref(&server.kafka)).await.unwrap();
        cluster.committed(GROUP).await.unwrap()
    });
    let offsets: Vec<i64> = committed.iter().map(|committed| committed.offset).collect();
    ledger.check_committed(&offsets);
    runtime.block_on(ledger.read_all(&server.kafka, &TOPICS))
}

fn log_files(data: &Path) -> usize {
    let files = std::fs::read_dir(data.join("shared")).unwrap();
    files.filter(|file| file.as_ref().unwrap().path().extension().is_some_and(|name| name == "log")).count()
}

fn seeded() -> Random {
    let seed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64;
    println!("seed {seed}");
    Random::new(seed)
}

fn start(data: &Path) -> Server {
    let server = Server::start_with(data, &SMALL_FILES);
    server.run(&["topic", "create", ORDERS.name, "-p", &ORDERS.partitions.to_string()]);
    server.run(&["topic", "create", CLICKS.name, "-p", &CLICKS.partitions.to_string(), "--set", "flush=async"]);
    server
}

#[test]
fn what_producers_send_again_after_loss_of_power_is_there_once_and_in_order() {
    let directory = tempdir().unwrap();
    let mut disk = match Loop::new(directory.path()) {
        Ok(disk) => disk,
        Err(reason) => {
            println!("loss of power is not tested: {reason}");
            return;
        }
    };
    let data = disk.mount.join("data");
    let mut random = seeded();
    let ledger = Arc::new(Mutex::new(Ledger::new(&TOPICS)));
    let mut writers = writers(&mut random);
    // The others were promised less: their next batch would not follow what is left.
    writers.retain(Writer::is_durable);
    let mut server = start(&data);
    for round in 0..rounds(DEFAULT_POWER_ROUNDS) {
        let acks = 1 + random.below(MOST_ACKS_BEFORE_KILL) as usize;
        load(&mut writers, &ledger, &mut server, acks, |server| {
            disk.cut_power();
            assert_eq!(server.wait().code(), Some(1), "a server whose log has failed ends: {}", server.said());
        });
        ledger.lock().unwrap().crashed(Crash::PowerLoss);
        disk.unmount();
        disk.mount().unwrap();
        server = Server::start_with(&data, &SMALL_FILES);
        let records: usize = read_all(&server, &ledger).values().map(Vec::len).sum();
        println!("round {round}: {records} records");
    }
    load(&mut writers, &ledger, &mut server, 1, |_| {});
    assert!(writers.iter().all(Writer::is_answered));
    read_all(&server, &ledger);
    assert!(writers.iter().any(|writer| writer.sent_again > 0), "the power was never cut with a batch in flight");
    server.stop();
}

#[test]
fn what_producers_send_again_after_kill_9_is_there_once_and_in_order() {
    let directory = tempdir().unwrap();
    let data = directory.path();
    let mut random = seeded();
    let ledger = Arc::new(Mutex::new(Ledger::new(&TOPICS)));
    let mut writers = writers(&mut random);
    let mut server = start(data);
    for round in 0..rounds(DEFAULT_ROUNDS) {
        let acks = 1 + random.below(MOST_ACKS_BEFORE_KILL) as usize;
        load(&mut writers, &ledger, &mut server, acks, Server::kill);
        ledger.lock().unwrap().crashed(Crash::Kill);
        let start = Instant::now();
        server = Server::start_with(data, &SMALL_FILES);
        let took = start.elapsed();
        let first = read_all(&server, &ledger);
        server.kill();
        kill_while_starting(data, took.mul_f64(random.below(1_000) as f64 / 1_000.0));
        server = Server::start_with(data, &SMALL_FILES);
        assert!(read_all(&server, &ledger) == first, "round {round}: another start shows other records");
        let records: usize = first.values().map(Vec::len).sum();
        let sent_again: usize = writers.iter().map(|writer| writer.sent_again).sum();
        println!("round {round}: {records} records, {sent_again} batches sent again so far, start took {took:?}");
    }
    // What waits is sent again, and this time the server stays until all is answered.
    load(&mut writers, &ledger, &mut server, 1, |_| {});
    assert!(writers.iter().all(Writer::is_answered));
    read_all(&server, &ledger);
    assert!(writers.iter().any(|writer| writer.sent_again > 0), "no server died with a batch in flight");
    assert!(log_files(data) > 1, "no file was filled");
    server.stop();
    let mut verify = duolog();
    verify.args(["log", "verify"]).arg(data);
    let verified = finish(verify, "");
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stdout));
}
