//! Which nodes clients see, and where; what becomes of one that is gone.

use super::{Member, Shown, ask, create, metadata, settled, stop_all, three, until};
use duolog_base::NodeId;
use duolog_wire::kafka::messages::create_topics_request::{CreatableTopic, CreateTopicsRequest};
use duolog_wire::kafka::messages::create_topics_response::CreateTopicsResponse;
use duolog_wire::kafka::messages::describe_cluster_request::DescribeClusterRequest;
use duolog_wire::kafka::messages::describe_cluster_response::DescribeClusterResponse;
use duolog_wire::kafka::messages::describe_quorum_request::{DescribeQuorumRequest, PartitionData, TopicData};
use duolog_wire::kafka::messages::describe_quorum_response::DescribeQuorumResponse;
use duolog_wire::kafka::messages::remove_raft_voter_request::RemoveRaftVoterRequest;
use duolog_wire::kafka::messages::remove_raft_voter_response::RemoveRaftVoterResponse;
use duolog_wire::kafka::messages::unregister_broker_request::UnregisterBrokerRequest;
use duolog_wire::kafka::messages::unregister_broker_response::UnregisterBrokerResponse;
use duolog_wire::kafka::{Decoder, ErrorCode};

fn shown(members: &[Member]) -> Vec<Shown> {
    members.iter().map(|member| (member.id, i32::from(member.address.port()), Some(format!("rack-{}", member.id)))).collect()
}

/// Nodes (id, fenced) and the controller.
async fn cluster(member: &Member, fenced: bool) -> (Vec<(i32, bool)>, i32) {
    let request = DescribeClusterRequest { include_fenced_brokers: fenced, ..Default::default() };
    let read = |decoder: &mut Decoder<'_>, version| {
        let answer = DescribeClusterResponse::decode(decoder, version)?;
        Ok((answer.brokers.iter().map(|node| (node.broker_id, node.is_fenced)).collect(), answer.controller_id))
    };
    ask(&mut member.client().await, 60, 2, |e, version| request.encode(e, version), read).await
}

/// Voters and the ports of the quorum's members.
async fn quorum(member: &Member) -> (Vec<i32>, Vec<u16>) {
    let topic_name = "__cluster_metadata";
    let topics = vec![TopicData { topic_name, partitions: vec![PartitionData { partition_index: 0 }] }];
    let read = |decoder: &mut Decoder<'_>, version| {
        let answer = DescribeQuorumResponse::decode(decoder, version)?;
        assert_eq!(answer.error_code, 0);
        let voters = answer.topics[0].partitions[0].current_voters.iter();
        let voters = voters.inspect(|voter| assert!(voter.log_end_offset > 0)).map(|voter| voter.replica_id).collect();
        let listeners = answer.nodes.iter().flat_map(|node| &node.listeners);
        Ok((voters, listeners.inspect(|listener| assert_eq!(listener.name, "PEER")).map(|listener| listener.port).collect()))
    };
    ask(&mut member.client().await, 55, 2, |e, version| DescribeQuorumRequest { topics }.encode(e, version), read).await
}

#[tokio::test(flavor = "multi_thread")]
async fn every_node_shows_all_nodes_at_the_listener_that_the_client_came_by() {
    let members = three(&[]).await;
    create(&members, "orders", &[&[1], &[2], &[3]], &[]).await;
    let controllers = members.iter().map(|member| member.broker.metadata().quorum().leader).collect::<Vec<_>>();
    assert!(controllers.iter().all(|controller| *controller == controllers[0]), "{controllers:?}");
    let controller = controllers[0].unwrap().0;
    until("three voters", async || members.iter().all(|member| member.broker.metadata().quorum().voters.len() == 3)).await;
    for member in &members {
        let led = vec![(1, 0, vec![]), (2, 0, vec![]), (3, 0, vec![])];
        assert_eq!(metadata(member, "orders").await, (shown(&members), controller, led));
        assert_eq!(cluster(member, true).await, (vec![(1, false), (2, false), (3, false)], controller));
        let (voters, mut ports) = quorum(member).await;
        assert_eq!(voters, [1, 2, 3], "whoever is asked");
        let mut expected: Vec<u16> = members.iter().map(|member| member.listener.address().port()).collect();
        ports.sort_unstable();
        expected.sort_unstable();
        assert_eq!(ports, expected);
    }
    stop_all(members).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn topics_and_groups_are_safe_without_a_word_about_it() {
    let members = three(&[]).await;
    let read = |decoder: &mut Decoder<'_>, version| {
        let answer = CreateTopicsResponse::decode(decoder, version)?;
        let topic = &answer.topics[0];
        let configs = topic.configs.iter().flatten();
        let least = configs.filter(|config| config.name == "min.insync.replicas").map(|config| config.value.unwrap().to_owned());
        Ok((topic.error_code, topic.replication_factor, least.collect::<Vec<_>>()))
    };
    let mut client = members[2].client().await;
    let mut created = (0..).map(|attempt| format!("orders-{attempt}"));
    until("a topic is created", async || {
        let name = created.next().unwrap();
        let topic = CreatableTopic { name: &name, num_partitions: 1, replication_factor: -1, ..Default::default() };
        let request = CreateTopicsRequest { topics: vec![topic], timeout_ms: 20_000, validate_only: false };
        let (error, factor, least) = ask(&mut client, 19, 7, |e, version| request.encode(e, version), read).await;
        assert!(error != 0 || (factor == 3 && least == ["2"]), "{factor} replicas, {least:?} in sync");
        error == 0
    })
    .await;
    until("the groups have a topic", async || members[1].groups.partition_of("a group").await.is_ok()).await;
    settled(&members, "__consumer_offsets").await;
    let offsets = members[0].topic("__consumer_offsets").unwrap();
    assert_eq!((offsets.partitions[0].replicas.len(), offsets.config.min_insync_replicas), (3, 2));
    stop_all(members).await;
}

async fn unregister(member: &Member, broker_id: i32) -> i16 {
    let read = |decoder: &mut Decoder<'_>, version| Ok(UnregisterBrokerResponse::decode(decoder, version)?.error_code);
    ask(&mut member.client().await, 64, 0, |e, version| UnregisterBrokerRequest { broker_id }.encode(e, version), read).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_gone_is_not_shown_and_can_be_taken_off() {
    let mut members = three(&[]).await;
    create(&members, "orders", &[&[3], &[1]], &[]).await;
    until("three voters", async || members.iter().all(|member| member.broker.metadata().quorum().voters.len() == 3)).await;
    assert_eq!(unregister(&members[0], 3).await, ErrorCode::InvalidRequest as i16, "it runs");
    members.remove(2).stop().await;
    for member in &members {
        until("it is fenced", async || !member.broker.image().nodes[&NodeId(3)].is_live()).await;
        let (nodes, _, rows) = metadata(member, "orders").await;
        assert_eq!(nodes, shown(&members));
        assert_eq!(rows, [(-1, ErrorCode::LeaderNotAvailable as i16, vec![3]), (1, 0, vec![])]);
        assert_eq!(cluster(member, false).await.0, [(1, false), (2, false)]);
        assert_eq!(cluster(member, true).await.0, [(1, false), (2, false), (3, true)]);
    }
    assert_eq!(unregister(&members[1], 3).await, ErrorCode::InvalidRequest as i16, "it holds a replica");
    let orders = duolog_core::metadata::TopicReference::Name("orders".to_owned());
    until("the topic is gone", async || {
        let deleted = members[0].broker.metadata().delete_topics(vec![orders.clone()]).await.remove(0);
        deleted.is_ok() || members[0].topic("orders").is_none()
    })
    .await;
    let request = RemoveRaftVoterRequest { cluster_id: None, voter_id: 3, ..Default::default() };
    let read = |decoder: &mut Decoder<'_>, version| Ok(RemoveRaftVoterResponse::decode(decoder, version)?.error_code);
    let mut client = members[1].client().await;
    until("it votes no more", async || {
        let code = ask(&mut client, 81, 0, |e, version| request.encode(e, version), read).await;
        [ErrorCode::None as i16, ErrorCode::VoterNotFound as i16].contains(&code)
    })
    .await;
    let unknown = ErrorCode::BrokerIdNotRegistered as i16;
    until("it is taken off", async || [0, unknown].contains(&unregister(&members[1], 3).await)).await;
    assert_eq!(unregister(&members[1], 3).await, unknown);
    for member in &members {
        until("it is forgotten", async || !member.broker.image().nodes.contains_key(&NodeId(3))).await;
        assert_eq!(cluster(member, true).await.0, [(1, false), (2, false)]);
    }
    stop_all(members).await;
}
