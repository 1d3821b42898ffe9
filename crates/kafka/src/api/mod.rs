//! The table of APIs: from it come ApiVersions, dispatch and `docs/protocol-kafka.md`.
//!
//! A Kafka API is one file `pNN_name.rs` (NN is the API key) with a `pub(super) const API: Api` and one line here.

mod admin;
mod leadership;
mod nodes;
mod p00_produce;
mod p01_fetch;
mod p02_list_offsets;
mod p03_metadata;
mod p08_offset_commit;
mod p09_offset_fetch;
mod p10_find_coordinator;
mod p11_join_group;
mod p12_heartbeat;
mod p13_leave_group;
mod p14_sync_group;
mod p15_describe_groups;
mod p16_list_groups;
mod p18_api_versions;
mod p19_create_topics;
mod p20_delete_topics;
mod p21_delete_records;
mod p22_init_producer_id;
mod p23_offset_for_leader_epoch;
mod p32_describe_configs;
mod p33_alter_configs;
mod p35_describe_log_dirs;
mod p37_create_partitions;
mod p42_delete_groups;
mod p43_elect_leaders;
mod p44_incremental_alter_configs;
mod p45_alter_partition_reassignments;
mod p46_list_partition_reassignments;
mod p47_offset_delete;
mod p55_describe_quorum;
mod p57_update_features;
mod p60_describe_cluster;
mod p61_describe_producers;
mod p64_unregister_broker;
mod p71_get_telemetry_subscriptions;
mod p72_push_telemetry;
mod p74_list_config_resources;
mod p75_describe_topic_partitions;
mod p76_share_group_heartbeat;
mod p77_share_group_describe;
mod p78_share_fetch;
mod p79_share_acknowledge;
mod p80_add_raft_voter;
mod p81_remove_raft_voter;
mod p90_describe_share_group_offsets;
mod p91_alter_share_group_offsets;
mod p92_delete_share_group_offsets;
mod share;

pub(crate) use p00_produce::ProduceReply;
pub(crate) use share::release as release_share;

use crate::call::{Call, Handled};

/// The one request that is answered at any version.
pub(crate) const API_VERSIONS: i16 = 18;

/// One API: its key, the versions served, and its handler.
pub(crate) struct Api {
    pub(crate) key: i16,
    pub(crate) name: &'static str,
    pub(crate) min: i16,
    pub(crate) max: i16,
    pub(crate) handle: fn(Call) -> Handled,
}

/// Every API served, by key.
pub(crate) const TABLE: &[Api] = &[
    p00_produce::API,
    p01_fetch::API,
    p02_list_offsets::API,
    p03_metadata::API,
    p08_offset_commit::API,
    p09_offset_fetch::API,
    p10_find_coordinator::API,
    p11_join_group::API,
    p12_heartbeat::API,
    p13_leave_group::API,
    p14_sync_group::API,
    p15_describe_groups::API,
    p16_list_groups::API,
    p18_api_versions::API,
    p19_create_topics::API,
    p20_delete_topics::API,
    p21_delete_records::API,
    p22_init_producer_id::API,
    p23_offset_for_leader_epoch::API,
    p32_describe_configs::API,
    p33_alter_configs::API,
    p35_describe_log_dirs::API,
    p37_create_partitions::API,
    p42_delete_groups::API,
    p43_elect_leaders::API,
    p44_incremental_alter_configs::API,
    p45_alter_partition_reassignments::API,
    p46_list_partition_reassignments::API,
    p47_offset_delete::API,
    p55_describe_quorum::API,
    p57_update_features::API,
    p60_describe_cluster::API,
    p61_describe_producers::API,
    p64_unregister_broker::API,
    p71_get_telemetry_subscriptions::API,
    p72_push_telemetry::API,
    p74_list_config_resources::API,
    p75_describe_topic_partitions::API,
    p76_share_group_heartbeat::API,
    p77_share_group_describe::API,
    p78_share_fetch::API,
    p79_share_acknowledge::API,
    p80_add_raft_voter::API,
    p81_remove_raft_voter::API,
    p90_describe_share_group_offsets::API,
    p91_alter_share_group_offsets::API,
    p92_delete_share_group_offsets::API,
];

/// Finds an API by its key.
pub(crate) fn find(key: i16) -> Option<&'static Api> {
    TABLE.binary_search_by_key(&key, |api| api.key).ok().and_then(|at| TABLE.get(at))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_order_and_within_what_kafka_defines() {
        assert!(TABLE.windows(2).all(|pair| pair[0].key < pair[1].key));
        for api in TABLE {
            let info = duolog_wire::kafka::api::api(api.key).expect(api.name);
            assert_eq!(info.name, api.name);
            assert!(info.min_version <= api.min && api.min <= api.max && api.max <= info.max_version, "{}", api.name);
        }
    }
}
