//! Topics, configurations and the cluster at every version.

use super::{API_VERSIONS, Case, MISSING, MISSING_ID, PARTITIONS, TOPIC, codes, whole};
use crate::client::DATA_DIRECTORIES;
use duolog_base::TopicId;
use duolog_wire::kafka::ErrorCode;
use duolog_wire::kafka::messages::add_raft_voter_request::AddRaftVoterRequest;
use duolog_wire::kafka::messages::add_raft_voter_response::AddRaftVoterResponse;
use duolog_wire::kafka::messages::alter_partition_reassignments_request::{
    AlterPartitionReassignmentsRequest, ReassignablePartition, ReassignableTopic,
};
use duolog_wire::kafka::messages::alter_partition_reassignments_response::AlterPartitionReassignmentsResponse;
use duolog_wire::kafka::messages::api_versions_request::ApiVersionsRequest;
use duolog_wire::kafka::messages::api_versions_response::ApiVersionsResponse;
use duolog_wire::kafka::messages::create_partitions_request::{CreatePartitionsRequest, CreatePartitionsTopic};
use duolog_wire::kafka::messages::create_partitions_response::CreatePartitionsResponse;
use duolog_wire::kafka::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig, CreateTopicsRequest};
use duolog_wire::kafka::messages::create_topics_response::CreateTopicsResponse;
use duolog_wire::kafka::messages::delete_topics_request::{DeleteTopicState, DeleteTopicsRequest};
use duolog_wire::kafka::messages::delete_topics_response::DeleteTopicsResponse;
use duolog_wire::kafka::messages::describe_cluster_request::DescribeClusterRequest;
use duolog_wire::kafka::messages::describe_cluster_response::DescribeClusterResponse;
use duolog_wire::kafka::messages::describe_configs_request::{DescribeConfigsRequest, DescribeConfigsResource};
use duolog_wire::kafka::messages::describe_configs_response::DescribeConfigsResponse;
use duolog_wire::kafka::messages::describe_log_dirs_request::{DescribableLogDirTopic, DescribeLogDirsRequest};
use duolog_wire::kafka::messages::describe_log_dirs_response::DescribeLogDirsResponse;
use duolog_wire::kafka::messages::describe_quorum_request::{DescribeQuorumRequest, PartitionData, TopicData};
use duolog_wire::kafka::messages::describe_quorum_response::DescribeQuorumResponse;
use duolog_wire::kafka::messages::describe_topic_partitions_request::{DescribeTopicPartitionsRequest, TopicRequest};
use duolog_wire::kafka::messages::describe_topic_partitions_response::DescribeTopicPartitionsResponse;
use duolog_wire::kafka::messages::elect_leaders_request::{ElectLeadersRequest, TopicPartitions};
use duolog_wire::kafka::messages::elect_leaders_response::ElectLeadersResponse;
use duolog_wire::kafka::messages::get_telemetry_subscriptions_request::GetTelemetrySubscriptionsRequest;
use duolog_wire::kafka::messages::get_telemetry_subscriptions_response::GetTelemetrySubscriptionsResponse;
use duolog_wire::kafka::messages::list_config_resources_request::ListConfigResourcesRequest;
use duolog_wire::kafka::messages::list_config_resources_response::ListConfigResourcesResponse;
use duolog_wire::kafka::messages::list_partition_reassignments_request::{
    ListPartitionReassignmentsRequest, ListPartitionReassignmentsTopics,
};
use duolog_wire::kafka::messages::list_partition_reassignments_response::ListPartitionReassignmentsResponse;
use duolog_wire::kafka::messages::metadata_request::{MetadataRequest, MetadataRequestTopic};
use duolog_wire::kafka::messages::metadata_response::MetadataResponse;
use duolog_wire::kafka::messages::push_telemetry_request::PushTelemetryRequest;
use duolog_wire::kafka::messages::push_telemetry_response::PushTelemetryResponse;
use duolog_wire::kafka::messages::remove_raft_voter_request::RemoveRaftVoterRequest;
use duolog_wire::kafka::messages::remove_raft_voter_response::RemoveRaftVoterResponse;
use duolog_wire::kafka::messages::unregister_broker_request::UnregisterBrokerRequest;
use duolog_wire::kafka::messages::unregister_broker_response::UnregisterBrokerResponse;
use duolog_wire::kafka::messages::update_features_request::{FeatureUpdateKey, UpdateFeaturesRequest};
use duolog_wire::kafka::messages::update_features_response::UpdateFeaturesResponse;
use duolog_wire::kafka::messages::{
    alter_configs_request, alter_configs_response, incremental_alter_configs_request, incremental_alter_configs_response,
};

/// Kafka's numbers for kinds of resources.
const TOPICS: i8 = 2;
const BROKERS: i8 = 4;
const INVALID_NAME: &str = "no name";

pub(super) async fn metadata(case: &mut Case) {
    let version = case.version;
    let named = |name| MetadataRequestTopic { topic_id: TopicId::NONE, name: Some(name) };
    let by_id = |topic_id| MetadataRequestTopic { topic_id, name: None };
    let none = ErrorCode::None;
    let mut asked = vec![(vec![named(TOPIC), named(INVALID_NAME)], vec![none, ErrorCode::InvalidTopicException])];
    if version >= 4 {
        // Below, asking for a topic creates it.
        asked.push((vec![named(TOPIC), named(MISSING)], vec![none, ErrorCode::UnknownTopicOrPartition]));
    }
    if version >= 12 {
        let ids = vec![by_id(case.world.topic_id), by_id(MISSING_ID)];
        asked.push((ids, vec![none, ErrorCode::UnknownTopicId]));
    }
    for (topics, expected) in asked {
        let request = MetadataRequest {
            topics: Some(topics),
            allow_auto_topic_creation: version < 4,
            include_cluster_authorized_operations: (8..=10).contains(&version),
            include_topic_authorized_operations: version >= 8,
        };
        let response = case.ask(3, |e, version| request.encode(e, version)).await;
        let answer = whole(&response, version, MetadataResponse::decode);
        codes(answer.topics.iter().map(|topic| topic.error_code), &expected);
        let topic = &answer.topics[0];
        assert_eq!((topic.name, topic.partitions.len()), (Some(TOPIC), PARTITIONS as usize));
        assert_eq!(topic.topic_id, if version >= 10 { case.world.topic_id } else { TopicId::NONE });
        assert_eq!(answer.brokers[0].port, i32::from(case.world.server.address.port()));
        codes([answer.error_code], &[none]);
    }
    let all = MetadataRequest { topics: if version == 0 { Some(Vec::new()) } else { None }, ..Default::default() };
    let response = case.ask(3, |e, version| all.encode(e, version)).await;
    let answer = whole(&response, version, MetadataResponse::decode);
    assert!(answer.topics.iter().any(|topic| topic.name == Some(TOPIC) && topic.error_code == 0));
}

pub(super) async fn api_versions(case: &mut Case) {
    let good = ApiVersionsRequest { client_software_name: "test", client_software_version: "1.0", ..Default::default() };
    let mut asked = vec![(good.clone(), ErrorCode::None)];
    if case.version >= 3 {
        asked.push((ApiVersionsRequest { client_software_name: INVALID_NAME, ..good.clone() }, ErrorCode::InvalidRequest));
    }
    if case.version >= 5 {
        asked.push((ApiVersionsRequest { cluster_id: Some("other"), ..good }, ErrorCode::RebootstrapRequired));
    }
    for (request, expected) in asked {
        let response = case.ask(API_VERSIONS, |e, version| request.encode(e, version)).await;
        let answer = whole(&response, case.version, ApiVersionsResponse::decode);
        codes([answer.error_code], &[expected]);
        assert_eq!(answer.api_keys.is_empty(), expected != ErrorCode::None);
        assert_eq!(!answer.finalized_features.is_empty(), case.version >= 3 && expected == ErrorCode::None);
    }
}

pub(super) async fn create_topics(case: &mut Case) {
    let name = format!("create-{}", case.version);
    let config = |value| CreatableTopicConfig { name: "retention.ms", value };
    let topic = |name, num_partitions, value| CreatableTopic {
        name,
        num_partitions,
        replication_factor: 1,
        configs: vec![config(value)],
        ..Default::default()
    };
    let other = format!("{name}-other");
    let topics = vec![
        topic(&name, 3, Some("60000")),
        topic(TOPIC, 3, Some("60000")),
        topic(INVALID_NAME, 3, Some("60000")),
        topic(&other, 3, Some("soon")),
    ];
    let (exists, invalid, config) = (ErrorCode::TopicAlreadyExists, ErrorCode::InvalidTopicException, ErrorCode::InvalidConfig);
    for validate_only in [true, false] {
        let request = CreateTopicsRequest { topics: topics.clone(), timeout_ms: 30_000, validate_only };
        let response = case.ask(19, |e, version| request.encode(e, version)).await;
        let answer = whole(&response, case.version, CreateTopicsResponse::decode);
        codes(answer.topics.iter().map(|topic| topic.error_code), &[ErrorCode::None, exists, invalid, config]);
        let created = &answer.topics[0];
        if case.version >= 5 {
            assert_eq!((created.num_partitions, created.replication_factor), (3, 1));
            let configs = created.configs.as_deref().unwrap();
            assert!(configs.iter().any(|one| (one.name, one.value) == ("retention.ms", Some("60000"))));
        }
        let image = case.world.server.broker.image();
        assert_eq!(image.topic(&name).is_some(), !validate_only);
        if case.version >= 7 && !validate_only {
            assert_eq!(created.topic_id, image.topic(&name).unwrap().id);
        }
    }
}

pub(super) async fn delete_topics(case: &mut Case) {
    let (first, second) = (case.own_topic("delete").await, case.own_topic("delete-too").await);
    let none = TopicId::NONE;
    let state = |name, topic_id| DeleteTopicState { name, topic_id };
    let request = match case.version {
        6.. => {
            let topics = vec![
                state(Some(&first.name), none),
                state(None, second.id),
                state(Some(MISSING), none),
                state(None, MISSING_ID),
                state(Some("both"), MISSING_ID),
            ];
            DeleteTopicsRequest { topics, timeout_ms: 30_000, ..Default::default() }
        }
        _ => {
            let topic_names = vec![first.name.as_str(), &second.name, MISSING];
            DeleteTopicsRequest { topic_names, timeout_ms: 30_000, ..Default::default() }
        }
    };
    let response = case.ask(20, |e, version| request.encode(e, version)).await;
    let answer = whole(&response, case.version, DeleteTopicsResponse::decode);
    let code = |name, id| {
        let of = answer.responses.iter().find(|one| one.name == name && (id == none || one.topic_id == id));
        of.expect("every topic is answered").error_code
    };
    let found = [code(Some(&first.name), none), code(Some(&second.name), none), code(Some(MISSING), none)];
    codes(found, &[ErrorCode::None, ErrorCode::None, ErrorCode::UnknownTopicOrPartition]);
    if case.version >= 6 {
        let found = [code(None, MISSING_ID), code(Some("both"), MISSING_ID)];
        codes(found, &[ErrorCode::UnknownTopicId, ErrorCode::InvalidRequest]);
    }
}

pub(super) async fn describe_configs(case: &mut Case) {
    let node = case.world.server.broker.node().0.to_string();
    let resource =
        |resource_type, resource_name| DescribeConfigsResource { resource_type, resource_name, configuration_keys: None };
    let some = DescribeConfigsResource { configuration_keys: Some(vec!["retention.ms"]), ..resource(TOPICS, TOPIC) };
    let resources = vec![
        resource(TOPICS, TOPIC),
        some,
        resource(BROKERS, &node),
        resource(BROKERS, ""),
        resource(32, "group"),
        resource(TOPICS, MISSING),
        resource(99, "x"),
    ];
    let include_documentation = case.version >= 3;
    let request = DescribeConfigsRequest { resources, include_synonyms: true, include_documentation };
    let response = case.ask(32, |e, version| request.encode(e, version)).await;
    let answer = whole(&response, case.version, DescribeConfigsResponse::decode);
    let none = ErrorCode::None;
    let expected = [none, none, none, none, none, ErrorCode::UnknownTopicOrPartition, ErrorCode::InvalidRequest];
    codes(answer.results.iter().map(|result| result.error_code), &expected);
    assert!(answer.results[0].configs.len() > 1 && answer.results[2].configs.len() > 1);
    let [retention] = &answer.results[1].configs[..] else { panic!("one key was asked for") };
    assert!(retention.value.is_some() && !retention.synonyms.is_empty());
    assert_eq!(retention.documentation.is_some_and(|text| !text.is_empty()), include_documentation);
    assert_eq!(retention.config_type, if case.version >= 3 { 5 } else { 0 });
}

pub(super) async fn alter_configs(case: &mut Case) {
    use alter_configs_request::{AlterConfigsRequest, AlterConfigsResource, AlterableConfig};
    let topic = case.own_topic("alter").await;
    let resource = |resource_type, resource_name, value| AlterConfigsResource {
        resource_type,
        resource_name,
        configs: vec![AlterableConfig { name: "retention.ms", value: Some(value) }],
    };
    let wanted = [(TOPICS, topic.name.as_str(), "60000"), (TOPICS, MISSING, "60000"), (TOPICS, TOPIC, "soon"), (99, "x", "1")];
    let resources = wanted.map(|(kind, name, value)| resource(kind, name, value)).to_vec();
    let request = AlterConfigsRequest { resources, validate_only: false };
    let response = case.ask(33, |e, version| request.encode(e, version)).await;
    let answer = whole(&response, case.version, alter_configs_response::AlterConfigsResponse::decode);
    let expected = [ErrorCode::None, ErrorCode::UnknownTopicOrPartition, ErrorCode::InvalidConfig, ErrorCode::InvalidRequest];
    codes(answer.responses.iter().map(|one| one.error_code), &expected);
}

pub(super) async fn incremental_alter_configs(case: &mut Case) {
    use incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig, IncrementalAlterConfigsRequest};
    let topic = case.own_topic("alter-incrementally").await;
    let resource = |resource_type, resource_name, value| AlterConfigsResource {
        resource_type,
        resource_name,
        configs: vec![AlterableConfig { name: "retention.ms", config_operation: 0, value: Some(value) }],
    };
    let wanted = [(TOPICS, topic.name.as_str(), "60000"), (TOPICS, MISSING, "60000"), (TOPICS, TOPIC, "soon"), (99, "x", "1")];
    let resources = wanted.map(|(kind, name, value)| resource(kind, name, value)).to_vec();
    let request = IncrementalAlterConfigsRequest { resources, validate_only: false };
    let response = case.ask(44, |e, version| request.encode(e, version)).await;
    let decode = incremental_alter_configs_response::IncrementalAlterConfigsResponse::decode;
    let answer = whole(&response, case.version, decode);
    let expected = [ErrorCode::None, ErrorCode::UnknownTopicOrPartition, ErrorCode::InvalidConfig, ErrorCode::InvalidRequest];
    codes(answer.responses.iter().map(|one| one.error_code), &expected);
}

pub(super) async fn describe_log_dirs(case: &mut Case) {
    let named = [(TOPIC, vec![0, 1, 9]), (MISSING, vec![0])];
    let named = named.map(|(topic, partitions)| DescribableLogDirTopic { topic, partitions }).to_vec();
    for topics in [Some(named), None] {
        let response = case.ask(35, |e, version| DescribeLogDirsRequest { topics }.encode(e, version)).await;
        let answer = whole(&response, case.version, DescribeLogDirsResponse::decode);
        codes([answer.error_code, answer.results[0].error_code, answer.results[1].error_code], &[ErrorCode::None; 3]);
        let mut found = Vec::new();
        for (directory, name) in answer.results.iter().zip(DATA_DIRECTORIES) {
            assert!(directory.log_dir.ends_with(name));
            assert_eq!((directory.total_bytes > 0, directory.usable_bytes > 0), (case.version >= 4, case.version >= 4));
            assert!(directory.topics.iter().all(|topic| topic.name != MISSING));
            let topic = directory.topics.iter().find(|topic| topic.name == TOPIC).expect("both have a part of the topic");
            assert!(topic.partitions.iter().all(|partition| partition.partition_size > 0));
            found.extend(topic.partitions.iter().map(|partition| partition.partition_index));
        }
        found.sort_unstable();
        assert_eq!(found, (0..PARTITIONS).collect::<Vec<_>>(), "each partition lives in one directory");
    }
}

pub(super) async fn create_partitions(case: &mut Case) {
    let topic = case.own_topic("grow").await;
    let wanted = [(topic.name.as_str(), 5), (TOPIC, 1), (MISSING, 5)];
    let topics = wanted.map(|(name, count)| CreatePartitionsTopic { name, count, assignments: None }).to_vec();
    let request = CreatePartitionsRequest { topics, timeout_ms: 30_000, validate_only: false };
    let response = case.ask(37, |e, version| request.encode(e, version)).await;
    let answer = whole(&response, case.version, CreatePartitionsResponse::decode);
    let expected = [ErrorCode::None, ErrorCode::InvalidPartitions, ErrorCode::UnknownTopicOrPartition];
    codes(answer.results.iter().map(|one| one.error_code), &expected);
    assert_eq!(case.world.server.broker.image().topic(&topic.name).unwrap().partitions.len(), 5);
}

pub(super) async fn elect_leaders(case: &mut Case) {
    if case.version >= 1 {
        let request = ElectLeadersRequest { election_type: 2, topic_partitions: None, timeout_ms: 30_000 };
        let response = case.ask(43, |e, version| request.encode(e, version)).await;
        codes([whole(&response, case.version, ElectLeadersResponse::decode).error_code], &[ErrorCode::InvalidRequest]);
    }
    let named = [(TOPIC, vec![0, 9]), (MISSING, vec![0])];
    let named = named.map(|(topic, partitions)| TopicPartitions { topic, partitions }).to_vec();
    let unknown = ErrorCode::UnknownTopicOrPartition;
    let of_named = vec![ErrorCode::ElectionNotNeeded, unknown, unknown];
    for (topic_partitions, expected) in [(Some(named), of_named), (None, Vec::new())] {
        let election_type = i8::from(case.version >= 1);
        let request = ElectLeadersRequest { election_type, topic_partitions, timeout_ms: 30_000 };
        let response = case.ask(43, |e, version| request.encode(e, version)).await;
        let answer = whole(&response, case.version, ElectLeadersResponse::decode);
        codes([answer.error_code], &[ErrorCode::None]);
        let partitions = answer.replica_election_results.iter().flat_map(|topic| &topic.partition_result);
        codes(partitions.map(|partition| partition.error_code), &expected);
    }
}

pub(super) async fn alter_partition_reassignments(case: &mut Case) {
    let (here, allow_replication_factor_change) = (case.world.server.broker.node().0, case.version == 0);
    let partition = |partition_index, replicas: Option<&[i32]>| ReassignablePartition {
        partition_index,
        replicas: replicas.map(<[i32]>::to_vec),
    };
    let asked = vec![partition(0, Some(&[here])), partition(0, Some(&[here])), partition(1, Some(&[99])), partition(1, None)];
    let topics = vec![
        ReassignableTopic { name: TOPIC, partitions: asked },
        ReassignableTopic { name: MISSING, partitions: vec![partition(0, None)] },
    ];
    let request = AlterPartitionReassignmentsRequest { timeout_ms: 30_000, allow_replication_factor_change, topics };
    let response = case.ask(45, |e, version| request.encode(e, version)).await;
    let answer = whole(&response, case.version, AlterPartitionReassignmentsResponse::decode);
    assert_eq!((answer.error_code, answer.error_message), (0, None));
    assert_eq!(answer.allow_replication_factor_change, allow_replication_factor_change);
    let partitions = answer.responses.iter().flat_map(|topic| &topic.partitions);
    let expected = [
        ErrorCode::None,
        ErrorCode::InvalidRequest,
        ErrorCode::InvalidReplicaAssignment,
        // Of several for one partition the first counts.
        ErrorCode::InvalidRequest,
        ErrorCode::UnknownTopicOrPartition,
    ];
    codes(partitions.map(|partition| partition.error_code), &expected);
    let topics = vec![ReassignableTopic { name: TOPIC, partitions: vec![partition(0, None)] }];
    let request = AlterPartitionReassignmentsRequest { topics, ..Default::default() };
    let response = case.ask(45, |e, version| request.encode(e, version)).await;
    let answer = whole(&response, case.version, AlterPartitionReassignmentsResponse::decode);
    codes([answer.responses[0].partitions[0].error_code], &[ErrorCode::NoReassignmentInProgress]);
}

pub(super) async fn list_partition_reassignments(case: &mut Case) {
    let named = [TOPIC, MISSING].map(|name| ListPartitionReassignmentsTopics { name, partition_indexes: vec![0, 9] });
    for topics in [Some(named.to_vec()), None] {
        let request = ListPartitionReassignmentsRequest { timeout_ms: 30_000, topics };
        let response = case.ask(46, |e, version| request.encode(e, version)).await;
        let answer = whole(&response, case.version, ListPartitionReassignmentsResponse::decode);
        assert_eq!((answer.error_code, answer.error_message, answer.topics.len()), (0, None, 0));
    }
}

pub(super) async fn update_features(case: &mut Case) {
    let features = |level| vec![FeatureUpdateKey { feature: "metadata.version", max_version_level: level, ..Default::default() }];
    for (level, expected) in [(25, ErrorCode::None), (26, ErrorCode::InvalidUpdateVersion)] {
        let request = UpdateFeaturesRequest { feature_updates: features(level), ..Default::default() };
        let response = case.ask(57, |e, version| request.encode(e, version)).await;
        let answer = whole(&response, case.version, UpdateFeaturesResponse::decode);
        codes([answer.error_code], &[expected]);
        assert_eq!(answer.error_message.is_some(), expected != ErrorCode::None);
        let granted: Vec<_> = answer.results.iter().map(|result| (result.feature, result.error_code)).collect();
        let listed = case.version < 2 && expected == ErrorCode::None;
        assert_eq!(granted, if listed { vec![("metadata.version", 0)] } else { Vec::new() });
    }
}

pub(super) async fn describe_quorum(case: &mut Case) {
    let topics = ["__cluster_metadata", MISSING]
        .map(|topic_name| TopicData { topic_name, partitions: vec![PartitionData { partition_index: 0 }] })
        .to_vec();
    let response = case.ask(55, |e, version| DescribeQuorumRequest { topics }.encode(e, version)).await;
    let answer = whole(&response, case.version, DescribeQuorumResponse::decode);
    codes([answer.error_code], &[ErrorCode::None]);
    let partitions: Vec<_> = answer.topics.iter().flat_map(|topic| &topic.partitions).collect();
    let expected = [ErrorCode::None, ErrorCode::UnknownTopicOrPartition];
    codes(partitions.iter().map(|partition| partition.error_code), &expected);
    let voter = &partitions[0].current_voters[0];
    assert_eq!(voter.replica_id, case.world.server.broker.node().0);
    assert_eq!(voter.last_fetch_timestamp > 0, case.version >= 1);
    assert_eq!(answer.nodes.len(), usize::from(case.version >= 2));
}

pub(super) async fn describe_cluster(case: &mut Case) {
    let brokers = DescribeClusterRequest {
        include_cluster_authorized_operations: true,
        include_fenced_brokers: case.version >= 2,
        ..Default::default()
    };
    let mut asked = vec![(brokers, ErrorCode::None)];
    if case.version >= 1 {
        let of = |endpoint_type| DescribeClusterRequest { endpoint_type, ..Default::default() };
        asked.push((of(2), ErrorCode::MismatchedEndpointType));
        asked.push((of(9), ErrorCode::UnsupportedEndpointType));
    }
    for (request, expected) in asked {
        let response = case.ask(60, |e, version| request.encode(e, version)).await;
        let answer = whole(&response, case.version, DescribeClusterResponse::decode);
        codes([answer.error_code], &[expected]);
        assert_eq!(answer.brokers.len(), usize::from(expected == ErrorCode::None));
    }
}

pub(super) async fn get_telemetry_subscriptions(case: &mut Case) {
    for client_instance_id in [TopicId::NONE, MISSING_ID] {
        let request = GetTelemetrySubscriptionsRequest { client_instance_id };
        let response = case.ask(71, |e, version| request.encode(e, version)).await;
        let answer = whole(&response, case.version, GetTelemetrySubscriptionsResponse::decode);
        codes([answer.error_code], &[ErrorCode::None]);
        assert_ne!(answer.client_instance_id, TopicId::NONE);
    }
}

pub(super) async fn push_telemetry(case: &mut Case) {
    let request = GetTelemetrySubscriptionsRequest { client_instance_id: MISSING_ID };
    let response = case.client.call(71, 0, |e| request.encode(e, 0).unwrap()).await;
    let given = whole(&response, 0, GetTelemetrySubscriptionsResponse::decode).subscription_id;
    for (subscription_id, expected) in [(given, ErrorCode::None), (given ^ 1, ErrorCode::UnknownSubscriptionId)] {
        let request = PushTelemetryRequest { client_instance_id: MISSING_ID, subscription_id, ..Default::default() };
        let response = case.ask(72, |e, version| request.encode(e, version)).await;
        codes([whole(&response, case.version, PushTelemetryResponse::decode).error_code], &[expected]);
    }
}

pub(super) async fn list_config_resources(case: &mut Case) {
    let named = case.version >= 1;
    let mut asked = vec![(Vec::new(), ErrorCode::None)];
    if named {
        asked.push((vec![TOPICS], ErrorCode::None));
        asked.push((vec![99], ErrorCode::UnsupportedVersion));
    }
    for (resource_types, expected) in asked {
        let response = case.ask(74, |e, version| ListConfigResourcesRequest { resource_types }.encode(e, version)).await;
        let answer = whole(&response, case.version, ListConfigResourcesResponse::decode);
        codes([answer.error_code], &[expected]);
        let topic = answer.config_resources.iter().any(|one| (one.resource_type, one.resource_name) == (TOPICS, TOPIC));
        assert_eq!(topic, named && expected == ErrorCode::None);
    }
}

pub(super) async fn describe_topic_partitions(case: &mut Case) {
    let topics = [MISSING, TOPIC].map(|name| TopicRequest { name }).to_vec();
    for response_partition_limit in [1, 100] {
        let request = DescribeTopicPartitionsRequest { topics: topics.clone(), response_partition_limit, cursor: None };
        let response = case.ask(75, |e, version| request.encode(e, version)).await;
        let answer = whole(&response, case.version, DescribeTopicPartitionsResponse::decode);
        codes(answer.topics.iter().map(|one| one.error_code), &[ErrorCode::UnknownTopicOrPartition, ErrorCode::None]);
        assert_eq!(answer.topics[1].partitions.len(), PARTITIONS.min(response_partition_limit) as usize);
        assert_eq!(answer.next_cursor.is_some(), response_partition_limit == 1);
    }
}

pub(super) async fn unregister_broker(case: &mut Case) {
    let here = case.world.server.broker.node().0;
    let asked = [(here, ErrorCode::InvalidRequest), (here + 1, ErrorCode::BrokerIdNotRegistered)];
    for (broker_id, expected) in asked {
        let response = case.ask(64, |e, version| UnregisterBrokerRequest { broker_id }.encode(e, version)).await;
        let answer = whole(&response, case.version, UnregisterBrokerResponse::decode);
        codes([answer.error_code], &[expected]);
        assert!(answer.error_message.is_some());
    }
}

pub(super) async fn add_raft_voter(case: &mut Case) {
    let request = AddRaftVoterRequest { cluster_id: None, voter_id: 2, ..Default::default() };
    let response = case.ask(80, |e, version| request.encode(e, version)).await;
    codes([whole(&response, case.version, AddRaftVoterResponse::decode).error_code], &[ErrorCode::InvalidRequest]);
}

pub(super) async fn remove_raft_voter(case: &mut Case) {
    let asked = [(None, ErrorCode::InvalidRequest), (Some("another"), ErrorCode::InconsistentClusterId)];
    for (cluster_id, expected) in asked {
        let request = RemoveRaftVoterRequest { cluster_id, voter_id: 2, ..Default::default() };
        let response = case.ask(81, |e, version| request.encode(e, version)).await;
        codes([whole(&response, case.version, RemoveRaftVoterResponse::decode).error_code], &[expected]);
    }
}
