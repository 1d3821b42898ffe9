//! The server under test: started on loopback with a data directory of this run, killed, stopped and started again on
//! the same data and port.

use super::address::{Addresses, free_address, membership};
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
    Duolog { binary: PathBuf, nodes: Vec<Node> },
    Kafka { jars: PathBuf, properties: PathBuf },
    RocketMq(Peer),
    External,
}

/// A node of ours.
struct Node {
    addresses: Addresses,
    /// RocketMQ's broker, which clients learn from the name server.
    rocketmq: String,
    /// Arguments by which it is part of a cluster; none of a node alone.
    membership: Vec<String>,
}

/// A server, of one process or several; killed when dropped.
pub(super) struct Broker {
    kind: Kind,
    addresses: Addresses,
    directory: PathBuf,
    /// The nodes of ours; RocketMQ's broker and name server.
    processes: Vec<Option<Running>>,
    starts: usize,
    /// The node of a cluster that is restarted next.
    turn: usize,
}

impl Broker {
    /// Builds or installs the server and starts it with empty data.
    pub(super) fn start(places: &Places, subject: &Subject, nodes: usize) -> Result<Broker, Failure> {
        let directory = places.run.join("server");
        std::fs::create_dir_all(&directory).map_err(|error| Failure::file(&directory, error))?;
        let (kind, addresses) = match subject {
            Subject::External(addresses) => (Kind::External, addresses.clone()),
            Subject::Duolog { binary } => {
                let binary = binary.clone().map_or_else(|| build(places), Ok)?;
                let nodes = duolog_nodes(nodes).map_err(|error| Failure::file(&directory, error))?;
                let addresses = all_addresses(&nodes);
                (Kind::Duolog { binary, nodes }, addresses)
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
        let processes = match &kind {
            Kind::External => 0,
            Kind::Duolog { nodes, .. } => nodes.len(),
            Kind::Kafka { .. } => 1,
            Kind::RocketMq(_) => 2,
        };
        let processes = (0..processes).map(|_| None).collect();
        let mut broker = Broker { kind, addresses, directory, processes, starts: 0, turn: 0 };
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

    /// Kills it with `kill -9` and starts it again on the same data and the same ports; of a cluster one node, each in its turn.
    pub(super) fn restart(&mut self) -> Result<(), Failure> {
        for process in self.next() {
            self.processes[process] = None;
        }
        self.launch()
    }

    /// As `restart`, but lets it end in its own way.
    pub(super) fn stop_and_start(&mut self) -> Result<(), Failure> {
        let next = self.next();
        self.end(next)?;
        self.launch()
    }

    /// Asks it to end and expects it to say that it ended well.
    pub(super) fn stop(&mut self) -> Result<(), Failure> {
        self.end(0..self.processes.len())
    }

    /// What is to be restarted next; that is everything unless it is a cluster.
    fn next(&mut self) -> std::ops::Range<usize> {
        let Kind::Duolog { nodes, .. } = &self.kind else { return 0..self.processes.len() };
        let node = self.turn;
        self.turn = (node + 1) % nodes.len();
        node..node + 1
    }

    fn end(&mut self, processes: std::ops::Range<usize>) -> Result<(), Failure> {
        for mut process in processes.rev().filter_map(|process| self.processes[process].take()) {
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

    /// Fails when a part of it ended without being asked.
    pub(super) fn check(&mut self) -> Result<(), Failure> {
        for process in self.processes.iter_mut().flatten() {
            if let Some(status) = process.ended() {
                return Err(Failure::Died { status: status.to_string(), log: tail(process.log(), LOG_TAIL_LINES) });
            }
        }
        Ok(())
    }

    pub(super) fn log_tail(&self) -> String {
        let tails: Vec<String> = self.processes.iter().flatten().map(|process| tail(process.log(), LOG_TAIL_LINES)).collect();
        if self.controllable() { tails.join("\n--\n") } else { String::from("(not started here)") }
    }

    /// Starts what does not run.
    fn launch(&mut self) -> Result<(), Failure> {
        self.starts += 1;
        for at in 0..self.processes.len() {
            if self.processes[at].is_none() {
                let log = self.directory.join(format!("server-{at}-{}.log", self.starts));
                let mut process = Running::start(&mut self.command(at), &log)?;
                wait_until(&mut process, |log| self.ready(at, log).then_some(()))?;
                self.processes[at] = Some(process);
            }
        }
        Ok(())
    }

    fn command(&self, at: usize) -> Command {
        match &self.kind {
            Kind::External => unreachable!("it has no processes here"),
            Kind::Duolog { binary, nodes } => self.duolog(binary, at, &nodes[at]),
            Kind::Kafka { jars, properties } => kafka::command(jars, properties),
            Kind::RocketMq(peer) if at == 0 => peer.name_server(),
            Kind::RocketMq(peer) => peer.broker(),
        }
    }

    fn duolog(&self, binary: &Path, at: usize, node: &Node) -> Command {
        let mut command = Command::new(binary);
        command.arg("serve").arg("--data-dir").arg(self.directory.join(format!("data-{at}"))).args(["--http", "127.0.0.1:0"]);
        let Node { addresses: Addresses { kafka, name_server, grpc }, rocketmq, membership } = node;
        for (scheme, address) in [("kafka", kafka.as_str()), ("namesrv", name_server), ("rocketmq", rocketmq), ("grpc", grpc)] {
            command.args(["--listen", &format!("{scheme}://{address}")]);
        }
        command.args(membership);
        // As for the peers: groups form at once, which makes a run minutes shorter, and the broker has a machine room.
        command.args(["--set", "group.initial.rebalance.delay.ms=0", "--set", &format!("rocketmq.broker.name={BROKER_NAME}")]);
        // Producers are asked soon, and until one is there.
        command.args(["--set", "rocketmq.transaction.check.interval.ms=2000", "--set", "rocketmq.transaction.check.max=1000"]);
        command
    }

    /// Whether its log shows that it serves.
    fn ready(&self, at: usize, log: &str) -> bool {
        match &self.kind {
            Kind::Kafka { .. } => log.contains("Kafka Server started"),
            Kind::RocketMq(_) => log.contains(if at == 0 { Peer::NAME_SERVER_READY } else { Peer::BROKER_READY }),
            Kind::Duolog { nodes, .. } => log.contains(&format!("kafka://{}", nodes[at].addresses.kafka)),
            Kind::External => true,
        }
    }
}

/// Nodes of ours that will know each other if they are several: the first one founds the cluster.
fn duolog_nodes(count: usize) -> std::io::Result<Vec<Node>> {
    let peers = (0..count).map(|_| free_address()).collect::<Result<Vec<_>, _>>()?;
    let node = |at: usize| {
        let addresses = Addresses { kafka: free_address()?, name_server: free_address()?, grpc: free_address()? };
        let membership = if count == 1 { Vec::new() } else { membership(at, &peers[at], &peers) };
        Ok(Node { addresses, rocketmq: free_address()?, membership })
    };
    (0..count).map(node).collect()
}

/// As clients are told the addresses of several servers.
fn all_addresses(nodes: &[Node]) -> Addresses {
    let join = |between: &str, of: fn(&Addresses) -> &String| {
        nodes.iter().map(|node| of(&node.addresses).as_str()).collect::<Vec<_>>().join(between)
    };
    Addresses {
        kafka: join(",", |addresses| &addresses.kafka),
        name_server: join(";", |addresses| &addresses.name_server),
        grpc: join(";", |addresses| &addresses.grpc),
    }
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
