//! A server with two data directories: killed under load, started with one of them missing, and with one added.

use crate::journal::{self, Load, PARTITIONS, TOPIC, verify};
use crate::server::{Server, duolog, finish};
use duolog_sim::Crash;
use std::path::{Path, PathBuf};
use tempfile::tempdir;

const ROUNDS: usize = 3;
/// Acknowledged records of a round before the kill.
const ACKS_BEFORE_KILL: usize = 400;

fn start(first: &Path, more: &[&Path]) -> Server {
    let more: Vec<&str> = more.iter().flat_map(|path| ["--data-dir", path.to_str().unwrap()]).collect();
    Server::start_with(first, &more)
}

/// What `serve` says when it does not start.
fn refused(directories: &[&Path]) -> String {
    let mut command = duolog();
    command.args(["serve", "--listen", "kafka://127.0.0.1:0", "--http", "127.0.0.1:0"]);
    for directory in directories {
        command.arg("--data-dir").arg(directory);
    }
    let output = finish(command, "");
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stdout.is_empty(), "no banner without a server");
    String::from_utf8(output.stderr).unwrap()
}

/// Batches in the commit log of a directory.
fn batches(directory: &Path) -> usize {
    let mut command = duolog();
    command.args(["log", "dump", "--show", "frames", "--json"]).arg(directory);
    let output = finish(command, "");
    let lines = String::from_utf8(output.stdout).unwrap();
    let frames = lines.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    frames.filter(|frame| frame.to_string().contains("batch")).count()
}

fn two() -> (tempfile::TempDir, PathBuf, PathBuf) {
    let root = tempdir().unwrap();
    let (one, two) = (root.path().join("one"), root.path().join("two"));
    (root, one, two)
}

#[test]
fn nothing_acknowledged_is_lost_by_kill_9_with_partitions_in_two_directories() {
    let (_root, one, two) = two();
    kill_under_load(&one, &two, "shared");
    assert!(batches(&one) > 0 && batches(&two) > 0, "both directories took part");
}

#[test]
fn nor_is_it_with_files_of_their_own() {
    let (_root, one, two) = two();
    kill_under_load(&one, &two, "dedicated");
    let partitions = |directory: &Path| {
        let names = std::fs::read_dir(directory.join("dedicated")).unwrap().map(|entry| entry.unwrap().file_name());
        names.filter(|name| name.to_string_lossy().starts_with(TOPIC)).count() as i32
    };
    assert_eq!((partitions(&one), partitions(&two)), (PARTITIONS / 2, PARTITIONS / 2));
}

fn kill_under_load(one: &Path, two: &Path, layout: &str) {
    let journal = journal::new();
    let mut server = start(one, &[two]);
    for path in [one, two] {
        assert!(server.banner.iter().any(|line| line.contains(&*path.to_string_lossy())), "{:?}", server.banner);
    }
    let layout = format!("duolog.layout={layout}");
    server.run(&["topic", "create", TOPIC, "-p", &PARTITIONS.to_string(), "--set", &layout, "--set", "segment.bytes=65536"]);
    for round in 0..ROUNDS {
        let load = Load::start(&server.kafka, &journal, round);
        load.wait_for(ACKS_BEFORE_KILL);
        server.kill();
        load.stop();
        // The order of the directories does not matter.
        server = if round % 2 == 0 { start(two, &[one]) } else { start(one, &[two]) };
        verify(&server.kafka, &journal, Some(Crash::Kill));
    }
    server.stop();
}

#[test]
fn a_missing_or_foreign_directory_is_named_and_costs_nothing() {
    let (root, one, two) = two();
    let server = start(&one, &[&two]);
    server.run(&["topic", "create", "t", "-p", "2"]);
    server.run_with_input(&["produce", "t", "--key-separator", ":"], "a:1\nb:2\nc:3\nd:4\n");
    server.stop();
    let complaint = refused(&[&one]);
    assert!(complaint.contains("missing") && complaint.contains(&*two.to_string_lossy()), "{complaint}");
    let complaint = refused(&[&two]);
    assert!(complaint.contains("metadata is in another directory"), "{complaint}");
    let other = root.path().join("other");
    start(&other, &[]).stop();
    let complaint = refused(&[&one, &two, &other]);
    assert!(complaint.contains("different nodes") && complaint.contains(&*other.to_string_lossy()), "{complaint}");
    let server = start(&one, &[&two, &root.path().join("new")]);
    let out = server.run(&["consume", "t", "--from-beginning", "--exit-at-end"]);
    let mut lines: Vec<&str> = out.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["1", "2", "3", "4"]);
    server.stop();
}
