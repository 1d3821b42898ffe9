//! Apache RocketMQ's broker as it starts by itself, with a heap of 2 GB and the collector of its own start script. The loads ask
//! the broker itself, so there is no name server.

use super::cases::{SYNC, Settings};
use super::failure::Failure;
use std::path::Path;
use std::process::Command;

/// What `runbroker.sh` passes, but for the size of the heap and touching all of it at the start.
const JVM: &[&str] = &[
    "-Xmx2g",
    "-Xms2g",
    "-server",
    "-XX:+UseG1GC",
    "-XX:G1HeapRegionSize=16m",
    "-XX:G1ReservePercent=25",
    "-XX:InitiatingHeapOccupancyPercent=30",
    "-XX:SoftRefLRUPolicyMSPerMB=0",
    "-XX:-OmitStackTraceInFastThrow",
];

/// Writes the configuration and gives the command that starts the broker.
pub(super) fn prepare(jars: &Path, port: u16, directory: &Path, settings: Settings) -> Result<Command, Failure> {
    let configuration = directory.join("broker.conf");
    let flush = if settings == SYNC { "SYNC_FLUSH" } else { "ASYNC_FLUSH" };
    let store = directory.join("data/store");
    let text = format!(
        "brokerClusterName=DefaultCluster
brokerName=broker-a
brokerId=0
brokerIP1=127.0.0.1
bindAddress=127.0.0.1
listenPort={port}
haListenPort={}
storePathRootDir={}
storePathCommitLog={}
flushDiskType={flush}
diskMaxUsedSpaceRatio=99
",
        port + 1,
        store.display(),
        store.join("commitlog").display()
    );
    std::fs::write(&configuration, text).map_err(|error| Failure::file(&configuration, error))?;
    let mut broker = Command::new("java");
    // Logs go below the home directory.
    broker.args(JVM).arg(format!("-Duser.home={}", directory.display())).arg("-cp").arg(jars.join("*"));
    broker.args(["org.apache.rocketmq.broker.BrokerStartup", "-c"]).arg(configuration);
    broker.env("ROCKETMQ_HOME", directory).current_dir(directory);
    Ok(broker)
}
