//! Apache Kafka as the peer: one node that is broker and controller, from the jars on the class path.

use super::failure::Failure;
use super::places::Places;
use super::process::run;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

pub(crate) const FORMAT_LIMIT: Duration = Duration::from_secs(60);
/// Any; it only has to stay the same in the data directory.
pub(crate) const CLUSTER_ID: &str = "ZHVvbG9nLWludGVyb3AtMQ";

/// Writes the configuration and formats the data directory; gives the configuration and the address it will listen on.
pub(crate) fn prepare(places: &Places, jars: &Path, directory: &Path) -> Result<(PathBuf, String), Failure> {
    let (broker, controller) = free_ports().map_err(|error| Failure::file(directory, error))?;
    let properties = directory.join("server.properties");
    let text = configuration(broker, controller, &directory.join("data"));
    std::fs::write(&properties, text).map_err(|error| Failure::file(&properties, error))?;
    let logging = directory.join("log4j.properties");
    std::fs::write(&logging, LOGGING).map_err(|error| Failure::file(&logging, error))?;
    let mut format = java(jars);
    format.args(["kafka.tools.StorageTool", "format", "--cluster-id", CLUSTER_ID, "--config"]).arg(&properties);
    run(&mut format, &places.run.join("kafka-format.log"), FORMAT_LIMIT)?;
    Ok((properties, format!("127.0.0.1:{broker}")))
}

pub(crate) fn command(jars: &Path, properties: &Path) -> Command {
    let mut command = java(jars);
    let logging = properties.with_file_name("log4j.properties");
    command.arg(format!("-Dlog4j.configuration=file:{}", logging.display()));
    command.arg("kafka.Kafka").arg(properties);
    command
}

fn java(jars: &Path) -> Command {
    let mut java = Command::new("java");
    java.args(["-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp"]).arg(jars.join("*"));
    java
}

/// Two ports nobody uses now.
pub(crate) fn free_ports() -> std::io::Result<(u16, u16)> {
    let (one, two) = (TcpListener::bind("127.0.0.1:0")?, TcpListener::bind("127.0.0.1:0")?);
    Ok((one.local_addr()?.port(), two.local_addr()?.port()))
}

fn configuration(broker: u16, controller: u16, data: &Path) -> String {
    format!(
        "process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
controller.listener.names=CONTROLLER
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
listeners=PLAINTEXT://127.0.0.1:{broker},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{broker}
log.dirs={}
offsets.topic.replication.factor=1
offsets.topic.num.partitions=8
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
log.cleaner.dedupe.buffer.size=16777216
",
        data.display()
    )
}

pub(crate) const LOGGING: &str = "log4j.rootLogger=INFO, out
log4j.appender.out=org.apache.log4j.ConsoleAppender
log4j.appender.out.layout=org.apache.log4j.PatternLayout
log4j.appender.out.layout.ConversionPattern=[%d] %p %m (%c)%n
";
