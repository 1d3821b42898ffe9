//! Headers of a group's and a queue's offsets.

use serde::{Deserialize, Serialize};

/// QUERY_CONSUMER_OFFSET (14).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct QueryConsumerOffsetRequest<'a> {
    pub consumer_group: &'a str,
    pub topic: &'a str,
    pub queue_id: i32,
    pub set_zero_if_not_found: Option<bool>,
}

/// UPDATE_CONSUMER_OFFSET (15), mostly one-way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UpdateConsumerOffsetRequest<'a> {
    pub consumer_group: &'a str,
    pub topic: &'a str,
    pub queue_id: i32,
    pub commit_offset: i64,
}

/// SEARCH_OFFSET_BY_TIMESTAMP (29).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SearchOffsetRequest<'a> {
    pub topic: &'a str,
    pub lite_topic: Option<&'a str>,
    pub queue_id: i32,
    pub timestamp: i64,
    pub boundary_type: Option<Boundary>,
}

/// GET_MAX_OFFSET (30): the offset that will be written next. Absent, `committed` means true.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MaxOffsetRequest<'a> {
    pub topic: &'a str,
    pub queue_id: i32,
    pub committed: Option<bool>,
}

/// GET_MIN_OFFSET (31) and GET_EARLIEST_MSG_STORETIME (32).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct QueueRequest<'a> {
    pub topic: &'a str,
    pub queue_id: i32,
}

/// Answer to 14, 29, 30 and 31.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OffsetResponse {
    pub offset: i64,
}

/// Answer to GET_EARLIEST_MSG_STORETIME, in milliseconds since 1970.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EarliestStoreTimeResponse {
    pub timestamp: i64,
}

/// CLONE_GROUP_OFFSET (314).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CloneGroupOffsetRequest<'a> {
    pub src_group: &'a str,
    pub dest_group: &'a str,
    pub topic: Option<&'a str>,
    #[serde(default)]
    pub offline: bool,
}

/// QUERY_CORRECTION_OFFSET (308). `filter_groups` are joined by commas.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CorrectionOffsetRequest<'a> {
    pub filter_groups: Option<&'a str>,
    pub compare_group: &'a str,
    pub topic: &'a str,
}

/// INVOKE_BROKER_TO_RESET_OFFSET (222), and RESET_CONSUMER_CLIENT_OFFSET (220), which the server sends. A `queue_id` of -1
/// means every queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ResetOffsetRequest<'a> {
    pub group: &'a str,
    pub topic: &'a str,
    #[serde(default = "every_queue")]
    pub queue_id: i32,
    pub offset: Option<i64>,
    pub timestamp: i64,
    pub is_force: bool,
}

/// Which of the messages of one millisecond a search means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Boundary {
    #[serde(rename = "LOWER", alias = "lower")]
    Lower,
    #[serde(rename = "UPPER", alias = "upper")]
    Upper,
}

fn every_queue() -> i32 {
    -1
}
