//! Where clients find topics, and what is told of them.

use crate::client::{Client, Server};
use duolog_wire::remoting::HeaderForm;
use duolog_wire::remoting::body::{ClusterInfo, TopicList, TopicRoute, from_json};
use duolog_wire::remoting::code::{request, response};
use duolog_wire::remoting::header::{CommonFields, CreateTopicRequest, RouteRequest, TopicsByClusterRequest};

fn route(topic: &str) -> RouteRequest<'_> {
    RouteRequest { topic, ..RouteRequest::default() }
}

#[tokio::test]
async fn a_route_names_the_broker_at_the_address_that_was_dialled_in_either_form() {
    let server = Server::start().await;
    server.topic("orders", 4).await;
    for form in [HeaderForm::Json, HeaderForm::Binary] {
        for address in [server.name_server, server.broker] {
            let mut client = Client::connect(address).await;
            client.form = form;
            let answer = client.ask(request::GET_ROUTEINFO_BY_TOPIC, route("orders")).await;
            let route: TopicRoute = from_json(&answer.body).unwrap();
            let queues = &route.queue_datas[0];
            assert_eq!((queues.read_queue_nums, queues.write_queue_nums, queues.perm), (4, 4, 6));
            assert_eq!((queues.broker_name.as_str(), route.broker_datas[0].broker_name.as_str()), ("duolog", "duolog"));
            assert_eq!(route.broker_datas[0].broker_addrs[&0], server.broker.to_string());
        }
    }
    server.stop().await;
}

#[tokio::test]
async fn the_topic_to_inherit_from_is_there_only_if_sending_creates_topics() {
    for (enabled, code) in [("true", response::SUCCESS), ("false", response::TOPIC_NOT_EXIST)] {
        let server = Server::start_with(&[("auto.create.topics.enable", enabled)]).await;
        let mut client = Client::connect(server.name_server).await;
        let answer = client.ask(request::GET_ROUTEINFO_BY_TOPIC, route("TBW102")).await;
        assert_eq!(answer.code, code);
        if code == response::SUCCESS {
            assert_eq!(from_json::<TopicRoute>(&answer.body).unwrap().queue_datas[0].perm, 7);
        }
        let answer = client.ask(request::GET_ROUTEINFO_BY_TOPIC, route("unknown")).await;
        assert_eq!(answer.code, response::TOPIC_NOT_EXIST);
        assert!(answer.remark.unwrap().contains("unknown"));
        server.stop().await;
    }
}

#[tokio::test]
async fn topics_are_listed_without_those_that_only_the_server_writes() {
    let server = Server::start().await;
    server.topic("orders", 1).await;
    server.node.broker.metadata().ensure_offsets_topic().await.unwrap();
    let mut client = Client::connect(server.name_server).await;
    let list = |body: &[u8]| from_json::<TopicList>(body).unwrap().topic_list;
    let answer = client.ask(request::GET_ALL_TOPIC_LIST_FROM_NAMESERVER, CommonFields::default()).await;
    assert_eq!(list(&answer.body), ["orders"]);
    for (cluster, expected) in [("DefaultCluster", vec!["orders".to_owned()]), ("other", Vec::new())] {
        let answer = client.ask(request::GET_TOPICS_BY_CLUSTER, TopicsByClusterRequest { cluster }).await;
        assert_eq!(list(&answer.body), expected);
    }
    let answer = client.ask(request::GET_ROUTEINFO_BY_TOPIC, route("__consumer_offsets")).await;
    assert_eq!(answer.code, response::TOPIC_NOT_EXIST);
    let answer = client.ask(request::GET_SYSTEM_TOPIC_LIST_FROM_NS, CommonFields::default()).await;
    assert!(list(&answer.body).contains(&"DefaultCluster".to_owned()));
    let answer = client.ask(request::GET_BROKER_CLUSTER_INFO, CommonFields::default()).await;
    let info: ClusterInfo = from_json(&answer.body).unwrap();
    assert_eq!(info.cluster_addr_table["DefaultCluster"], ["duolog"]);
    assert_eq!(info.broker_addr_table["duolog"].broker_addrs[&0], server.broker.to_string());
    server.stop().await;
}

#[tokio::test]
async fn a_topic_is_created_by_request_and_made_larger_by_the_next() {
    let server = Server::start().await;
    let mut client = Client::connect(server.broker).await;
    let create = |queues, perm, attributes| CreateTopicRequest {
        topic: "made",
        default_topic: "TBW102",
        read_queue_nums: queues,
        write_queue_nums: queues,
        perm,
        topic_filter_type: "SINGLE_TAG",
        attributes,
        ..CreateTopicRequest::default()
    };
    for (queues, perm, attributes, expected) in
        [(2, 6, None, (2, 6, "MIXED")), (5, 4, Some("+message.type=FIFO"), (5, 4, "FIFO")), (5, 6, None, (5, 6, "FIFO"))]
    {
        let answer = client.ask(request::UPDATE_AND_CREATE_TOPIC, create(queues, perm, attributes)).await;
        assert_eq!(answer.code, 0, "{:?}", answer.remark);
        let image = server.node.broker.image();
        let topic = image.topic("made").unwrap();
        assert_eq!((topic.partitions.len(), topic.config.perm.0, topic.config.message_type.as_str()), expected);
    }
    let named = |topic| CreateTopicRequest { topic, ..create(5, 6, None) };
    let refusals = [
        (create(0, 6, None), "0 is no number of queues"),
        (create(4, 6, None), "has 5 queues, and none can be taken away"),
        (CreateTopicRequest { write_queue_nums: 6, ..create(5, 6, None) }, "are not the same queues"),
        (create(5, 9, None), "rocketmq.perm"),
        (create(5, 6, Some("+queue.type=BatchCQ")), "queue.type"),
        (create(5, 6, Some("x")), "neither +name=value nor -name"),
        (named("TBW102"), "conflict with system topic"),
        (named("../made"), "may contain only"),
        (named("a/b"), "may contain only"),
        (named(""), "must not be empty"),
    ];
    for (refused, remark) in refusals {
        let answer = client.ask(request::UPDATE_AND_CREATE_TOPIC, refused).await;
        assert_eq!(answer.code, response::INVALID_PARAMETER);
        assert!(answer.remark.as_ref().is_some_and(|told| told.contains(remark)), "{:?}", answer.remark);
    }
    assert_eq!(server.node.broker.image().topics.len(), 1);
    server.stop().await;
}
