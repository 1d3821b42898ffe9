//! Apache Kafka as it starts by itself: the settings of its own `server.properties`, and the heap, the collector and the JVM
//! options of its own start script.

use super::cluster::number;
use super::failure::Failure;
use super::server::Member;
use crate::interop::kafka::{CLUSTER_ID, FORMAT_LIMIT, LOGGING};
use crate::interop::places::Places;
use crate::interop::process::run;
use std::path::Path;
use std::process::Command;

/// What `kafka-server-start.sh` and `kafka-run-class.sh` pass.
const JVM: &[&str] = &[
    "-Xmx1G",
    "-Xms1G",
    "-server",
    "-XX:+UseG1GC",
    "-XX:MaxGCPauseMillis=20",
    "-XX:InitiatingHeapOccupancyPercent=35",
    "-XX:+ExplicitGCInvokesConcurrent",
    "-Djava.awt.headless=true",
];

/// Writes the configuration, formats the data directory and gives the command that starts the broker.
pub(super) fn prepare(places: &Places, jars: &Path, member: &Member, directory: &Path) -> Result<Command, Failure> {
    let properties = directory.join("server.properties");
    let text = configuration(member, &directory.join("data"));
    std::fs::write(&properties, text).map_err(|error| Failure::file(&properties, error))?;
    let logging = directory.join("log4j.properties");
    std::fs::write(&logging, LOGGING).map_err(|error| Failure::file(&logging, error))?;
    let class_path = jars.join("*");
    let mut format = Command::new("java");
    format.arg("-cp").arg(&class_path).args(["kafka.tools.StorageTool", "format", "--cluster-id", CLUSTER_ID, "--config"]);
    run(format.arg(&properties), &places.run.join("kafka-format.log"), FORMAT_LIMIT)?;
    let mut broker = Command::new("java");
    broker.args(JVM).arg("-cp").arg(class_path);
    broker.arg(format!("-Dlog4j.configuration=file:{}", logging.display())).arg("kafka.Kafka").arg(&properties);
    Ok(broker)
}

fn configuration(member: &Member, data: &Path) -> String {
    let (port, controller_port) = member.ports[member.at];
    let voter = |(at, (_, port)): (usize, &(u16, u16))| format!("{}@127.0.0.1:{port}", number(at));
    let voters = member.ports.iter().enumerate().map(voter).collect::<Vec<_>>().join(",");
    // As its documentation has it for production: three replicas, two of which suffice.
    let (replicas, least) = if member.ports.len() < 3 { (1, 1) } else { (3, 2) };
    format!(
        "process.roles=broker,controller
node.id={}
controller.quorum.voters={voters}
default.replication.factor={replicas}
min.insync.replicas={least}
controller.listener.names=CONTROLLER
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
log.dirs={}
num.network.threads=3
num.io.threads=8
socket.send.buffer.bytes=102400
socket.receive.buffer.bytes=102400
socket.request.max.bytes=104857600
num.partitions=1
num.recovery.threads.per.data.dir=1
offsets.topic.replication.factor={replicas}
transaction.state.log.replication.factor={replicas}
transaction.state.log.min.isr={least}
share.coordinator.state.topic.replication.factor={replicas}
share.coordinator.state.topic.min.isr={least}
log.retention.hours=168
log.segment.bytes=1073741824
log.retention.check.interval.ms=300000
",
        number(member.at),
        data.display()
    )
}
