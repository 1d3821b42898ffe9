//! gRPC clients on several nodes: routes name the leaders, and what comes to the wrong node is stored all the same.

use crate::cluster::{Cluster, Member};
use crate::grpc_client::{GROUP, GrpcClient, body, code, resource};
use duolog_rocketmq_proto::messaging_service_client::MessagingServiceClient;
use duolog_rocketmq_proto::{Address, AddressScheme, Code, Endpoints, MessageQueue, QueryAssignmentRequest, QueryRouteRequest};
use std::collections::BTreeSet;
use tonic::transport::Channel;

async fn client(member: &Member, id: &'static str) -> GrpcClient {
    let channel = Channel::from_shared(format!("http://{}", member.grpc_address)).unwrap().connect().await.unwrap();
    GrpcClient { client: MessagingServiceClient::new(channel), id }
}

fn port(queue: &MessageQueue) -> i32 {
    queue.broker.as_ref().unwrap().endpoints.as_ref().unwrap().addresses[0].port
}

fn broker(queue: &MessageQueue) -> &str {
    &queue.broker.as_ref().unwrap().name
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn routes_name_the_leader_of_each_queue() {
    let cluster = Cluster::start(3).await;
    cluster.topic("t", &[3, 1, 2, 3]).await;
    let ports: Vec<i32> = cluster.members.iter().map(|member| member.grpc_address.port().into()).collect();
    // Clients ask with the addresses that they were given, whichever node they ask.
    let address = |port: &i32| Address { host: "127.0.0.1".to_owned(), port: *port };
    let began_with = Endpoints { scheme: AddressScheme::IPv4.into(), addresses: ports.iter().take(2).map(address).collect() };
    for member in &cluster.members {
        let mut client = client(member, "c").await;
        let asked = client.request(QueryRouteRequest { topic: resource("t"), endpoints: Some(began_with.clone()) });
        let route = client.client.query_route(asked).await.unwrap().into_inner().message_queues;
        assert_eq!(route.iter().map(|queue| queue.id).collect::<Vec<_>>(), [0, 1, 2, 3]);
        assert_eq!(route.iter().map(port).collect::<Vec<_>>(), [ports[2], ports[0], ports[1], ports[2]]);
        assert_eq!(route.iter().map(broker).collect::<BTreeSet<_>>().len(), 3, "each node is a broker of its own");
        let (topic, group, endpoints) = (resource("t"), resource(GROUP), Some(began_with.clone()));
        let asked = client.request(QueryAssignmentRequest { topic, group, endpoints });
        let assigned = client.client.query_assignment(asked).await.unwrap().into_inner().assignments;
        let assigned: Vec<MessageQueue> = assigned.into_iter().filter_map(|one| one.message_queue).collect();
        assert!(assigned.iter().all(|queue| queue.id == -1));
        assert_eq!(assigned.iter().map(port).collect::<BTreeSet<_>>(), ports.iter().copied().collect());
    }
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_sent_to_the_wrong_node_is_received_at_the_leader_once() {
    let cluster = Cluster::start(2).await;
    cluster.topic("t", &[1, 2]).await;
    let (mut one, mut two) = (client(&cluster.members[0], "one").await, client(&cluster.members[1], "two").await);
    one.send_all("t", 1, &["a", "b"]).await;
    two.send_all("t", 0, &["c"]).await;
    for (client, expected) in [(&mut one, &["c"][..]), (&mut two, &["a", "b"])] {
        let received = client.receive("t", 32).await;
        assert_eq!(received.iter().map(body).collect::<Vec<_>>(), expected);
        for message in &received {
            assert_eq!(client.acknowledge("t", message).await, Code::Ok);
        }
        assert!(client.finds_nothing("t", -1).await);
    }
    let asked = one.request(QueryRouteRequest { topic: resource("unknown"), endpoints: None });
    let answer = one.client.query_route(asked).await.unwrap().into_inner();
    assert_eq!(code(&answer.status), Code::TopicNotFound);
    cluster.stop().await;
}
