//! Groups on several nodes: members, offsets, and what is asked of clients elsewhere.

use crate::client::{bodies, messages, pull_header, pulled, sent};
use crate::cluster::{Cluster, asked_of, holding, members, until};
use crate::consumers::{beat, committed, heartbeat, told_of};
use duolog_base::NodeId;
use duolog_wire::remoting::code::{request, response};
use duolog_wire::remoting::header::{
    ConsumerRunningInfoRequest, PullMessageRequest, ResetOffsetRequest, UpdateConsumerOffsetRequest,
};
use std::time::Duration;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_has_its_members_at_one_node_and_all_nodes_say_so() {
    let cluster = Cluster::start(3).await;
    cluster.topic("t", &[1, 2, 3]).await;
    for home in 1..=3 {
        let group = cluster.group_at(home).await;
        let mut clients = Vec::new();
        for (at, member) in cluster.members.iter().enumerate() {
            let mut client = member.client().await;
            beat(&mut client, &heartbeat(&format!("c{at}"), &group, &["t"])).await;
            for earlier in &mut clients {
                told_of(earlier, &group).await;
            }
            clients.push(client);
        }
        for client in &mut clients {
            assert_eq!(members(client, &group).await.unwrap(), ["c0", "c1", "c2"]);
        }
        drop(clients.pop());
        for client in &mut clients {
            let client = tokio::sync::Mutex::new(client);
            until("who has gone is no member", async || {
                members(&mut **client.lock().await, &group).await == Some(vec!["c0".to_owned(), "c1".to_owned()])
            })
            .await;
        }
    }
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn offsets_are_the_same_at_all_nodes() {
    let cluster = Cluster::start(2).await;
    cluster.topic("t", &[1, 2]).await;
    for home in 1..=2 {
        let group = cluster.group_at(home).await;
        let (mut one, mut two) = (cluster.members[0].client().await, cluster.members[1].client().await);
        let update = UpdateConsumerOffsetRequest { consumer_group: &group, topic: "t", queue_id: 1, commit_offset: 7 };
        assert_eq!(one.ask(request::UPDATE_CONSUMER_OFFSET, update).await.code, 0);
        let pull = PullMessageRequest { consumer_group: &group, sys_flag: 1 | 4, commit_offset: 9, ..pull_header("t", 0, 0) };
        two.pull(pull).await;
        for client in [&mut one, &mut two] {
            assert_eq!(committed(client, &group, "t", 1).await, Ok(7));
        }
        let client = tokio::sync::Mutex::new(one);
        until("the pull's offset is known", async || committed(&mut *client.lock().await, &group, "t", 0).await == Ok(9)).await;
    }
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_pull_says_of_an_offset_does_not_take_it_back() {
    let cluster = Cluster::start(2).await;
    cluster.topic("t", &[1]).await;
    let group = cluster.group_at(2).await;
    let mut client = cluster.members[1].client().await;
    let pull = PullMessageRequest { consumer_group: &group, sys_flag: 1 | 4, commit_offset: 4, ..pull_header("t", 0, 0) };
    client.pull(pull).await;
    let update = UpdateConsumerOffsetRequest { consumer_group: &group, topic: "t", queue_id: 0, commit_offset: 10 };
    assert_eq!(client.ask(request::UPDATE_CONSUMER_OFFSET, update).await.code, 0);
    for _ in 0..2 {
        // The leader brings what the pull said to the group's home, which stores it.
        for member in &cluster.members {
            member.node.store_offsets().await;
            assert_eq!(committed(&mut client, &group, "t", 0).await, Ok(10));
        }
        client.pull(pull).await;
    }
    client.pull(PullMessageRequest { commit_offset: 12, ..pull }).await;
    for member in &cluster.members {
        member.node.store_offsets().await;
    }
    assert_eq!(committed(&mut client, &group, "t", 0).await, Ok(12));
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tool_reaches_a_consumer_that_is_connected_to_another_node() {
    let cluster = Cluster::start(3).await;
    let group = cluster.group_at(2).await;
    let (mut tool, mut consumer) = (cluster.members[0].client().await, cluster.members[2].client().await);
    beat(&mut consumer, &heartbeat("c", &group, &["t"])).await;
    let question = ConsumerRunningInfoRequest { consumer_group: &group, client_id: "c", jstack_enable: false };
    let question = tool.request(request::GET_CONSUMER_RUNNING_INFO, question);
    tool.write(&question).await;
    let asked = asked_of(&mut consumer).await;
    assert_eq!((asked.code, asked.is_one_way()), (request::GET_CONSUMER_RUNNING_INFO, false));
    consumer.write(&asked.answer(0).with_body(&b"{running}"[..])).await;
    let answer = tool.read().await;
    assert_eq!((answer.opaque, answer.code, &answer.body[..]), (question.opaque, 0, &b"{running}"[..]));
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn offsets_that_are_set_reach_members_that_pull_from_other_nodes() {
    let cluster = Cluster::start(3).await;
    cluster.topic("t", &[3]).await;
    let group = cluster.group_at(2).await;
    let (mut tool, mut consumer) = (cluster.members[0].client().await, cluster.members[0].client().await);
    for body in ["a", "b", "c"] {
        tool.send("t", 0, body, "").await;
    }
    beat(&mut consumer, &heartbeat("c", &group, &["t"])).await;
    let update = UpdateConsumerOffsetRequest { consumer_group: &group, topic: "t", queue_id: 0, commit_offset: 3 };
    assert_eq!(consumer.ask(request::UPDATE_CONSUMER_OFFSET, update).await.code, 0);
    let reset = ResetOffsetRequest { group: &group, topic: "t", queue_id: 0, offset: Some(1), timestamp: 0, is_force: true };
    let answer = tool.ask(request::INVOKE_BROKER_TO_RESET_OFFSET, reset).await;
    assert_eq!(answer.code, 0, "{:?}", answer.remark);
    let told = asked_of(&mut consumer).await;
    assert_eq!(told.code, request::RESET_CONSUMER_CLIENT_OFFSET);
    let stale = consumer.ask(request::UPDATE_CONSUMER_OFFSET, update).await;
    assert_eq!((stale.code, stale.remark.as_deref()), (0, Some("Offset has been previously reset")));
    let pull = PullMessageRequest { consumer_group: &group, ..pull_header("t", 0, 3) };
    let moved = consumer.pull(pull).await;
    assert_eq!((moved.code, pulled(&moved).next_begin_offset), (response::PULL_OFFSET_MOVED, 1));
    let consumer = tokio::sync::Mutex::new(consumer);
    until("what the member says counts again", async || {
        let mut consumer = consumer.lock().await;
        consumer.ask(request::UPDATE_CONSUMER_OFFSET, update).await;
        committed(&mut consumer, &group, "t", 0).await == Ok(3)
    })
    .await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reply_reaches_a_producer_at_another_node() {
    let cluster = Cluster::start(2).await;
    cluster.topic("replies", &[2]).await;
    let (mut asker, mut replier) = (cluster.members[0].client().await, cluster.members[1].client().await);
    beat(&mut asker, &heartbeat("asker", "g", &[])).await;
    let properties = "REPLY_TO_CLIENT\u{1}asker\u{2}";
    let header = crate::client::send_header("replies", 0, properties);
    let reply = replier.request(request::SEND_REPLY_MESSAGE_V2, header).with_body(&b"yes"[..]);
    replier.write(&reply).await;
    let pushed = asked_of(&mut asker).await;
    assert_eq!((pushed.code, &pushed.body[..]), (request::PUSH_REPLY_MESSAGE_TO_CLIENT, &b"yes"[..]));
    asker.write(&pushed.answer(0)).await;
    assert_eq!(replier.read().await.code, 0);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_go_on_when_the_leader_and_home_dies() {
    let mut cluster = Cluster::replicated(3, 3, Duration::from_secs(5)).await;
    let replicas = [3, 1, 2].map(NodeId).to_vec();
    cluster.place("t", [replicas.clone(), replicas].into_iter()).await;
    let group = cluster.group_at(3).await;
    let (mut one, mut two) = (cluster.members[0].client().await, cluster.members[1].client().await);
    beat(&mut one, &heartbeat("one", &group, &["t"])).await;
    beat(&mut two, &heartbeat("two", &group, &["t"])).await;
    told_of(&mut one, &group).await;
    let update = UpdateConsumerOffsetRequest { consumer_group: &group, topic: "t", queue_id: 1, commit_offset: 7 };
    assert_eq!(one.ask(request::UPDATE_CONSUMER_OFFSET, update).await.code, 0);
    assert_eq!(one.send("t", 0, "before", "").await.code, 0);
    let poll = one.request(request::PULL_MESSAGE, holding("t", 0, 1));
    one.write(&poll).await;
    cluster.members.pop().unwrap().die().await;
    let mut after = two.send("t", 0, "after", "").await;
    for _ in 0..20 {
        if after.code == 0 {
            break;
        }
        assert_eq!(after.code, response::SERVICE_NOT_AVAILABLE, "{:?}", after.remark);
        after = two.send("t", 0, "after", "").await;
    }
    assert!(sent(&after).queue_offset >= 1);
    let answer = loop {
        let frame = one.read().await;
        if frame.is_response() {
            break frame;
        }
    };
    assert_eq!(answer.opaque, poll.opaque);
    match answer.code {
        0 => assert!(bodies(&messages(&answer)).iter().all(|body| *body == "after")),
        code => assert_eq!(code, response::PULL_NOT_FOUND),
    }
    let all = two.messages("t", 0, 0).await;
    // What was refused may have been stored all the same.
    assert!(all[0].body == "before" && all[1..].iter().all(|message| message.body == "after"));
    let (one, two) = (tokio::sync::Mutex::new(one), tokio::sync::Mutex::new(two));
    until("the new home has both members", async || {
        let found = [members(&mut *one.lock().await, &group).await, members(&mut *two.lock().await, &group).await];
        found.iter().all(|found| found.as_deref() == Some(&["one".to_owned(), "two".to_owned()]))
    })
    .await;
    assert_eq!(committed(&mut *two.lock().await, &group, "t", 1).await, Ok(7));
    drop((one, two));
    cluster.stop().await;
}
