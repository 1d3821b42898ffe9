//! Messages that are in files only: whatever the page cache holds of them, all are given, and none that is damaged.

use crate::client::{Client, Server, messages, pull_header, pulled, send_header, sent};
use bytes::BytesMut;
use duolog_base::{Disk, OpenMode, RealDisk};
use duolog_wire::remoting::code::{request, response};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use tokio::io::AsyncWriteExt;

const BODY_BYTES: usize = 4_000;
/// More than a file has.
const MESSAGES: usize = 1_800;
/// Messages sent at a time.
const TOGETHER: usize = 100;
/// More pulls than are needed to read a queue.
const PULLS: usize = 500;

fn body(queue: usize, number: usize) -> String {
    let mark = format!("{queue}-{number}-");
    mark.repeat(BODY_BYTES / mark.len())
}

/// Sends messages to the queues in turn.
async fn send_all(client: &mut Client, queues: usize) {
    for first in (0..MESSAGES).step_by(TOGETHER) {
        let mut bytes = BytesMut::new();
        for at in first..first + TOGETHER {
            let (queue, number) = (at % queues, at / queues);
            let command = client.request(request::SEND_MESSAGE_V2, send_header("t", queue as i32, ""));
            command.with_body(body(queue, number)).encode(&mut bytes);
        }
        client.stream.write_all(&bytes).await.unwrap();
        for _ in 0..TOGETHER {
            sent(&client.read().await);
        }
    }
}

/// Reads a queue from its beginning: how many messages came, and whether it ended with an error.
async fn read_queue(client: &mut Client, queue: usize, behind: usize) -> (usize, bool) {
    let mut next = 0;
    for _ in 0..PULLS {
        let answer = client.pull(pull_header("t", queue as i32, next as i64)).await;
        if answer.code == response::SYSTEM_ERROR {
            return (next, true);
        }
        assert_eq!(answer.code, response::SUCCESS, "{:?}", answer.remark);
        for message in messages(&answer) {
            assert_eq!(message.offset, next as i64);
            assert!(message.body == body(queue, next));
            next += 1;
        }
        assert_eq!(pulled(&answer).next_begin_offset, next as i64);
        if next == behind {
            return (next, false);
        }
    }
    panic!("{next} of {behind} messages of queue {queue}");
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let paths = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    paths.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

/// Brings all files into the page cache, or takes them from it.
fn cache(dir: &Path, cached: bool) {
    for path in files(dir) {
        match cached {
            true => drop(std::fs::read(&path).unwrap()),
            false => drop(RealDisk.open(&path, OpenMode::Read).unwrap().evict().unwrap()),
        }
    }
}

/// Changes a bit in the middle of this message, wherever it lies.
fn damage(dir: &Path, queue: usize, number: usize) {
    let body = body(queue, number);
    let mut places = 0;
    for path in files(dir) {
        let bytes = std::fs::read(&path).unwrap();
        let Some(at) = bytes.windows(BODY_BYTES / 2).position(|found| found == &body.as_bytes()[..BODY_BYTES / 2]) else {
            continue;
        };
        let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
        file.write_all_at(&[bytes[at + 100] ^ 1], at as u64 + 100).unwrap();
        file.sync_all().unwrap();
        places += 1;
    }
    assert_eq!(places, 1);
}

/// With more queues less of each block is wanted by one of them.
async fn old_messages(queues: usize, cached: bool, damaged: Option<(usize, usize)>) {
    // Small files: the last one is looked through when it is opened, and what is damaged there is cut off.
    let values = [("log.file.bytes", "4194304")];
    let server = Server::start_with(&values).await;
    server.topic("t", queues as i32).await;
    send_all(&mut server.client().await, queues).await;
    let dir = server.stop().await;
    if let Some((queue, number)) = damaged {
        damage(dir.path(), queue, number);
    }
    let path = dir.path().to_owned();
    let server = Server::start_in(dir, &values).await;
    cache(&path, cached);
    let each = MESSAGES / queues;
    let mut reading = Vec::new();
    for queue in 0..queues {
        let mut client = server.client().await;
        reading.push(tokio::spawn(async move { read_queue(&mut client, queue, each).await }));
    }
    for (queue, read) in reading.into_iter().enumerate() {
        let (given, failed) = read.await.unwrap();
        match damaged {
            // Those that came together with it may share its batch.
            Some((in_queue, number)) if in_queue == queue => {
                let least = number - TOGETHER.div_ceil(queues);
                assert!(failed && (least..=number).contains(&given), "{given} messages of queue {queue}");
            }
            _ => assert_eq!((given, failed), (each, false), "queue {queue}"),
        }
    }
    server.stop().await;
}

#[tokio::test]
async fn old_messages_are_given_from_blocks_that_the_page_cache_holds() {
    old_messages(4, true, None).await;
}

#[tokio::test]
async fn old_messages_are_given_from_blocks_that_only_the_disk_has() {
    old_messages(4, false, None).await;
}

#[tokio::test]
async fn old_messages_that_lie_far_apart_are_given() {
    old_messages(60, true, None).await;
    old_messages(60, false, None).await;
}

#[tokio::test]
async fn a_damaged_message_among_others_is_not_given_and_those_before_it_are() {
    for cached in [true, false] {
        old_messages(4, cached, Some((1, 43))).await;
        old_messages(60, cached, Some((7, 5))).await;
    }
}
