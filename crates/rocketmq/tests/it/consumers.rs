//! Groups: who is a member, who is told, how far they have come, what they give back, and who may consume in order.

use crate::client::{Client, Server, bodies, pull_header};
use duolog_wire::remoting::body::{ConsumerData, ConsumerIdList, Heartbeat, ProducerData, SubscriptionData, from_json, to_json};
use duolog_wire::remoting::code::{request, response};
use duolog_wire::remoting::header::{
    CommonFields, ConsumerGroupRequest, ConsumerSendMessageBackRequest, Header, MaxOffsetRequest, OffsetResponse,
    PullMessageRequest, QueryConsumerOffsetRequest, QueueRequest, SearchOffsetRequest, UnregisterClientRequest,
    UpdateConsumerOffsetRequest,
};

pub fn heartbeat(client: &str, group: &str, topics: &[&str]) -> Heartbeat {
    let subscription = |topic: &&str| SubscriptionData {
        topic: topic.to_string(),
        sub_string: "*".to_owned(),
        sub_version: 1,
        ..SubscriptionData::default()
    };
    let consumer = ConsumerData {
        group_name: group.to_owned(),
        subscription_data_set: topics.iter().map(subscription).collect(),
        ..ConsumerData::default()
    };
    Heartbeat {
        client_id: client.to_owned(),
        consumer_data_set: vec![consumer],
        producer_data_set: vec![ProducerData { group_name: "CLIENT_INNER_PRODUCER".to_owned() }],
        ..Heartbeat::default()
    }
}

pub async fn beat(client: &mut Client, heartbeat: &Heartbeat) {
    let command = client.request(request::HEART_BEAT, CommonFields::default()).with_body(to_json(heartbeat));
    let answer = client.call(command).await;
    assert_eq!(answer.code, 0, "{:?}", answer.remark);
    assert_eq!(answer.fields.get("IS_SUPPORT_HEART_BEAT_V2"), Some("true"));
    assert_eq!(answer.version, 513);
}

async fn members(client: &mut Client, group: &str) -> Option<Vec<String>> {
    let answer = client.ask(request::GET_CONSUMER_LIST_BY_GROUP, ConsumerGroupRequest { consumer_group: group }).await;
    (answer.code == 0).then(|| from_json::<ConsumerIdList>(&answer.body).unwrap().consumer_id_list)
}

pub async fn told_of(client: &mut Client, group: &str) {
    let notice = client.told().await;
    assert!(notice.is_one_way() && notice.code == request::NOTIFY_CONSUMER_IDS_CHANGED);
    assert_eq!(notice.fields.get("consumerGroup"), Some(group));
}

#[tokio::test]
async fn members_learn_when_others_come_leave_and_die() {
    let server = Server::start().await;
    let (mut one, mut two, mut three) = (server.client().await, server.client().await, server.client().await);
    assert_eq!(members(&mut one, "g").await, None);
    beat(&mut one, &heartbeat("c1", "g", &["t"])).await;
    assert!(server.node.broker.image().topic("%RETRY%g").is_some());
    beat(&mut two, &heartbeat("c2", "g", &["t"])).await;
    told_of(&mut one, "g").await;
    beat(&mut three, &heartbeat("c3", "g", &["t"])).await;
    told_of(&mut one, "g").await;
    assert_eq!(members(&mut three, "g").await.unwrap(), ["c1", "c2", "c3"]);
    let leaving = UnregisterClientRequest { client_id: "c2", producer_group: None, consumer_group: Some("g") };
    two.ask(request::UNREGISTER_CLIENT, leaving).await;
    told_of(&mut one, "g").await;
    drop(three);
    told_of(&mut one, "g").await;
    assert_eq!(members(&mut one, "g").await.unwrap(), ["c1"]);
    server.stop().await;
}

#[tokio::test]
async fn a_pull_may_rely_on_the_groups_subscription() {
    let server = Server::start().await;
    server.topic("t", 1).await;
    let mut client = server.client().await;
    client.send("t", 0, "x", "").await;
    let pull = || PullMessageRequest { sys_flag: 0, subscription: None, sub_version: 1, ..pull_header("t", 0, 0) };
    assert_eq!(client.pull(pull()).await.code, response::SUBSCRIPTION_NOT_EXIST);
    beat(&mut client, &heartbeat("c1", "consumers", &["t"])).await;
    assert_eq!(client.pull(pull()).await.code, response::SUCCESS);
    let newer = PullMessageRequest { sub_version: 2, ..pull() };
    assert_eq!(client.pull(newer).await.code, response::SUBSCRIPTION_NOT_LATEST);
    server.stop().await;
}

pub async fn committed(client: &mut Client, group: &str, topic: &str, queue: i32) -> Result<i64, i32> {
    let header = QueryConsumerOffsetRequest { consumer_group: group, topic, queue_id: queue, set_zero_if_not_found: Some(false) };
    let answer = client.ask(request::QUERY_CONSUMER_OFFSET, header).await;
    match answer.code {
        0 => Ok(OffsetResponse::from_fields(&answer.fields).unwrap().offset),
        code => Err(code),
    }
}

#[tokio::test]
async fn offsets_are_found_at_once_and_after_a_restart_however_they_came() {
    let server = Server::start().await;
    server.topic("t", 3).await;
    let mut client = server.client().await;
    assert_eq!(committed(&mut client, "consumers", "t", 0).await, Err(response::QUERY_NOT_FOUND));
    let plain = QueryConsumerOffsetRequest { consumer_group: "consumers", topic: "t", ..Default::default() };
    assert_eq!(client.ask(request::QUERY_CONSUMER_OFFSET, plain).await.code, 0, "a young queue is begun at 0");
    let update = |queue_id, commit_offset| UpdateConsumerOffsetRequest {
        consumer_group: "consumers",
        topic: "t",
        queue_id,
        commit_offset,
    };
    assert_eq!(client.ask(request::UPDATE_CONSUMER_OFFSET, update(0, 11)).await.code, 0);
    let one_way = client.request(request::UPDATE_CONSUMER_OFFSET, update(1, 12)).one_way();
    client.write(&one_way).await;
    let pull = PullMessageRequest { sys_flag: 1 | 4, commit_offset: 13, ..pull_header("t", 2, 0) };
    client.pull(pull).await;
    for (queue, offset) in [(0, 11), (1, 12), (2, 13)] {
        assert_eq!(committed(&mut client, "consumers", "t", queue).await, Ok(offset));
    }
    drop(client);
    let server = Server::start_in(server.stop().await, &[]).await;
    let mut client = server.client().await;
    for (queue, offset) in [(0, 11), (1, 12), (2, 13)] {
        assert_eq!(committed(&mut client, "consumers", "t", queue).await, Ok(offset));
    }
    assert_eq!(client.ask(request::UPDATE_CONSUMER_OFFSET, update(7, 1)).await.code, response::INVALID_PARAMETER);
    server.stop().await;
}

#[tokio::test]
async fn the_ends_of_a_queue_are_told_and_searched_by_time() {
    let server = Server::start().await;
    server.topic("t", 1).await;
    let mut client = server.client().await;
    for body in ["a", "b"] {
        client.send("t", 0, body, "").await;
    }
    let queue = QueueRequest { topic: "t", queue_id: 0 };
    let offset = |answer: &duolog_wire::remoting::Command| OffsetResponse::from_fields(&answer.fields).unwrap().offset;
    let max = MaxOffsetRequest { topic: "t", queue_id: 0, committed: None };
    assert_eq!(offset(&client.ask(request::GET_MAX_OFFSET, max).await), 2);
    assert_eq!(offset(&client.ask(request::GET_MIN_OFFSET, queue).await), 0);
    let earliest = client.ask(request::GET_EARLIEST_MSG_STORETIME, queue).await;
    assert!(earliest.fields.get("timestamp").unwrap().parse::<i64>().unwrap() > 1_700_000_000_000);
    for (timestamp, expected) in [(0, 0), (1_700_000_000_000, 0), (1_700_000_000_001, 2)] {
        let search = SearchOffsetRequest { topic: "t", timestamp, ..SearchOffsetRequest::default() };
        assert_eq!(offset(&client.ask(request::SEARCH_OFFSET_BY_TIMESTAMP, search).await), expected, "{timestamp}");
    }
    server.stop().await;
}

#[tokio::test]
async fn a_message_that_was_given_back_comes_again_and_dies_in_the_end() {
    let server = Server::start().await;
    server.topic("t", 1).await;
    let mut client = server.client().await;
    beat(&mut client, &heartbeat("c1", "g", &["t"])).await;
    client.send("t", 0, "work", "UNIQ_KEY\u{1}u\u{2}KEYS\u{1}k\u{2}").await;
    let mut message = client.messages("t", 0, 0).await.remove(0);
    let first = message.commit_log_offset;
    for times in 1..=2 {
        let back = ConsumerSendMessageBackRequest {
            offset: message.commit_log_offset,
            group: "g",
            max_reconsume_times: Some(2),
            ..Default::default()
        };
        assert_eq!(client.ask(request::CONSUMER_SEND_MSG_BACK, back).await.code, 0);
        message = client.messages("%RETRY%g", 0, times - 1).await.remove(0);
        assert_eq!((message.body.as_str(), i64::from(message.reconsume_times)), ("work", times));
        for property in ["RETRY_TOPIC\u{1}t\u{2}", "UNIQ_KEY\u{1}u\u{2}", "KEYS\u{1}k\u{2}", "ORIGIN_MESSAGE_ID"] {
            assert!(message.properties.contains(property), "{:?}", message.properties);
        }
    }
    let back = ConsumerSendMessageBackRequest {
        offset: message.commit_log_offset,
        group: "g",
        max_reconsume_times: Some(2),
        ..Default::default()
    };
    assert_eq!(client.ask(request::CONSUMER_SEND_MSG_BACK, back).await.code, 0);
    let dead = client.messages("%DLQ%g", 0, 0).await;
    assert_eq!(bodies(&dead), ["work"]);
    for (name, value) in [
        ("DLQ_ORIGIN_TOPIC", "t"),
        ("duolog.origin.partition", "0"),
        ("duolog.origin.offset", "0"),
        ("duolog.dlq.group", "g"),
        ("duolog.dlq.attempts", "3"),
        ("duolog.dlq.reason", "attempts"),
    ] {
        assert!(dead[0].properties.contains(&format!("{name}\u{1}{value}\u{2}")), "{name}: {:?}", dead[0].properties);
    }
    for offset in [first + 1000, -1, i64::MAX] {
        let back = ConsumerSendMessageBackRequest { offset, group: "g", ..Default::default() };
        assert_eq!(client.ask(request::CONSUMER_SEND_MSG_BACK, back).await.code, response::SYSTEM_ERROR);
    }
    server.stop().await;
}
