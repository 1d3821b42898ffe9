//! What the server asks clients, or tells them, because a tool wants it.

use crate::client::{Client, Server, bodies, pull_header, pulled, sent};
use crate::consumers::{beat, committed, heartbeat};
use duolog_wire::remoting::body::{
    ConsumerStatus, MessageModel, MessageQueue, MessageRequestMode, MessageRequestModes, ObjectMap, QueryAssignmentRequest,
    QueryAssignmentResponse, ResetOffset, ResetOffsetForC, SetMessageRequestMode, from_json, to_json,
};
use duolog_wire::remoting::code::{request, response};
use duolog_wire::remoting::header::{
    CommonFields, ConsumeMessageDirectlyRequest, ConsumerRunningInfoRequest, ConsumerStatusRequest, PullMessageRequest,
    QueueRequest, ResetOffsetRequest, ResumeCheckHalfMessageRequest, UpdateConsumerOffsetRequest,
};
use duolog_wire::remoting::message::StoredMessage;
use duolog_wire::remoting::{Command, language};

/// The next request of this kind from the server; others are notices of changes in the group.
pub async fn asked(client: &mut Client, code: i32) -> Command {
    loop {
        let told = client.told().await;
        if told.code == code {
            return told;
        }
        assert_eq!(told.code, request::NOTIFY_CONSUMER_IDS_CHANGED);
    }
}

fn running_info(group: &'static str, client_id: &'static str) -> ConsumerRunningInfoRequest<'static> {
    ConsumerRunningInfoRequest { consumer_group: group, client_id, jstack_enable: true }
}

#[tokio::test]
async fn a_tool_gets_what_the_client_says_of_itself() {
    let server = Server::start().await;
    let (mut consumer, mut tool) = (server.client().await, server.client().await);
    beat(&mut consumer, &heartbeat("c1", "g", &["t"])).await;
    let mut wanted = tool.request(request::GET_CONSUMER_RUNNING_INFO, running_info("g", "c1"));
    wanted.fields.push("Signature", "of the tool");
    tool.write(&wanted).await;
    let question = asked(&mut consumer, request::GET_CONSUMER_RUNNING_INFO).await;
    assert!(!question.is_one_way());
    assert_eq!(question.fields.get("jstackEnable"), Some("true"));
    assert_eq!(question.fields.get("Signature"), None);
    // An answer to something that nobody asked changes nothing.
    consumer.write(&Command { opaque: question.opaque + 1, ..question.answer(0) }).await;
    consumer.write(&question.answer(0).with_remark("so").with_body("{\"jstack\":\"x\"}")).await;
    let answer = tool.read().await;
    assert_eq!((answer.opaque, answer.code, answer.remark.as_deref()), (wanted.opaque, 0, Some("so")));
    assert_eq!(&answer.body[..], b"{\"jstack\":\"x\"}");
    server.stop().await;
}

#[tokio::test]
async fn who_is_not_there_cannot_be_asked() {
    let server = Server::start().await;
    let (mut consumer, mut tool) = (server.client().await, server.client().await);
    beat(&mut consumer, &heartbeat("c1", "g", &["t"])).await;
    for (group, id) in [("g", "c2"), ("other", "c1")] {
        let answer = tool.ask(request::GET_CONSUMER_RUNNING_INFO, running_info(group, id)).await;
        assert_eq!(answer.code, response::CONSUMER_NOT_ONLINE);
    }
    let status = ConsumerStatusRequest { topic: "t", group: "other", client_addr: None };
    let answer = tool.ask(request::INVOKE_BROKER_TO_GET_CONSUMER_STATUS, status).await;
    assert_eq!(answer.code, response::CONSUMER_NOT_ONLINE);
    let wanted = tool.request(request::GET_CONSUMER_RUNNING_INFO, running_info("g", "c1"));
    tool.write(&wanted).await;
    asked(&mut consumer, request::GET_CONSUMER_RUNNING_INFO).await;
    drop(consumer);
    assert_eq!(tool.read().await.code, response::CONSUMER_NOT_ONLINE);
    server.stop().await;
}

#[tokio::test]
async fn a_client_is_given_a_message_to_consume() {
    let server = Server::start().await;
    server.topic("t", 1).await;
    let (mut consumer, mut tool) = (server.client().await, server.client().await);
    beat(&mut consumer, &heartbeat("c1", "g", &["t"])).await;
    tool.send("t", 0, "before", "").await;
    let answer = tool.send("t", 0, "work", "KEYS\u{1}k\u{2}").await;
    let id = sent(&answer).msg_id.to_owned();
    let wanted = |id| ConsumeMessageDirectlyRequest {
        consumer_group: "g",
        client_id: Some("c1"),
        msg_id: Some(id),
        ..ConsumeMessageDirectlyRequest::default()
    };
    let command = tool.request(request::CONSUME_MESSAGE_DIRECTLY, wanted(&id));
    tool.write(&command).await;
    let question = asked(&mut consumer, request::CONSUME_MESSAGE_DIRECTLY).await;
    assert_eq!(question.fields.get("brokerName"), Some("duolog"));
    let message = StoredMessage::take(&mut &question.body[..]).unwrap();
    assert_eq!((message.topic, message.queue_offset, message.body), ("t", 1, &b"work"[..]));
    consumer.write(&question.answer(0).with_body("{\"consumeResult\":\"CR_SUCCESS\"}")).await;
    assert_eq!(&tool.read().await.body[..], b"{\"consumeResult\":\"CR_SUCCESS\"}");
    for bad in ["", "nonsense", &id.replace('1', "7")] {
        assert_eq!(tool.ask(request::CONSUME_MESSAGE_DIRECTLY, wanted(bad)).await.code, response::SYSTEM_ERROR, "{bad}");
    }
    server.stop().await;
}

#[tokio::test]
async fn members_say_how_far_they_have_come() {
    let server = Server::start().await;
    let (mut one, mut two, mut tool) = (server.client().await, server.client().await, server.client().await);
    beat(&mut one, &heartbeat("c1", "g", &["t"])).await;
    beat(&mut two, &heartbeat("c2", "g", &["t"])).await;
    let table = |offset| {
        let queue = MessageQueue { broker_name: "duolog".to_owned(), queue_id: 0, topic: "t".to_owned() };
        ConsumerStatus { message_queue_table: ObjectMap(vec![(queue, offset)]), ..ConsumerStatus::default() }
    };
    let status = |client_addr| ConsumerStatusRequest { topic: "t", group: "g", client_addr };
    let wanted = tool.request(request::INVOKE_BROKER_TO_GET_CONSUMER_STATUS, status(None));
    tool.write(&wanted).await;
    for (client, offset) in [(&mut one, 11), (&mut two, 12)] {
        let question = asked(client, request::GET_CONSUMER_STATUS_FROM_CLIENT).await;
        assert_eq!((question.fields.get("topic"), question.fields.get("group")), (Some("t"), Some("g")));
        client.write(&question.answer(0).with_body(to_json(&table(offset)))).await;
    }
    let all: ConsumerStatus = from_json(&tool.read().await.body).unwrap();
    let offsets: Vec<(&str, i64)> = all.consumer_table.iter().map(|(id, table)| (id.as_str(), table.0[0].1)).collect();
    assert_eq!(offsets, [("c1", 11), ("c2", 12)]);
    let wanted = tool.request(request::INVOKE_BROKER_TO_GET_CONSUMER_STATUS, status(Some("c2")));
    tool.write(&wanted).await;
    let question = asked(&mut two, request::GET_CONSUMER_STATUS_FROM_CLIENT).await;
    two.write(&question.answer(0).with_body(to_json(&table(13)))).await;
    let only: ConsumerStatus = from_json(&tool.read().await.body).unwrap();
    assert_eq!(only.consumer_table.into_keys().collect::<Vec<_>>(), ["c2"]);
    server.stop().await;
}

fn reset(timestamp: i64, is_force: bool) -> ResetOffsetRequest<'static> {
    ResetOffsetRequest { group: "consumers", topic: "t", queue_id: -1, offset: None, timestamp, is_force }
}

async fn commit(client: &mut Client, queue_id: i32, commit_offset: i64) {
    let header = UpdateConsumerOffsetRequest { consumer_group: "consumers", topic: "t", queue_id, commit_offset };
    assert_eq!(client.ask(request::UPDATE_CONSUMER_OFFSET, header).await.code, 0);
}

#[tokio::test]
async fn members_are_told_of_new_offsets_and_sent_there_if_they_do_not_listen() {
    let server = Server::start().await;
    server.topic("t", 2).await;
    let (mut consumer, mut cpp, mut tool) = (server.client().await, server.client().await, server.client().await);
    for body in ["a", "b", "c"] {
        tool.send("t", 0, body, "").await;
    }
    beat(&mut consumer, &heartbeat("c1", "consumers", &["t"])).await;
    let mut beats = cpp.request(request::HEART_BEAT, CommonFields::default());
    beats.language = language::CPP;
    cpp.call(beats.with_body(to_json(&heartbeat("c2", "consumers", &["t"])))).await;
    commit(&mut consumer, 0, 3).await;
    let answer = tool.ask(request::INVOKE_BROKER_TO_RESET_OFFSET, reset(0, true)).await;
    assert_eq!(answer.code, 0, "{:?}", answer.remark);
    let table: ResetOffset = from_json(&answer.body).unwrap();
    assert_eq!(
        table.offset_table.0.iter().map(|(queue, offset)| (queue.queue_id, *offset)).collect::<Vec<_>>(),
        [(0, 0), (1, 0)]
    );
    let told = asked(&mut consumer, request::RESET_CONSUMER_CLIENT_OFFSET).await;
    assert!(told.is_one_way());
    assert_eq!(from_json::<ResetOffset>(&told.body).unwrap(), table);
    let told = asked(&mut cpp, request::RESET_CONSUMER_CLIENT_OFFSET).await;
    let for_c: ResetOffsetForC = from_json(&told.body).unwrap();
    assert_eq!(for_c.offset_table.iter().map(|queue| (queue.queue_id, queue.offset)).collect::<Vec<_>>(), [(0, 0), (1, 0)]);
    // What members say of the time before does not count, however they say it.
    commit(&mut consumer, 0, 3).await;
    let old = PullMessageRequest { consumer_group: "others", sys_flag: 1 | 4, commit_offset: 3, ..pull_header("t", 0, 0) };
    consumer.pull(old).await;
    assert_eq!(committed(&mut consumer, "others", "t", 0).await, Ok(3), "another group is not concerned");
    assert_eq!(committed(&mut consumer, "consumers", "t", 0).await, Ok(0));
    let answer = consumer.pull(pull_header("t", 0, 3)).await;
    assert_eq!((answer.code, pulled(&answer).next_begin_offset, pulled(&answer).max_offset), (response::PULL_OFFSET_MOVED, 0, 3));
    assert_eq!(bodies(&consumer.messages("t", 0, 0).await), ["a", "b", "c"]);
    commit(&mut consumer, 0, 1).await;
    assert_eq!(committed(&mut consumer, "consumers", "t", 0).await, Ok(1));
    server.stop().await;
}

#[tokio::test]
async fn offsets_of_a_group_that_nobody_is_in_are_set_too() {
    let server = Server::start().await;
    server.topic("t", 2).await;
    let mut tool = server.client().await;
    for body in ["a", "b", "c"] {
        tool.send("t", 1, body, "").await;
    }
    let answer = tool.ask(request::INVOKE_BROKER_TO_RESET_OFFSET, reset(0, true)).await;
    assert_eq!(answer.code, response::SUBSCRIPTION_GROUP_NOT_EXIST);
    commit(&mut tool, 1, 2).await;
    let to_end = |is_force| ResetOffsetRequest { queue_id: 1, ..reset(-1, is_force) };
    for (header, expected) in [
        (to_end(false), 2),
        (to_end(true), 3),
        (ResetOffsetRequest { offset: Some(1), ..to_end(true) }, 1),
        (reset(1_700_000_000_001, true), 3),
        (reset(1_700_000_000_000, true), 0),
    ] {
        assert_eq!(tool.ask(request::INVOKE_BROKER_TO_RESET_OFFSET, header).await.code, 0);
        assert_eq!(committed(&mut tool, "consumers", "t", 1).await, Ok(expected));
    }
    let too_far = ResetOffsetRequest { offset: Some(4), ..to_end(true) };
    assert_eq!(tool.ask(request::INVOKE_BROKER_TO_RESET_OFFSET, too_far).await.code, response::SYSTEM_ERROR);
    let nowhere = ResetOffsetRequest { topic: "nowhere", ..reset(0, true) };
    assert_eq!(tool.ask(request::INVOKE_BROKER_TO_RESET_OFFSET, nowhere).await.code, response::TOPIC_NOT_EXIST);
    server.stop().await;
}

async fn assigned(client: &mut Client, id: &str, strategy: &str, message_model: MessageModel) -> Command {
    let asked = QueryAssignmentRequest {
        client_id: id.to_owned(),
        consumer_group: "g".to_owned(),
        message_model,
        strategy_name: strategy.to_owned(),
        topic: "t".to_owned(),
    };
    let command = client.request(request::QUERY_ASSIGNMENT, CommonFields::default()).with_body(to_json(&asked));
    client.call(command).await
}

fn queues(answer: &Command) -> Vec<i32> {
    let assignments: QueryAssignmentResponse = from_json(&answer.body).unwrap();
    let assignments = assignments.message_queue_assignments.iter();
    assignments.map(|assignment| assignment.message_queue.queue_id).collect()
}

#[tokio::test]
async fn the_server_shares_queues_out_for_clients_that_ask_it_to() {
    let server = Server::start().await;
    server.topic("t", 5).await;
    let (mut one, mut two) = (server.client().await, server.client().await);
    let clustering = MessageModel::Clustering;
    let unknown = assigned(&mut one, "c1", "AVG", clustering).await;
    assert_eq!((unknown.code, &unknown.body[..]), (0, &b"{}"[..]), "no queues would make the client give up its own");
    beat(&mut one, &heartbeat("c1", "g", &["t"])).await;
    beat(&mut two, &heartbeat("c2", "g", &["t"])).await;
    for (id, strategy, expected) in [
        ("c1", "AVG", vec![0, 1, 2]),
        ("c2", "AVG", vec![3, 4]),
        ("c1", "AVG_BY_CIRCLE", vec![0, 2, 4]),
        ("c2", "AVG_BY_CIRCLE", vec![1, 3]),
    ] {
        assert_eq!(queues(&assigned(&mut one, id, strategy, clustering).await), expected, "{id} {strategy}");
    }
    assert_eq!(queues(&assigned(&mut one, "c1", "AVG", MessageModel::Broadcasting).await), [0, 1, 2, 3, 4]);
    assert_ne!(assigned(&mut one, "c1", "CONSISTENT_HASH", clustering).await.code, 0);
    for (mode, expected) in [(MessageRequestMode::Pop, vec![-1]), (MessageRequestMode::Pull, vec![0, 1, 2])] {
        let body = SetMessageRequestMode { consumer_group: "g".to_owned(), mode, pop_share_queue_num: 0, topic: "t".to_owned() };
        let command = one.request(request::SET_MESSAGE_REQUEST_MODE, CommonFields::default()).with_body(to_json(&body));
        assert_eq!(one.call(command).await.code, 0);
        assert_eq!(queues(&assigned(&mut one, "c1", "AVG", clustering).await), expected);
        let answer = one.ask(request::GET_ALL_MESSAGE_REQUEST_MODE, CommonFields::default()).await;
        let modes: MessageRequestModes = from_json(&answer.body).unwrap();
        assert_eq!(modes.message_request_mode_map.contains_key("t"), mode == MessageRequestMode::Pop);
    }
    server.stop().await;
}

#[tokio::test]
async fn what_is_not_served_is_refused_by_name_or_not_answered_if_nobody_waits() {
    let server = Server::start().await;
    let mut client = server.client().await;
    let resume = ResumeCheckHalfMessageRequest::default();
    let answer = client.ask(request::RESUME_CHECK_HALF_MESSAGE, resume).await;
    assert_eq!(answer.code, response::REQUEST_CODE_NOT_SUPPORTED);
    assert!(answer.remark.unwrap().contains("RESUME_CHECK_HALF_MESSAGE"));
    let one_way = client.request(request::RESUME_CHECK_HALF_MESSAGE, resume).one_way();
    client.write(&one_way).await;
    let next = client.request(request::GET_MIN_OFFSET, QueueRequest { topic: "nowhere", queue_id: 0 });
    client.write(&next).await;
    assert_eq!(client.read().await.opaque, next.opaque);
    server.stop().await;
}
