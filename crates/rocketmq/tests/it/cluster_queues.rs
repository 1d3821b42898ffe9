//! Queues on several nodes: clients that come to one that does not lead them.

use crate::client::{bodies, messages, pull_header, pulled, sent};
use crate::cluster::{Cluster, holding, max_offset, until};
use crate::consumers::{beat, heartbeat};
use crate::node::FOR_EVER;
use crate::queries::{found, query};
use bytes::Bytes;
use duolog_base::NodeId;
use duolog_peer::{CallError, CallKind, Purpose};
use duolog_wire::remoting::body::{ClusterInfo, ConsumeStats, GroupList, TopicRoute, TopicStats, from_json};
use duolog_wire::remoting::code::{request, response};
use duolog_wire::remoting::header::{
    CommonFields, ConsumeStatsRequest, ConsumerSendMessageBackRequest, PullMessageRequest, QueryMessageRequest, RouteRequest,
    TopicRequest, UpdateConsumerOffsetRequest, ViewMessageRequest,
};
use std::time::Duration;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_node_stores_and_shows_the_messages_of_any_queue() {
    let cluster = Cluster::start(3).await;
    cluster.topic("t", &[1, 2, 3]).await;
    for (at, member) in cluster.members.iter().enumerate() {
        let mut client = member.client().await;
        for queue in 0..3 {
            let answer = client.send("t", queue, &format!("from {at}"), "").await;
            assert_eq!((sent(&answer).queue_id, sent(&answer).queue_offset), (queue, at as i64));
        }
    }
    for member in &cluster.members {
        let mut client = member.client().await;
        for queue in 0..3 {
            let all = client.messages("t", queue, 0).await;
            assert_eq!(bodies(&all), ["from 0", "from 1", "from 2"]);
            assert_eq!(max_offset(&mut client, "t", queue).await, 3);
        }
        let beyond = client.pull(pull_header("t", 1, 9)).await;
        assert_eq!((beyond.code, pulled(&beyond).next_begin_offset), (response::PULL_OFFSET_MOVED, 3));
    }
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sends_of_one_connection_keep_their_order() {
    let cluster = Cluster::start(2).await;
    cluster.topic("t", &[1, 2]).await;
    let mut client = cluster.members[0].client().await;
    let count = 500;
    for number in 0..count {
        for queue in 0..2 {
            let header = crate::client::send_header("t", queue, "");
            let command = client.request(request::SEND_MESSAGE_V2, header).with_body(number.to_string().into_bytes());
            client.write(&command).await;
        }
    }
    for _ in 0..2 * count {
        assert_eq!(client.read().await.code, 0);
    }
    for queue in 0..2 {
        let mut from = 0;
        while from < count {
            let more = client.messages("t", queue, from).await;
            for message in more {
                assert_eq!(message.body, from.to_string());
                from += 1;
            }
        }
    }
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_poll_at_the_wrong_node_is_answered_when_something_comes() {
    let cluster = Cluster::start(2).await;
    cluster.topic("t", &[2]).await;
    let (mut waiting, mut sender) = (cluster.members[0].client().await, cluster.members[1].client().await);
    let poll = waiting.request(request::PULL_MESSAGE, holding("t", 0, 0));
    waiting.write(&poll).await;
    // The connection is not held up.
    assert_eq!(max_offset(&mut waiting, "t", 0).await, 0);
    sender.send("t", 0, "late", "").await;
    let answer = waiting.read().await;
    assert_eq!((answer.opaque, answer.code), (poll.opaque, 0), "{:?}", answer.remark);
    assert_eq!(bodies(&messages(&answer)), ["late"]);
    let short = PullMessageRequest { suspend_timeout_millis: 100, ..holding("t", 0, 1) };
    assert_eq!(waiting.pull(short).await.code, response::PULL_NOT_FOUND);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pull_at_the_wrong_node_may_rely_on_the_subscription_of_its_heartbeat() {
    let cluster = Cluster::start(2).await;
    cluster.topic("t", &[2]).await;
    for home in 1..=2 {
        let group = cluster.group_at(home).await;
        let mut client = cluster.members[0].client().await;
        client.send("t", 0, "x", "").await;
        let pull = PullMessageRequest {
            consumer_group: &group,
            sys_flag: 0,
            subscription: None,
            sub_version: 1,
            ..pull_header("t", 0, 0)
        };
        assert_eq!(client.pull(pull).await.code, response::SUBSCRIPTION_NOT_EXIST);
        beat(&mut client, &heartbeat("c", &group, &["t"])).await;
        assert_eq!(client.pull(pull).await.code, response::SUCCESS);
    }
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn routes_name_the_node_that_was_asked_and_tools_see_all() {
    let cluster = Cluster::start(3).await;
    cluster.topic("t", &[1, 2, 3, 1]).await;
    for member in &cluster.members {
        let mut client = member.client().await;
        let answer = client.ask(request::GET_ROUTEINFO_BY_TOPIC, RouteRequest { topic: "t", ..Default::default() }).await;
        let route: TopicRoute = from_json(&answer.body).unwrap();
        assert_eq!((route.queue_datas.len(), route.queue_datas[0].read_queue_nums), (1, 4));
        assert_eq!(route.broker_datas.len(), 1);
        assert_eq!(route.broker_datas[0].broker_addrs.values().collect::<Vec<_>>(), [&member.address.to_string()]);
        let answer = client.ask(request::GET_BROKER_CLUSTER_INFO, CommonFields::default()).await;
        let info: ClusterInfo = from_json(&answer.body).unwrap();
        let mut seen: Vec<&String> = info.broker_addr_table.values().flat_map(|broker| broker.broker_addrs.values()).collect();
        let mut all: Vec<String> = cluster.members.iter().map(|member| member.address.to_string()).collect();
        seen.sort();
        all.sort();
        assert_eq!((info.broker_addr_table.len(), seen), (1, all.iter().collect()));
    }
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queue_without_a_leader_is_waited_for_and_then_a_client_is_told_to_try_again() {
    let mut cluster = Cluster::start(3).await;
    cluster.topic("t", &[3, 1]).await;
    let mut client = cluster.members[0].client().await;
    client.send("t", 0, "x", "").await;
    let poll = client.request(request::PULL_MESSAGE, holding("t", 0, 1));
    client.write(&poll).await;
    cluster.members.pop().unwrap().die().await;
    let answer = client.read().await;
    assert_eq!((answer.opaque, answer.code, pulled(&answer).next_begin_offset), (poll.opaque, response::PULL_NOT_FOUND, 1));
    assert_eq!(client.send("t", 0, "y", "").await.code, response::SERVICE_NOT_AVAILABLE);
    assert_eq!(client.send("t", 1, "z", "").await.code, 0, "other queues are not concerned");
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_node_cannot_understand_it_refuses_and_goes_on() {
    let cluster = Cluster::start(2).await;
    cluster.topic("t", &[2]).await;
    let peers = &cluster.members[0].peers;
    for kind in 64..=95 {
        for body in [&b""[..], b"\0\0\0\x02{}", b"\xff\xff\xff\xff", b"\0\0\0\x04null\0\0\0\x01x"] {
            let limit = FOR_EVER;
            let called = peers.call(NodeId(2), Purpose(8), CallKind(kind), Bytes::from_static(body), limit).await;
            assert!(matches!(called, Err(CallError::Refused { .. })), "{kind} {body:?}: {called:?}");
        }
    }
    let mut client = cluster.members[0].client().await;
    client.send("t", 0, "x", "").await;
    assert_eq!(bodies(&client.messages("t", 0, 0).await), ["x"]);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_is_given_back_at_any_node_and_found_again() {
    let cluster = Cluster::start(3).await;
    cluster.topic("t", &[1, 2, 3]).await;
    let mut client = cluster.members[0].client().await;
    let group = cluster.group_at(3).await;
    beat(&mut client, &heartbeat("c", &group, &["t"])).await;
    for queue in 0..3 {
        client.send("t", queue, &format!("m{queue}"), "").await;
        let message = client.messages("t", queue, 0).await.remove(0);
        let header = ConsumerSendMessageBackRequest {
            offset: message.commit_log_offset,
            group: &group,
            delay_level: 0,
            origin_topic: Some("t"),
            ..Default::default()
        };
        let answer = client.ask(request::CONSUMER_SEND_MSG_BACK, header).await;
        assert_eq!(answer.code, 0, "{:?}", answer.remark);
        let view = ViewMessageRequest { offset: message.commit_log_offset, ..Default::default() };
        let viewed = messages(&client.ask(request::VIEW_MESSAGE_BY_ID, view).await);
        assert_eq!(bodies(&viewed), [message.body]);
    }
    let retry = format!("%RETRY%{group}");
    for member in &cluster.members {
        let again = member.client().await.messages(&retry, 0, 0).await;
        assert_eq!(bodies(&again), ["m0", "m1", "m2"]);
        assert!(again.iter().all(|message| message.reconsume_times == 1));
    }
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tools_see_the_queues_and_messages_of_all_nodes() {
    let cluster = Cluster::start(3).await;
    cluster.topic("t", &[1, 2, 3]).await;
    let mut client = cluster.members[1].client().await;
    for queue in 0..3 {
        client.send("t", queue, &format!("m{queue}"), "KEYS\u{1}order\u{2}").await;
    }
    let group = cluster.group_at(1).await;
    for member in &cluster.members {
        let mut client = member.client().await;
        let answer = client.ask(request::GET_TOPIC_STATS_INFO, TopicRequest { topic: "t" }).await;
        let stats: TopicStats = from_json(&answer.body).unwrap();
        assert_eq!(stats.offset_table.0.iter().map(|(_, at)| at.max_offset).collect::<Vec<_>>(), [1, 1, 1]);
        let query = QueryMessageRequest { topic: "t", key: "order", max_num: 10, end_timestamp: i64::MAX, ..Default::default() };
        let found = client.ask(request::QUERY_MESSAGE, query).await;
        assert_eq!(bodies(&messages(&found)), ["m0", "m1", "m2"], "{:?}", found.remark);
        for queue_id in 0..3 {
            let update = UpdateConsumerOffsetRequest { consumer_group: &group, topic: "t", queue_id, commit_offset: 1 };
            assert_eq!(client.ask(request::UPDATE_CONSUMER_OFFSET, update).await.code, 0);
        }
        let asked = ConsumeStatsRequest { consumer_group: &group, ..Default::default() };
        let stats: ConsumeStats = from_json(&client.ask(request::GET_CONSUME_STATS, asked).await.body).unwrap();
        let offsets = stats.offset_table.0.iter().map(|(_, at)| (at.broker_offset, at.consumer_offset));
        assert_eq!(offsets.collect::<Vec<_>>(), [(1, 1); 3]);
        let answer = client.ask(request::QUERY_TOPIC_CONSUME_BY_WHO, TopicRequest { topic: "t" }).await;
        assert_eq!(from_json::<GroupList>(&answer.body).unwrap().group_list, std::slice::from_ref(&group));
    }
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn topics_are_made_by_sending_to_them_at_any_node() {
    let cluster = Cluster::start(3).await;
    for (at, member) in cluster.members.iter().enumerate() {
        let topic = format!("new-{at}");
        let mut client = member.client().await;
        for queue in 0..4 {
            let mut answer = client.send(&topic, queue, "first", "").await;
            // A busy cluster takes its time.
            for _ in 0..20 {
                if answer.code == response::SERVICE_NOT_AVAILABLE {
                    answer = client.send(&topic, queue, "first", "").await;
                }
            }
            assert_eq!(sent(&answer).queue_id, queue);
        }
        let answer = client.send(&topic, -1, "anywhere", "").await;
        let queue = sent(&answer).queue_id;
        let led = member.node.broker.image().topic(&topic).unwrap().partitions[queue as usize].leader;
        let leads_any =
            member.node.broker.image().topic(&topic).unwrap().partitions.iter().any(|one| one.leader.0 == at as i32 + 1);
        assert!(led.0 == at as i32 + 1 || !leads_any, "who does not mind is served at once");
        assert_eq!(bodies(&client.messages(&topic, queue, 0).await), ["first", "anywhere"]);
    }
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_is_found_by_its_key_when_its_leader_is_gone() {
    let mut cluster = Cluster::replicated(3, 3, Duration::from_secs(5)).await;
    cluster.place("t", [[3, 1, 2].map(NodeId).to_vec()].into_iter()).await;
    let mut client = cluster.members[0].client().await;
    for (body, properties) in [("a", "KEYS\u{1}one two\u{2}UNIQ_KEY\u{1}id-a\u{2}"), ("b", ""), ("c", "KEYS\u{1}two\u{2}")] {
        assert_eq!(client.send("t", 0, body, properties).await.code, 0);
    }
    cluster.members.pop().unwrap().die().await;
    let client = tokio::sync::Mutex::new(client);
    let look_for = async |key| {
        let mut found = found(&mut *client.lock().await, query("t", key)).await.unwrap_or_default();
        found.sort();
        found
    };
    until("the new leader finds them", async || look_for("two").await == ["a", "c"]).await;
    assert_eq!(look_for("one").await, ["a"]);
    drop(client);
    cluster.stop().await;
}
