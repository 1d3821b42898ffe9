//! Headers of consumer groups.

use serde::{Deserialize, Serialize};

/// QUERY_TOPICS_BY_CONSUMER (343), GET_SUBSCRIPTIONGROUP_CONFIG (352).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GroupRequest<'a> {
    pub group: &'a str,
}

/// GET_ALL_SUBSCRIPTIONGROUP_CONFIG (201). Clients before 5.4 send no fields.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AllSubscriptionGroupsRequest<'a> {
    pub group_seq: Option<i32>,
    #[serde(borrow)]
    pub data_version: Option<&'a str>,
    pub max_group_num: Option<i32>,
}

/// Answer to GET_ALL_SUBSCRIPTIONGROUP_CONFIG.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AllSubscriptionGroupsResponse {
    pub total_group_num: i32,
}

/// DELETE_SUBSCRIPTIONGROUP (207).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeleteSubscriptionGroupRequest<'a> {
    pub group_name: &'a str,
    #[serde(default)]
    pub clean_offset: bool,
}

/// QUERY_SUBSCRIPTION_BY_CONSUMER (345).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SubscriptionRequest<'a> {
    pub group: &'a str,
    pub topic: Option<&'a str>,
}

/// QUERY_CONSUME_TIME_SPAN (303).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ConsumeTimeSpanRequest<'a> {
    pub topic: &'a str,
    pub group: &'a str,
}

/// UPDATE_AND_GET_GROUP_FORBIDDEN (353). Without `readable` it only asks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GroupForbiddenRequest<'a> {
    pub group: &'a str,
    pub topic: &'a str,
    pub readable: Option<bool>,
}

/// GET_CONSUME_STATS (208). `topic_list` is joined by semicolons.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ConsumeStatsRequest<'a> {
    pub consumer_group: &'a str,
    pub topic: Option<&'a str>,
    pub topic_list: Option<&'a str>,
}
