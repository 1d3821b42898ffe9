//! What tools do to topics, to the node and to the name server.

use crate::client::{Client, Server, sent};
use duolog_wire::remoting::Command;
use duolog_wire::remoting::body::{
    KeyValueTable, TopicConfig, TopicConfigList, TopicConfigTable, TopicRoute, TopicStats, from_json, to_json,
};
use duolog_wire::remoting::code::{request, response};
use duolog_wire::remoting::header::{
    AllTopicConfigRequest, BrokerNameRequest, BrokerStatsRequest, CommonFields, DeleteTopicInNameServerRequest,
    KeyValueListRequest, KeyValueRequest, PutKeyValueRequest, RouteRequest, TopicRequest,
};
use serde::de::DeserializeOwned;

/// The body of a success.
pub fn body<T: DeserializeOwned>(answer: &Command) -> T {
    assert_eq!(answer.code, response::SUCCESS, "{:?}", answer.remark);
    from_json(&answer.body).unwrap()
}

/// Sends a request that has only a body.
pub async fn ask_with(client: &mut Client, code: i32, body: impl Into<bytes::Bytes>) -> Command {
    let command = client.request(code, CommonFields::default()).with_body(body);
    client.call(command).await
}

pub fn topic(topic: &str) -> TopicRequest<'_> {
    TopicRequest { topic }
}

#[tokio::test]
async fn a_list_of_topics_is_made_shown_in_pages_and_deleted() {
    let server = Server::start().await;
    let mut client = server.client().await;
    let names = ["a", "b", "c", "d", "e"];
    let config = |name: &&str| TopicConfig {
        topic_name: name.to_string(),
        read_queue_nums: 2,
        write_queue_nums: 2,
        order: true,
        attributes: [("+cleanup.policy".to_owned(), "COMPACTION".to_owned())].into(),
        ..TopicConfig::default()
    };
    let list = TopicConfigList { topic_config_list: names.iter().map(config).collect() };
    assert_eq!(ask_with(&mut client, request::UPDATE_AND_CREATE_TOPIC_LIST, to_json(&list)).await.code, 0);
    assert!(server.node.broker.image().topic("e").unwrap().config.compact);

    let found: TopicConfig = body(&client.ask(request::GET_TOPIC_CONFIG, topic("c")).await);
    assert_eq!((found.topic_name.as_str(), found.read_queue_nums, found.perm, found.order), ("c", 2, 6, true));
    assert_eq!(found.attributes["cleanup.policy"], "COMPACTION");
    let missing = client.ask(request::GET_TOPIC_CONFIG, topic("x")).await;
    assert_eq!(missing.code, response::TOPIC_NOT_EXIST);

    let mut seen = Vec::new();
    for _ in 0..2 {
        let seq = i32::try_from(seen.len()).unwrap();
        let page = AllTopicConfigRequest { topic_seq: Some(seq), data_version: Some(""), max_topic_num: Some(2) };
        let answer = client.ask(request::GET_ALL_TOPIC_CONFIG, page).await;
        assert_eq!(answer.fields.get("totalTopicNum"), Some("5"));
        seen.extend(body::<TopicConfigTable>(&answer).topic_config_table.into_keys());
    }
    assert_eq!(seen, names);
    let old_client = client.ask(request::GET_ALL_TOPIC_CONFIG, AllTopicConfigRequest::default()).await;
    assert_eq!(body::<TopicConfigTable>(&old_client).topic_config_table.len(), 5);

    let in_name_server = DeleteTopicInNameServerRequest { topic: "a", cluster_name: None };
    let answer = client.ask(request::DELETE_TOPIC_IN_NAMESRV, in_name_server).await;
    assert_eq!(answer.code, response::SYSTEM_ERROR, "routes follow from the topics");
    for _ in 0..2 {
        assert_eq!(client.ask(request::DELETE_TOPIC_IN_BROKER, topic("a")).await.code, 0);
    }
    assert_eq!(client.ask(request::DELETE_TOPIC_IN_NAMESRV, in_name_server).await.code, 0);
    assert!(server.node.broker.image().topic("a").is_none());
    server.node.broker.metadata().ensure_offsets_topic().await.unwrap();
    let answer = client.ask(request::DELETE_TOPIC_IN_BROKER, topic("__consumer_offsets")).await;
    assert_eq!(answer.code, response::NO_PERMISSION);
    server.stop().await;
}

#[tokio::test]
async fn the_stats_of_a_topic_are_its_queues_ends() {
    let server = Server::start().await;
    server.topic("t", 2).await;
    let mut client = server.client().await;
    for text in ["x", "y", "z"] {
        sent(&client.send("t", 1, text, "").await);
    }
    let stats: TopicStats = body(&client.ask(request::GET_TOPIC_STATS_INFO, topic("t")).await);
    let ends: Vec<_> = stats.offset_table.0.iter().map(|(queue, at)| (queue.queue_id, at.min_offset, at.max_offset)).collect();
    assert_eq!(ends, [(0, 0, 0), (1, 0, 3)]);
    let times: Vec<bool> = stats.offset_table.0.iter().map(|(_, at)| at.last_update_timestamp > 0).collect();
    assert_eq!(times, [false, true]);
    assert_eq!(stats.topic_put_tps, 0.0, "the messages were born years ago");
    assert_eq!(client.ask(request::GET_TOPIC_STATS_INFO, topic("x")).await.code, response::TOPIC_NOT_EXIST);
    let stats = BrokerStatsRequest { stats_name: "TOPIC_PUT_NUMS", stats_key: "t" };
    let answer = client.ask(request::VIEW_BROKER_STATS_DATA, stats).await;
    assert_eq!((answer.code, answer.remark.as_deref()), (1, Some("The stats <TOPIC_PUT_NUMS> <t> not exist")));
    server.stop().await;
}

async fn perm(client: &mut Client, topic: &str) -> i32 {
    let route = RouteRequest { topic, ..RouteRequest::default() };
    body::<TopicRoute>(&client.ask(request::GET_ROUTEINFO_BY_TOPIC, route).await).queue_datas[0].perm
}

#[tokio::test]
async fn a_broker_is_closed_to_producers_and_opened() {
    let server = Server::start().await;
    server.topic("t", 1).await;
    server.topic("u", 1).await;
    let mut client = server.client().await;
    let named = |broker_name| BrokerNameRequest { broker_name };
    let other = client.ask(request::WIPE_WRITE_PERM_OF_BROKER, named("other")).await;
    assert_eq!(other.fields.get("wipeTopicCount"), Some("0"));
    assert_eq!(perm(&mut client, "t").await, 6);
    let wiped = client.ask(request::WIPE_WRITE_PERM_OF_BROKER, named("duolog")).await;
    assert_eq!((wiped.code, wiped.fields.get("wipeTopicCount")), (0, Some("2")));
    assert_eq!((perm(&mut client, "t").await, perm(&mut client, "u").await), (4, 4));
    let added = client.ask(request::ADD_WRITE_PERM_OF_BROKER, named("duolog")).await;
    assert_eq!((added.code, added.fields.get("addTopicCount")), (0, Some("2")));
    assert_eq!((perm(&mut client, "t").await, perm(&mut client, "u").await), (6, 6));
    server.stop().await;
}

#[tokio::test]
async fn only_keys_that_can_change_at_run_time_are_set() {
    let server = Server::start().await;
    let mut client = server.client().await;
    let retention = || server.node.broker.image().config.topic.retention_ms;
    let answer = ask_with(&mut client, request::UPDATE_BROKER_CONFIG, "log.retention.ms=12345\n").await;
    assert_eq!((answer.code, retention()), (0, 12345), "{:?}", answer.remark);
    let attacks = [
        "data.dir=/tmp/elsewhere",
        "listeners=kafka://0.0.0.0:1",
        "brokerConfigPath=/etc/cron.d/x",
        "rocketmqHome=-c $@|sh . echo touch /tmp/x;",
        "log.retention.ms=1\nfilterServerNums=1",
    ];
    for attack in attacks {
        for code in [request::UPDATE_BROKER_CONFIG, request::UPDATE_NAMESRV_CONFIG] {
            let answer = ask_with(&mut client, code, attack).await;
            assert_eq!((answer.code, retention()), (response::NO_PERMISSION, 12345), "{attack}");
        }
    }
    for malformed in ["log.retention.ms=soon", "log.retention.ms"] {
        let answer = ask_with(&mut client, request::UPDATE_BROKER_CONFIG, malformed).await;
        assert_eq!(answer.code, response::INVALID_PARAMETER, "{malformed}");
    }
    assert_eq!(ask_with(&mut client, request::UPDATE_NAMESRV_CONFIG, "").await.code, 0);
    for code in [request::GET_BROKER_CONFIG, request::GET_NAMESRV_CONFIG] {
        let answer = client.ask(code, CommonFields::default()).await;
        let text = String::from_utf8(answer.body.to_vec()).unwrap();
        assert!(text.lines().any(|line| line == "log.retention.ms=12345"), "{text}");
        assert!(text.lines().any(|line| line == "rocketmq.broker.name=duolog"), "{text}");
    }
    server.stop().await;
}

#[tokio::test]
async fn what_tools_keep_in_the_name_server_is_there_after_a_restart() {
    let server = Server::start().await;
    let mut client = server.client().await;
    server.topic("t", 1).await;
    let key = |key| KeyValueRequest { namespace: "ORDER_TOPIC_CONFIG", key };
    let put = PutKeyValueRequest { namespace: "ORDER_TOPIC_CONFIG", key: "t", value: "duolog:1" };
    assert_eq!(client.ask(request::GET_KV_CONFIG, key("t")).await.code, response::QUERY_NOT_FOUND);
    assert_eq!(client.ask(request::PUT_KV_CONFIG, put).await.code, 0);
    let server = Server::start_in(server.stop().await, &[]).await;
    let mut client = server.client().await;
    assert_eq!(client.ask(request::GET_KV_CONFIG, key("t")).await.fields.get("value"), Some("duolog:1"));
    let route = RouteRequest { topic: "t", ..RouteRequest::default() };
    let route: TopicRoute = body(&client.ask(request::GET_ROUTEINFO_BY_TOPIC, route).await);
    assert_eq!(route.order_topic_conf.as_deref(), Some("duolog:1"));
    let list = |namespace| KeyValueListRequest { namespace };
    let table: KeyValueTable = body(&client.ask(request::GET_KVLIST_BY_NAMESPACE, list("ORDER_TOPIC_CONFIG")).await);
    assert_eq!(table.table["t"], "duolog:1");
    assert_eq!(client.ask(request::GET_KVLIST_BY_NAMESPACE, list("other")).await.code, response::QUERY_NOT_FOUND);
    assert_eq!(client.ask(request::DELETE_KV_CONFIG, key("t")).await.code, 0);
    assert_eq!(client.ask(request::GET_KV_CONFIG, key("t")).await.code, response::QUERY_NOT_FOUND);
    server.stop().await;
}

#[tokio::test]
async fn the_runtime_info_counts_what_there_was() {
    let server = Server::start().await;
    server.topic("t", 1).await;
    let mut client = server.client().await;
    sent(&client.send("t", 0, "x", "").await);
    sent(&client.send("t", 0, "y", "").await);
    client.messages("t", 0, 1).await;
    let info: KeyValueTable = body(&client.ask(request::GET_BROKER_RUNTIME_INFO, CommonFields::default()).await);
    let value = |name: &str| info.table[name].as_str();
    assert_eq!((value("msgPutTotalTodayNow"), value("msgGetTotalTodayNow")), ("2", "1"));
    assert_eq!((value("brokerVersion"), value("brokerActive")), ("513", "true"));
    assert_eq!(value("putTps").split(' ').filter(|rate| rate.parse::<f64>().is_ok()).count(), 3);
    assert!((0.0..=1.0).contains(&value("commitLogDiskRatio").parse().unwrap()));
    let written: u64 = value("commitLogMaxOffset").parse().unwrap();
    let copies = client.ask(request::GET_BROKER_HA_STATUS, CommonFields::default()).await;
    let expected = format!(r#"{{"haConnectionInfo":[],"inSyncSlaveNums":0,"master":true,"masterCommitLogMaxOffset":{written}}}"#);
    assert!(written > 0 && copies.code == 0 && copies.body == expected, "{copies:?}");
    server.stop().await;
}

#[tokio::test]
async fn clean_ups_succeed_and_what_is_not_served_says_why() {
    let server = Server::start().await;
    let mut client = server.client().await;
    for code in [
        request::TRIGGER_DELETE_FILES,
        request::CLEAN_EXPIRED_CONSUMEQUEUE,
        request::CLEAN_UNUSED_TOPIC,
        request::DELETE_EXPIRED_COMMITLOG,
    ] {
        assert_eq!(client.ask(code, CommonFields::default()).await.code, 0);
    }
    for code in [request::UPDATE_AND_CREATE_STATIC_TOPIC, request::CONTROLLER_ELECT_MASTER, request::CLEAN_BROKER_DATA] {
        let answer = client.ask(code, CommonFields::default()).await;
        assert_eq!(answer.code, response::REQUEST_CODE_NOT_SUPPORTED);
        assert!(answer.remark.is_some_and(|remark| remark.contains("is not served: ")));
    }
    server.stop().await;
}
