//! POP on several nodes: queues that other nodes lead, one by one and any of them.

use crate::cluster::Cluster;
use crate::pop::{acknowledge, hide, pop, pop_header, popped, waiting};
use duolog_wire::remoting::body::{BatchAck, BatchAckRequest, to_json};
use duolog_wire::remoting::code::{request, response};
use duolog_wire::remoting::header::{CommonFields, Header, PeekMessageRequest, PopMessageRequest, PopMessageResponse};
use std::collections::BTreeSet;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pop_of_any_queue_finds_what_any_node_has() {
    let cluster = Cluster::start(3).await;
    cluster.topic("t", &[1, 2, 3]).await;
    let mut client = cluster.members[0].client().await;
    for queue in 0..3 {
        assert_eq!(client.send("t", queue, &format!("m{queue}"), "").await.code, 0);
    }
    let peek = PeekMessageRequest { topic: "t", queue_id: -1, max_msg_nums: 32, consumer_group: "consumers" };
    assert_eq!(client.ask(request::PEEK_MESSAGE, peek).await.code, 0);
    let mut found = BTreeSet::new();
    for _ in 0..3 {
        for popped in pop(&mut client, waiting("t")).await {
            assert_eq!(acknowledge(&mut client, "t", &popped).await, 0);
            assert_eq!(acknowledge(&mut client, "t", &popped).await, response::NO_MESSAGE);
            assert!(found.insert(popped.message.body));
        }
    }
    assert_eq!(found.len(), 3);
    assert_eq!(pop(&mut client, PopMessageRequest { poll_time: 100, ..pop_header("t") }).await.len(), 0);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pop_that_waits_is_answered_from_whichever_node_has_something() {
    let cluster = Cluster::start(3).await;
    cluster.topic("t", &[1, 2, 3]).await;
    let mut sender = cluster.members[1].client().await;
    for (at, queue_id) in [(0, -1), (1, -1), (2, -1), (0, 2), (1, 2)] {
        let mut waiter = cluster.members[at].client().await;
        let held = waiter.request(request::POP_MESSAGE, PopMessageRequest { queue_id, ..waiting("t") });
        waiter.write(&held).await;
        assert_eq!(sender.send("t", 2, "late", "").await.code, 0);
        let answer = waiter.read().await;
        let found = popped(&answer);
        assert_eq!((answer.opaque, found.len(), found[0].queue), (held.opaque, 1, 2), "{at} {queue_id}");
        hide(&mut waiter, "t", &found[0], 0).await.unwrap();
        let again = pop(&mut waiter, waiting("t")).await.remove(0);
        assert_eq!(again.message.reconsume_times, 1);
        assert_eq!(acknowledge(&mut waiter, "t", &again).await, 0);
    }
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acknowledgements_of_several_queues_go_to_their_leaders() {
    let cluster = Cluster::start(2).await;
    cluster.topic("t", &[1, 2]).await;
    let mut client = cluster.members[0].client().await;
    let mut acks = Vec::new();
    for queue_id in 0..2 {
        assert_eq!(client.send("t", queue_id, "x", "").await.code, 0);
        let answer = client.ask(request::POP_MESSAGE, PopMessageRequest { queue_id, ..waiting("t") }).await;
        assert_eq!(popped(&answer).len(), 1);
        let PopMessageResponse { pop_time, revive_qid, .. } = PopMessageResponse::from_fields(&answer.fields).unwrap();
        acks.push(BatchAck {
            bits: "AQ==".to_owned(),
            consumer_group: "consumers".to_owned(),
            pop_time,
            queue_id,
            mark: "0".to_owned(),
            revive_queue: revive_qid,
            topic: "t".to_owned(),
            ..BatchAck::default()
        });
    }
    let body = to_json(&BatchAckRequest { acks, broker_name: String::new() });
    let command = client.request(request::BATCH_ACK_MESSAGE, CommonFields::default()).with_body(body);
    assert_eq!(client.call(command.clone()).await.code, response::SUCCESS);
    assert_eq!(client.call(command).await.code, response::NO_MESSAGE);
    cluster.stop().await;
}
