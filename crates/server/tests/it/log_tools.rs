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
fn a_dump_names_topics_and_reads_what_groups_wrote() {
    let directory = tempdir().unwrap();
    let server = Server::start(directory.path());
    server.run(&["topic", "create", "orders", "--partitions", "3"]);
    server.run(&["topic", "create", "gone", "--partitions", "1"]);
    for index in ["0", "1", "2"] {
        server.run_with_input(&["produce", "orders", "--partition", index], &format!("in {index}\n"));
    }
    server.run_with_input(&["produce", "gone"], "deleted\n");
    server.run(&["consume", "orders", "--group", "readers", "--from-beginning", "--exit-at-end"]);
    server.run(&["topic", "delete", "gone"]);
    let running = log(&["dump", "--topic", "orders"], directory.path());
    assert!(running.0 == Some(0) && running.1.lines().count() == 6, "{running:?}");
    server.stop();

    let (_, one) = log(&["dump", "--topic", "orders", "--partition", "1", "--show", "records"], directory.path());
    assert!(one.contains(" orders-1 offsets 0..=0 ") && one.contains("=> \"in 1\"") && !one.contains("in 2"), "{one}");
    let (_, all) = log(&["dump", "--show", "records"], directory.path());
    assert!(all.contains("=> \"deleted\""), "a deleted topic's partition has its number only: {all}");
    assert!(all.contains("group readers generation 1 consumer "), "{all}");
    assert!(all.contains("group readers commits orders-2 offset 1 at "), "{all}");
    let (_, lines) = log(&["dump", "--topic", "__consumer_offsets", "--show", "records", "--json"], directory.path());
    let frames: Vec<serde_json::Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(frames.iter().all(|frame| frame["topic"] == "__consumer_offsets" && frame["index"].is_i64()), "{lines}");
    let decoded: Vec<&serde_json::Value> =
        frames.iter().flat_map(|frame| frame["batch"]["contents"].as_array().unwrap()).map(|record| &record["decoded"]).collect();
    let commit = decoded.iter().find(|record| record["type"] == "offset" && record["partition"] == 2).unwrap();
    assert!(commit["topic"] == "orders" && commit["group"] == "readers" && commit["committed"]["offset"] == 1, "{commit}");
    let group = decoded.iter().find(|record| record["type"] == "group").unwrap();
    assert_eq!(group["state"]["members"][0]["assignment"]["orders"], serde_json::json!([0, 1, 2]));

    std::fs::rename(directory.path().join("meta"), directory.path().join("elsewhere")).unwrap();
    let (code, nameless) = log(&["dump"], directory.path());
    assert!(code == Some(0) && !nameless.contains("orders"), "{nameless}");
    assert_eq!(log(&["dump", "--topic", "orders"], directory.path()).0, Some(1));
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

/// The only segment of the metadata's journal.
fn journal_file(directory: &Path) -> PathBuf {
    directory.join("meta").join(format!("journal-{:020}", 0))
}

#[test]
fn verifying_names_a_damaged_metadata_file() {
    let directory = directory();
    let path = journal_file(directory.path());
    let sound = std::fs::read(&path).unwrap();
    let mut bytes = sound.clone();
    bytes[40] ^= 0x01;
    std::fs::write(&path, &bytes).unwrap();
    let (code, report) = log(&["verify"], directory.path());
    assert!(code == Some(1) && report.contains(&*path.to_string_lossy()), "{report}");
    assert_eq!(std::fs::read(&path).unwrap(), bytes, "verifying changes nothing");
    // A write that was not finished is no damage.
    std::fs::write(&path, [&sound[..], &[1; 9]].concat()).unwrap();
    let (code, report) = log(&["verify", "--json"], directory.path());
    let report: serde_json::Value = serde_json::from_str(&report).unwrap();
    assert!(code == Some(0) && report["metadata_files"] == 1, "{report}");
}

#[test]
fn verifying_finds_metadata_that_is_older_than_the_data() {
    let directory = directory();
    let path = journal_file(directory.path());
    let older = std::fs::read(&path).unwrap();
    let server = Server::start(directory.path());
    server.run_with_input(&["produce", "t"], "a batch of the next leader\n");
    server.stop();
    assert_eq!(log(&["verify"], directory.path()).0, Some(0));
    std::fs::write(&path, older).unwrap();
    let (code, report) = log(&["verify"], directory.path());
    assert!(code == Some(1) && report.contains("it is older than the data"), "{report}");
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
