//! The server under test: started on loopback with a data directory of this run, killed, stopped and started again on
//! the same data and port.

use super::address::{Addresses, free_address};
use super::failure::Failure;
use super::options::Subject;
use super::places::{Places, tail};
use super::process::{POLL, Running, run};
use super::rocketmq::{BROKER_NAME, Peer};
use super::{install, kafka};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

const START_LIMIT: Duration = Duration::from_secs(90);
const STOP_LIMIT: Duration = Duration::from_secs(60);
const BUILD_LIMIT: Duration = Duration::from_secs(3600);
const LOG_TAIL_LINES: usize = 40;

enum Kind {
    Duolog { binary: PathBuf, rocketmq: String },
    Kafka { jars: PathBuf, properties: PathBuf },
    RocketMq(Peer),
    External,
}

/// A server; killed when dropped.
pub(super) struct Broker {
    kind: Kind,
    addresses: Addresses,
    directory: PathBuf,
    process: Option<Running>,
    /// RocketMQ's, which is a process of its own.
    name_server: Option<Running>,
    starts: usize,
}

impl Broker {
    /// Builds or installs the server and starts it with empty data.
    pub(super) fn start(places: &Places, subject: &Subject) -> Result<Broker, Failure> {
        let directory = places.run.join("server");
        std::fs::create_dir_all(&directory).map_err(|error| Failure::file(&directory, error))?;
        let (kind, addresses) = match subject {
            Subject::External(addresses) => (Kind::External, addresses.clone()),
            Subject::Duolog { binary } => {
                let binary = binary.clone().map_or_else(|| build(places), Ok)?;
                let (rocketmq, addresses) = duolog_addresses().map_err(|error| Failure::file(&directory, error))?;
                (Kind::Duolog { binary, rocketmq }, addresses)
            }
            Subject::Kafka => {
                let jars = install::jars(places, "tools/pom.xml")?;
                let (properties, kafka) = kafka::prepare(places, &jars, &directory)?;
                (Kind::Kafka { jars, properties }, Addresses { kafka, ..Addresses::default() })
            }
            Subject::RocketMq => {
                let peer = Peer::prepare(install::jars(places, "rocketmq/peer/pom.xml")?, directory.clone())?;
                let addresses = peer.addresses.clone();
                (Kind::RocketMq(peer), addresses)
            }
        };
        let mut broker = Broker { kind, addresses, directory, process: None, name_server: None, starts: 0 };
        broker.launch()?;
        Ok(broker)
    }

    pub(super) fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// Whether it is ours to kill.
    pub(super) fn controllable(&self) -> bool {
        !matches!(self.kind, Kind::External)
    }

    /// `kill -9`.
    fn kill(&mut self) {
        self.process = None;
        self.name_server = None;
    }

    /// Starts it again on the same data and the same port.
    pub(super) fn restart(&mut self) -> Result<(), Failure> {
        self.kill();
        self.launch()
    }

    /// Lets it end in its own way and starts it again on the same data and the same port.
    pub(super) fn stop_and_start(&mut self) -> Result<(), Failure> {
        self.stop()?;
        self.launch()
    }

    /// Asks it to end and expects it to say that it ended well.
    pub(super) fn stop(&mut self) -> Result<(), Failure> {
        for mut process in self.process.take().into_iter().chain(self.name_server.take()) {
            process.terminate();
            let status = process.wait(STOP_LIMIT)?;
            // A JVM that was asked to end by a signal says so in its exit status.
            let accepted = status.success() || (!matches!(self.kind, Kind::Duolog { .. }) && status.code() == Some(143));
            if !accepted {
                return Err(Failure::Died { status: status.to_string(), log: process.output() });
            }
        }
        Ok(())
    }

    /// Fails when the server ended without being asked.
    pub(super) fn check(&mut self) -> Result<(), Failure> {
        match self.process.as_mut().and_then(Running::ended) {
            Some(status) => Err(Failure::Died { status: status.to_string(), log: self.log_tail() }),
            None => Ok(()),
        }
    }

    pub(super) fn log_tail(&self) -> String {
        if self.controllable() { tail(&self.log(), LOG_TAIL_LINES) } else { String::from("(not started here)") }
    }

    fn log(&self) -> PathBuf {
        self.directory.join(format!("server-{}.log", self.starts))
    }

    fn launch(&mut self) -> Result<(), Failure> {
        self.starts += 1;
        let mut command = match &self.kind {
            Kind::External => return Ok(()),
            Kind::Duolog { binary, rocketmq } => self.duolog(binary, rocketmq),
            Kind::Kafka { jars, properties } => kafka::command(jars, properties),
            Kind::RocketMq(peer) => {
                let log = self.directory.join(format!("name-server-{}.log", self.starts));
                let mut process = Running::start(&mut peer.name_server(), &log)?;
                wait_until(&mut process, |log| log.contains(Peer::NAME_SERVER_READY).then_some(()))?;
                self.name_server = Some(process);
                peer.broker()
            }
        };
        let mut process = Running::start(&mut command, &self.log())?;
        wait_until(&mut process, |log| self.ready(log).then_some(()))?;
        self.process = Some(process);
        Ok(())
    }

    fn duolog(&self, binary: &Path, rocketmq: &str) -> Command {
        let mut command = Command::new(binary);
        command.arg("serve").arg("--data-dir").arg(self.directory.join("data")).args(["--http", "127.0.0.1:0"]);
        let Addresses { kafka, name_server, grpc } = &self.addresses;
        for (scheme, address) in [("kafka", kafka.as_str()), ("namesrv", name_server), ("rocketmq", rocketmq), ("grpc", grpc)] {
            command.args(["--listen", &format!("{scheme}://{address}")]);
        }
        // As for the peers: groups form at once, which makes a run minutes shorter, and the broker has a machine room.
        command.args(["--set", "group.initial.rebalance.delay.ms=0", "--set", &format!("rocketmq.broker.name={BROKER_NAME}")]);
        command
    }

    /// Whether its log shows that it serves.
    fn ready(&self, log: &str) -> bool {
        match self.kind {
            Kind::Kafka { .. } => log.contains("Kafka Server started"),
            Kind::RocketMq(_) => log.contains(Peer::BROKER_READY),
            Kind::Duolog { .. } => log.contains(&format!("kafka://{}", self.addresses.kafka)),
            Kind::External => true,
        }
    }
}

/// The address of RocketMQ's broker, which clients learn from the name server, and the others.
fn duolog_addresses() -> std::io::Result<(String, Addresses)> {
    let addresses = Addresses { kafka: free_address()?, name_server: free_address()?, grpc: free_address()? };
    Ok((free_address()?, addresses))
}

/// Waits until a server's log has what shows that it serves.
pub(crate) fn wait_until<T>(process: &mut Running, ready: impl Fn(&str) -> Option<T>) -> Result<T, Failure> {
    let start = Instant::now();
    while start.elapsed() < START_LIMIT {
        let log = std::fs::read(process.log()).unwrap_or_default();
        if let Some(found) = ready(&String::from_utf8_lossy(&log)) {
            return Ok(found);
        }
        if let Some(status) = process.ended() {
            return Err(Failure::Died { status: status.to_string(), log: process.output() });
        }
        std::thread::sleep(POLL);
    }
    Err(Failure::NotReady { seconds: START_LIMIT.as_secs(), log: process.output() })
}

pub(crate) fn build(places: &Places) -> Result<PathBuf, Failure> {
    println!("building the server");
    let mut cargo = Command::new("cargo");
    cargo.args(["build", "--release", "--locked", "--package", "duolog"]).current_dir(&places.root);
    run(&mut cargo, &places.run.join("build.log"), BUILD_LIMIT)?;
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| places.root.join("target"), PathBuf::from);
    Ok(places.root.join(target).join("release/duolog"))
}
