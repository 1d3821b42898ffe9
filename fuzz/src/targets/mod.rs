//! The table of targets. A new one is a line here and a function that takes any bytes.

mod batch;
mod cleaning;
mod compression;
mod config;
mod dedicated_directory;
mod dedicated_files;
mod filters;
mod groups;
mod log_directory;
mod log_files;
mod messages;
mod metadata;
mod peers;
mod remoting;
mod rocketmq_messages;
mod server;
mod server_seeds;
mod small_files;

/// Something that decodes.
pub struct Target {
    pub name: &'static str,
    /// The directory below `corpus/` that it begins from.
    pub corpus: &'static str,
    /// Panics if a promise is broken.
    pub run: fn(&[u8]),
    /// Valid inputs, written by our own encoders.
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// Mutations in an ordinary test run: a second or two.
    pub rounds: u64,
    /// Longest input, in bytes.
    pub max_bytes: usize,
}

const fn target(name: &'static str, run: fn(&[u8]), seeds: fn() -> Vec<Vec<u8>>, rounds: u64, max_bytes: usize) -> Target {
    Target { name, corpus: name, run, seeds, rounds, max_bytes }
}

pub const TARGETS: &[Target] = &[
    target("kafka_request", messages::request, messages::request_seeds, 250_000, 64 << 10),
    target("kafka_response", messages::response, messages::response_seeds, 200_000, 64 << 10),
    target("kafka_record", messages::record, messages::record_seeds, 120_000, 16 << 10),
    Target { corpus: "kafka_request", ..target("kafka_server", server::run, server_seeds::seeds, 1_500, 16 << 10) },
    target("remoting_frame", remoting::frame, remoting::frame_seeds, 10_000, 64 << 10),
    target("remoting_body", remoting::body, remoting::body_seeds, 30_000, 16 << 10),
    target("record_batch", batch::run, batch::seeds, 10_000, 64 << 10),
    target("compression", compression::run, compression::seeds, 1_500, 16 << 10),
    target("rocketmq_properties", rocketmq_messages::properties, rocketmq_messages::properties_seeds, 100_000, 4 << 10),
    target("rocketmq_batch_body", rocketmq_messages::batch_body, rocketmq_messages::batch_body_seeds, 100_000, 4 << 10),
    target("rocketmq_message", rocketmq_messages::stored_message, rocketmq_messages::stored_message_seeds, 60_000, 4 << 10),
    target("rocketmq_records", rocketmq_messages::records, rocketmq_messages::records_seeds, 10_000, 16 << 10),
    target("group_records", groups::run, groups::seeds, 20_000, 16 << 10),
    target("log_frame", log_files::frame, log_files::frame_seeds, 100_000, 1 << 10),
    target("log_index", log_files::index, log_files::index_seeds, 40_000, 16 << 10),
    target("log_tidied_end", log_files::tidied_end, log_files::tidied_end_seeds, 100_000, 64),
    target("log_key_index", log_files::key_index, log_files::key_index_seeds, 3_000, 20 << 10),
    target("log_state", log_files::state, log_files::state_seeds, 100_000, 16 << 10),
    target("log_directory", log_directory::run, log_directory::seeds, 800, 64 << 10),
    target("dedicated_files", dedicated_files::run, dedicated_files::seeds, 40_000, 4 << 10),
    target("dedicated_directory", dedicated_directory::run, dedicated_directory::seeds, 600, 64 << 10),
    target("cleaning", cleaning::run, cleaning::seeds, 800, 16 << 10),
    target("cleaner_checkpoint", small_files::cleaner_checkpoint, small_files::cleaner_checkpoint_seeds, 20_000, 4 << 10),
    target("directory_identity", small_files::identity, small_files::identity_seeds, 6_000, 1 << 10),
    target("metadata_snapshot", metadata::snapshot, metadata::snapshot_seeds, 20_000, 16 << 10),
    target("metadata_journal", metadata::journal, metadata::journal_seeds, 8_000, 16 << 10),
    target("replication_calls", peers::replication_calls, peers::replication_calls_seeds, 40_000, 8 << 10),
    target("rocketmq_calls", peers::rocketmq_calls, peers::rocketmq_calls_seeds, 40_000, 8 << 10),
    target("metadata_calls", peers::metadata_calls, peers::metadata_calls_seeds, 40_000, 8 << 10),
    target("peer_handshake", peers::handshake, peers::handshake_seeds, 5_000, 1 << 10),
    target("peer_frames", peers::frames, peers::frames_seeds, 20_000, 16 << 10),
    target("config", config::run, config::seeds, 300, 8 << 10),
    target("filter_expression", filters::run, filters::seeds, 100_000, 8 << 10),
];

pub fn find(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}
