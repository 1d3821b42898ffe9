//! What tools see of groups, and how they move them.

use crate::admin::{ask_with, body, topic};
use crate::client::{Client, Server, sent};
use crate::consumers::{beat, heartbeat};
use duolog_base::{LeaderEpoch, Offset, PartitionIndex};
use duolog_core::group::{CommitPartition, CommitRequest, CommitTopic, DeleteOffsetsTopic};
use duolog_rocketmq::Node;
use duolog_wire::remoting::body::{
    ConsumeStats, ConsumeStatsList, ConsumeTimeSpans, ConsumerConnection, CorrectionOffsets, GroupForbidden, GroupList,
    ProducerConnection, ProducerTable, QuerySubscriptionResponse, SubscriptionGroupConfig, SubscriptionGroupList,
    SubscriptionGroupTable, TopicList, TopicRoute, to_json,
};
use duolog_wire::remoting::code::{request, response};
use duolog_wire::remoting::header::{
    AllSubscriptionGroupsRequest, BrokerConsumeStatsRequest, CloneGroupOffsetRequest, CommonFields, ConsumeStatsRequest,
    ConsumeTimeSpanRequest, ConsumerGroupRequest, CorrectionOffsetRequest, DeleteSubscriptionGroupRequest, GroupForbiddenRequest,
    GroupRequest, ProducerGroupRequest, QueryConsumerOffsetRequest, ResetOffsetRequest, RouteRequest, SubscriptionRequest,
    UpdateConsumerOffsetRequest,
};

/// What a consumer of Kafka's protocol commits.
pub async fn commit_as_kafka(node: &Node, group: &str, name: &str, offset: i64) {
    let id = node.broker.image().topic(name).unwrap().id;
    let partition = CommitPartition {
        partition: PartitionIndex(0),
        offset: Offset(offset),
        leader_epoch: LeaderEpoch(0),
        metadata: "of Kafka".to_owned(),
    };
    let topics = vec![CommitTopic { name: name.to_owned(), id, partitions: vec![partition] }];
    let outcome = node.groups.commit(CommitRequest::anonymous(group, topics)).await.unwrap();
    assert!(outcome[0].partitions[0].outcome.is_ok());
}

async fn commit(client: &mut Client, group: &str, topic: &str, offset: i64) {
    let update = UpdateConsumerOffsetRequest { consumer_group: group, topic, queue_id: 0, commit_offset: offset };
    assert_eq!(client.ask(request::UPDATE_CONSUMER_OFFSET, update).await.code, 0);
}

async fn committed(client: &mut Client, group: &str, topic: &str) -> Option<String> {
    let query = QueryConsumerOffsetRequest { consumer_group: group, topic, queue_id: 0, set_zero_if_not_found: Some(false) };
    client.ask(request::QUERY_CONSUMER_OFFSET, query).await.fields.get("offset").map(str::to_owned)
}

fn stats_of<'a>(group: &'a str, topic: Option<&'a str>) -> ConsumeStatsRequest<'a> {
    ConsumeStatsRequest { consumer_group: group, topic, topic_list: None }
}

/// Topic, broker's and consumer's offset of each queue.
fn progress(stats: &ConsumeStats) -> Vec<(&str, i64, i64)> {
    let of = stats.offset_table.0.iter();
    of.map(|(queue, at)| (queue.topic.as_str(), at.broker_offset, at.consumer_offset)).collect()
}

/// A topic `t` with three messages in its only queue.
async fn server_with_messages() -> (Server, Client) {
    let server = Server::start().await;
    server.topic("t", 1).await;
    let mut client = server.client().await;
    for text in ["x", "y", "z"] {
        sent(&client.send("t", 0, text, "").await);
    }
    (server, client)
}

#[tokio::test]
async fn groups_are_configured_listed_and_deleted() {
    let server = Server::start().await;
    let mut client = server.client().await;
    let config = |name: &str, retries| SubscriptionGroupConfig {
        group_name: name.to_owned(),
        retry_max_times: retries,
        ..SubscriptionGroupConfig::default()
    };
    let unknown = client.ask(request::GET_SUBSCRIPTIONGROUP_CONFIG, GroupRequest { group: "g" }).await;
    assert_eq!(unknown.code, response::SUBSCRIPTION_GROUP_NOT_EXIST);
    let create = request::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP;
    assert_eq!(ask_with(&mut client, create, to_json(&config("g", 3))).await.code, 0);
    let list = SubscriptionGroupList { group_config_list: vec![config("h", 16), config("i", 16)] };
    assert_eq!(ask_with(&mut client, request::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP_LIST, to_json(&list)).await.code, 0);
    for odd in [config("../g", 3), config("", 3), config("g", -2)] {
        assert_eq!(ask_with(&mut client, create, to_json(&odd)).await.code, response::INVALID_PARAMETER);
    }
    let found = client.ask(request::GET_SUBSCRIPTIONGROUP_CONFIG, GroupRequest { group: "g" }).await;
    assert_eq!(body::<SubscriptionGroupConfig>(&found), config("g", 3));
    beat(&mut client, &heartbeat("c1", "online", &["t"])).await;
    let all = client.ask(request::GET_ALL_SUBSCRIPTIONGROUP_CONFIG, AllSubscriptionGroupsRequest::default()).await;
    let names: Vec<String> = body::<SubscriptionGroupTable>(&all).subscription_group_table.into_keys().collect();
    assert_eq!(names, ["g", "h", "i", "online"]);
    assert_eq!(all.fields.get("totalGroupNum"), Some("4"));
    let delete = DeleteSubscriptionGroupRequest { group_name: "g", clean_offset: false };
    assert_eq!(client.ask(request::DELETE_SUBSCRIPTIONGROUP, delete).await.code, 0);
    let unknown = client.ask(request::GET_SUBSCRIPTIONGROUP_CONFIG, GroupRequest { group: "g" }).await;
    assert_eq!(unknown.code, response::SUBSCRIPTION_GROUP_NOT_EXIST);
    for (readable, code) in [(None, 0), (Some(true), 0), (Some(false), response::REQUEST_CODE_NOT_SUPPORTED)] {
        let forbid = GroupForbiddenRequest { group: "h", topic: "t", readable };
        let answer = client.ask(request::UPDATE_AND_GET_GROUP_FORBIDDEN, forbid).await;
        assert_eq!(answer.code, code);
        assert!(code != 0 || body::<GroupForbidden>(&answer).readable);
    }
    server.stop().await;
}

#[tokio::test]
async fn the_progress_of_groups_of_both_protocols_is_shown() {
    let (server, mut client) = server_with_messages().await;
    commit_as_kafka(&server.node, "kafka.group", "t", 1).await;
    commit(&mut client, "rocket", "t", 2).await;
    for (group, at) in [("kafka.group", 1), ("rocket", 2)] {
        for asked in [None, Some("t")] {
            let stats: ConsumeStats = body(&client.ask(request::GET_CONSUME_STATS, stats_of(group, asked)).await);
            assert_eq!(progress(&stats), [("t", 3, at)]);
            assert!(stats.offset_table.0[0].1.last_timestamp > 0);
        }
        let topics: TopicList = body(&client.ask(request::QUERY_TOPICS_BY_CONSUMER, GroupRequest { group }).await);
        assert_eq!(topics.topic_list, ["t"]);
        let spans = ConsumeTimeSpanRequest { topic: "t", group };
        let spans: ConsumeTimeSpans = body(&client.ask(request::QUERY_CONSUME_TIME_SPAN, spans).await);
        let span = &spans.consume_time_span_set[0];
        assert!(span.min_time_stamp > 0 && span.consume_time_stamp >= span.min_time_stamp && span.delay_time >= 0);
        let retries = format!("%RETRY%{group}");
        let route = RouteRequest { topic: &retries, ..RouteRequest::default() };
        let route: TopicRoute = body(&client.ask(request::GET_ROUTEINFO_BY_TOPIC, route).await);
        assert_eq!((route.queue_datas[0].read_queue_nums, route.broker_datas.len()), (0, 1));
    }
    let groups: GroupList = body(&client.ask(request::QUERY_TOPIC_CONSUME_BY_WHO, topic("t")).await);
    assert_eq!(groups.group_list, ["kafka.group", "rocket"]);
    let nobody: ConsumeStats = body(&client.ask(request::GET_CONSUME_STATS, stats_of("nobody", None)).await);
    assert_eq!(progress(&nobody), []);

    let all = BrokerConsumeStatsRequest { is_order: false };
    let all: ConsumeStatsList = body(&client.ask(request::GET_BROKER_CONSUME_STATS, all).await);
    assert_eq!((all.total_diff, all.consume_stats_list.len()), (3, 2));
    let ordered = BrokerConsumeStatsRequest { is_order: true };
    let ordered: ConsumeStatsList = body(&client.ask(request::GET_BROKER_CONSUME_STATS, ordered).await);
    assert_eq!(ordered.total_diff, 0);

    let correction = |compare_group, filter_groups| CorrectionOffsetRequest { filter_groups, compare_group, topic: "t" };
    let at = |answer| body::<CorrectionOffsets>(&answer).correction_offsets[&0];
    assert_eq!(at(client.ask(request::QUERY_CORRECTION_OFFSET, correction("rocket", None)).await), 1);
    let behind = correction("kafka.group", Some("kafka.group"));
    assert_eq!(at(client.ask(request::QUERY_CORRECTION_OFFSET, behind).await), i64::MAX);
    server.stop().await;
}

#[tokio::test]
async fn a_group_is_deleted_with_its_offsets_only_if_asked() {
    let (server, mut client) = server_with_messages().await;
    commit(&mut client, "g", "t", 2).await;
    let delete = |clean_offset| DeleteSubscriptionGroupRequest { group_name: "g", clean_offset };
    assert_eq!(client.ask(request::DELETE_SUBSCRIPTIONGROUP, delete(false)).await.code, 0);
    assert_eq!(committed(&mut client, "g", "t").await.as_deref(), Some("2"));
    for _ in 0..2 {
        assert_eq!(client.ask(request::DELETE_SUBSCRIPTIONGROUP, delete(true)).await.code, 0);
        assert_eq!(committed(&mut client, "g", "t").await, None);
    }
    server.stop().await;
}

#[tokio::test]
async fn connections_are_those_of_the_members() {
    let (server, mut client) = server_with_messages().await;
    let consumers = ConsumerGroupRequest { consumer_group: "g" };
    let offline = client.ask(request::GET_CONSUMER_CONNECTION_LIST, consumers).await;
    assert_eq!(offline.code, response::CONSUMER_NOT_ONLINE);
    beat(&mut client, &heartbeat("c1", "g", &["t"])).await;
    let online: ConsumerConnection = body(&client.ask(request::GET_CONSUMER_CONNECTION_LIST, consumers).await);
    let address = client.stream.local_addr().unwrap().to_string();
    assert_eq!((online.connection_set[0].client_id.as_str(), &online.connection_set[0].client_addr), ("c1", &address));
    assert_eq!(online.subscription_table["t"].sub_string, "*");
    let producers = |producer_group| ProducerGroupRequest { producer_group };
    let found = client.ask(request::GET_PRODUCER_CONNECTION_LIST, producers("CLIENT_INNER_PRODUCER")).await;
    assert_eq!(body::<ProducerConnection>(&found).connection_set.len(), 1);
    assert_eq!(client.ask(request::GET_PRODUCER_CONNECTION_LIST, producers("x")).await.code, response::SYSTEM_ERROR);
    let table: ProducerTable = body(&client.ask(request::GET_ALL_PRODUCER_INFO, CommonFields::default()).await);
    assert_eq!(table.data["CLIENT_INNER_PRODUCER"][0].remote_ip, "127.0.0.1");
    for (asked, is_there) in [("t", true), ("u", false)] {
        let subscription = SubscriptionRequest { group: "g", topic: Some(asked) };
        let answer = client.ask(request::QUERY_SUBSCRIPTION_BY_CONSUMER, subscription).await;
        assert_eq!(body::<QuerySubscriptionResponse>(&answer).subscription_data.is_some(), is_there);
    }
    server.stop().await;
}

#[tokio::test]
async fn offsets_are_cloned_from_group_to_group() {
    let (server, mut client) = server_with_messages().await;
    commit_as_kafka(&server.node, "source", "t", 2).await;
    let clone = |dest_group| CloneGroupOffsetRequest { src_group: "source", dest_group, topic: None, offline: true };
    assert_eq!(client.ask(request::CLONE_GROUP_OFFSET, clone("copy")).await.code, 0);
    assert_eq!(committed(&mut client, "copy", "t").await.as_deref(), Some("2"));
    assert_eq!(client.ask(request::CLONE_GROUP_OFFSET, clone("../copy")).await.code, response::INVALID_PARAMETER);
    server.stop().await;
}

/// A member says its offset, and nobody answers it.
async fn say(client: &mut Client, group: &str, topic: &str, offset: i64) {
    let update = UpdateConsumerOffsetRequest { consumer_group: group, topic, queue_id: 0, commit_offset: offset };
    let one_way = client.request(request::UPDATE_CONSUMER_OFFSET, update).one_way();
    client.write(&one_way).await;
    // Requests of one connection are taken in order.
    assert_eq!(committed(client, group, topic).await, Some(offset.to_string()));
}

#[tokio::test]
async fn what_an_administrator_sets_outlives_what_members_said_before() {
    let (server, mut client) = server_with_messages().await;
    for group in ["of.kafka", "of.tool", "reset", "deleted", "gone"].map(|name| name.replace('.', "_")) {
        commit(&mut client, &group, "t", 1).await;
        say(&mut client, &group, "t", 3).await;
    }
    commit_as_kafka(&server.node, "of_kafka", "t", 2).await;
    commit(&mut client, "of_tool", "t", 2).await;
    let reset =
        ResetOffsetRequest { topic: "t", group: "reset", queue_id: 0, offset: Some(2), is_force: true, ..Default::default() };
    assert_eq!(client.ask(request::INVOKE_BROKER_TO_RESET_OFFSET, reset).await.code, 0);
    let topics = vec![DeleteOffsetsTopic { name: "t".to_owned(), partitions: vec![PartitionIndex(0)] }];
    server.node.groups.delete_offsets("deleted", topics).await.unwrap();
    server.node.groups.delete("gone").await.unwrap();
    let expected = [("of_kafka", Some("2")), ("of_tool", Some("2")), ("reset", Some("2")), ("deleted", None), ("gone", None)];
    for (group, offset) in expected {
        assert_eq!(committed(&mut client, group, "t").await.as_deref(), offset, "{group}, at once");
    }
    server.node.store_offsets().await;
    for (group, offset) in expected {
        assert_eq!(committed(&mut client, group, "t").await.as_deref(), offset, "{group}, a moment later");
    }
    // What a member says then is its own.
    say(&mut client, "of_kafka", "t", 3).await;
    drop(client);
    let server = Server::start_in(server.stop().await, &[]).await;
    let mut client = server.client().await;
    assert_eq!(committed(&mut client, "of_kafka", "t").await.as_deref(), Some("3"));
    assert_eq!(committed(&mut client, "of_tool", "t").await.as_deref(), Some("2"));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_offset_counts_though_an_older_one_is_being_stored() {
    let (server, mut client) = server_with_messages().await;
    for round in 0..30 {
        say(&mut client, "g", "t", 3).await;
        let node = server.node.clone();
        let storing = tokio::spawn(async move { node.store_offsets().await });
        if round % 2 == 0 {
            tokio::task::yield_now().await;
        }
        commit_as_kafka(&server.node, "g", "t", round % 3).await;
        storing.await.unwrap();
        server.node.store_offsets().await;
        assert_eq!(committed(&mut client, "g", "t").await, Some((round % 3).to_string()), "round {round}");
    }
    server.stop().await;
}
