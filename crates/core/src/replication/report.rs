//! What this node holds, told to the controller now and then, so that it can keep nodes even by bytes. Started with the heartbeats.
//!
//! Once in many heartbeats, since all partitions are looked at; on the blocking pool, since their logs are. Nobody is told while the
//! balancer is off.

use crate::metadata::{Metadata, StorageReport};
use duolog_base::NodeId;
use duolog_log::Store;
use std::sync::Arc;
use std::time::Duration;

/// Heartbeats between two reports.
pub(super) const REPORT_EVERY: u32 = 25;

/// Reports until the task is aborted.
pub(super) async fn run(metadata: Arc<Metadata>, log: Arc<Store>, pause: Duration) {
    loop {
        tokio::time::sleep(pause).await;
        let image = metadata.image();
        if !image.config.balance_replicas || image.nodes.len() < 2 {
            continue;
        }
        let (node, log) = (NodeId(image.config.node_id), log.clone());
        let report = move || StorageReport::of(&image, node, |partition| log.partition_bytes(partition));
        let Ok(report) = tokio::task::spawn_blocking(report).await else { return };
        if let Err(error) = metadata.report_storage(report).await {
            tracing::debug!(%error, "nobody was told what this node holds");
        }
    }
}
