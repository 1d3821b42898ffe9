//! Headers of a broker's statistics, its users and their rights.

use serde::{Deserialize, Serialize};

/// VIEW_BROKER_STATS_DATA (315).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BrokerStatsRequest<'a> {
    pub stats_name: &'a str,
    pub stats_key: &'a str,
}

/// GET_BROKER_CONSUME_STATS (317).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BrokerConsumeStatsRequest {
    pub is_order: bool,
}

/// AUTH_CREATE_USER (3001), AUTH_UPDATE_USER (3002), AUTH_DELETE_USER (3003) and AUTH_GET_USER (3004).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UserRequest<'a> {
    #[serde(borrow)]
    pub username: Option<&'a str>,
}

/// AUTH_LIST_USER (3005).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UserListRequest<'a> {
    #[serde(borrow)]
    pub filter: Option<&'a str>,
}

/// AUTH_CREATE_ACL (3006), AUTH_UPDATE_ACL (3007) and AUTH_GET_ACL (3009).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AclRequest<'a> {
    #[serde(borrow)]
    pub subject: Option<&'a str>,
}

/// AUTH_DELETE_ACL (3008).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeleteAclRequest<'a> {
    #[serde(borrow)]
    pub subject: Option<&'a str>,
    pub policy_type: Option<&'a str>,
    pub resource: Option<&'a str>,
}

/// AUTH_LIST_ACL (3010).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AclListRequest<'a> {
    #[serde(borrow)]
    pub subject_filter: Option<&'a str>,
    pub resource_filter: Option<&'a str>,
}
