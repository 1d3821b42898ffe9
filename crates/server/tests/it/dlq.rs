//! `duolog dlq` on dead letters that a RocketMQ client gave up: shown, sent again once whatever is killed, discarded.

use crate::rocketmq::{LISTENERS, address, call};
use crate::server::{Server, finish};
use duolog_server::client::{Cluster, CommittedOffset, NotedOffset};
use duolog_wire::remoting::code::request;
use duolog_wire::remoting::header::{ConsumerSendMessageBackRequest, PullMessageRequest};
use duolog_wire::remoting::message::StoredMessage;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::TcpStream;
use std::process::Stdio;
use std::time::Duration;
use tempfile::tempdir;

/// The subscription comes with the pull.
const SUBSCRIPTION: i32 = 4;
/// Where `workers`' dead letters lie.
const LETTERS: &str = "%DLQ%workers";

/// A server where `workers` have given up so many messages of `orders`, `0` and on; the even ones of partition 0, the odd ones of partition 1.
fn server_with_letters(directory: &std::path::Path, count: usize) -> Server {
    let server = Server::start_with(directory, &LISTENERS);
    server.run(&["topic", "create", "orders", "-p", "2"]);
    for partition in 0..2 {
        let lines: String = (partition..count).step_by(2).map(|number| format!("{number}\n")).collect();
        server.run_with_input(&["produce", "orders", "-p", &partition.to_string()], &lines);
    }
    let mut stream = TcpStream::connect(address(&server, "rocketmq")).unwrap();
    for queue_id in 0..2 {
        let mut offset = 0;
        while offset < count.div_ceil(2) as i64 - i64::from(queue_id == 1 && count % 2 == 1) {
            let pull = PullMessageRequest {
                consumer_group: "workers",
                topic: "orders",
                queue_id,
                queue_offset: offset,
                max_msg_nums: 32,
                sys_flag: SUBSCRIPTION,
                subscription: Some("*"),
                ..PullMessageRequest::default()
            };
            let pulled = call(&mut stream, request::PULL_MESSAGE, pull, "");
            let mut rest = &pulled.body[..];
            while let Ok(message) = StoredMessage::take(&mut rest) {
                let back = ConsumerSendMessageBackRequest {
                    offset: message.commit_log_offset,
                    group: "workers",
                    delay_level: -1,
                    origin_topic: Some("orders"),
                    ..Default::default()
                };
                call(&mut stream, request::CONSUMER_SEND_MSG_BACK, back, "");
                offset = message.queue_offset + 1;
            }
        }
    }
    server
}

/// How often each value is in `orders`.
fn counts(server: &Server) -> BTreeMap<u32, usize> {
    let mut counts = BTreeMap::new();
    for value in server.run(&["consume", "orders", "--from-beginning", "--exit-at-end"]).lines() {
        *counts.entry(value.parse().unwrap()).or_default() += 1;
    }
    counts
}

fn each(count: u32, times: usize) -> BTreeMap<u32, usize> {
    (0..count).map(|number| (number, times)).collect()
}

fn waiting(server: &Server) -> Value {
    server.json(&["dlq", "list"])[0]["waiting"].clone()
}

#[test]
fn dead_letters_are_shown_sent_again_and_discarded() {
    let directory = tempdir().unwrap();
    let server = server_with_letters(directory.path(), 5);
    let list = json!([{ "group": "workers", "topic": LETTERS, "letters": 5, "waiting": 5 }]);
    assert_eq!(server.json(&["dlq", "list"]), list);
    assert!(server.run(&["dlq", "list"]).contains("workers"));
    let shown = server.json(&["dlq", "show", "workers"]);
    let letters = shown.as_array().unwrap();
    assert_eq!(letters.len(), 5);
    for letter in letters {
        assert_eq!((&letter["attempts"], &letter["reason"], &letter["redriven"]), (&json!(1), &json!("consumer"), &json!(false)));
    }
    let origins = letters.iter().map(|letter| letter["origin"].to_string());
    let expected = [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1)];
    let expected =
        expected.map(|(partition, offset)| json!({ "topic": "orders", "partition": partition, "offset": offset }).to_string());
    assert_eq!(origins.collect::<Vec<_>>(), expected);

    let planned = server.json(&["dlq", "redrive", "workers", "--dry-run"]);
    assert_eq!(planned, json!({ "group": "workers", "executed": false, "topics": { "orders": 5 } }));
    assert_eq!(counts(&server), each(5, 1));
    assert_eq!(server.json(&["dlq", "redrive", "workers", "--limit", "2"])["topics"], json!({ "orders": 2 }));
    assert_eq!(waiting(&server), json!(3));
    server.run(&["dlq", "redrive", "workers", "--rate", "1000"]);
    assert_eq!(server.json(&["dlq", "redrive", "workers"])["topics"], json!({}), "nothing is sent twice");
    assert_eq!(counts(&server), each(5, 2));
    // They went back to where they came from, as if they had never been delivered.
    let again =
        server.run(&["consume", "orders", "-p", "1", "--from-beginning", "--exit-at-end", "--view", "rocketmq", "--json"]);
    let last: Value = serde_json::from_str(again.lines().last().unwrap()).unwrap();
    assert!(!last.to_string().contains("duolog.dlq") && !last.to_string().contains("DLQ_ORIGIN"), "{last}");
    assert_eq!(again.lines().count(), 4);

    assert_eq!(server.json(&["dlq", "show", "workers", "--waiting"]), json!([]));
    let discarded = server.json(&["dlq", "discard", "workers", "--redriven"]);
    assert_eq!(discarded["partitions"], json!([{ "partition": 0, "before": 5, "discarded": 5 }]));
    assert_eq!(server.json(&["dlq", "list"])[0]["letters"], json!(0));
    assert!(server.refuse(&["dlq", "show", "nobody"]).contains("group nobody has no dead letters"));
    assert!(server.refuse(&["dlq", "redrive", "nobody"]).contains("there is no topic %DLQ%nobody"));
    assert!(server.refuse(&["dlq", "discard", "workers", "--all", "-p", "9"]).contains("has no partition 9"));
    server.stop();
}

#[test]
fn letters_can_go_to_another_topic_which_must_be_there() {
    let directory = tempdir().unwrap();
    let server = server_with_letters(directory.path(), 3);
    assert!(server.refuse(&["dlq", "redrive", "workers", "--to", "repairs"]).contains("topic repairs does not exist"));
    server.run(&["topic", "create", "repairs", "-p", "1"]);
    server.run(&["dlq", "redrive", "workers", "--to", "repairs"]);
    assert_eq!(server.run(&["consume", "repairs", "--from-beginning", "--exit-at-end"]).lines().count(), 3);
    assert_eq!(counts(&server), each(3, 1));
    server.stop();
}

#[test]
fn a_redrive_that_was_killed_is_finished_without_sending_anything_twice() {
    let directory = tempdir().unwrap();
    let server = server_with_letters(directory.path(), 4);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mut cluster = runtime.block_on(Cluster::connect(std::slice::from_ref(&server.kafka))).unwrap();
    let identity = runtime.block_on(cluster.new_identity()).unwrap();
    let note = json!({ "producer": identity.id.0, "epoch": identity.epoch.0, "end": 3, "letters": 3, "to": null });
    let mut interrupt = || {
        let place = CommittedOffset { topic: LETTERS.to_owned(), partition: 0, offset: 0 };
        let noted = NotedOffset { place, note: note.to_string() };
        runtime.block_on(cluster.commit_note_for_empty_group("duolog-dlq-redrive-workers", noted)).unwrap();
    };
    // Killed before it sent what it had noted, and after.
    for _ in 0..3 {
        interrupt();
        assert_eq!(server.json(&["dlq", "redrive", "workers", "--limit", "1"])["topics"], json!({ "orders": 3 }));
        assert_eq!((waiting(&server), counts(&server).values().sum::<usize>()), (json!(1), 7));
    }
    // What it was sending is not whole any more.
    interrupt();
    server.run(&["dlq", "discard", "workers", "--before", "2"]);
    assert!(server.refuse(&["dlq", "redrive", "workers"]).contains("cannot be finished"));
    server.stop();
}

#[test]
fn a_redrive_that_is_killed_again_and_again_sends_each_letter_once() {
    const COUNT: u32 = 24;
    let directory = tempdir().unwrap();
    let server = server_with_letters(directory.path(), COUNT as usize);
    for round in 0..30 {
        let mut command = server.command(&["dlq", "redrive", "workers", "--rate", "4"]);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        // Any moment is a good one.
        std::thread::sleep(Duration::from_millis(10 + round * 13));
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let output = finish(server.command(&["dlq", "redrive", "workers"]), "");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!((counts(&server), waiting(&server)), (each(COUNT, 2), json!(0)));
    server.stop();
}
