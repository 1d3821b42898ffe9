//! `log import`: topics that came as directories of Kafka's files, and `log dump` and `log verify` on such directories.

use crate::server::{Server, duolog, finish};
use std::path::Path;
use tempfile::{TempDir, tempdir};

/// A data directory that a server has left, with two partitions of a dedicated topic, of which the second was written
/// under two leader epochs.
fn written() -> TempDir {
    let directory = tempdir().unwrap();
    let server = Server::start(directory.path());
    server.run(&["topic", "create", "orders", "-p", "2", "--set", "duolog.layout=dedicated"]);
    server.run_with_input(&["produce", "orders", "--partition", "0"], "a\nb\n");
    server.run_with_input(&["produce", "orders", "--partition", "1"], "c\n");
    server.stop();
    let server = Server::start(directory.path());
    server.run_with_input(&["produce", "orders", "--partition", "1"], "d\n");
    server.stop();
    directory
}

/// Exit code, standard output and standard error of a `duolog log` command.
fn log(arguments: &[&str], paths: &[&Path]) -> (Option<i32>, String, String) {
    let mut command = duolog();
    command.arg("log").args(arguments).args(paths);
    let output = finish(command, "");
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

fn import(arguments: &[&str], into: &Path, from: &Path) -> (Option<i32>, String, String) {
    let all: Vec<&str> = ["import"].iter().chain(arguments).copied().chain(["--data-dir"]).collect();
    log(&all, &[into, from])
}

fn lines(text: &str) -> Vec<serde_json::Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Partition, offset and value of all records.
fn records(server: &Server) -> Vec<(i64, i64, String)> {
    let text = server.run(&["consume", "orders", "--from-beginning", "--exit-at-end", "--json"]);
    let number = |value: &serde_json::Value| value.as_i64().unwrap();
    let one = |record: &serde_json::Value| {
        (number(&record["partition"]), number(&record["offset"]), record["value"].as_str().unwrap().to_owned())
    };
    let mut all: Vec<_> = lines(&text).iter().map(one).collect();
    all.sort();
    all
}

fn expected(records: &[(i64, i64, &str)]) -> Vec<(i64, i64, String)> {
    records.iter().map(|(partition, offset, value)| (*partition, *offset, (*value).to_owned())).collect()
}

#[test]
fn an_imported_topic_keeps_its_offsets_its_id_and_goes_on_under_a_later_epoch() {
    let (old, new) = (written(), tempdir().unwrap());
    let from = old.path().join("dedicated");
    // Duolog's own file is not needed, as Kafka does not write it.
    for name in ["orders-0", "orders-1"] {
        std::fs::remove_file(from.join(name).join("duolog.manifest")).unwrap();
    }
    let (code, json, said) = import(&["--json", "--config", "retention.ms=-1"], new.path(), &from);
    assert_eq!(code, Some(0), "{said}");
    let topics: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(topics[0]["partitions"][1]["end"], 2, "{topics}");

    let server = Server::start(new.path());
    let before = [(0, 0, "a"), (0, 1, "b"), (1, 0, "c"), (1, 1, "d")];
    assert_eq!(records(&server), expected(&before));
    server.run_with_input(&["produce", "orders", "--partition", "1"], "e\n");
    let described = server.run(&["topic", "describe", "orders"]);
    assert!(described.contains("retention.ms = -1") && described.contains("duolog.layout = dedicated"), "{described}");
    assert!(described.contains(topics[0]["id"].as_str().unwrap()), "{described}");
    server.stop();

    let server = Server::start(new.path());
    let after: Vec<_> = before.into_iter().chain([(1, 2, "e")]).collect();
    assert_eq!(records(&server), expected(&after));
    server.stop();
    let (_, dump, _) = log(&["dump", "--json", "--topic", "orders", "--partition", "1"], &[new.path()]);
    let batches: Vec<serde_json::Value> = lines(&dump).into_iter().filter(|line| line["kind"] == "batch").collect();
    let producers: Vec<i64> = batches.iter().map(|batch| batch["batch"]["producer_id"].as_i64().unwrap()).collect();
    assert!(producers[0] >= 0 && producers[..2].iter().all(|id| *id < producers[2]), "an id is given once: {producers:?}");
    let epochs: Vec<i64> = batches.iter().map(|batch| batch["leader_epoch"].as_i64().unwrap()).collect();
    assert!(epochs.len() == 3 && epochs.is_sorted() && epochs[1] < epochs[2], "{epochs:?}");
    assert!(log(&["verify"], &[new.path()]).1.contains("; 2 partition directories, "));
}

#[test]
fn what_cannot_be_imported_whole_is_not_imported_at_all() {
    let (old, new) = (written(), tempdir().unwrap());
    let from = old.path().join("dedicated");
    let second = from.join("orders-1");
    let refused = |arguments: &[&str], from: &Path, reason: &str| {
        let (code, _, said) = import(arguments, new.path(), from);
        assert!(code == Some(1) && said.contains(reason), "{said}");
        let left = std::fs::read_dir(new.path().join("dedicated")).into_iter().flatten();
        let left: Vec<_> = left.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        assert!(left.iter().all(|name| !name.starts_with("orders-")), "{left:?}");
    };
    refused(&[], &second, "no partition 0");
    refused(&["--topic", "other"], &from, "topic other is not in");
    std::fs::create_dir(old.path().join("internal")).unwrap();
    let internal = old.path().join("internal/__consumer_offsets-0");
    std::fs::create_dir(&internal).unwrap();
    std::fs::copy(second.join("00000000000000000000.log"), internal.join("00000000000000000000.log")).unwrap();
    refused(&[], &internal, "__consumer_offsets is internal");
    refused(&["--config", "retention.ms=x"], &from, "retention.ms");
    // A segment behind a damaged one: no torn end.
    let path = second.join("00000000000000000000.log");
    let whole = std::fs::read(&path).unwrap();
    std::fs::write(second.join("00000000000000000002.log"), b"").unwrap();
    std::fs::write(&path, &whole[..whole.len() - 1]).unwrap();
    refused(&[], &from, "is damaged at");
    assert_eq!(log(&["verify"], &[&from]).0, Some(1));
    std::fs::remove_file(second.join("00000000000000000002.log")).unwrap();
    std::fs::write(&path, &whole).unwrap();

    let server = Server::start(new.path());
    refused(&[], &from, "in use by another process");
    server.stop();
    assert_eq!(import(&[], new.path(), &from).0, Some(0));
    let (code, _, said) = import(&[], new.path(), &from);
    assert!(code == Some(1) && said.contains("exists already"), "{said}");
    let server = Server::start(new.path());
    assert_eq!(records(&server).len(), 4);
    server.stop();
}

#[test]
fn what_an_interrupted_import_left_does_not_hinder_the_next_one() {
    let (old, new) = (written(), tempdir().unwrap());
    let left = new.path().join("dedicated/orders-0");
    std::fs::create_dir_all(&left).unwrap();
    std::fs::write(left.join("00000000000000000000.log"), b"half of a batch").unwrap();
    let (code, _, said) = import(&["--topic", "orders"], new.path(), &old.path().join("dedicated"));
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("defaults apply"), "{said}");
    let server = Server::start(new.path());
    assert_eq!(records(&server).len(), 4);
    server.stop();
}

#[test]
fn a_dump_of_a_partition_shows_what_kafka_keeps_beside_the_batches() {
    let old = written();
    let partition = old.path().join("dedicated/orders-0");
    let (code, text, said) = log(&["dump", "--show", "records"], &[&partition]);
    assert_eq!(code, Some(0), "{said}");
    for wanted in
        ["partition orders-0 topic id ", "  segment 0: ", "  producers as of 2: ", " batch orders-0 offsets 0..=", "=> \"a\""]
    {
        assert!(text.contains(wanted), "{wanted}: {text}");
    }
    let (_, json, _) = log(&["dump", "--show", "records", "--json"], &[&old.path().join("dedicated")]);
    let values: Vec<serde_json::Value> = lines(&json)
        .iter()
        .filter_map(|line| line["batch"]["contents"].as_array().cloned())
        .flatten()
        .map(|record| record["value"].clone())
        .collect();
    assert_eq!(values, ["a", "b", "c", "d"]);
    let (code, report, _) = log(&["verify"], &[&partition]);
    assert!(code == Some(0) && report.starts_with("1 partition directories, 1 segments, ") && report.ends_with(": 0 problems\n"));
}
