//! DescribeLogDirs (35): how much the partitions take on disk.
//!
//! *Behavior*: every data directory, with those of the partitions asked for (none named: all) that live in it, each with the
//! bytes of its records and the committed records that it lacks, as far as its leader has told it. The shared log keeps dead records until their file goes, so a directory may hold more than the sum.
//!
//! *Version notes*: 1-5. Size of the file system from 4 on; version 5 adds a mark for directories that take nothing new.

use super::Api;
use crate::call::{Call, CallError, Handled, Reply};
use duolog_base::PartitionIndex;
use duolog_core::broker::Broker;
use duolog_core::metadata::{MetadataImage, NodeDirectory, TopicImage};
use duolog_wire::kafka::ErrorCode;
use duolog_wire::kafka::messages::describe_log_dirs_request::DescribeLogDirsRequest;
use duolog_wire::kafka::messages::describe_log_dirs_response::{
    DescribeLogDirsPartition, DescribeLogDirsResponse, DescribeLogDirsResult, DescribeLogDirsTopic,
};
use std::collections::BTreeMap;
use std::path::Path;

pub(super) const API: Api = Api { key: 35, name: "DescribeLogDirs", min: 1, max: 5, handle };

/// What is answered where a size is not known.
const UNKNOWN_BYTES: i64 = -1;

fn handle(call: Call) -> Handled {
    Handled::InOrder(Box::pin(describe_log_dirs(call)))
}

async fn describe_log_dirs(call: Call) -> Result<Reply, CallError> {
    let request = DescribeLogDirsRequest::decode(&mut call.decoder(), call.version)?;
    let image = call.services().broker.image();
    let broker = &call.services().broker;
    let mut topics = vec![Vec::new(); broker.directories().len()];
    for (topic, indexes) in asked(&image, &request) {
        for (directory, partitions) in by_directory(broker, topic, indexes) {
            topics[directory].push(DescribeLogDirsTopic { name: &topic.name, partitions });
        }
    }
    let names: Vec<_> = broker.directories().iter().map(|directory| directory.path.to_string_lossy()).collect();
    let result = |((directory, name), topics): ((&NodeDirectory, _), _)| {
        let (total_bytes, usable_bytes) = volume_bytes(&directory.path);
        let error_code = ErrorCode::None as i16;
        DescribeLogDirsResult { error_code, log_dir: name, topics, total_bytes, usable_bytes, is_cordoned: false }
    };
    let results = broker.directories().iter().zip(names.iter().map(|name| &**name)).zip(topics).map(result).collect();
    let response = DescribeLogDirsResponse { results, ..Default::default() };
    let mut encoder = call.response();
    response.encode(&mut encoder, call.version)?;
    Ok(Reply::plain(encoder))
}

/// Topics that exist among those asked for, each with the indexes asked for.
fn asked<'a>(image: &'a MetadataImage, request: &DescribeLogDirsRequest<'_>) -> Vec<(&'a TopicImage, Vec<i32>)> {
    let every = |topic: &TopicImage| (0..topic.partitions.len() as i32).collect();
    match &request.topics {
        None => image.topics.values().map(|topic| (&**topic, every(topic))).collect(),
        Some(topics) => {
            let known = topics.iter().filter_map(|asked| Some((&**image.topic(asked.topic)?, asked.partitions.clone())));
            known.collect()
        }
    }
}

/// Those of the partitions that exist here, by the data directory they live in.
fn by_directory(broker: &Broker, topic: &TopicImage, indexes: Vec<i32>) -> BTreeMap<usize, Vec<DescribeLogDirsPartition>> {
    let mut found: BTreeMap<usize, Vec<_>> = BTreeMap::new();
    for index in indexes {
        let Some(partition) = topic.partition(PartitionIndex(index)) else { continue };
        let Some(place) = broker.log().place(partition.number) else { continue };
        let bytes = broker.log().partition_bytes(partition.number);
        found.entry(place.directory).or_default().push(DescribeLogDirsPartition {
            partition_index: index,
            partition_size: i64::try_from(bytes).unwrap_or(i64::MAX),
            offset_lag: broker.replica_lag(partition),
            is_future_key: false,
        });
    }
    found
}

/// Size of the file system and what is left of it, in bytes.
fn volume_bytes(directory: &Path) -> (i64, i64) {
    let Ok(stat) = rustix::fs::statvfs(directory) else { return (UNKNOWN_BYTES, UNKNOWN_BYTES) };
    let bytes = |blocks: u64| i64::try_from(blocks.saturating_mul(stat.f_frsize)).unwrap_or(i64::MAX);
    (bytes(stat.f_blocks), bytes(stat.f_bavail))
}
