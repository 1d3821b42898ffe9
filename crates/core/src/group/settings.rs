//! The few settings that groups run with.

use crate::config::BrokerConfig;

/// How long a member that just joined may take for its first rebalance, in milliseconds (KIP-394's five minutes).
const NEW_MEMBER_JOIN_TIMEOUT_MS: u64 = 300_000;

/// Largest record of a group, in bytes: half of what the broker takes from a coordinator in one batch.
const MAX_RECORD_BYTES: usize = 16 << 20;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupSettings {
    /// How long the first rebalance of an empty group waits for more members.
    pub initial_rebalance_delay_ms: u64,
    pub min_session_timeout_ms: i32,
    pub max_session_timeout_ms: i32,
    /// Most members a group.
    pub max_size: usize,
    pub new_member_join_timeout_ms: u64,
    /// Longest metadata beside a committed offset, in characters as Java counts them (UTF-16 units).
    pub offset_metadata_max: usize,
    /// Members with their subscriptions and shares beyond this many bytes cannot be written down.
    pub max_record_bytes: usize,
    /// How long offsets outlive the group's last member, or their commit where there are no members.
    pub offsets_retention_ms: i64,
    pub expiry_interval_ms: u64,
}

impl GroupSettings {
    pub fn from_config(config: &BrokerConfig) -> GroupSettings {
        GroupSettings {
            initial_rebalance_delay_ms: u64::try_from(config.group_initial_rebalance_delay_ms).unwrap_or(0),
            min_session_timeout_ms: config.group_min_session_timeout_ms,
            max_session_timeout_ms: config.group_max_session_timeout_ms,
            max_size: config.group_max_size,
            new_member_join_timeout_ms: NEW_MEMBER_JOIN_TIMEOUT_MS,
            offset_metadata_max: config.offset_metadata_max_bytes,
            max_record_bytes: MAX_RECORD_BYTES,
            offsets_retention_ms: config.offsets_retention_ms,
            expiry_interval_ms: config.offsets_retention_check_interval_ms.max(1),
        }
    }
}
