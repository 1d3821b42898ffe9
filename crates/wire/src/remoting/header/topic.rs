//! Headers of topics.

use serde::{Deserialize, Serialize};

/// GET_ROUTEINFO_BY_TOPIC (105).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RouteRequest<'a> {
    pub topic: &'a str,
    #[serde(default)]
    pub accept_standard_json_only: bool,
}

/// GET_TOPIC_STATS_INFO (202), DELETE_TOPIC_IN_BROKER (215), REGISTER_TOPIC_IN_NAMESRV (217), QUERY_TOPIC_CONSUME_BY_WHO (300),
/// GET_TOPIC_CONFIG (351).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TopicRequest<'a> {
    pub topic: &'a str,
}

/// UPDATE_AND_CREATE_TOPIC (17). `attributes` are written `+key=value` and `-key`, joined by commas.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CreateTopicRequest<'a> {
    pub topic: &'a str,
    pub default_topic: &'a str,
    pub read_queue_nums: i32,
    pub write_queue_nums: i32,
    pub perm: i32,
    pub topic_filter_type: &'a str,
    pub topic_sys_flag: Option<i32>,
    #[serde(default)]
    pub order: bool,
    pub attributes: Option<&'a str>,
    #[serde(default)]
    pub force: bool,
}

/// GET_ALL_TOPIC_CONFIG (21). Clients before 5.4 send no fields.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AllTopicConfigRequest<'a> {
    pub topic_seq: Option<i32>,
    #[serde(borrow)]
    pub data_version: Option<&'a str>,
    pub max_topic_num: Option<i32>,
}

/// Answer to GET_ALL_TOPIC_CONFIG.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AllTopicConfigResponse {
    pub total_topic_num: Option<i32>,
}

/// DELETE_TOPIC_IN_NAMESRV (216).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeleteTopicInNameServerRequest<'a> {
    pub topic: &'a str,
    pub cluster_name: Option<&'a str>,
}

/// GET_TOPICS_BY_CLUSTER (224).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TopicsByClusterRequest<'a> {
    pub cluster: &'a str,
}
