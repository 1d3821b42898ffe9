//! Headers of what only a name server is asked.

use serde::{Deserialize, Serialize};

/// PUT_KV_CONFIG (100).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PutKeyValueRequest<'a> {
    pub namespace: &'a str,
    pub key: &'a str,
    pub value: &'a str,
}

/// GET_KV_CONFIG (101) and DELETE_KV_CONFIG (102).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KeyValueRequest<'a> {
    pub namespace: &'a str,
    pub key: &'a str,
}

/// Answer to GET_KV_CONFIG.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KeyValueResponse<'a> {
    #[serde(borrow)]
    pub value: Option<&'a str>,
}

/// GET_KVLIST_BY_NAMESPACE (219).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KeyValueListRequest<'a> {
    pub namespace: &'a str,
}

/// WIPE_WRITE_PERM_OF_BROKER (205) and ADD_WRITE_PERM_OF_BROKER (327).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BrokerNameRequest<'a> {
    pub broker_name: &'a str,
}

/// Answer to WIPE_WRITE_PERM_OF_BROKER.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WipeWritePermissionResponse {
    pub wipe_topic_count: i32,
}

/// Answer to ADD_WRITE_PERM_OF_BROKER.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AddWritePermissionResponse {
    pub add_topic_count: i32,
}
