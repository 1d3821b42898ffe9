//! POP over remoting: messages that are hidden until they are acknowledged or their time is over.
//!
//! Tests whose names end with a number show that a bug of Apache RocketMQ's of this number is not one here.

use crate::client::{Client, Message, Server, messages, send_header};
use crate::cluster::until;
use duolog_wire::remoting::body::{BatchAck, BatchAckRequest, to_json};
use duolog_wire::remoting::code::{request, response};
use duolog_wire::remoting::header::{
    AckMessageRequest, ChangeInvisibleTimeRequest, ChangeInvisibleTimeResponse, CommonFields, Header, NotificationRequest,
    NotificationResponse, PeekMessageRequest, PollingInfoRequest, PollingInfoResponse, PopMessageRequest, PopMessageResponse,
    QueryConsumerOffsetRequest, SendMessageRequestV2,
};
use duolog_wire::remoting::{Command, HeaderForm};

/// Longer than any test takes, and so short that it is over soon.
const LONG_MS: i64 = 600_000;
const SHORT_MS: i64 = 100;

/// A popped message with the checkpoint that Java's clients make for it.
#[derive(Debug)]
pub struct Popped {
    pub message: Message,
    pub queue: i32,
    pub checkpoint: String,
}

/// Any of the messages that a topic has, at once.
pub fn pop_header(topic: &str) -> PopMessageRequest<'_> {
    PopMessageRequest {
        consumer_group: "consumers",
        topic,
        queue_id: -1,
        max_msg_nums: 32,
        invisible_time: LONG_MS,
        ..PopMessageRequest::default()
    }
}

/// The same, held until there is something.
pub fn waiting(topic: &str) -> PopMessageRequest<'_> {
    PopMessageRequest { poll_time: 20_000, ..pop_header(topic) }
}

/// What an answer brings, as Java's clients read it.
pub fn popped(answer: &Command) -> Vec<Popped> {
    let header = PopMessageResponse::from_fields(&answer.fields).unwrap();
    if answer.code != response::SUCCESS {
        assert!(matches!(answer.code, response::POLLING_TIMEOUT | response::POLLING_FULL), "{:?}", answer.remark);
        return Vec::new();
    }
    let PopMessageResponse { pop_time, invisible_time, revive_qid, .. } = header;
    let mut found = messages(answer).into_iter();
    let mut all = Vec::new();
    let starts = header.start_offset_info.unwrap().split(';');
    for (start, offsets) in starts.zip(header.msg_offset_info.unwrap().split(';')) {
        let [mark, queue, first] = start.split(' ').collect::<Vec<_>>()[..] else { panic!("{start}") };
        let [of_mark, of_queue, offsets] = offsets.split(' ').collect::<Vec<_>>()[..] else { panic!("{offsets}") };
        assert_eq!((mark, queue), (of_mark, of_queue));
        for offset in offsets.split(',') {
            let message = found.next().unwrap();
            assert_eq!(message.offset.to_string(), offset);
            let checkpoint = format!("{first} {pop_time} {invisible_time} {revive_qid} {mark} broker {queue} {offset}");
            all.push(Popped { message, queue: queue.parse().unwrap(), checkpoint });
        }
    }
    assert!(found.next().is_none());
    all
}

pub async fn pop(client: &mut Client, header: PopMessageRequest<'_>) -> Vec<Popped> {
    popped(&client.ask(request::POP_MESSAGE, header).await)
}

pub async fn acknowledge(client: &mut Client, topic: &str, popped: &Popped) -> i32 {
    let header = AckMessageRequest {
        consumer_group: "consumers",
        topic,
        queue_id: popped.queue,
        extra_info: &popped.checkpoint,
        offset: popped.message.offset,
    };
    client.ask(request::ACK_MESSAGE, header).await.code
}

/// Changes when a message comes again; the next checkpoint, or the code.
pub async fn hide(client: &mut Client, topic: &str, popped: &Popped, invisible_time: i64) -> Result<String, i32> {
    let header = ChangeInvisibleTimeRequest {
        consumer_group: "consumers",
        topic,
        queue_id: popped.queue,
        extra_info: &popped.checkpoint,
        offset: popped.message.offset,
        invisible_time,
        suspend: false,
    };
    let answer = client.ask(request::CHANGE_MESSAGE_INVISIBLETIME, header).await;
    let header = ChangeInvisibleTimeResponse::from_fields(&answer.fields).expect("clients read it whatever the code");
    let ChangeInvisibleTimeResponse { pop_time, invisible_time, revive_qid } = header;
    let (queue, offset) = (popped.queue, popped.message.offset);
    match answer.code {
        response::SUCCESS => Ok(format!("{offset} {pop_time} {invisible_time} {revive_qid} 0 broker {queue} {offset}")),
        code => Err(code),
    }
}

fn bodies(popped: &[Popped]) -> Vec<&str> {
    popped.iter().map(|popped| popped.message.body.as_str()).collect()
}

async fn send_all(client: &mut Client, topic: &str, queue: i32, bodies: &[&str]) {
    for body in bodies {
        assert_eq!(client.send(topic, queue, body, "").await.code, 0);
    }
}

async fn offset(client: &mut Client, topic: &str, queue_id: i32) -> Option<i64> {
    let header = QueryConsumerOffsetRequest { consumer_group: "consumers", topic, queue_id, set_zero_if_not_found: None };
    let answer = client.ask(request::QUERY_CONSUMER_OFFSET, header).await;
    answer.fields.get("offset").map(|offset| offset.parse().unwrap())
}

#[tokio::test]
async fn what_is_popped_is_nobody_elses_until_it_is_acknowledged() {
    let server = Server::start().await;
    server.topic("t", 1).await;
    for form in [HeaderForm::Json, HeaderForm::Binary] {
        let (mut one, mut two) = (server.client().await, server.client().await);
        one.form = form;
        send_all(&mut one, "t", 0, &["a", "b", "c"]).await;
        let mine = pop(&mut one, PopMessageRequest { max_msg_nums: 2, ..pop_header("t") }).await;
        let others = pop(&mut two, pop_header("t")).await;
        assert_eq!((bodies(&mine), bodies(&others)), (vec!["a", "b"], vec!["c"]));
        assert_eq!(pop(&mut two, pop_header("t")).await.len(), 0);
        for (client, popped) in mine.iter().map(|popped| (0, popped)).chain(others.iter().map(|popped| (1, popped))) {
            let client = if client == 0 { &mut one } else { &mut two };
            assert_eq!(acknowledge(client, "t", popped).await, response::SUCCESS);
            assert_eq!(acknowledge(client, "t", popped).await, response::NO_MESSAGE, "it is over");
        }
    }
    let mut client = server.client().await;
    assert_eq!(offset(&mut client, "t", 0).await, Some(6), "the group's offset follows");
    server.stop().await;
}

#[tokio::test]
async fn what_is_not_acknowledged_in_time_comes_again_in_place_and_says_how_often_it_came() {
    let server = Server::start().await;
    server.topic("t", 1).await;
    let mut client = server.client().await;
    send_all(&mut client, "t", 0, &["a"]).await;
    let first = pop(&mut client, PopMessageRequest { invisible_time: SHORT_MS, ..pop_header("t") }).await.remove(0);
    let again = pop(&mut client, waiting("t")).await.remove(0);
    assert_eq!((first.message.reconsume_times, again.message.reconsume_times), (0, 1));
    assert_eq!((again.message.body.as_str(), again.message.offset), ("a", first.message.offset));
    assert_eq!(acknowledge(&mut client, "t", &first).await, response::NO_MESSAGE, "an expired acknowledgement does no harm");
    assert_eq!(hide(&mut client, "t", &first, 0).await, Err(response::NO_MESSAGE));
    assert_eq!(acknowledge(&mut client, "t", &again).await, response::SUCCESS);
    assert_eq!(server.records("t", 0).len(), 1, "it was never copied");
    server.stop().await;
}

#[tokio::test]
async fn a_changed_time_makes_another_checkpoint() {
    let server = Server::start().await;
    server.topic("t", 1).await;
    let mut client = server.client().await;
    send_all(&mut client, "t", 0, &["a"]).await;
    let mut popped = pop(&mut client, pop_header("t")).await.remove(0);
    let old = popped.checkpoint.clone();
    popped.checkpoint = hide(&mut client, "t", &popped, LONG_MS).await.unwrap();
    let new = std::mem::replace(&mut popped.checkpoint, old);
    assert_eq!(acknowledge(&mut client, "t", &popped).await, response::NO_MESSAGE, "the old one is over");
    popped.checkpoint = new;
    hide(&mut client, "t", &popped, 0).await.unwrap();
    let again = pop(&mut client, waiting("t")).await.remove(0);
    assert_eq!(again.message.reconsume_times, 1);
    assert_eq!(acknowledge(&mut client, "t", &again).await, response::SUCCESS);
    server.stop().await;
}

#[tokio::test]
async fn a_request_is_held_until_something_comes() {
    let server = Server::start().await;
    server.topic("t", 4).await;
    let (mut waiter, mut sender) = (server.client().await, server.client().await);
    for queue_id in [-1, 2] {
        let held = waiter.request(request::POP_MESSAGE, PopMessageRequest { queue_id, ..waiting("t") });
        waiter.write(&held).await;
        let count = async || {
            let mut asking = server.client().await;
            let header = PollingInfoRequest { consumer_group: "consumers", topic: "t", queue_id };
            let answer = asking.ask(request::POLLING_INFO, header).await;
            PollingInfoResponse::from_fields(&answer.fields).unwrap().polling_num
        };
        until("the request is held", async || count().await == 1).await;
        send_all(&mut sender, "t", 2, &["late"]).await;
        let answer = waiter.read().await;
        assert_eq!((answer.opaque, bodies(&popped(&answer))), (held.opaque, vec!["late"]));
        assert_eq!(count().await, 0);
    }
    let answer = waiter.ask(request::POP_MESSAGE, PopMessageRequest { poll_time: 50, ..pop_header("t") }).await;
    let header = PopMessageResponse::from_fields(&answer.fields).expect("clients read it whatever the code");
    assert_eq!((answer.code, header.start_offset_info), (response::POLLING_TIMEOUT, Some("")));
    server.stop().await;
}

#[tokio::test]
async fn in_order_a_queue_goes_on_when_all_of_it_is_acknowledged() {
    let server = Server::start().await;
    server.topic("t", 1).await;
    let mut client = server.client().await;
    send_all(&mut client, "t", 0, &["a", "b", "c"]).await;
    let ordered = PopMessageRequest { order: true, max_msg_nums: 2, attempt_id: Some("x"), ..pop_header("t") };
    let first = pop(&mut client, ordered).await;
    assert_eq!(bodies(&first), ["a", "b"]);
    assert_eq!(pop(&mut client, PopMessageRequest { attempt_id: Some("y"), ..ordered }).await.len(), 0);
    let repeated = pop(&mut client, ordered).await;
    assert_eq!(bodies(&repeated), ["a", "b"], "the same attempt gets the same once more");
    assert_eq!(acknowledge(&mut client, "t", &repeated[0]).await, 0);
    assert_eq!(pop(&mut client, PopMessageRequest { attempt_id: Some("y"), ..ordered }).await.len(), 0);
    hide(&mut client, "t", &repeated[1], 0).await.unwrap();
    let again = PopMessageRequest { attempt_id: Some("z"), poll_time: 20_000, ..ordered };
    let answer = client.ask(request::POP_MESSAGE, again).await;
    let header = PopMessageResponse::from_fields(&answer.fields).unwrap();
    assert_eq!(header.order_count_info, Some("0 qo0%1 1"), "the client takes the count from here");
    let second = popped(&answer);
    assert_eq!(bodies(&second), ["b", "c"], "what failed comes before what follows");
    assert_eq!(acknowledge(&mut client, "t", &second[0]).await, 0);
    assert_eq!(bodies(&pop(&mut client, again).await), ["c"]);
    server.stop().await;
}

#[tokio::test]
async fn filters_leave_out_what_is_not_wanted() {
    let server = Server::start().await;
    server.topic("t", 1).await;
    let mut client = server.client().await;
    for (body, properties) in [("a", "TAGS\u{1}x\u{2}n\u{1}1\u{2}"), ("b", "TAGS\u{1}y\u{2}n\u{1}2\u{2}"), ("c", "n\u{1}3\u{2}")]
    {
        assert_eq!(client.send("t", 0, body, properties).await.code, 0);
    }
    let of = |consumer_group, exp_type, exp| PopMessageRequest {
        consumer_group,
        exp_type: Some(exp_type),
        exp: Some(exp),
        ..pop_header("t")
    };
    assert_eq!(bodies(&pop(&mut client, of("tags", "TAG", "y || z")).await), ["b"]);
    assert_eq!(bodies(&pop(&mut client, of("sql", "SQL92", "n > 1")).await), ["b", "c"]);
    let wrong = client.ask(request::POP_MESSAGE, of("sql", "SQL92", "n >")).await;
    assert_eq!(wrong.code, response::SUBSCRIPTION_PARSE_FAILED);
    server.stop().await;
}

#[tokio::test]
async fn a_new_group_begins_where_it_says() {
    let server = Server::start_with(&[("log.retention.check.interval.ms", "600000")]).await;
    server.topic("t", 1).await;
    let mut client = server.client().await;
    send_all(&mut client, "t", 0, &["a"]).await;
    assert_eq!(bodies(&pop(&mut client, PopMessageRequest { init_mode: 0, ..pop_header("t") }).await), ["a"]);
    let end = PopMessageRequest { consumer_group: "others", init_mode: 1, ..pop_header("t") };
    assert_eq!(bodies(&pop(&mut client, end).await), ["a"], "a young queue is read from its beginning");
    server.stop().await;
}

#[tokio::test]
async fn more_consumers_than_queues_share_the_messages() {
    let server = Server::start().await;
    server.topic("t", 2).await;
    let mut sender = server.client().await;
    for number in 0..60 {
        assert_eq!(sender.send("t", number % 2, &number.to_string(), "").await.code, 0);
    }
    let mut consumers = Vec::new();
    for _ in 0..6 {
        let mut client = server.client().await;
        consumers.push(tokio::spawn(async move {
            let mut mine = Vec::new();
            loop {
                let some = pop(&mut client, PopMessageRequest { max_msg_nums: 5, ..pop_header("t") }).await;
                if some.is_empty() {
                    return mine;
                }
                for popped in some {
                    assert_eq!(acknowledge(&mut client, "t", &popped).await, 0);
                    mine.push(popped.message.body.parse::<i32>().unwrap());
                }
            }
        }));
    }
    let mut all = Vec::new();
    for consumer in consumers {
        all.extend(consumer.await.unwrap());
    }
    all.sort_unstable();
    assert_eq!(all, (0..60).collect::<Vec<_>>(), "each once");
    server.stop().await;
}

#[tokio::test]
async fn messages_are_acknowledged_together() {
    let server = Server::start().await;
    server.topic("t", 2).await;
    let mut client = server.client().await;
    send_all(&mut client, "t", 0, &["a", "b", "c"]).await;
    send_all(&mut client, "t", 1, &["d"]).await;
    let header = PopMessageRequest { invisible_time: SHORT_MS, ..pop_header("t") };
    let answer = client.ask(request::POP_MESSAGE, header).await;
    assert_eq!(popped(&answer).len(), 4);
    let PopMessageResponse { pop_time, revive_qid, .. } = PopMessageResponse::from_fields(&answer.fields).unwrap();
    let ack = |queue_id, bits: &str| BatchAck {
        bits: bits.to_owned(),
        consumer_group: "consumers".to_owned(),
        invisible_time: SHORT_MS,
        pop_time,
        queue_id,
        mark: "0".to_owned(),
        revive_queue: revive_qid,
        start_offset: 0,
        topic: "t".to_owned(),
    };
    // The first and the third of a queue, and the only one of the other.
    let body = BatchAckRequest { acks: vec![ack(0, "BQ=="), ack(1, "AQ==")], broker_name: "broker".to_owned() };
    let command = client.request(request::BATCH_ACK_MESSAGE, CommonFields::default()).with_body(to_json(&body));
    assert_eq!(client.call(command.clone()).await.code, response::SUCCESS);
    assert_eq!(client.call(command).await.code, response::NO_MESSAGE, "none of them waits any more");
    assert_eq!(bodies(&pop(&mut client, waiting("t")).await), ["b"]);
    for bad in [BatchAck { mark: "1".to_owned(), ..ack(0, "AQ==") }, ack(0, "?"), ack(7, "AQ=="), BatchAck::default()] {
        let body = BatchAckRequest { acks: vec![bad], broker_name: String::new() };
        let command = client.request(request::BATCH_ACK_MESSAGE, CommonFields::default()).with_body(to_json(&body));
        assert!(!matches!(client.call(command).await.code, response::SUCCESS | response::NO_MESSAGE));
    }
    server.stop().await;
}

#[tokio::test]
async fn peeking_and_notifications_take_nothing() {
    let server = Server::start().await;
    server.topic("t", 2).await;
    let (mut client, mut waiter) = (server.client().await, server.client().await);
    let peek = PeekMessageRequest { topic: "t", queue_id: -1, max_msg_nums: 32, consumer_group: "consumers" };
    let notification =
        NotificationRequest { consumer_group: "consumers", topic: "t", queue_id: -1, ..NotificationRequest::default() };
    let has = |answer: &Command| NotificationResponse::from_fields(&answer.fields).unwrap().has_msg;
    assert_eq!(client.ask(request::PEEK_MESSAGE, peek).await.code, response::PULL_NOT_FOUND);
    assert!(!has(&client.ask(request::NOTIFICATION, notification).await));
    let held = waiter.request(request::NOTIFICATION, NotificationRequest { poll_time: 20_000, ..notification });
    waiter.write(&held).await;
    send_all(&mut client, "t", 1, &["a"]).await;
    assert!(has(&waiter.read().await));
    for _ in 0..2 {
        let answer = client.ask(request::PEEK_MESSAGE, peek).await;
        assert_eq!((answer.code, messages(&answer)[0].body.as_str()), (0, "a"));
        assert_eq!(answer.fields.get("restNum"), Some("1"));
        assert!(has(&client.ask(request::NOTIFICATION, notification).await));
    }
    assert_eq!(bodies(&pop(&mut client, pop_header("t")).await), ["a"]);
    assert!(!has(&client.ask(request::NOTIFICATION, notification).await));
    server.stop().await;
}

#[tokio::test]
async fn what_is_delivered_too_often_is_a_dead_letter() {
    let server = Server::start().await;
    server.topic("t", 1).await;
    let mut client = server.client().await;
    send_all(&mut client, "t", 0, &["a"]).await;
    let config = duolog_wire::remoting::body::SubscriptionGroupConfig {
        group_name: "consumers".to_owned(),
        retry_max_times: 1,
        ..Default::default()
    };
    let command = client.request(request::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP, CommonFields::default());
    assert_eq!(client.call(command.with_body(to_json(&config))).await.code, 0);
    for times in 0..2 {
        let popped = pop(&mut client, PopMessageRequest { invisible_time: SHORT_MS, ..waiting("t") }).await.remove(0);
        assert_eq!(popped.message.reconsume_times, times);
    }
    send_all(&mut client, "t", 0, &["b"]).await;
    until("it is a dead letter", async || {
        let mut client = server.client().await;
        let more = pop(&mut client, pop_header("t")).await;
        assert!(bodies(&more).iter().all(|body| *body == "b"));
        server.node.broker.image().topic("%DLQ%consumers").is_some() && !server.records("%DLQ%consumers", 0).is_empty()
    })
    .await;
    assert_eq!(server.records("%DLQ%consumers", 0)[0].1, "a");
    server.stop().await;
}

#[tokio::test]
async fn what_is_wrong_is_refused() {
    let server = Server::start().await;
    server.topic("t", 1).await;
    let mut client = server.client().await;
    for (bad, code) in [
        (PopMessageRequest { max_msg_nums: 33, ..pop_header("t") }, response::INVALID_PARAMETER),
        (PopMessageRequest { max_msg_nums: 0, ..pop_header("t") }, response::INVALID_PARAMETER),
        (PopMessageRequest { queue_id: 1, ..pop_header("t") }, response::INVALID_PARAMETER),
        (PopMessageRequest { queue_id: -2, ..pop_header("t") }, response::INVALID_PARAMETER),
        (PopMessageRequest { invisible_time: 0, ..pop_header("t") }, response::INVALID_PARAMETER),
        (PopMessageRequest { invisible_time: i64::MAX, ..pop_header("t") }, response::INVALID_PARAMETER),
        (PopMessageRequest { consumer_group: "", ..pop_header("t") }, response::INVALID_PARAMETER),
        (PopMessageRequest { init_mode: 2, ..pop_header("t") }, response::INVALID_PARAMETER),
        (pop_header("nowhere"), response::TOPIC_NOT_EXIST),
    ] {
        assert_eq!(client.ask(request::POP_MESSAGE, bad).await.code, code, "{bad:?}");
    }
    let ack = AckMessageRequest { consumer_group: "consumers", topic: "t", queue_id: 0, extra_info: "x", offset: 0 };
    assert_eq!(client.ask(request::ACK_MESSAGE, ack).await.code, response::INVALID_PARAMETER);
    let unknown = AckMessageRequest { extra_info: "0 1700000000000 60000 0 0 broker 0 0", ..ack };
    assert_eq!(client.ask(request::ACK_MESSAGE, unknown).await.code, response::NO_MESSAGE);
    server.stop().await;
}

#[tokio::test]
async fn a_checkpoint_that_a_message_was_sent_with_does_not_count() {
    let server = Server::start().await;
    server.topic("t", 1).await;
    let mut client = server.client().await;
    let properties = "POP_CK\u{1}0 1 60000 0 0 broker 0 0\u{2}k\u{1}v\u{2}";
    assert_eq!(client.send("t", 0, "a", properties).await.code, 0);
    let popped = pop(&mut client, pop_header("t")).await.remove(0);
    assert!(!popped.message.properties.contains("POP_CK") && popped.message.properties.contains("k\u{1}v"));
    assert_eq!(acknowledge(&mut client, "t", &popped).await, 0);
    server.stop().await;
}

#[tokio::test]
async fn nothing_popped_is_lost_by_a_restart() {
    let server = Server::start().await;
    server.topic("t", 1).await;
    let mut client = server.client().await;
    send_all(&mut client, "t", 0, &["a", "b", "c"]).await;
    let before = pop(&mut client, pop_header("t")).await;
    assert_eq!(acknowledge(&mut client, "t", &before[0]).await, 0);
    let dir = server.stop().await;
    let server = Server::start_in(dir, &[]).await;
    let mut client = server.client().await;
    let after = pop(&mut client, waiting("t")).await;
    assert_eq!(bodies(&after), ["b", "c"]);
    assert_eq!(acknowledge(&mut client, "t", &before[1]).await, response::NO_MESSAGE, "somebody else has it");
    assert_eq!(acknowledge(&mut client, "t", &after[0]).await, 0);
    server.stop().await;
}

#[tokio::test]
async fn acknowledgements_that_come_late_but_in_time_count_3787() {
    let server = Server::start().await;
    server.topic("t", 1).await;
    let mut client = server.client().await;
    let all: Vec<String> = (0..96).map(|number| number.to_string()).collect();
    send_all(&mut client, "t", 0, &all.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let mut slow = Vec::new();
    for _ in 0..3 {
        slow.extend(pop(&mut client, pop_header("t")).await);
    }
    assert_eq!(slow.len(), 96);
    // The last first, so that the earliest have waited longest.
    for popped in slow.iter().rev() {
        assert_eq!(acknowledge(&mut client, "t", popped).await, 0);
    }
    assert_eq!(pop(&mut client, pop_header("t")).await.len(), 0);
    assert_eq!(offset(&mut client, "t", 0).await, Some(96));
    server.stop().await;
}

#[tokio::test]
async fn a_message_that_comes_again_is_what_it_was_6339() {
    let server = Server::start().await;
    server.topic("t", 1).await;
    let mut client = server.client().await;
    let header = SendMessageRequestV2 { flag: 77, ..send_header("t", 0, "KEYS\u{1}k\u{2}TAGS\u{1}x\u{2}") };
    let command = client.request(request::SEND_MESSAGE_V2, header).with_body(&b"a"[..]);
    assert_eq!(client.call(command).await.code, 0);
    let seen = |answer: &Command| {
        let message = duolog_wire::remoting::message::StoredMessage::take(&mut &answer.body[..]).unwrap();
        let mut properties: Vec<_> = message.properties.iter().map(|(name, value)| format!("{name}={value}")).collect();
        properties.sort();
        (message.flag, message.born_timestamp, message.born_host, message.commit_log_offset, message.body.to_vec(), properties)
    };
    let short = PopMessageRequest { invisible_time: SHORT_MS, ..waiting("t") };
    let (first, again) = (client.ask(request::POP_MESSAGE, short).await, client.ask(request::POP_MESSAGE, short).await);
    assert_eq!(seen(&first), seen(&again));
    assert_eq!(seen(&first).0, 77);
    server.stop().await;
}

#[tokio::test]
async fn a_message_whose_time_was_changed_again_and_again_still_comes_7412_10276() {
    let server = Server::start().await;
    server.topic("t", 1).await;
    let mut client = server.client().await;
    send_all(&mut client, "t", 0, &["a"]).await;
    for times in 0..3 {
        let mut popped = pop(&mut client, waiting("t")).await.remove(0);
        assert_eq!(popped.message.reconsume_times, times);
        // Also to the very time that it has.
        for invisible_time in [LONG_MS, LONG_MS, LONG_MS - 1, 0] {
            popped.checkpoint = hide(&mut client, "t", &popped, invisible_time).await.unwrap();
        }
    }
    server.stop().await;
}

#[tokio::test]
async fn what_is_not_acknowledged_comes_until_it_is_and_nothing_else_7914_8835() {
    let server = Server::start().await;
    server.topic("t", 2).await;
    let mut client = server.client().await;
    for number in 0..40 {
        assert_eq!(client.send("t", number % 2, &number.to_string(), "").await.code, 0);
    }
    let mut left: std::collections::BTreeSet<String> = (0..40).map(|number| number.to_string()).collect();
    let mut round = 0;
    while !left.is_empty() {
        let some = pop(&mut client, PopMessageRequest { invisible_time: SHORT_MS, max_msg_nums: 16, ..waiting("t") }).await;
        for (at, popped) in some.iter().enumerate() {
            assert!(left.contains(&popped.message.body), "{} was acknowledged", popped.message.body);
            // Some of each answer, other ones each time.
            if (at + round) % 3 == 0 && acknowledge(&mut client, "t", popped).await == 0 {
                left.remove(&popped.message.body);
            }
        }
        round += 1;
    }
    assert_eq!(pop(&mut client, pop_header("t")).await.len(), 0);
    server.stop().await;
}

#[tokio::test]
async fn nobody_forgets_a_group_that_waits_so_nothing_comes_twice_9105() {
    let server = Server::start().await;
    for topic in ["t", "u", "v"] {
        server.topic(topic, 1).await;
    }
    let mut sender = server.client().await;
    let groups = ["g1", "g2", "g3"];
    let mut consumers = Vec::new();
    for group in groups {
        for topic in ["t", "u", "v"] {
            let mut client = server.client().await;
            let held = client.request(request::POP_MESSAGE, PopMessageRequest { consumer_group: group, ..waiting(topic) });
            client.write(&held).await;
            consumers.push((client, group, topic));
        }
    }
    for topic in ["t", "u", "v"] {
        send_all(&mut sender, topic, 0, &["once"]).await;
    }
    for (client, group, topic) in &mut consumers {
        let all = popped(&client.read().await);
        assert_eq!(bodies(&all), ["once"], "{group} {topic}");
        let header = PopMessageRequest { consumer_group: group, ..pop_header(topic) };
        assert_eq!(pop(client, header).await.len(), 0, "{group} {topic}");
    }
    server.stop().await;
}
