//! LOCK_BATCH_MQ: queues that one client consumes in order.

use crate::client::{Client, Server};
use crate::cluster::{Cluster, until};
use duolog_wire::remoting::body::{LockBatchRequest, LockBatchResponse, MessageQueue, from_json, to_json};
use duolog_wire::remoting::code::request;
use duolog_wire::remoting::header::CommonFields;
use std::time::Duration;
use tokio::sync::Mutex;

const GROUP: &str = "in-order";

async fn ask(client: &mut Client, code: i32, group: &str, id: &str, queues: &[i32]) -> Option<LockBatchResponse> {
    let queue = |queue_id: &i32| MessageQueue { broker_name: "duolog".to_owned(), queue_id: *queue_id, topic: "t".to_owned() };
    let asked = LockBatchRequest {
        client_id: id.to_owned(),
        consumer_group: group.to_owned(),
        mq_set: queues.iter().map(queue).collect(),
        ..LockBatchRequest::default()
    };
    let command = client.request(code, CommonFields::default()).with_body(to_json(&asked));
    let answer = client.call(command).await;
    (answer.code == 0).then(|| from_json(&answer.body).unwrap_or_default())
}

/// The queues that the client holds then; `None` if nobody can tell now.
async fn try_lock(client: &mut Client, group: &str, id: &str, queues: &[i32]) -> Option<Vec<i32>> {
    let answer = ask(client, request::LOCK_BATCH_MQ, group, id, queues).await?;
    Some(answer.locked.iter().map(|queue| queue.queue_id).collect())
}

async fn lock(client: &mut Client, group: &str, id: &str, queues: &[i32]) -> Vec<i32> {
    try_lock(client, group, id, queues).await.expect("an answer")
}

async fn unlock(client: &mut Client, group: &str, id: &str, queues: &[i32]) {
    ask(client, request::UNLOCK_BATCH_MQ, group, id, queues).await.expect("an answer");
}

#[tokio::test]
async fn queues_are_locked_for_one_client_also_after_a_restart() {
    let server = Server::start().await;
    let mut client = server.client().await;
    assert_eq!(lock(&mut client, GROUP, "a", &[0, 1]).await, [0, 1]);
    assert_eq!(lock(&mut client, GROUP, "b", &[1, 2]).await, [2]);
    unlock(&mut client, GROUP, "a", &[1, 2]).await;
    assert_eq!(lock(&mut client, GROUP, "b", &[1]).await, [1]);
    drop(client);
    let server = Server::start_in(server.stop().await, &[]).await;
    let mut client = server.client().await;
    assert_eq!(lock(&mut client, GROUP, "c", &[0, 1, 2, 3]).await, [3]);
    assert_eq!(lock(&mut client, GROUP, "a", &[0, 1]).await, [0]);
    assert_eq!(lock(&mut client, GROUP, "b", &[1, 2]).await, [1, 2]);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn locks_are_exclusive_across_nodes() {
    let cluster = Cluster::start(2).await;
    cluster.topic("t", &[1, 2]).await;
    let group = cluster.group_at(2).await;
    let (mut one, mut two) = (cluster.members[0].client().await, cluster.members[1].client().await);
    assert_eq!(lock(&mut one, &group, "one", &[0]).await, [0]);
    assert_eq!(lock(&mut two, &group, "two", &[0, 1]).await, [1]);
    assert_eq!(lock(&mut one, &group, "one", &[0, 1]).await, [0]);
    unlock(&mut two, &group, "two", &[1]).await;
    assert_eq!(lock(&mut one, &group, "one", &[1]).await, [1]);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stranger_gets_no_lock_when_the_home_of_the_group_is_lost() {
    let mut cluster = Cluster::replicated(3, 3, Duration::from_secs(1)).await;
    let group = cluster.group_at(3).await;
    let (mut one, mut two) = (cluster.members[0].client().await, cluster.members[1].client().await);
    assert_eq!(lock(&mut one, &group, "one", &[0, 1]).await, [0, 1]);
    assert_eq!(lock(&mut two, &group, "two", &[2]).await, [2]);
    cluster.members.pop().expect("the home").die().await;
    let (one, two) = (Mutex::new(one), Mutex::new(two));
    // The stranger asks first, and all the time.
    until("the new home answers", async || match try_lock(&mut *two.lock().await, &group, "two", &[0, 1, 2, 3]).await {
        Some(held) => {
            assert_eq!(held, [2, 3]);
            true
        }
        None => false,
    })
    .await;
    let (mut one, mut two) = (one.into_inner(), two.into_inner());
    assert_eq!(lock(&mut one, &group, "one", &[0, 1, 2, 3]).await, [0, 1]);
    unlock(&mut one, &group, "one", &[1]).await;
    assert_eq!(lock(&mut two, &group, "two", &[0, 1]).await, [1]);
    drop((one, two));
    cluster.stop().await;
}
