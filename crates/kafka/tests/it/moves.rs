//! Elections and reassignments that clients ask for, before and after a restart.

use crate::client::{Client, Server};
use duolog_net::ConnectionLimits;
use duolog_wire::kafka::ErrorCode;
use duolog_wire::kafka::messages::alter_partition_reassignments_request::{
    AlterPartitionReassignmentsRequest, ReassignablePartition, ReassignableTopic,
};
use duolog_wire::kafka::messages::alter_partition_reassignments_response::AlterPartitionReassignmentsResponse;
use duolog_wire::kafka::messages::elect_leaders_request::{ElectLeadersRequest, TopicPartitions};
use duolog_wire::kafka::messages::elect_leaders_response::ElectLeadersResponse;
use duolog_wire::kafka::messages::list_partition_reassignments_request::ListPartitionReassignmentsRequest;
use duolog_wire::kafka::messages::list_partition_reassignments_response::ListPartitionReassignmentsResponse;

const TOPIC: &str = "orders";

/// The code and the reason for the topic's first partition.
async fn reassign(client: &mut Client, replicas: Option<Vec<i32>>) -> (i16, String) {
    let partitions = vec![ReassignablePartition { partition_index: 0, replicas }];
    let topics = vec![ReassignableTopic { name: TOPIC, partitions }];
    let request = AlterPartitionReassignmentsRequest { topics, ..Default::default() };
    let response = client.call(45, 1, |e| request.encode(e, 1).unwrap()).await;
    let answer = AlterPartitionReassignmentsResponse::decode(&mut response.body().1, 1).unwrap();
    let partition = &answer.responses[0].partitions[0];
    (partition.error_code, partition.error_message.unwrap_or_default().to_owned())
}

async fn elect(client: &mut Client) -> (i16, String) {
    let topic_partitions = Some(vec![TopicPartitions { topic: TOPIC, partitions: vec![0] }]);
    let request = ElectLeadersRequest { election_type: 0, topic_partitions, timeout_ms: 30_000 };
    let response = client.call(43, 2, |e| request.encode(e, 2).unwrap()).await;
    let answer = ElectLeadersResponse::decode(&mut response.body().1, 2).unwrap();
    let partition = &answer.replica_election_results[0].partition_result[0];
    (partition.error_code, partition.error_message.unwrap_or_default().to_owned())
}

async fn moving(client: &mut Client) -> usize {
    let request = ListPartitionReassignmentsRequest { timeout_ms: 30_000, topics: None };
    let response = client.call(46, 0, |e| request.encode(e, 0).unwrap()).await;
    ListPartitionReassignmentsResponse::decode(&mut response.body().1, 0).unwrap().topics.len()
}

async fn the_only_node_stays(server: &Server) {
    let mut client = server.client().await;
    let here = server.broker.node().0;
    assert_eq!(reassign(&mut client, Some(vec![here])).await, (0, String::new()));
    let (code, reason) = reassign(&mut client, Some(vec![here + 1])).await;
    assert_eq!(code, ErrorCode::InvalidReplicaAssignment as i16);
    assert_eq!(reason, format!("node {} is not registered", here + 1));
    let (code, _) = reassign(&mut client, Some(Vec::new())).await;
    assert_eq!(code, ErrorCode::InvalidReplicaAssignment as i16);
    let (code, _) = reassign(&mut client, None).await;
    assert_eq!(code, ErrorCode::NoReassignmentInProgress as i16);
    assert_eq!(elect(&mut client).await.0, ErrorCode::ElectionNotNeeded as i16);
    assert_eq!(moving(&mut client).await, 0);
}

#[tokio::test]
async fn a_node_alone_gives_the_same_answers_after_a_restart() {
    let server = Server::start().await;
    let before = server.topic(TOPIC, &[]).await;
    the_only_node_stays(&server).await;
    assert_eq!(server.broker.image().topic(TOPIC), Some(&before), "nothing has changed");
    let server = Server::start_in(server.stop().await, ConnectionLimits::default()).await;
    the_only_node_stays(&server).await;
    let after = server.broker.image().topic(TOPIC).unwrap().partitions[0].clone();
    assert_eq!((after.replicas, after.leader), (before.partitions[0].replicas.clone(), before.partitions[0].leader));
    server.stop().await;
}
