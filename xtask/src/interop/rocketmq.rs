//! Apache RocketMQ as the peer, from the jars on the class path: a name server, and a proxy (gRPC) with a broker in one process.

use super::address::{Addresses, free_port};
use super::failure::Failure;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Broker names have a machine room before the "@", which one of the allocation strategies looks at.
pub(crate) const BROKER_NAME: &str = "room@broker";

/// A prepared name server and broker.
pub(crate) struct Peer {
    jars: PathBuf,
    directory: PathBuf,
    pub(crate) addresses: Addresses,
}

struct Ports {
    name_server: u16,
    /// The broker takes the port two below it (old clients' "VIP channel") and the one above (replication) too.
    broker: u16,
    grpc: u16,
    proxy_remoting: u16,
}

impl Peer {
    /// Writes the configuration of servers that keep everything in `directory`.
    pub(crate) fn prepare(jars: PathBuf, directory: PathBuf) -> Result<Peer, Failure> {
        let ports = free_ports().map_err(|error| Failure::file(&directory, error))?;
        for (name, text) in [
            ("namesrv.conf", name_server_configuration(&ports, &directory)),
            ("broker.conf", broker_configuration(&ports, &directory)),
            ("proxy.json", proxy_configuration(&ports)),
        ] {
            let path = directory.join(name);
            std::fs::write(&path, text).map_err(|error| Failure::file(&path, error))?;
        }
        let address = |port: u16| format!("127.0.0.1:{port}");
        let addresses = Addresses { kafka: String::new(), name_server: address(ports.name_server), grpc: address(ports.grpc) };
        Ok(Peer { jars, directory, addresses })
    }

    pub(crate) fn name_server(&self) -> Command {
        let mut command = self.java("128m");
        command.args(["org.apache.rocketmq.namesrv.NamesrvStartup", "-c"]).arg(self.directory.join("namesrv.conf"));
        command
    }

    /// What the name server prints once it serves.
    pub(crate) const NAME_SERVER_READY: &str = "The Name Server boot success";

    pub(crate) fn broker(&self) -> Command {
        let mut command = self.java("768m");
        command.args(["org.apache.rocketmq.proxy.ProxyStartup", "-pm", "local", "-n", &self.addresses.name_server]);
        command.arg("-pc").arg(self.directory.join("proxy.json")).arg("-bc").arg(self.directory.join("broker.conf"));
        command
    }

    /// What the broker prints once it serves.
    pub(crate) const BROKER_READY: &str = "rocketmq-proxy startup successfully";

    fn java(&self, heap: &str) -> Command {
        let mut java = Command::new("java");
        java.args([format!("-Xmx{heap}"), "-XX:+UseSerialGC".to_owned(), "-XX:TieredStopAtLevel=1".to_owned()]);
        // Logs go below the home directory.
        java.arg(format!("-Duser.home={}", self.directory.display())).arg("-cp").arg(self.jars.join("*"));
        java.env("ROCKETMQ_HOME", &self.directory).env("RMQ_PROXY_HOME", &self.directory).current_dir(&self.directory);
        java
    }
}

fn free_ports() -> std::io::Result<Ports> {
    let [name_server, grpc, proxy_remoting] = [free_port(0..=0)?, free_port(0..=0)?, free_port(0..=0)?];
    Ok(Ports { name_server, broker: free_port(-2..=1)?, grpc, proxy_remoting })
}

fn name_server_configuration(ports: &Ports, directory: &Path) -> String {
    format!(
        "listenPort={}\nbindAddress=127.0.0.1\nkvConfigPath={}\n",
        ports.name_server,
        directory.join("data/kvConfig.json").display()
    )
}

/// Small files and indexes: the default ones are for terabytes.
fn broker_configuration(ports: &Ports, directory: &Path) -> String {
    let store = directory.join("data/store");
    format!(
        "brokerClusterName=DefaultCluster
brokerName={BROKER_NAME}
brokerId=0
brokerIP1=127.0.0.1
brokerIP2=127.0.0.1
bindAddress=127.0.0.1
listenPort={}
haListenPort={}
namesrvAddr=127.0.0.1:{}
storePathRootDir={}
storePathCommitLog={}
mappedFileSizeCommitLog=134217728
mappedFileSizeConsumeQueue=600000
maxHashSlotNum=50000
maxIndexNum=200000
diskMaxUsedSpaceRatio=99
enablePropertyFilter=true
traceTopicEnable=true
",
        ports.broker,
        ports.broker + 1,
        ports.name_server,
        store.display(),
        store.join("commitlog").display()
    )
}

fn proxy_configuration(ports: &Ports) -> String {
    format!(
        r#"{{"rocketMQClusterName":"DefaultCluster","proxyMode":"LOCAL","namesrvAddr":"127.0.0.1:{}","grpcServerPort":{},"remotingListenPort":{},"localServeAddr":"127.0.0.1"}}"#,
        ports.name_server, ports.grpc, ports.proxy_remoting
    )
}
