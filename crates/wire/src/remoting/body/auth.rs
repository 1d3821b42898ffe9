//! Bodies about users and their rights. Names of types, decisions and actions stay text; who enforces them reads them.

use serde::{Deserialize, Serialize};

/// The body of 3001 and 3002, the answer to 3004, and an element of the answer to 3005, which is an array.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct UserInfo {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password: Option<String>,
    /// `enable` or `disable`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_status: Option<String>,
    /// `Super` or `Normal`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_type: Option<String>,
    pub username: String,
}

/// The body of 3006 and 3007, the answer to 3009, and an element of the answer to 3010, which is an array.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct AclInfo {
    pub policies: Vec<PolicyInfo>,
    /// `User:` and a name.
    pub subject: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PolicyInfo {
    pub entries: Vec<PolicyEntryInfo>,
    /// `Custom` or `Default`.
    pub policy_type: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PolicyEntryInfo {
    pub actions: Vec<String>,
    /// `Allow` or `Deny`.
    pub decision: String,
    /// `Topic:`, `Group:` or `Cluster:` and a name; a name may end with `*`.
    pub resource: String,
    pub source_ips: Vec<String>,
}
