//! Topics and configurations: create, delete, grow, describe, alter.

use super::api::{CREATE_PARTITIONS, CREATE_TOPICS, DELETE_RECORDS, DELETE_TOPICS, DESCRIBE_CONFIGS, INCREMENTAL_ALTER_CONFIGS};
use super::cluster::{Cluster, TopicLayout};
use super::error::{ClientError, accept};
use duolog_wire::kafka::messages::create_partitions_request::{CreatePartitionsRequest, CreatePartitionsTopic};
use duolog_wire::kafka::messages::create_partitions_response::CreatePartitionsResponse;
use duolog_wire::kafka::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig, CreateTopicsRequest};
use duolog_wire::kafka::messages::create_topics_response::CreateTopicsResponse;
use duolog_wire::kafka::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsRequest, DeleteRecordsTopic};
use duolog_wire::kafka::messages::delete_records_response::DeleteRecordsResponse;
use duolog_wire::kafka::messages::delete_topics_request::DeleteTopicsRequest;
use duolog_wire::kafka::messages::delete_topics_response::DeleteTopicsResponse;
use duolog_wire::kafka::messages::describe_configs_request::{DescribeConfigsRequest, DescribeConfigsResource};
use duolog_wire::kafka::messages::describe_configs_response::DescribeConfigsResponse;
use duolog_wire::kafka::messages::incremental_alter_configs_request::{
    AlterConfigsResource, AlterableConfig, IncrementalAlterConfigsRequest,
};
use duolog_wire::kafka::messages::incremental_alter_configs_response::IncrementalAlterConfigsResponse;
use std::collections::BTreeMap;

const ADMIN_TIMEOUT_MS: i32 = 30_000;
/// Kafka's resource type of a topic.
const TOPIC: i8 = 2;
/// And of a group.
const GROUP: i8 = 32;
/// Operations of IncrementalAlterConfigs.
const SET: i8 = 0;
const DELETE: i8 = 1;
/// Config source of a value that was set on the topic itself.
const SET_ON_TOPIC: i8 = 1;

/// A topic to be created; `None` leaves the choice to the server.
#[derive(Clone, Debug, Default)]
pub struct NewTopicSpec {
    pub name: String,
    pub partitions: Option<i32>,
    pub replication_factor: Option<i16>,
    pub configs: Vec<(String, String)>,
}

/// A change of one configuration value; `None` removes it.
#[derive(Clone, Debug)]
pub struct ConfigChange {
    pub key: String,
    pub value: Option<String>,
}

/// One configuration value of a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigEntry {
    pub key: String,
    /// `None` if it is kept secret.
    pub value: Option<String>,
    /// Set on the topic itself, not inherited.
    pub overridden: bool,
}

impl Cluster {
    pub async fn create_topic(&mut self, topic: &NewTopicSpec) -> Result<(), ClientError> {
        let config = |(key, value): &(String, String)| -> (String, String) { (key.clone(), value.clone()) };
        let owned: Vec<(String, String)> = topic.configs.iter().map(config).collect();
        let configs = owned.iter().map(|(key, value)| CreatableTopicConfig { name: key, value: Some(value) }).collect();
        let creatable = CreatableTopic {
            name: &topic.name,
            num_partitions: topic.partitions.unwrap_or(-1),
            replication_factor: topic.replication_factor.unwrap_or(-1),
            configs,
            ..Default::default()
        };
        let request = CreateTopicsRequest { topics: vec![creatable], timeout_ms: ADMIN_TIMEOUT_MS, ..Default::default() };
        let reply = self.ask_controller(CREATE_TOPICS, |e, version| request.encode(e, version)).await?;
        let response = reply.decode(CreateTopicsResponse::decode)?;
        for result in &response.topics {
            accept(result.error_code, result.error_message, || format!("topic {}", topic.name))?;
        }
        Ok(())
    }

    pub async fn delete_topic(&mut self, name: &str) -> Result<(), ClientError> {
        let request = DeleteTopicsRequest { topic_names: vec![name], timeout_ms: ADMIN_TIMEOUT_MS, ..Default::default() };
        let reply = self.ask_controller(DELETE_TOPICS, |e, version| request.encode(e, version)).await?;
        let response = reply.decode(DeleteTopicsResponse::decode)?;
        for result in &response.responses {
            accept(result.error_code, result.error_message, || format!("topic {name}"))?;
        }
        Ok(())
    }

    /// Deletes the records of each partition that lie before the offset given.
    pub async fn delete_records(&mut self, topic: &TopicLayout, before: &BTreeMap<i32, i64>) -> Result<(), ClientError> {
        let mut by_leader: BTreeMap<i32, Vec<DeleteRecordsPartition>> = BTreeMap::new();
        for (&partition_index, &offset) in before {
            by_leader.entry(topic.leader(partition_index)?).or_default().push(DeleteRecordsPartition { partition_index, offset });
        }
        for (leader, partitions) in by_leader {
            let topics = vec![DeleteRecordsTopic { name: &topic.name, partitions }];
            let request = DeleteRecordsRequest { topics, timeout_ms: ADMIN_TIMEOUT_MS };
            let reply = self.ask(leader, DELETE_RECORDS, |e, version| request.encode(e, version)).await?;
            let response = reply.decode(DeleteRecordsResponse::decode)?;
            for result in response.topics.iter().flat_map(|topic| &topic.partitions) {
                accept(result.error_code, None, || format!("{}-{}", topic.name, result.partition_index))?;
            }
        }
        Ok(())
    }

    /// Raises the number of partitions.
    pub async fn create_partitions(&mut self, topic: &str, count: i32) -> Result<(), ClientError> {
        let growth = CreatePartitionsTopic { name: topic, count, assignments: None };
        let request = CreatePartitionsRequest { topics: vec![growth], timeout_ms: ADMIN_TIMEOUT_MS, ..Default::default() };
        let reply = self.ask_controller(CREATE_PARTITIONS, |e, version| request.encode(e, version)).await?;
        let response = reply.decode(CreatePartitionsResponse::decode)?;
        for result in &response.results {
            accept(result.error_code, result.error_message, || format!("topic {topic}"))?;
        }
        Ok(())
    }

    pub async fn alter_topic_configs(&mut self, topic: &str, changes: &[ConfigChange]) -> Result<(), ClientError> {
        let alterations = changes.iter().map(|change| AlterableConfig {
            name: &change.key,
            config_operation: if change.value.is_some() { SET } else { DELETE },
            value: change.value.as_deref(),
        });
        let resource = AlterConfigsResource { resource_type: TOPIC, resource_name: topic, configs: alterations.collect() };
        let request = IncrementalAlterConfigsRequest { resources: vec![resource], ..Default::default() };
        let reply = self.ask_controller(INCREMENTAL_ALTER_CONFIGS, |e, version| request.encode(e, version)).await?;
        let response = reply.decode(IncrementalAlterConfigsResponse::decode)?;
        for result in &response.responses {
            accept(result.error_code, result.error_message, || format!("topic {topic}"))?;
        }
        Ok(())
    }

    pub async fn topic_configs(&mut self, topic: &str) -> Result<Vec<ConfigEntry>, ClientError> {
        self.configs(TOPIC, topic, || format!("topic {topic}")).await
    }

    /// The value of a group's key.
    pub async fn group_config(&mut self, group: &str, key: &str) -> Result<Option<String>, ClientError> {
        let configs = self.configs(GROUP, group, || format!("group {group}")).await?;
        Ok(configs.into_iter().find(|config| config.key == key).and_then(|config| config.value))
    }

    async fn configs(
        &mut self,
        resource_type: i8,
        resource_name: &str,
        what: impl Fn() -> String,
    ) -> Result<Vec<ConfigEntry>, ClientError> {
        let resource = DescribeConfigsResource { resource_type, resource_name, configuration_keys: None };
        let request = DescribeConfigsRequest { resources: vec![resource], ..Default::default() };
        let reply = self.ask_controller(DESCRIBE_CONFIGS, |e, version| request.encode(e, version)).await?;
        let response = reply.decode(DescribeConfigsResponse::decode)?;
        let mut entries = Vec::new();
        for result in &response.results {
            accept(result.error_code, result.error_message, &what)?;
            entries.extend(result.configs.iter().map(|config| ConfigEntry {
                key: config.name.to_owned(),
                value: config.value.map(str::to_owned),
                overridden: config.config_source == SET_ON_TOPIC,
            }));
        }
        Ok(entries)
    }
}
