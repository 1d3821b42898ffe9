//! GET_BROKER_RUNTIME_INFO (28): how the node is doing, under the names that tools print and dashboards draw; and
//! GET_BROKER_HA_STATUS (907): who copies from it.
//!
//! *Behaviour*: counts are of messages of all clients since the process began; those of gets are of RocketMQ's clients only. There
//! are no queues of work and no page cache lock here, so their sizes and times are 0. What is not known is left out.

use crate::node::Node;
use crate::remoting::call::{Answer, Call, Refusal};
use duolog_wire::remoting::SERVER_VERSION;
use duolog_wire::remoting::body::KeyValueTable;
use serde::Serialize;
use std::path::Path;

/// What tools print for the release whose protocol is spoken.
const VERSION_NAME: &str = "V5_5_0";
/// What the original has and this server has not: nothing waits there.
const EMPTY: [&str; 9] = [
    "sendThreadPoolQueueSize",
    "pullThreadPoolQueueSize",
    "ackThreadPoolQueueSize",
    "queryThreadPoolQueueSize",
    "sendThreadPoolQueueHeadWaitTimeMills",
    "pullThreadPoolQueueHeadWaitTimeMills",
    "ackThreadPoolQueueHeadWaitTimeMills",
    "queryThreadPoolQueueHeadWaitTimeMills",
    "pageCacheLockTimeMills",
];

pub(super) async fn handle(call: Call) -> Result<Answer, Refusal> {
    let node = &call.node;
    let metrics = node.broker.metrics();
    let (put, got, days) = (metrics.records_in.get(), node.counted().got, node.rates.days());
    let now = node.broker.clock().now();
    let mut pairs = vec![
        ("brokerVersionDesc", VERSION_NAME.to_owned()),
        ("brokerVersion", SERVER_VERSION.to_string()),
        ("brokerActive", true.to_string()),
        ("bootTimestamp", node.booted.0.to_string()),
        ("runtime", running_time(now.0 - node.booted.0)),
        ("putTps", node.rates.put().to_string()),
        ("getTransferredTps", node.rates.got().to_string()),
        ("getTransferedTps", node.rates.got().to_string()),
        ("putMessageTimesTotal", put.to_string()),
        ("putMessageSizeTotal", metrics.bytes_in.get().to_string()),
        ("putMessageAverageSize", format!("{:.1}", metrics.bytes_in.get() as f64 / put.max(1) as f64)),
        ("msgPutTotalYesterdayMorning", days.yesterday.put.to_string()),
        ("msgPutTotalTodayMorning", days.today.put.to_string()),
        ("msgPutTotalTodayNow", put.to_string()),
        ("msgGetTotalYesterdayMorning", days.yesterday.got.to_string()),
        ("msgGetTotalTodayMorning", days.today.got.to_string()),
        ("msgGetTotalTodayNow", got.to_string()),
        ("commitLogMaxOffset", node.broker.log().durable_position().0.to_string()),
    ];
    if let Some(ratio) = fullest_disk(node) {
        pairs.push(("commitLogDiskRatio", ratio.to_string()));
    }
    let pairs = pairs.into_iter().chain(EMPTY.map(|name| (name, 0.to_string())));
    let table = pairs.map(|(name, value)| (name.to_owned(), value)).collect();
    Ok(Answer::ok().json(&KeyValueTable { table }))
}

/// What copies follow. There are none of a whole node: on a cluster each partition has copies of its own.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Copies {
    ha_connection_info: [(); 0],
    in_sync_slave_nums: i32,
    master: bool,
    master_commit_log_max_offset: u64,
}

pub(super) async fn copies(call: Call) -> Result<Answer, Refusal> {
    let master_commit_log_max_offset = call.node.broker.log().durable_position().0;
    Ok(Answer::ok().json(&Copies { ha_connection_info: [], in_sync_slave_nums: 0, master: true, master_commit_log_max_offset }))
}

fn running_time(ms: i64) -> String {
    let seconds = ms.max(0) / 1000;
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    format!("[ {days} days, {hours} hours, {minutes} minutes, {} seconds ]", seconds % 60)
}

/// The share of the space that is taken on the fullest of the node's disks.
fn fullest_disk(node: &Node) -> Option<f64> {
    let shares = node.broker.directories().iter().filter_map(|directory| share_taken(&directory.path));
    shares.max_by(f64::total_cmp)
}

fn share_taken(directory: &Path) -> Option<f64> {
    let stat = rustix::fs::statvfs(directory).ok()?;
    (stat.f_blocks > 0).then(|| 1.0 - stat.f_bavail as f64 / stat.f_blocks as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_running_time_is_for_people() {
        assert_eq!(running_time(93_784_000), "[ 1 days, 2 hours, 3 minutes, 4 seconds ]");
        assert_eq!(running_time(-1), "[ 0 days, 0 hours, 0 minutes, 0 seconds ]");
    }
}
