//! The servers under test: processes on loopback that keep their data and ports over restarts, each on a disk of its own when power
//! is to be cut or disks are to be full. Nodes reach each other through proxies; faults name the node they strike.

use super::disk::Disk;
use super::failure::Failure;
use super::options::{Options, Peer};
use super::proxy::Network;
use crate::interop::address::{free_address, membership};
use crate::interop::places::{Places, tail};
use crate::interop::process::Running;
use crate::interop::{self, install, kafka, wait_until};
use rustix::process::{Pid, Signal, kill_process_group};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

const END_LIMIT: Duration = Duration::from_secs(60);
const LOG_TAIL_LINES: usize = 20;
/// Where disks are to be full. The replicas of a follower may use a half of it, so less is left.
const RESERVE_BYTES: u64 = 128 << 20;
const LEFT_BYTES: u64 = RESERVE_BYTES / 4;
const SYNCS: &str = "fdatasync,fsync,syncfs";

pub(super) struct Cluster {
    pub(super) nodes: Vec<Node>,
    network: Network,
}

/// Where clients of each protocol find a node; empty when it does not speak it.
struct Addresses {
    kafka: String,
    name_server: String,
}

enum Program {
    Duolog { binary: PathBuf, rocketmq: String, membership: Membership },
    Kafka { jars: PathBuf, properties: PathBuf },
}

/// Arguments by which a node of ours is part of a cluster; none of a node alone.
type Membership = Vec<String>;

/// A server; killed when dropped.
pub(super) struct Node {
    program: Program,
    addresses: Addresses,
    /// Its logs, outside the disk whose power is cut.
    logs: PathBuf,
    data: PathBuf,
    /// Of free space, below which producers are refused.
    reserve_bytes: u64,
    starts: usize,
    // Before the disk, which can only be unmounted when the process is gone.
    process: Option<Running>,
    disk: Option<Disk>,
}

impl Cluster {
    /// Builds or installs the server and starts its nodes with empty data, one after the other.
    pub(super) fn start(places: &Places, options: &Options) -> Result<Cluster, Failure> {
        let network = Network::default();
        let memberships = memberships(places, &network, options.nodes)?;
        let mut nodes = Vec::new();
        for (number, membership) in memberships.into_iter().enumerate() {
            let mut node = Node::prepare(places, options, number, membership)?;
            node.start()?;
            nodes.push(node);
        }
        Ok(Cluster { nodes, network })
    }

    /// The others do not hear a node for a while, and if so said it does not hear them.
    pub(super) fn part(&self, node: usize, both_ways: bool, time: Duration) {
        for other in (0..self.nodes.len()).filter(|other| *other != node) {
            self.network.cut(number(node), number(other));
            if both_ways {
                self.network.cut(number(other), number(node));
            }
        }
        std::thread::sleep(time);
        self.network.heal();
    }

    pub(super) fn kafka(&self) -> String {
        join(&self.nodes, ",", |node| node.addresses.kafka.clone())
    }

    /// Empty for a server without RocketMQ's protocols.
    pub(super) fn name_servers(&self) -> String {
        join(&self.nodes, ";", |node| node.addresses.name_server.clone())
    }

    /// Writes out what was set up before the clients begin.
    pub(super) fn sync(&self) -> Result<(), Failure> {
        self.nodes.iter().filter_map(|node| node.disk.as_ref()).try_for_each(Disk::sync)
    }

    /// Fails when a server ended without being asked.
    pub(super) fn check(&mut self) -> Result<(), Failure> {
        self.nodes.iter_mut().try_for_each(Node::check)
    }

    pub(super) fn log_tails(&self) -> String {
        join(&self.nodes, "\n", Node::log_tail)
    }
}

/// The node's number in the cluster; 0 is not used there.
fn number(node: usize) -> usize {
    node + 1
}

/// How each of the nodes is part of the cluster; a node alone is not.
fn memberships(places: &Places, network: &Network, nodes: usize) -> Result<Vec<Membership>, Failure> {
    if nodes == 1 {
        return Ok(vec![Membership::new()]);
    }
    let failed = |error| Failure::file(&places.run, error);
    let own = (0..nodes).map(|_| free_address()).collect::<Result<Vec<_>, _>>().map_err(failed)?;
    let listen = |(node, own): (usize, &String)| network.listen(number(node), own.clone());
    let proxies = own.iter().enumerate().map(listen).collect::<Result<Vec<_>, _>>().map_err(failed)?;
    Ok(own.iter().enumerate().map(|(node, own)| membership(node, own, &proxies)).collect())
}

fn join(nodes: &[Node], between: &str, part: impl Fn(&Node) -> String) -> String {
    nodes.iter().map(part).collect::<Vec<_>>().join(between)
}

impl Node {
    fn prepare(places: &Places, options: &Options, node: usize, membership: Membership) -> Result<Node, Failure> {
        let logs = places.run.join(format!("node-{node}"));
        std::fs::create_dir_all(&logs).map_err(|error| Failure::file(&logs, error))?;
        let of_its_own = options.faults.iter().any(|fault| fault.needs_disks());
        let disk = if of_its_own { Some(Disk::new(&logs)?) } else { None };
        let fills = options.faults.iter().any(|fault| fault.fills_disks());
        let reserve_bytes = if fills { RESERVE_BYTES } else { 0 };
        let directory = disk.as_ref().map_or(logs.as_path(), Disk::path).to_owned();
        let (program, addresses) = match options.peer {
            Peer::Ours => duolog(places, options, membership)?,
            Peer::Kafka => {
                let jars = install::jars(places, "tools/pom.xml")?;
                let (properties, kafka) = kafka::prepare(places, &jars, &directory)?;
                (Program::Kafka { jars, properties }, Addresses { kafka, name_server: String::new() })
            }
        };
        let data = directory.join("data");
        Ok(Node { program, addresses, logs, data, reserve_bytes, starts: 0, process: None, disk })
    }

    pub(super) fn start(&mut self) -> Result<(), Failure> {
        self.starts += 1;
        let (mut command, ready) = match &self.program {
            Program::Duolog { binary, rocketmq, membership } => {
                (self.serve(binary, rocketmq, membership), format!("kafka://{}", self.addresses.kafka))
            }
            Program::Kafka { jars, properties } => (kafka::command(jars, properties), "Kafka Server started".to_owned()),
        };
        let mut process = Running::start(&mut command, &self.log())?;
        wait_until(&mut process, |log| log.contains(&ready).then_some(()))?;
        self.process = Some(process);
        Ok(())
    }

    /// `kill -9`.
    pub(super) fn kill(&mut self) {
        self.process = None;
    }

    pub(super) fn pause(&self, time: Duration) -> Result<(), Failure> {
        self.signal(Signal::STOP)?;
        std::thread::sleep(time);
        self.signal(Signal::CONT)
    }

    /// What was not synced is gone when it starts again.
    pub(super) fn lose_power(&mut self) -> Result<(), Failure> {
        self.disk().cut_power()?;
        self.kill();
        self.disk.as_mut().expect("it has not gone away").restore_power()?;
        self.start()
    }

    pub(super) fn slow_disk(&self, time: Duration) -> Result<(), Failure> {
        let tracer = self.trace("delay_enter=200000")?;
        std::thread::sleep(time);
        detach(tracer)
    }

    /// Less than the reserve is left.
    pub(super) fn fill_disk(&self) -> Result<(), Failure> {
        self.disk().fill(LEFT_BYTES)
    }

    pub(super) fn empty_disk(&self) -> Result<(), Failure> {
        self.disk().empty()
    }

    fn disk(&self) -> &Disk {
        self.disk.as_ref().expect("nodes have disks where something happens to them")
    }

    /// The first sync of each thread fails; the server has to end by itself.
    pub(super) fn fail_a_sync(&mut self) -> Result<(), Failure> {
        let tracer = self.trace("error=EIO:when=1")?;
        let status = self.process.as_mut().expect("faults strike running nodes").wait(END_LIMIT).map_err(|_| Failure::GoesOn);
        detach(tracer)?;
        status?;
        self.kill();
        self.start()
    }

    /// Interferes with the syncs of the process until `strace` is let go.
    fn trace(&self, inject: &str) -> Result<Running, Failure> {
        let mut strace = Command::new("strace");
        strace.args(["-f", "-e", &format!("trace={SYNCS}"), "-e", &format!("inject={SYNCS}:{inject}"), "-o", "/dev/null", "-p"]);
        strace.arg(self.pid().as_raw_pid().to_string()).env("LC_ALL", "C");
        let mut running = Running::start(&mut strace, &self.logs.join("strace.log"))?;
        match wait_until(&mut running, |log| log.contains("attached").then_some(())) {
            Ok(()) => Ok(running),
            Err(_) => Err(Failure::NoTracer(running.output())),
        }
    }

    fn check(&mut self) -> Result<(), Failure> {
        match self.process.as_mut().and_then(Running::ended) {
            Some(status) => Err(interop::Failure::Died { status: status.to_string(), log: self.log_tail() }.into()),
            None => Ok(()),
        }
    }

    fn log_tail(&self) -> String {
        tail(&self.log(), LOG_TAIL_LINES)
    }

    fn log(&self) -> PathBuf {
        self.logs.join(format!("server-{}.log", self.starts))
    }

    fn pid(&self) -> Pid {
        let id = self.process.as_ref().expect("faults strike running nodes").id();
        Pid::from_raw(id as i32).expect("a child's id is not 0")
    }

    fn signal(&self, signal: Signal) -> Result<(), Failure> {
        kill_process_group(self.pid(), signal).map_err(|error| Failure::file(&self.logs, error.into()))
    }

    fn serve(&self, binary: &Path, rocketmq: &str, membership: &[String]) -> Command {
        let Addresses { kafka, name_server } = &self.addresses;
        let mut command = Command::new(binary);
        command.arg("serve").arg("--data-dir").arg(&self.data).args(["--http", "127.0.0.1:0"]);
        for (scheme, address) in [("kafka", kafka.as_str()), ("namesrv", name_server), ("rocketmq", rocketmq)] {
            command.args(["--listen", &format!("{scheme}://{address}")]);
        }
        command.args(membership);
        // Small files, so that a run fills several; and the disk is small.
        command.args(["--set", "log.file.bytes=16777216"]);
        command.args(["--set", &format!("log.disk.reserve.bytes={}", self.reserve_bytes)]);
        command
    }
}

fn detach(mut tracer: Running) -> Result<(), Failure> {
    tracer.terminate();
    tracer.wait(END_LIMIT)?;
    Ok(())
}

fn duolog(places: &Places, options: &Options, membership: Membership) -> Result<(Program, Addresses), Failure> {
    let binary = options.binary.clone().map_or_else(|| interop::build(places), Ok)?;
    let address = || free_address().map_err(|error| Failure::file(&places.run, error));
    let addresses = Addresses { kafka: address()?, name_server: address()? };
    Ok((Program::Duolog { binary, rocketmq: address()?, membership }, addresses))
}
