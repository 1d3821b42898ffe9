//! Transactional messages on several nodes: whichever takes them, ends them or is asked, and whichever dies.

use crate::cluster::{Cluster, asked_of, holding};
use crate::transactions::{COMMIT, GROUP, ROLLBACK, asked, finish, prepare, prepare_with, produce_as};
use duolog_base::NodeId;
use std::time::Duration;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_node_takes_and_ends_halves_and_asks_producers_of_others() {
    let cluster = Cluster::start(3).await;
    cluster.topic("t", &[1, 2, 3]).await;
    for (at, member) in cluster.members.iter().enumerate() {
        let mut client = member.client().await;
        let mut other = cluster.members[(at + 1) % 3].client().await;
        for queue in 0..3 {
            let half = prepare(&mut client, queue, &format!("{at} {queue}")).await;
            assert_eq!(finish(&mut other, &half, COMMIT).await, 0);
            let half = prepare(&mut client, queue, &format!("lost {at} {queue}")).await;
            assert_eq!(finish(&mut other, &half, ROLLBACK).await, 0);
        }
    }
    let mut producer = cluster.members[2].client().await;
    produce_as(&mut producer, "p", GROUP).await;
    let mut sender = cluster.members[0].client().await;
    let open = prepare_with(&mut sender, 0, "asked", &[("CHECK_IMMUNITY_TIME_IN_SECONDS", "0")]).await;
    assert_eq!(asked(&asked_of(&mut producer).await).0, open);
    assert_eq!(finish(&mut producer, &open, COMMIT).await, 0);
    for queue in 0..3 {
        let mut client = cluster.members[queue].client().await;
        let expected = if queue == 0 { 4 } else { 3 };
        let mut came = Vec::new();
        while came.len() < expected {
            let answer = client.pull(holding("t", queue as i32, came.len() as i64)).await;
            came.extend(crate::client::messages(&answer).into_iter().map(|message| message.body));
        }
        came.sort();
        let mut wanted: Vec<String> = (0..3).map(|at| format!("{at} {queue}")).collect();
        wanted.extend((queue == 0).then(|| "asked".to_owned()));
        assert_eq!(came, wanted);
    }
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn transactions_go_on_when_the_node_that_keeps_them_dies() {
    const MESSAGES: usize = 24;
    let mut cluster = Cluster::replicated(3, 3, Duration::from_secs(2)).await;
    cluster.place("t", std::iter::once(vec![NodeId(1), NodeId(2), NodeId(3)])).await;
    // They go to partitions of the node that takes them.
    let mut other = cluster.members[2].client().await;
    let mut halves = Vec::new();
    for number in 0..MESSAGES {
        halves.push(prepare(&mut other, 0, &format!("{number:02}")).await);
    }
    for half in &halves[..MESSAGES / 2] {
        assert_eq!(finish(&mut other, half, COMMIT).await, 0);
    }
    drop(other);
    cluster.members.pop().unwrap().die().await;
    let mut client = cluster.members[0].client().await;
    for (number, half) in halves.iter().enumerate().skip(MESSAGES / 2) {
        let what = if number % 2 == 0 { COMMIT } else { ROLLBACK };
        let mut code = finish(&mut client, half, what).await;
        for _ in 0..10 {
            if code == 0 {
                break;
            }
            code = finish(&mut client, half, what).await;
        }
        assert_eq!(code, 0);
    }
    let expected: Vec<String> =
        (0..MESSAGES).filter(|at| *at < MESSAGES / 2 || at % 2 == 0).map(|at| format!("{at:02}")).collect();
    let mut came: Vec<String> = Vec::new();
    while came.len() < expected.len() {
        let answer = client.pull(holding("t", 0, came.len() as i64)).await;
        came.extend(crate::client::messages(&answer).into_iter().map(|message| message.body));
    }
    came.sort();
    assert_eq!(came, expected);
    cluster.stop().await;
}
