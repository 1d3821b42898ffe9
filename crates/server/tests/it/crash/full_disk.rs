//! A full disk: producers are refused, readers and deletions go on, and producing resumes by itself once there is space.
//!
//! Needs root for a small file system in memory. Where mounting is refused the test says so and ends.

use super::ledger::{Ledger, Topic, hash};
use super::raw::{ACKS_ALL, Pipe};
use crate::server::{PATIENCE, Server};
use bytes::BytesMut;
use duolog_base::TimestampMs;
use duolog_sim::{Crash, Promise, Random};
use duolog_wire::kafka::ErrorCode;
use duolog_wire::record::{BatchBuilder, Compression, NewRecord};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};
use tempfile::tempdir;
use tokio::runtime::Runtime;

const DISK_BYTES: usize = 96 << 20;
const VALUE_BYTES: usize = 64 << 10;
/// Values written before those of the topic that stays, so that whole files lie before it.
const VALUES_BEFORE_KEPT: usize = (20 << 20) / VALUE_BYTES;
const KEPT_VALUES: usize = 10;
const ARGUMENTS: [&str; 4] = ["--set", "log.file.bytes=4194304", "--set", "log.disk.reserve.bytes=50331648"];
const BULK: Topic = Topic { name: "bulk", partitions: 1, promise: Promise::Durable };
const KEPT: Topic = Topic { name: "kept", partitions: 1, promise: Promise::Durable };
const TOPICS: [Topic; 2] = [BULK, KEPT];

/// A small file system in memory; unmounted when dropped.
struct SmallDisk {
    mount: PathBuf,
}

impl SmallDisk {
    fn new(mount: &Path) -> Result<SmallDisk, String> {
        let output = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={DISK_BYTES}"), "tmpfs"])
            .arg(mount)
            .output()
            .map_err(|error| error.to_string())?;
        match output.status.success() {
            true => Ok(SmallDisk { mount: mount.to_owned() }),
            false => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
        }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let unmounted = |flags: &[&str]| Command::new("umount").args(flags).arg(&self.mount).status().is_ok_and(|s| s.success());
        // Detached if a process that is ending still holds it.
        let _ = unmounted(&[]) || unmounted(&["-l"]);
    }
}

/// One producer, one reader, and what they know.
struct Client {
    runtime: Runtime,
    ledger: Ledger,
    random: Random,
    next_value: u64,
}

impl Client {
    fn new() -> Client {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        Client { runtime, ledger: Ledger::new(&TOPICS), random: Random::new(1), next_value: 0 }
    }

    /// Sends one value; its offset, or the error.
    fn produce(&mut self, pipe: &mut Pipe, topic: Topic) -> Result<i64, ErrorCode> {
        let mut value = self.next_value.to_be_bytes().to_vec();
        self.next_value += 1;
        value.resize_with(VALUE_BYTES, || self.random.next_u64() as u8);
        let mut builder = BatchBuilder::new(Compression::None);
        builder.push(NewRecord { timestamp: TimestampMs(1), key: None, value: Some(&value), headers: &[] }).unwrap();
        let mut batch = BytesMut::new();
        builder.build(&mut batch).unwrap();
        let value = hash(&value);
        self.ledger.sent(topic.name, 0, value, None);
        pipe.produce(ACKS_ALL, topic.name, 0, &batch).unwrap();
        let answer = pipe.produced().unwrap();
        match answer.error {
            ErrorCode::None => {
                self.ledger.acked(topic.name, 0, answer.base_offset, &[value], topic.promise);
                Ok(answer.base_offset)
            }
            error => {
                self.ledger.refused(topic.name, 0, value);
                Err(error)
            }
        }
    }

    /// Fills the disk with `BULK`, and some values of `KEPT` in between. The offset that `BULK` would have gone on at.
    fn fill(&mut self, server: &Server) -> i64 {
        let mut pipe = Pipe::open(&server.kafka).unwrap();
        let mut end = 0;
        for _ in 0..VALUES_BEFORE_KEPT {
            end = 1 + self.produce_once_possible(&mut pipe, BULK, server);
        }
        for _ in 0..KEPT_VALUES {
            self.produce_once_possible(&mut pipe, KEPT, server);
        }
        for _ in 0..DISK_BYTES / VALUE_BYTES {
            match self.produce(&mut pipe, BULK) {
                Ok(offset) => end = offset + 1,
                Err(error) => {
                    assert_eq!(error, ErrorCode::KafkaStorageError);
                    assert!(error.is_retriable());
                    return end;
                }
            }
        }
        panic!("more was taken than the disk holds");
    }

    /// Tries until the server takes it, since files are given back one after the other.
    fn produce_once_possible(&mut self, pipe: &mut Pipe, topic: Topic, server: &Server) -> i64 {
        let start = Instant::now();
        loop {
            match self.produce(pipe, topic) {
                Ok(offset) => return offset,
                Err(error) => assert_eq!(error, ErrorCode::KafkaStorageError),
            }
            assert!(start.elapsed() < PATIENCE, "producing does not resume; the server said:\n{}", server.said());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn read_all(&mut self, server: &Server, topics: &[Topic]) {
        self.runtime.block_on(self.ledger.read_all(&server.kafka, topics));
    }

    fn delete_records(&mut self, server: &Server, topic: Topic, end: i64) {
        let mut pipe = Pipe::open(&server.kafka).unwrap();
        assert_eq!(pipe.delete_records(topic.name, 0, end).unwrap(), end);
        self.ledger.deleted_before(topic.name, 0, end);
    }
}

#[test]
fn a_full_disk_refuses_producers_only_and_until_there_is_space() {
    let directory = tempdir().unwrap();
    let disk = match SmallDisk::new(directory.path()) {
        Ok(disk) => disk,
        Err(reason) => {
            println!("a full disk is not tested: {reason}");
            return;
        }
    };
    let data = disk.mount.join("data");
    let mut client = Client::new();
    let mut server = Server::start_with(&data, &ARGUMENTS);
    for topic in TOPICS {
        server.run(&["topic", "create", topic.name, "-p", "1"]);
    }
    let end = client.fill(&server);
    client.read_all(&server, &TOPICS);
    server.run(&["topic", "create", "created-on-a-full-disk"]);

    // A restart changes nothing.
    server.kill();
    client.ledger.crashed(Crash::Kill);
    server = Server::start_with(&data, &ARGUMENTS);
    client.read_all(&server, &TOPICS);
    assert_eq!(client.produce(&mut Pipe::open(&server.kafka).unwrap(), BULK), Err(ErrorCode::KafkaStorageError));
    assert!(server.run(&["topic", "list"]).contains("created-on-a-full-disk"));

    // Deleted records make room.
    client.delete_records(&server, BULK, end);
    let kept = client.produce_once_possible(&mut Pipe::open(&server.kafka).unwrap(), KEPT, &server);
    client.read_all(&server, &TOPICS);

    // So does a deleted topic. What is kept lies behind most of it again.
    client.delete_records(&server, KEPT, kept + 1);
    client.fill(&server);
    client.read_all(&server, &TOPICS);
    server.run(&["topic", "delete", BULK.name]);
    client.produce_once_possible(&mut Pipe::open(&server.kafka).unwrap(), KEPT, &server);
    client.read_all(&server, &[KEPT]);

    server.stop();
    let server = Server::start_with(&data, &ARGUMENTS);
    client.read_all(&server, &[KEPT]);
    server.stop();
}
