//! Bodies as clients write and expect them.

use super::*;

fn queue(topic: &str, queue_id: i32) -> MessageQueue {
    MessageQueue { broker_name: "duolog".to_owned(), queue_id, topic: topic.to_owned() }
}

fn text<T: Serialize>(body: &T) -> String {
    String::from_utf8(to_json(body).to_vec()).unwrap()
}

#[test]
fn a_route_is_what_go_splits_by_hand() {
    let broker = BrokerData {
        broker_addrs: [(0, "10.0.0.1:10911".to_owned()), (1, "10.0.0.2:10911".to_owned())].into(),
        broker_name: "duolog".to_owned(),
        cluster: "DefaultCluster".to_owned(),
        ..Default::default()
    };
    let queues =
        QueueData { broker_name: "duolog".to_owned(), perm: 6, read_queue_nums: 8, write_queue_nums: 8, topic_sys_flag: 0 };
    let route = TopicRoute { broker_datas: vec![broker], queue_datas: vec![queues], ..Default::default() };
    let expected = concat!(
        r#"{"brokerDatas":[{"brokerAddrs":{"0":"10.0.0.1:10911","1":"10.0.0.2:10911"},"brokerName":"duolog","#,
        r#""cluster":"DefaultCluster","enableActingMaster":false}],"filterServerTable":{},"queueDatas":[{"brokerName":"duolog","#,
        r#""perm":6,"readQueueNums":8,"topicSysFlag":0,"writeQueueNums":8}]}"#
    );
    assert_eq!(text(&route), expected);
    assert_eq!(from_json::<TopicRoute>(&expected.replace(r#"{"0":"#, "{0:").into_bytes()).unwrap(), route);
}

#[test]
fn message_queues_are_keys_that_are_objects() {
    let offset = TopicOffset { last_update_timestamp: 3, max_offset: 2, min_offset: 1 };
    let stats =
        TopicStats { offset_table: [(queue("t", 0), offset), (queue("u", 1), offset)].into_iter().collect(), topic_put_tps: 0.5 };
    let expected = concat!(
        r#"{"offsetTable":{{"brokerName":"duolog","queueId":0,"topic":"t"}:{"lastUpdateTimestamp":3,"maxOffset":2,"minOffset":1},"#,
        r#"{"brokerName":"duolog","queueId":1,"topic":"u"}:{"lastUpdateTimestamp":3,"maxOffset":2,"minOffset":1}},"topicPutTps":0.5}"#
    );
    assert_eq!(text(&stats), expected);
    assert_eq!(from_json::<TopicStats>(expected.as_bytes()).unwrap(), stats);
}

#[test]
fn object_maps_stand_inside_of_each_other() {
    let table: ObjectMap<i64> = [(queue("t\"\u{1}", 7), -1)].into_iter().collect();
    let status = ConsumerStatus { consumer_table: [("c@1".to_owned(), table.clone())].into(), message_queue_table: table };
    assert_eq!(from_json::<ConsumerStatus>(text(&status).as_bytes()).unwrap(), status);
    let list = ConsumeStatsList {
        consume_stats_list: vec![[("g".to_owned(), vec![ConsumeStats::default()])].into()],
        ..Default::default()
    };
    assert_eq!(from_json::<ConsumeStatsList>(text(&list).as_bytes()).unwrap(), list);
    assert_eq!(text(&ResetOffset::default()), r#"{"offsetTable":{}}"#);
    assert!(matches!(from_json::<ResetOffset>(br#"{"offsetTable":{"t":1}}"#), Err(BodyError::Kind(_))));
}

#[test]
fn a_java_heartbeat_is_read() {
    let body = concat!(
        r#"{"clientID":"10.0.0.9@1#2","consumerDataSet":[{"consumeFromWhere":"CONSUME_FROM_FIRST_OFFSET","#,
        r#""consumeType":"CONSUME_PASSIVELY","groupName":"g","messageModel":"CLUSTERING","subscriptionDataSet":[{"classFilterMode":false,"#,
        r#""codeSet":[2598919,-5],"expressionType":"TAG","subString":"a || b","subVersion":1700000000000,"tagsSet":["a","b"],"topic":"t"}],"#,
        r#""unitMode":false}],"heartbeatFingerprint":0,"producerDataSet":[{"groupName":"CLIENT_INNER_PRODUCER"}],"withoutSub":false}"#
    );
    let heartbeat: Heartbeat = from_json(body.as_bytes()).unwrap();
    assert_eq!(heartbeat.client_id, "10.0.0.9@1#2");
    let consumer = &heartbeat.consumer_data_set[0];
    assert_eq!(consumer.consume_from_where, ConsumeFromWhere::ConsumeFromFirstOffset);
    assert_eq!(consumer.subscription_data_set[0].code_set, [2_598_919, -5]);
    assert_eq!(text(&heartbeat), body);
}

#[test]
fn hashes_of_tags_may_be_texts() {
    let body = br#"{"consumerDataSet":[{"subscriptionDataSet":[{"codeSet":["2598919","-5",7]}]}]}"#;
    let heartbeat: Heartbeat = from_json(body).unwrap();
    assert_eq!(heartbeat.consumer_data_set[0].subscription_data_set[0].code_set, [2_598_919, -5, 7]);
}

#[test]
fn other_clients_leave_out_and_number_what_java_names() {
    let body = concat!(
        r#"{"clientID":"c","producerDataSet":null,"extra":{"deep":[{}]},"consumerDataSet":[{"groupName":"g","consumeType":2,"#,
        r#""messageModel":0,"consumeFromWhere":5,"subscriptionDataSet":[{"topic":"t","subString":"*","tagsSet":null}]},"#,
        r#"{"consumeType":"consume_actively","messageModel":"sideways","consumeFromWhere":99}]}"#
    );
    let heartbeat: Heartbeat = from_json(body.as_bytes()).unwrap();
    let [first, second] = &heartbeat.consumer_data_set[..] else { panic!("two consumers") };
    assert_eq!((first.consume_type, first.message_model), (ConsumeType::ConsumePop, MessageModel::Broadcasting));
    assert_eq!(first.consume_from_where, ConsumeFromWhere::ConsumeFromTimestamp);
    assert_eq!(first.subscription_data_set[0].expression_type, "TAG");
    assert_eq!((second.consume_type, second.message_model), (ConsumeType::ConsumeActively, MessageModel::Clustering));
    assert_eq!(second.consume_from_where, ConsumeFromWhere::ConsumeFromLastOffset);
    assert!(heartbeat.producer_data_set.is_empty());
}

#[test]
fn what_an_admin_leaves_out_is_javas_default() {
    let group: SubscriptionGroupConfig = from_json(br#"{"groupName":"g","groupRetryPolicy":{"type":"EXPONENTIAL"}}"#).unwrap();
    assert_eq!((group.retry_max_times, group.consume_enable, group.which_broker_when_consume_slowly), (16, true, 1));
    assert_eq!(group.group_retry_policy.kind, RetryPolicyType::Exponential);
    let topic: TopicConfig = from_json(br#"{"topicName":"t"}"#).unwrap();
    assert_eq!((topic.perm, topic.read_queue_nums, topic.topic_filter_type), (6, 16, TopicFilterType::SingleTag));
}

#[test]
fn locks_and_assignments_keep_their_names() {
    let lock: LockBatchRequest =
        from_json(br#"{"clientId":"c","consumerGroup":"g","mqSet":[{"brokerName":"duolog","queueId":3,"topic":"t"}]}"#).unwrap();
    assert_eq!(lock.mq_set, [queue("t", 3)]);
    let locked = LockBatchResponse { locked: lock.mq_set };
    assert_eq!(text(&locked), r#"{"lockOKMQSet":[{"brokerName":"duolog","queueId":3,"topic":"t"}]}"#);
    let assignment = MessageQueueAssignment { message_queue: queue("t", -1), mode: MessageRequestMode::Pop, attachments: None };
    let expected =
        r#"{"messageQueueAssignments":[{"messageQueue":{"brokerName":"duolog","queueId":-1,"topic":"t"},"mode":"POP"}]}"#;
    assert_eq!(text(&QueryAssignmentResponse { message_queue_assignments: vec![assignment] }), expected);
}

#[test]
fn bodies_of_another_kind_are_errors() {
    assert!(matches!(from_json::<Heartbeat>(b"7"), Err(BodyError::Kind(_))));
    assert!(matches!(from_json::<Heartbeat>(br#"{"clientID":7}"#), Err(BodyError::Kind(_))));
    assert!(matches!(from_json::<Heartbeat>(b""), Err(BodyError::Json(JsonError::End { at: 0 }))));
    assert!(matches!(from_json::<Heartbeat>(b"{\"clientID\":\"\xc3"), Err(BodyError::Utf8 { at: 13 })));
    let large = vec![b' '; BODY_BYTES_LIMIT + 1];
    assert!(matches!(from_json::<Heartbeat>(&large), Err(BodyError::TooLarge { .. })));
}

#[test]
fn acknowledgements_have_short_names_and_long_ones() {
    let ack = BatchAck {
        bits: "BQ==".to_owned(),
        consumer_group: "g".to_owned(),
        invisible_time: 60_000,
        pop_time: 17,
        queue_id: 3,
        mark: "0".to_owned(),
        revive_queue: 7,
        start_offset: 40,
        topic: "t".to_owned(),
    };
    let body = BatchAckRequest { acks: vec![ack], broker_name: "duolog".to_owned() };
    let short =
        r#"{"acks":[{"b":"BQ==","c":"g","it":60000,"pt":17,"q":3,"r":"0","rq":7,"so":40,"t":"t"}],"brokerName":"duolog"}"#;
    assert_eq!(text(&body), short);
    let long = concat!(
        r#"{"acks":[{"bitSet":"BQ==","consumerGroup":"g","invisibleTime":60000,"popTime":17,"queueId":3,"retry":"0","#,
        r#""reviveQueueId":7,"startOffset":40,"topic":"t"}],"brokerName":"duolog"}"#
    );
    assert_eq!(from_json::<BatchAckRequest>(long.as_bytes()).unwrap(), body);
}
