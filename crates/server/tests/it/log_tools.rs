//! `log dump` and `log verify` on a data directory that a server has left.

use crate::server::{Server, duolog, finish};
use std::path::{Path, PathBuf};
use tempfile::{TempDir, tempdir};

/// A data directory with the records a, b and c of one batch in it.
fn directory() -> TempDir {
    let directory = tempdir().unwrap();
    let server = Server::start(directory.path());
    server.run(&["topic", "create", "t"]);
    let file = directory.path().join("input");
    std::fs::write(&file, "k:a\nk:b\nk:c\n").unwrap();
    server.run(&["produce", "t", "-k", ":", "-H", "h=1", "--file", &file.to_string_lossy()]);
    server.stop();
    directory
}

fn log(arguments: &[&str], directory: &Path) -> (Option<i32>, String) {
    let mut command = duolog();
    command.arg("log").args(arguments).arg(directory);
    let output = finish(command, "");
    (output.status.code(), String::from_utf8(output.stdout).unwrap())
}

fn log_file(directory: &Path) -> PathBuf {
    let files = std::fs::read_dir(directory.join("shared")).unwrap();
    let mut logs: Vec<PathBuf> =
        files.map(|file| file.unwrap().path()).filter(|path| path.extension().is_some_and(|name| name == "log")).collect();
    logs.sort();
    logs.remove(0)
}

#[test]
fn a_dump_shows_frames_batches_and_records() {
    let directory = directory();
    let (code, frames) = log(&["dump", "--show", "frames"], directory.path());
    assert_eq!(code, Some(0));
    assert!(frames.contains(" generation generation 1") && frames.contains(" batch generation 1 partition "), "{frames}");
    assert!(!frames.contains("records"));
    let (_, batches) = log(&["dump"], directory.path());
    assert!(batches.contains("records, none, created ") && batches.contains(", producer "), "{batches}");
    let (_, records) = log(&["dump", "--show", "records"], directory.path());
    assert!(records.contains("\"k\" => \"a\" [h: \"1\"]"), "{records}");
    let (_, lines) = log(&["dump", "--show", "records", "--json"], directory.path());
    let values: Vec<serde_json::Value> = lines
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .filter_map(|frame| frame["batch"]["contents"].as_array().cloned())
        .flatten()
        .map(|record| record["value"].clone())
        .collect();
    assert_eq!(values, ["a", "b", "c"]);
}

#[test]
fn verifying_finds_a_flipped_bit_and_nothing_otherwise() {
    let directory = directory();
    let (code, report) = log(&["verify"], directory.path());
    assert!(code == Some(0) && report.ends_with(": 0 problems\n"), "{report}");
    let path = log_file(directory.path());
    let mut bytes = std::fs::read(&path).unwrap();
    // The first record's value, behind its length.
    let at = bytes.windows(4).position(|window| window == b"\x02k\x02a").unwrap();
    bytes[at + 3] ^= 0x01;
    std::fs::write(&path, bytes).unwrap();
    let (code, report) = log(&["verify"], directory.path());
    assert_eq!(code, Some(1));
    assert!(report.contains("payload does not match its checksum"), "{report}");
    let (code, report) = log(&["verify", "--json"], directory.path());
    assert_eq!(code, Some(1));
    let report: serde_json::Value = serde_json::from_str(&report).unwrap();
    assert!(report["problem_count"].as_u64().unwrap() > 0 && report["problems"][0]["position"].is_u64());
}

#[test]
fn a_directory_that_is_none_is_named() {
    let directory = tempdir().unwrap();
    let mut command = duolog();
    command.args(["log", "verify"]).arg(directory.path().join("nothing"));
    let output = finish(command, "");
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("nothing"));
}
