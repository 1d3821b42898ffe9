//! DescribeLogDirs (35): how much the partitions take on disk.
//!
//! *Behavior*: one directory, the node's data directory; of the partitions asked for (none named: all) those that exist,
//! each with the bytes of its records. The shared log keeps dead records until their file goes, so the directory may
//! hold more than the sum.
//!
//! *Version notes*: 1-5. Size of the file system from 4 on; version 5 adds a mark for directories that take nothing new.

use super::Api;
use crate::call::{Call, CallError, Handled, Reply};
use duolog_core::metadata::{MetadataImage, TopicImage};
use duolog_wire::kafka::ErrorCode;
use duolog_wire::kafka::messages::describe_log_dirs_request::DescribeLogDirsRequest;
use duolog_wire::kafka::messages::describe_log_dirs_response::{
    DescribeLogDirsPartition, DescribeLogDirsResponse, DescribeLogDirsResult, DescribeLogDirsTopic,
};
use std::path::Path;

pub(super) const API: Api = Api { key: 35, name: "DescribeLogDirs", min: 1, max: 5, handle };

/// What is answered where a size is not known.
const UNKNOWN_BYTES: i64 = -1;

fn handle(call: Call) -> Handled {
    Handled::InOrder(Box::pin(describe_log_dirs(call)))
}

async fn describe_log_dirs(call: Call) -> Result<Reply, CallError> {
    let request = DescribeLogDirsRequest::decode(&mut call.decoder(), call.version)?;
    let image = call.services.broker.image();
    let directory = std::path::absolute(&image.config.data_dir).unwrap_or_else(|_| image.config.data_dir.clone());
    let (total_bytes, usable_bytes) = volume_bytes(&directory);
    let name = directory.to_string_lossy();
    let topics = asked(&image, &request).into_iter().map(|(topic, indexes)| DescribeLogDirsTopic {
        name: &topic.name,
        partitions: indexes.into_iter().filter_map(|index| partition(&call, topic, index)).collect(),
    });
    let result = DescribeLogDirsResult {
        error_code: ErrorCode::None as i16,
        log_dir: &name,
        topics: topics.filter(|topic| !topic.partitions.is_empty()).collect(),
        total_bytes,
        usable_bytes,
        is_cordoned: false,
    };
    let response = DescribeLogDirsResponse { results: vec![result], ..Default::default() };
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

fn partition(call: &Call, topic: &TopicImage, index: i32) -> Option<DescribeLogDirsPartition> {
    let partition = topic.partition(duolog_base::PartitionIndex(index))?;
    let bytes = call.services.broker.log().partition_bytes(partition.number);
    Some(DescribeLogDirsPartition {
        partition_index: index,
        partition_size: i64::try_from(bytes).unwrap_or(i64::MAX),
        offset_lag: 0,
        is_future_key: false,
    })
}

/// Size of the file system and what is left of it, in bytes.
fn volume_bytes(directory: &Path) -> (i64, i64) {
    let Ok(stat) = rustix::fs::statvfs(directory) else { return (UNKNOWN_BYTES, UNKNOWN_BYTES) };
    let bytes = |blocks: u64| i64::try_from(blocks.saturating_mul(stat.f_frsize)).unwrap_or(i64::MAX);
    (bytes(stat.f_blocks), bytes(stat.f_bavail))
}
