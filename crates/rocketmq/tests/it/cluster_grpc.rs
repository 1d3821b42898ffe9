//! gRPC clients on several nodes: routes name the leaders, and what comes to the wrong node is stored all the same.

use crate::cluster::{Cluster, Member, until};
use crate::grpc_client::{GROUP, GrpcClient, body, code, resource};
use crate::node::FOR_EVER;
use duolog_base::{NodeId, PartitionIndex};
use duolog_rocketmq_proto::messaging_service_client::MessagingServiceClient;
use duolog_rocketmq_proto::{Address, AddressScheme, Code, Endpoints, MessageQueue, QueryAssignmentRequest, QueryRouteRequest};
use std::collections::BTreeSet;
use std::time::Duration;
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

/// Receives everything that comes until so many are there, and acknowledges it.
async fn drain(client: &mut GrpcClient, count: usize) -> BTreeSet<String> {
    let mut drained = BTreeSet::new();
    while drained.len() < count {
        let (status, messages) = client.receive_as(GrpcClient::receiving("t", 0, 32)).await;
        if status.code() != Code::Ok {
            // The new leader is not ready yet.
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        for message in messages {
            assert_eq!(client.acknowledge("t", &message).await, Code::Ok);
            assert!(drained.insert(body(&message).to_owned()), "{} was acknowledged", body(&message));
        }
    }
    drained
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_at_a_leader_that_dies_does_not_come_again() {
    let mut cluster = Cluster::replicated(3, 3, Duration::from_secs(5)).await;
    cluster.place("t", std::iter::once(vec![NodeId(3), NodeId(2), NodeId(1)])).await;
    let mut old = client(&cluster.members[2], "old").await;
    let bodies: Vec<String> = (0..20).map(|number| number.to_string()).collect();
    old.send_all("t", 0, &bodies.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let received = old.receive("t", 20).await;
    assert_eq!(received.len(), 20);
    for message in received.iter().step_by(2) {
        assert_eq!(old.acknowledge("t", message).await, Code::Ok);
    }
    drop(old);
    let leader = cluster.members.pop().unwrap();
    // Alone it cannot store what was noted.
    leader.node.store_offsets().await;
    leader.die().await;
    let leader = until_led(&cluster).await;
    let mut new = client(leader, "new").await;
    // Whoever had it may still say so, as long as nobody else has it.
    let late = async {
        while new.acknowledge("t", &received[1]).await != Code::Ok {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(FOR_EVER, late).await.expect("a late acknowledgement is taken");
    let left = tokio::time::timeout(FOR_EVER, drain(&mut new, 9)).await.expect("the others come again");
    let expected: BTreeSet<String> = (3..20).step_by(2).map(|number: i32| number.to_string()).collect();
    assert_eq!(left, expected);
    assert!(new.finds_nothing("t", 0).await);
    assert_eq!(new.acknowledge("t", &received[3]).await, Code::InvalidReceiptHandle, "somebody else has had it");
    cluster.stop().await;
}

/// The member that leads the topic's only queue after its leader has died.
async fn until_led(cluster: &Cluster) -> &Member {
    let leads = |member: &&Member| {
        let image = member.node.broker.image();
        let partition = image.topic("t").and_then(|topic| topic.partition(PartitionIndex(0)));
        partition.is_some_and(|partition| member.node.broker.leads(partition).is_some())
    };
    until("the queue has another leader", async || cluster.members.iter().any(|member| leads(&member))).await;
    cluster.members.iter().find(leads).unwrap()
}
