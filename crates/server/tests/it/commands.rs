//! Topics, producing and consuming from the command line.

use crate::rocketmq::{LISTENERS, address, call};
use crate::server::{Server, duolog, finish};
use duolog_wire::remoting::code::request;
use duolog_wire::remoting::header::SendMessageRequest;
use serde_json::{Value, json};
use std::net::TcpStream;
use std::process::Stdio;
use tempfile::tempdir;

#[test]
fn a_topic_is_created_listed_described_altered_and_deleted() {
    let directory = tempdir().unwrap();
    let server = Server::start(directory.path());
    assert_eq!(
        server.run(&["topic", "create", "orders", "-p", "3", "--set", "retention.ms=60000"]),
        "created orders with 3 partitions\n"
    );
    assert!(server.refuse(&["topic", "create", "orders"]).contains("TOPIC_ALREADY_EXISTS"));
    server.run(&["topic", "create", "orders", "--if-not-exists"]);
    assert_eq!(server.run(&["topic", "list"]), "TOPIC   PARTITIONS  REPLICAS\norders  3           1\n");
    server.run(&["topic", "alter", "orders", "--partitions", "4", "--set", "max.message.bytes=2000", "--unset", "retention.ms"]);
    let described = &server.json(&["topic", "describe", "orders"])[0];
    assert_eq!(described["partitions"].as_array().unwrap().len(), 4);
    assert_eq!(described["configs"], serde_json::json!({ "max.message.bytes": "2000" }));
    assert!(server.refuse(&["topic", "alter", "orders", "--partitions", "2"]).contains("INVALID_PARTITIONS"));
    assert!(server.refuse(&["topic", "alter", "orders", "--set", "retention.mss=1"]).contains("retention.ms"));
    assert_eq!(server.run(&["topic", "delete", "orders"]), "deleted orders\n");
    assert!(server.refuse(&["topic", "delete", "orders"]).contains("UNKNOWN_TOPIC_OR_PARTITION"));
    assert_eq!(server.json(&["topic", "list"]), serde_json::json!([]));
    server.stop();
}

#[test]
fn every_codec_key_and_header_comes_back_as_it_was_sent() {
    let directory = tempdir().unwrap();
    let server = Server::start(directory.path());
    server.run(&["topic", "create", "t", "-p", "3"]);
    let mut sent = Vec::new();
    for codec in ["none", "gzip", "snappy", "lz4", "zstd"] {
        let lines: Vec<String> = (0..100).map(|n| format!("key-{n}:{codec} {n}")).collect();
        let header = format!("codec={codec}");
        server.run_with_input(&["produce", "t", "-k", ":", "-z", codec, "-H", &header], &(lines.join("\n") + "\n"));
        sent.extend(lines);
    }
    let out = server.run(&["consume", "t", "--from-beginning", "--exit-at-end", "--json"]);
    let mut partition_of = std::collections::BTreeMap::new();
    let mut received = Vec::new();
    for line in out.lines() {
        let record: serde_json::Value = serde_json::from_str(line).unwrap();
        let (key, value) = (record["key"].as_str().unwrap(), record["value"].as_str().unwrap());
        assert_eq!(record["headers"], serde_json::json!([{ "name": "codec", "value": value.split(' ').next().unwrap() }]));
        let known = partition_of.entry(key.to_owned()).or_insert(record["partition"].clone());
        assert_eq!(*known, record["partition"], "a key has one partition");
        received.push(format!("{key}:{value}"));
    }
    received.sort();
    sent.sort();
    assert_eq!(received, sent);
    let partitions: std::collections::HashSet<&serde_json::Value> = partition_of.values().collect();
    assert_eq!(partitions.len(), 3, "a hundred keys reach every partition");
    server.stop();
}

#[test]
fn consuming_begins_where_it_is_told() {
    let directory = tempdir().unwrap();
    let server = Server::start(directory.path());
    let lines: String = (0..1000).map(|n| format!("{n}\n")).collect();
    let file = directory.path().join("lines");
    std::fs::write(&file, &lines).unwrap();
    server.run(&["topic", "create", "t", "-p", "1"]);
    server.run(&["produce", "t", "--file", &file.to_string_lossy()]);
    assert_eq!(server.run(&["consume", "t", "--from-beginning", "--exit-at-end"]), lines);
    assert_eq!(server.run(&["consume", "t", "-p", "0", "--offset", "998", "--exit-at-end"]), "998\n999\n");
    assert_eq!(server.run(&["consume", "t", "-b", "--count", "3"]), "0\n1\n2\n");
    assert_eq!(server.run(&["consume", "t", "--from-time", "2000-01-01T00:00:00Z", "--count", "1"]), "0\n");
    assert_eq!(server.run(&["consume", "t", "--from-time", "2100-01-01T00:00:00Z", "--exit-at-end"]), "");
    assert_eq!(server.run(&["consume", "t", "--exit-at-end"]), "", "without a beginning only what is new is read");
    assert!(server.refuse(&["consume", "t", "-p", "0", "--offset", "1001"]).contains("0 to 1000"));
    assert!(server.refuse(&["consume", "t", "-p", "7"]).contains("no partition 7"));
    assert!(server.refuse(&["consume", "nowhere"]).contains("does not exist"));
    server.stop();
}

/// The only line, as JSON.
fn line(server: &Server, arguments: &[&str]) -> Value {
    let all: Vec<&str> = arguments.iter().copied().chain(["--exit-at-end", "--json"]).collect();
    serde_json::from_str(&server.run(&all)).unwrap()
}

#[test]
fn records_and_messages_are_shown_in_the_terms_of_either_protocol() {
    let directory = tempdir().unwrap();
    let server = Server::start_with(directory.path(), &LISTENERS);
    server.run(&["topic", "create", "t", "-p", "1"]);
    server.run_with_input(&["produce", "t", "-k", ":", "-H", "color=red", "-H", "color=blue", "-H", "TAGS=a"], "k1:of Kafka\n");
    let mut stream = TcpStream::connect(address(&server, "rocketmq")).unwrap();
    let send = SendMessageRequest {
        producer_group: "p",
        topic: "t",
        born_timestamp: 1_700_000_000_123,
        reconsume_times: Some(3),
        flag: 7,
        properties: Some("UNIQ_KEY\u{1}0A0B\u{2}TAGS\u{1}b\u{2}KEYS\u{1}k2 k3\u{2}size\u{1}5\u{2}"),
        ..SendMessageRequest::default()
    };
    call(&mut stream, request::SEND_MESSAGE, send, "of RocketMQ");

    let kafka = ["consume", "t", "-p", "0", "--offset"];
    let as_record = |offset| line(&server, &[&kafka[..], &[offset, "--count", "1"]].concat());
    let as_message = |offset| line(&server, &[&kafka[..], &[offset, "--count", "1", "--view", "rocketmq"]].concat());
    let (record, message) = (as_record("0"), as_message("0"));
    assert_eq!(
        (&record["key"], &record["value"], &record["headers"][1]["value"]),
        (&json!("k1"), &json!("of Kafka"), &json!("blue"))
    );
    assert_eq!(message["properties"], json!({ "KEYS": "k1", "color": "blue", "TAGS": "a" }));
    assert_eq!((&message["tags"], &message["keys"], &message["message_id"]), (&json!("a"), &json!("k1"), &Value::Null));
    assert_eq!((&message["body"], &message["born_host"]), (&json!("of Kafka"), &json!("0.0.0.0:0")));
    assert_eq!((&message["queue_id"], &message["queue_offset"]), (&json!(0), &json!(0)));
    assert_eq!(message["born_timestamp"], record["timestamp"]);

    let (record, message) = (as_record("1"), as_message("1"));
    assert_eq!((&record["key"], &record["value"]), (&json!("k2 k3"), &json!("of RocketMQ")));
    let names: Vec<&str> = record["headers"].as_array().unwrap().iter().map(|header| header["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["UNIQ_KEY", "TAGS", "size", "duolog.rmq"]);
    assert_eq!(message["properties"], json!({ "UNIQ_KEY": "0A0B", "TAGS": "b", "KEYS": "k2 k3", "size": "5" }));
    assert_eq!((&message["tags"], &message["keys"], &message["message_id"]), (&json!("b"), &json!("k2 k3"), &json!("0A0B")));
    assert_eq!((&message["reconsume_times"], &message["flag"], &message["queue_offset"]), (&json!(3), &json!(7), &json!(1)));
    assert_eq!((&message["born_timestamp"], &record["timestamp"]), (&json!(1_700_000_000_123i64), &json!(1_700_000_000_123i64)));
    assert_eq!(message["born_host"], json!(stream.local_addr().unwrap().to_string()));
    assert!(message["store_timestamp"].as_i64() > message["born_timestamp"].as_i64());

    let text = server.run(&["consume", "t", "-b", "--exit-at-end", "--view", "rocketmq"]);
    let messages: Vec<&str> = text.split_terminator("\n\n").collect();
    assert_eq!(messages.len(), 2, "{text}");
    assert!(messages[0].starts_with("topic: t, queue id: 0, queue offset: 0\nmessage id: -\ntags: a, keys: k1\n"), "{text}");
    for expected in
        ["message id: 0A0B\n", "born: 2023-11-14T22:13:20.123Z at 127.0.0.1:", "reconsume times: 3\n", "property size: 5\n"]
    {
        assert!(messages[1].contains(expected), "{expected:?} in {text}");
    }
    assert!(messages[1].ends_with("\nbody: of RocketMQ"), "{text}");
    assert_eq!(server.run(&["consume", "t", "-b", "--exit-at-end", "--view", "kafka"]), "of Kafka\nof RocketMQ\n");
    server.stop();
}

#[test]
fn every_acks_and_a_chosen_partition_work() {
    let directory = tempdir().unwrap();
    let server = Server::start(directory.path());
    server.run(&["topic", "create", "t", "-p", "2"]);
    for acks in ["all", "1", "0"] {
        server.run_with_input(&["produce", "t", "--acks", acks, "--partition", "1"], &format!("acks {acks}\n"));
    }
    assert_eq!(server.run(&["consume", "t", "-b", "-p", "1", "--count", "3"]), "acks all\nacks 1\nacks 0\n");
    assert!(server.refuse(&["produce", "t", "--partition", "2"]).contains("no partition 2"));
    server.stop();
}

#[test]
fn a_benchmark_compares_numbers_of_partitions_and_leaves_nothing_behind() {
    let directory = tempdir().unwrap();
    let server = Server::start(directory.path());
    let measured = server.json(&["bench", "--partitions", "1,9", "--seconds", "1", "--messages", "4", "--size", "10"]);
    let partitions: Vec<i64> = measured.as_array().unwrap().iter().map(|one| one["partitions"].as_i64().unwrap()).collect();
    assert_eq!(partitions, [1, 9]);
    for one in measured.as_array().unwrap() {
        assert!(one["messages_per_second"].as_f64().unwrap() > 0.0 && one["p99_ms"].as_f64() >= one["p50_ms"].as_f64(), "{one}");
    }
    assert_eq!(server.json(&["topic", "list"]), serde_json::json!([]));
    server.stop();
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let directory = tempdir().unwrap();
    let server = Server::start(directory.path());
    let lines: String = (0..200_000).map(|n| format!("{n}\n")).collect();
    server.run_with_input(&["produce", "t"], &lines);
    let mut child = server.command(&["consume", "t", "-b"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.stderr.is_empty());
    server.stop();
}

#[test]
fn without_a_server_the_address_is_named() {
    let mut command = duolog();
    command.args(["topic", "list", "--bootstrap", "127.0.0.1:1"]);
    let output = finish(command, "");
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("127.0.0.1:1"));
}

#[test]
fn keys_of_the_configuration_and_completions_are_printed() {
    let mut list = duolog();
    list.args(["config", "list", "--json"]);
    let keys: serde_json::Value = serde_json::from_slice(&finish(list, "").stdout).unwrap();
    assert!(keys.as_array().unwrap().iter().any(|key| key["key"] == "flush" && key["scope"] == "broker"));
    let mut completions = duolog();
    completions.args(["completions", "bash"]);
    assert!(String::from_utf8_lossy(&finish(completions, "").stdout).contains("_duolog"));
    let mut unknown = duolog();
    unknown.arg("frobnicate");
    assert_eq!(finish(unknown, "").status.code(), Some(2));
}
