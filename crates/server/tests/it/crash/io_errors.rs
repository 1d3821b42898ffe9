//! Errors of the disk under the real process, injected into its system calls by `strace`.
//!
//! A write or a sync that fails ends the process: after it nobody knows what the disk holds. A read that fails is answered with an
//! error, and the process goes on. Where `strace` is missing or may not attach the test says so and ends.

use super::raw::{ACKS_ALL, Answer, Pipe};
use crate::journal::{self, Load, PARTITIONS, TOPIC, verify};
use crate::server::{PATIENCE, Server};
use bytes::BytesMut;
use duolog_base::TimestampMs;
use duolog_sim::Crash;
use duolog_wire::kafka::ErrorCode;
use duolog_wire::record::{BatchBuilder, Compression, NewRecord};
use rustix::process::{Pid, Signal, kill_process};
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use tempfile::tempdir;

const SYNCS: &str = "fdatasync,fsync,syncfs";
const WRITES: &str = "pwrite64,pwritev,pwritev2";
const READS: &str = "pread64,preadv,preadv2,sendfile";
const IN_FLIGHT: usize = 5;

/// A tracer that lets system calls of a process fail, until it is dropped.
struct Tracer {
    strace: Child,
}

impl Tracer {
    /// `when` as `strace` takes it: the number of the first call of a thread that fails, with `+` every one from there on.
    fn attach(server: &Server, calls: &str, when: &str) -> Result<Tracer, String> {
        let inject = format!("inject={calls}:error=EIO:when={when}");
        let mut strace = Command::new("strace")
            .args(["-f", "-e", &format!("trace={calls}"), "-e", &inject, "-o", "/dev/null", "-p"])
            .arg(server.pid().as_raw_pid().to_string())
            .env("LC_ALL", "C")
            .stderr(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .map_err(|error| format!("strace: {error}"))?;
        let (sender, lines) = mpsc::channel();
        let errors = BufReader::new(strace.stderr.take().unwrap());
        std::thread::spawn(move || errors.lines().map_while(Result::ok).for_each(|line| _ = sender.send(line)));
        let tracer = Tracer { strace };
        match lines.recv_timeout(PATIENCE) {
            Ok(line) if line.contains("attached") => Ok(tracer),
            Ok(line) => Err(line),
            Err(_) => Err("strace does not say that it is attached".into()),
        }
    }
}

impl Drop for Tracer {
    /// Lets go of the process. `strace` ends by itself with the process it traces.
    fn drop(&mut self) {
        let _ = kill_process(Pid::from_child(&self.strace), Signal::TERM);
        let _ = self.strace.wait();
    }
}

fn batch(value: &str) -> BytesMut {
    let mut builder = BatchBuilder::new(Compression::None);
    builder.push(NewRecord { timestamp: TimestampMs(1), key: None, value: Some(value.as_bytes()), headers: &[] }).unwrap();
    let mut batch = BytesMut::new();
    builder.build(&mut batch).unwrap();
    batch
}

/// The server ends by itself with an error, and says what failed.
fn ends_with_an_error(server: &mut Server) {
    let status = server.wait();
    let said = server.said();
    assert_eq!(status.code(), Some(1), "{said}");
    let last = said.lines().rfind(|line| line.contains("ERROR")).unwrap_or_default();
    assert!(last.contains("os error 5") && last.contains(".log"), "the last error names the file and what happened: {said}");
    assert!(!said.contains("panicked"), "{said}");
}

fn fails_under_load(calls: &str, when: usize) {
    let directory = tempdir().unwrap();
    let journal = journal::new();
    let mut server = Server::start(directory.path());
    server.run(&["topic", "create", TOPIC, "-p", &PARTITIONS.to_string()]);
    let load = Load::start(&server.kafka, &journal, 0);
    load.wait_for(300);
    let tracer = match Tracer::attach(&server, calls, &when.to_string()) {
        Ok(tracer) => tracer,
        Err(reason) => {
            println!("errors of the disk are not tested: {reason}");
            server.kill();
            load.stop();
            return;
        }
    };
    ends_with_an_error(&mut server);
    load.stop();
    drop(tracer);
    let server = Server::start(directory.path());
    let (records, in_doubt) = verify(&server.kafka, &journal, Some(Crash::Kill));
    println!("{calls}, {when}: {records} records, {in_doubt} of them never acknowledged");
    server.stop();
}

#[test]
fn a_failed_sync_or_write_under_load_ends_the_process_and_loses_nothing_acknowledged() {
    for (calls, when) in [(SYNCS, 1), (SYNCS, 40), (WRITES, 1), (WRITES, 25)] {
        fails_under_load(calls, when);
    }
}

#[test]
fn nothing_is_acknowledged_from_the_first_failure_on() {
    for calls in [SYNCS, WRITES] {
        let directory = tempdir().unwrap();
        let mut server = Server::start(directory.path());
        server.run(&["topic", "create", "t", "-p", "1"]);
        let mut pipe = Pipe::open(&server.kafka).unwrap();
        pipe.produce(ACKS_ALL, "t", 0, &batch("before")).unwrap();
        assert_eq!(pipe.produced().unwrap(), Answer { error: ErrorCode::None, base_offset: 0 });
        let tracer = match Tracer::attach(&server, calls, "1+") {
            Ok(tracer) => tracer,
            Err(reason) => return println!("errors of the disk are not tested: {reason}"),
        };
        let sent = (0..IN_FLIGHT).take_while(|_| pipe.produce(ACKS_ALL, "t", 0, &batch("after")).is_ok()).count();
        // An error, or no answer at all.
        let answers = (0..sent).map_while(|_| pipe.produced().ok());
        answers.for_each(|answer| assert_ne!(answer.error, ErrorCode::None, "{calls}"));
        ends_with_an_error(&mut server);
        drop(tracer);
        let server = Server::start(directory.path());
        let out = server.run(&["consume", "t", "--from-beginning", "--exit-at-end"]);
        assert!(out.starts_with("before\n"), "{out}");
        server.stop();
    }
}

#[test]
fn a_failed_read_is_answered_with_an_error_and_the_process_goes_on() {
    let directory = tempdir().unwrap();
    let server = Server::start(directory.path());
    server.run(&["topic", "create", "short", "-p", "1"]);
    server.run(&["topic", "create", "long", "-p", "1"]);
    let mut pipe = Pipe::open(&server.kafka).unwrap();
    for (topic, bytes) in [("short", 10), ("long", 200_000)] {
        pipe.produce(ACKS_ALL, topic, 0, &batch(&"x".repeat(bytes))).unwrap();
        assert_eq!(pipe.produced().unwrap().error, ErrorCode::None);
    }
    server.stop();

    // What was written by the process before is in files only.
    let server = Server::start(directory.path());
    let mut pipe = Pipe::open(&server.kafka).unwrap();
    let tracer = match Tracer::attach(&server, READS, "1+") {
        Ok(tracer) => tracer,
        Err(reason) => return println!("errors of the disk are not tested: {reason}"),
    };
    for topic in ["short", "long"] {
        assert_eq!(pipe.fetch(topic, 0, 0).unwrap(), (ErrorCode::KafkaStorageError, 0), "{topic}");
    }
    pipe.produce(ACKS_ALL, "short", 0, &batch("more")).unwrap();
    assert_eq!(pipe.produced().unwrap(), Answer { error: ErrorCode::None, base_offset: 1 });
    assert!(server.said().contains("os error 5"), "{}", server.said());
    drop(tracer);
    for (topic, bytes) in [("short", 10), ("long", 200_000)] {
        let (error, found) = pipe.fetch(topic, 0, 0).unwrap();
        assert!(error == ErrorCode::None && found > bytes, "{topic}: {error:?}, {found} bytes");
    }
    server.stop();
}
