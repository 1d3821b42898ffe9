//! RocketMQ 5's gRPC clients: routes, settings, sending, offsets, and what is refused.

use crate::grpc_client::{GROUP, GrpcClient, GrpcNode, body, code, message, queue, resource, system};
use duolog_rocketmq_proto::retry_policy::Strategy;
use duolog_rocketmq_proto::settings::PubSub;
use duolog_rocketmq_proto::telemetry_command::Command;
use duolog_rocketmq_proto::{
    Address, ClientType, Code, Digest, DigestType, Encoding, Endpoints, FilterExpression, FilterType, GetOffsetRequest,
    HeartbeatRequest, Message, MessageType, NotifyClientTerminationRequest, Permission, PullMessageRequest,
    QueryAssignmentRequest, QueryOffsetPolicy, QueryOffsetRequest, QueryRouteRequest, ReceiveMessageRequest, Settings,
    Subscription, SubscriptionEntry, SyncLiteSubscriptionRequest, SystemProperties, TelemetryCommand, UpdateOffsetRequest,
    pull_message_response::Content,
};
use std::collections::HashMap;
use std::io::Write;
use tonic::Request;

#[tokio::test]
async fn a_route_names_every_queue_at_the_address_the_client_asked_with() {
    let server = GrpcNode::start().await;
    server.topic("orders", 3).await;
    let mut client = server.client("c").await;
    let asked = Endpoints { scheme: 3, addresses: vec![Address { host: "broker.example".to_owned(), port: 18081 }] };
    let request = client.request(QueryRouteRequest { topic: resource("orders"), endpoints: Some(asked.clone()) });
    let route = client.client.query_route(request).await.unwrap().into_inner();
    assert_eq!(code(&route.status), Code::Ok);
    assert_eq!(route.message_queues.iter().map(|queue| queue.id).collect::<Vec<_>>(), [0, 1, 2]);
    let first = &route.message_queues[0];
    assert_eq!((first.permission(), first.accept_message_types.len()), (Permission::ReadWrite, 4));
    let broker = first.broker.as_ref().unwrap();
    assert_eq!((broker.name.as_str(), broker.id, broker.endpoints.as_ref()), ("duolog", 0, Some(&asked)));

    let request = client.request(QueryAssignmentRequest { topic: resource("orders"), group: resource(GROUP), endpoints: None });
    let assigned = client.client.query_assignment(request).await.unwrap().into_inner();
    let ids =
        |of: &[duolog_rocketmq_proto::Assignment]| of.iter().map(|of| of.message_queue.as_ref().unwrap().id).collect::<Vec<_>>();
    assert_eq!(ids(&assigned.assignments), [-1]);
    server.ordered_group("ordered").await;
    let request =
        client.request(QueryAssignmentRequest { topic: resource("orders"), group: resource("ordered"), endpoints: None });
    let assigned = client.client.query_assignment(request).await.unwrap().into_inner();
    assert_eq!(ids(&assigned.assignments), [0, 1, 2]);
    server.stop().await;
}

#[tokio::test]
async fn a_topic_that_is_not_there_or_cannot_be_is_refused() {
    let server = GrpcNode::start().await;
    let mut client = server.client("c").await;
    for (name, expected) in [("unknown", Code::TopicNotFound), ("../etc", Code::IllegalTopic), ("", Code::IllegalTopic)] {
        let request = client.request(QueryRouteRequest { topic: resource(name), endpoints: None });
        let route = client.client.query_route(request).await.unwrap().into_inner();
        assert_eq!(code(&route.status), expected, "{name}");
    }
    server.stop().await;
}

fn consumer(topic: &str) -> Settings {
    let entry = SubscriptionEntry { topic: resource(topic), expression: None };
    let subscription = Subscription { group: resource(GROUP), subscriptions: vec![entry], ..Subscription::default() };
    Settings {
        client_type: Some(ClientType::SimpleConsumer.into()),
        client_properties: HashMap::from([("zone".to_owned(), "b".to_owned())]),
        pub_sub: Some(PubSub::Subscription(subscription)),
        ..Settings::default()
    }
}

#[tokio::test]
async fn settings_are_agreed_on_and_make_a_consumer_a_member() {
    let server = GrpcNode::start().await;
    server.topic("orders", 1).await;
    let mut client = server.client("consumer-1").await;
    let heartbeat = HeartbeatRequest { group: resource(GROUP), client_type: ClientType::SimpleConsumer.into() };
    let early = client.client.heartbeat(client.request(heartbeat.clone())).await.unwrap().into_inner();
    assert_eq!(code(&early.status), Code::UnrecognizedClientType);

    let (commands, outgoing) = tokio::sync::mpsc::channel(4);
    let outgoing = tonic::codegen::tokio_stream::wrappers::ReceiverStream::new(outgoing);
    let mut answers = client.client.telemetry(client.request(outgoing)).await.unwrap().into_inner();
    let say = |settings: Settings| TelemetryCommand { status: None, command: Some(Command::Settings(settings)) };
    commands.send(say(Settings::default())).await.unwrap();
    let refused = answers.message().await.unwrap().unwrap();
    assert_eq!((code(&refused.status), refused.command), (Code::BadRequest, None));
    commands.send(say(consumer("orders"))).await.unwrap();
    let agreed = answers.message().await.unwrap().unwrap();
    assert_eq!(code(&agreed.status), Code::Ok);
    let Some(Command::Settings(agreed)) = agreed.command else { panic!("no settings") };
    assert_eq!(agreed.client_properties, consumer("orders").client_properties, "what the client said comes back");
    assert_eq!(agreed.backoff_policy.unwrap().max_attempts, 17);
    let Some(PubSub::Subscription(subscription)) = agreed.pub_sub else { panic!("no subscription") };
    assert_eq!((subscription.fifo, subscription.receive_batch_size), (Some(false), Some(32)));

    let policy =
        r#"{"groupRetryPolicy":{"type":"EXPONENTIAL","exponentialRetryPolicy":{"initial":1500,"max":9000,"multiplier":3}}}"#;
    server.configure_group(GROUP, "rocketmq.attributes", policy).await;
    commands.send(say(consumer("orders"))).await.unwrap();
    let agreed = answers.message().await.unwrap().unwrap();
    let Some(Command::Settings(agreed)) = agreed.command else { panic!("no settings") };
    let Some(Strategy::ExponentialBackoff(pauses)) = agreed.backoff_policy.unwrap().strategy else { panic!("no such policy") };
    let ms = |pause: Option<prost_types::Duration>| pause.map(|pause| pause.seconds * 1000 + i64::from(pause.nanos) / 1_000_000);
    assert_eq!((ms(pauses.initial), ms(pauses.max), pauses.multiplier), (Some(1500), Some(9000), 3.0));

    let alive = client.client.heartbeat(client.request(heartbeat)).await.unwrap().into_inner();
    assert_eq!(code(&alive.status), Code::Ok);
    let members = || server.node.clients.with_consumers(GROUP, |group| group.client_ids());
    assert_eq!(members(), Some(vec!["consumer-1".to_owned()]));
    let request = client.request(NotifyClientTerminationRequest { group: resource(GROUP) });
    client.client.notify_client_termination(request).await.unwrap();
    assert_eq!(members(), None);
    server.stop().await;
}

#[tokio::test]
async fn a_client_without_an_id_is_told_so() {
    let server = GrpcNode::start().await;
    let mut client = server.client("c").await.client;
    let request = Request::new(QueryRouteRequest { topic: resource("orders"), endpoints: None });
    assert_eq!(code(&client.query_route(request).await.unwrap().into_inner().status), Code::ClientIdRequired);
    let answers = client.receive_message(Request::new(ReceiveMessageRequest::default())).await.unwrap();
    let first = answers.into_inner().message().await.unwrap().unwrap();
    let Some(duolog_rocketmq_proto::receive_message_response::Content::Status(status)) = first.content else { panic!() };
    assert_eq!(status.code(), Code::ClientIdRequired);
    server.stop().await;
}

fn with(change: impl FnOnce(&mut Message, &mut SystemProperties)) -> Message {
    let mut message = message("orders", "id", "text");
    let mut system = message.system_properties.take().unwrap();
    change(&mut message, &mut system);
    message.system_properties = Some(system);
    message
}

#[tokio::test]
async fn messages_that_break_the_rules_are_refused_by_what_is_wrong() {
    let server = GrpcNode::start_in(tempfile::tempdir().unwrap(), &[("rocketmq.max.message.bytes", "1024")]).await;
    server.topic("orders", 1).await;
    let mut client = server.client("c").await;
    let digest = |checksum: &str| Some(Digest { r#type: DigestType::Crc32.into(), checksum: checksum.to_owned() });
    let bad = [
        (with(|_, system| system.message_id = " ".to_owned()), Code::IllegalMessageId),
        (with(|_, system| system.tag = Some("a|b".to_owned())), Code::IllegalMessageTag),
        (with(|_, system| system.keys = vec!["a\u{1}".to_owned()]), Code::IllegalMessageKey),
        (with(|_, system| system.queue_id = 1), Code::BadRequest),
        (with(|_, system| system.body_digest = digest("12345678")), Code::MessageCorrupted),
        (with(|_, system| system.body_encoding = Encoding::Gzip.into()), Code::MessageCorrupted),
        (with(|message, _| message.body = vec![0; 1025].into()), Code::MessageBodyTooLarge),
        (
            with(|message, _| drop(message.user_properties.insert("TAGS".to_owned(), "x".to_owned()))),
            Code::IllegalMessagePropertyKey,
        ),
        (
            with(|message, _| drop(message.user_properties.insert("a".to_owned(), "x".repeat(17 << 10)))),
            Code::MessagePropertiesTooLarge,
        ),
        (with(|_, system| system.message_type = MessageType::Fifo.into()), Code::MessagePropertyConflictWithType),
        (with(|_, system| system.message_type = MessageType::Delay.into()), Code::MessagePropertyConflictWithType),
        (
            with(|_, system| {
                system.message_type = MessageType::Fifo.into();
                system.message_group = Some("g".repeat(65));
            }),
            Code::IllegalMessageGroup,
        ),
        (with(|message, _| message.topic = resource("nowhere")), Code::TopicNotFound),
    ];
    for (message, expected) in bad {
        let said = format!("{message:?}");
        // One bad message refuses all of them.
        let mut messages = vec![message];
        if expected != Code::TopicNotFound {
            messages.insert(0, with(|_, _| {}));
        }
        let answer = client.send(messages).await;
        assert_eq!((code(&answer.status), answer.entries.len()), (expected, 0), "{said}");
    }
    assert_eq!(code(&client.send(vec![]).await.status), Code::BadRequest);
    let request = client.request(SyncLiteSubscriptionRequest::default());
    assert_eq!(code(&client.client.sync_lite_subscription(request).await.unwrap().into_inner().status), Code::Unsupported);
    assert!(client.finds_nothing("orders", -1).await, "nothing of it was stored");
    server.stop().await;
}

#[tokio::test]
async fn what_was_sent_comes_back_with_everything_the_producer_said() {
    let server = GrpcNode::start().await;
    server.topic("orders", 1).await;
    let mut client = server.client("c").await;
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(b"a compressed text").unwrap();
    let sent = with(|message, system| {
        message.body = packed.finish().unwrap().into();
        message.user_properties = HashMap::from([("color".to_owned(), "blue".to_owned())]);
        system.body_encoding = Encoding::Gzip.into();
        system.tag = Some("paid".to_owned());
        system.keys = vec!["k1".to_owned(), "k2".to_owned()];
        system.born_timestamp = Some(prost_types::Timestamp { seconds: 1_700_000_000, nanos: 5_000_000 });
        system.message_type = MessageType::Fifo.into();
        system.message_group = Some("customer".to_owned());
        system.trace_context = Some("trace".to_owned());
    });
    let answer = client.send(vec![sent.clone(), with(|_, system| system.message_id = "second".to_owned())]).await;
    assert_eq!(code(&answer.status), Code::Ok, "{answer:?}");
    let entries: Vec<_> = answer.entries.iter().map(|entry| (entry.message_id.as_str(), entry.offset)).collect();
    assert_eq!(entries, [("id", 0), ("second", 1)]);

    let received = client.receive("orders", 32).await;
    assert_eq!(received.len(), 2);
    let (first, given) = (&received[0], system(&received[0]));
    let expected = system(&sent);
    assert_eq!((body(first), &first.user_properties), ("a compressed text", &sent.user_properties));
    assert_eq!((&given.tag, &given.keys, &given.message_group), (&expected.tag, &expected.keys, &expected.message_group));
    assert_eq!((given.born_timestamp, &given.born_host), (expected.born_timestamp, &expected.born_host));
    assert_eq!((&given.message_id, &given.trace_context), (&expected.message_id, &expected.trace_context));
    assert_eq!((given.message_type(), given.body_encoding()), (MessageType::Fifo, Encoding::Identity));
    assert_eq!((given.queue_offset, given.delivery_attempt), (Some(0), Some(1)));
    server.stop().await;
}

#[tokio::test]
async fn filters_by_tag_and_by_sql_pass_over_what_is_not_wanted() {
    let server = GrpcNode::start().await;
    server.topic("orders", 1).await;
    let mut client = server.client("c").await;
    for (tag, size) in [("a", "1"), ("b", "2"), ("a", "3")] {
        let message = with(|message, system| {
            system.tag = Some(tag.to_owned());
            system.message_id = format!("{tag}{size}");
            message.user_properties.insert("size".to_owned(), size.to_owned());
        });
        client.send(vec![message]).await;
    }
    let by = |kind: FilterType, expression: &str, group: &str| ReceiveMessageRequest {
        group: resource(group),
        filter_expression: Some(FilterExpression { r#type: kind.into(), expression: expression.to_owned() }),
        ..GrpcClient::receiving("orders", -1, 32)
    };
    let ids = |messages: &[Message]| messages.iter().map(|message| system(message).message_id.clone()).collect::<Vec<_>>();
    let (_, by_tag) = client.receive_as(by(FilterType::Tag, "b || c", "tags")).await;
    assert_eq!(ids(&by_tag), ["b2"]);
    let (_, by_sql) = client.receive_as(by(FilterType::Sql, "TAGS = 'a' AND size > 1", "sql")).await;
    assert_eq!(ids(&by_sql), ["a3"]);
    let (status, _) = client.receive_as(by(FilterType::Sql, "size >", "sql")).await;
    assert_eq!(status.code(), Code::IllegalFilterExpression);
    server.stop().await;
}

#[tokio::test]
async fn offsets_are_set_asked_for_and_searched() {
    let server = GrpcNode::start().await;
    server.topic("orders", 2).await;
    let mut client = server.client("c").await;
    client.send_all("orders", 1, &["a", "b", "c"]).await;
    let get = GetOffsetRequest { group: resource(GROUP), message_queue: queue("orders", 1) };
    let none = client.client.get_offset(client.request(get.clone())).await.unwrap().into_inner();
    assert_eq!(code(&none.status), Code::OffsetNotFound);
    let received = client.receive("orders", 1).await;
    let request = client.request(UpdateOffsetRequest { group: resource(GROUP), message_queue: queue("orders", 1), offset: 2 });
    assert_eq!(code(&client.client.update_offset(request).await.unwrap().into_inner().status), Code::Ok);
    assert_eq!(client.acknowledge("orders", &received[0]).await, Code::InvalidReceiptHandle);
    assert_eq!(client.client.get_offset(client.request(get)).await.unwrap().into_inner().offset, 2);
    assert_eq!(body(&client.receive("orders", 32).await[0]), "c");

    for (policy, expected) in [(QueryOffsetPolicy::Beginning, 0), (QueryOffsetPolicy::End, 3), (QueryOffsetPolicy::Timestamp, 0)]
    {
        let request = client.request(QueryOffsetRequest {
            message_queue: queue("orders", 1),
            query_offset_policy: policy.into(),
            timestamp: Some(prost_types::Timestamp { seconds: 1, nanos: 0 }),
        });
        let answer = client.client.query_offset(request).await.unwrap().into_inner();
        assert_eq!((code(&answer.status), answer.offset), (Code::Ok, expected), "{policy:?}");
    }
    let pull = PullMessageRequest {
        group: resource("pulling"),
        message_queue: queue("orders", 1),
        offset: 1,
        batch_size: 32,
        ..PullMessageRequest::default()
    };
    let mut answers = client.client.pull_message(client.request(pull)).await.unwrap().into_inner();
    let mut pulled = Vec::new();
    while let Some(answer) = answers.message().await.unwrap() {
        match answer.content.unwrap() {
            Content::Message(message) => pulled.push(body(&message).to_owned()),
            Content::NextOffset(next) => assert_eq!(next, 3),
            Content::Status(status) => assert_eq!(status.code(), Code::Ok),
        }
    }
    assert_eq!(pulled, ["b", "c"]);
    server.stop().await;
}
