//! A server under measurement: started on loopback with an empty data directory, killed when dropped.

use super::cases::Settings;
use super::cluster::number;
use super::failure::Failure;
use super::options::Peer;
use super::ready::Wanted;
use super::{kafka, ready, rocketmq};
use crate::interop;
use crate::interop::address::{free_port, membership};
use crate::interop::install;
use crate::interop::kafka::free_ports;
use crate::interop::places::{Places, tail};
use crate::interop::process::Running;
use std::path::{Path, PathBuf};
use std::process::Command;

const LOG_TAIL_LINES: usize = 40;
const STOP_LIMIT: std::time::Duration = std::time::Duration::from_secs(120);

/// Whose server is measured.
#[derive(Debug)]
pub(super) enum Subject {
    /// Ours, asked in the peer's protocol.
    Duolog {
        binary: PathBuf,
        asked_as: Peer,
    },
    Kafka {
        jars: PathBuf,
    },
    RocketMq {
        jars: PathBuf,
    },
}

impl Subject {
    pub(super) fn name(&self) -> &'static str {
        match self {
            Subject::Duolog { .. } => "duolog",
            Subject::Kafka { .. } => Peer::Kafka.name(),
            Subject::RocketMq { .. } => Peer::RocketMq.name(),
        }
    }
}

/// Installs the peer.
pub(super) fn peer(places: &Places, peer: Peer) -> Result<Subject, Failure> {
    Ok(match peer {
        Peer::Kafka => Subject::Kafka { jars: install::jars(places, "tools/pom.xml")? },
        Peer::RocketMq => Subject::RocketMq { jars: install::jars(places, "rocketmq/peer/pom.xml")? },
    })
}

/// Builds ours unless a binary is named.
pub(super) fn ours(places: &Places, asked_as: Peer, binary: Option<&Path>) -> Result<Subject, Failure> {
    let binary = match binary {
        Some(binary) => binary.to_owned(),
        None => interop::build(places)?,
    };
    Ok(Subject::Duolog { binary, asked_as })
}

/// A server's place in a cluster: which of the nodes it is, and the ports of all: for clients, and for each other.
pub(super) struct Member<'a> {
    pub(super) at: usize,
    pub(super) ports: &'a [(u16, u16)],
}

/// A running server.
pub(super) struct Server {
    command: Command,
    asked_as: Peer,
    address: String,
    directory: PathBuf,
    process: Option<Running>,
}

impl Server {
    /// Prepares the server with an empty data directory; `start` starts it.
    pub(super) fn new(
        places: &Places,
        subject: &Subject,
        settings: Settings,
        more: &[String],
        member: Option<&Member>,
    ) -> Result<Server, Failure> {
        let name = member.map_or(String::new(), |member| format!("-{}", number(member.at)));
        let directory = places.run.join(format!("{}{name}", subject.name()));
        remove(&directory)?;
        std::fs::create_dir_all(&directory).map_err(|error| Failure::file(&directory, error))?;
        let no_port = |error| Failure::file(&directory, error);
        let (port, command, asked_as) = match subject {
            Subject::Duolog { binary, asked_as } => {
                let port = match member {
                    Some(member) => member.ports[member.at].0,
                    None => free_ports().map_err(no_port)?.0,
                };
                let mut command = duolog(binary, *asked_as, port, &directory, settings, more);
                if let Some(member) = member {
                    let peers: Vec<String> = member.ports.iter().map(|(_, port)| format!("127.0.0.1:{port}")).collect();
                    command.args(membership(member.at, &peers[member.at], &peers));
                }
                (port, command, *asked_as)
            }
            Subject::Kafka { jars } => {
                let ports = [free_ports().map_err(no_port)?];
                let alone = Member { at: 0, ports: &ports };
                let member = member.unwrap_or(&alone);
                (member.ports[member.at].0, kafka::prepare(places, jars, member, &directory)?, Peer::Kafka)
            }
            Subject::RocketMq { jars } => {
                // It takes the port two below for old clients, and the one above for its replicas.
                let port = free_port(-2..=1).map_err(no_port)?;
                (port, rocketmq::prepare(jars, port, &directory, settings)?, Peer::RocketMq)
            }
        };
        Ok(Server { command, asked_as, address: format!("127.0.0.1:{port}"), directory, process: None })
    }

    /// Starts it on the data it has.
    pub(super) fn spawn(&mut self) -> Result<(), Failure> {
        self.process = Some(Running::start(&mut self.command, &self.directory.join("server.log"))?);
        Ok(())
    }

    /// Waits until it answers what is wanted.
    pub(super) fn wait(&mut self, wanted: Wanted) -> Result<(), Failure> {
        let process = self.process.as_mut().expect("a server that is asked runs");
        ready::wait(self.asked_as, &self.address, wanted, process)
    }

    /// Asks it to end, and waits until it has.
    pub(super) fn stop(&mut self) -> Result<(), Failure> {
        if let Some(mut process) = self.process.take() {
            process.terminate();
            process.wait(STOP_LIMIT)?;
        }
        Ok(())
    }

    /// `kill -9`.
    pub(super) fn kill(&mut self) {
        self.process = None;
    }

    pub(super) fn address(&self) -> &str {
        &self.address
    }

    /// `None` if it does not run.
    pub(super) fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Running::id)
    }

    /// Fails when the server ended without being asked.
    pub(super) fn check(&mut self) -> Result<(), Failure> {
        match self.process.as_mut().and_then(Running::ended) {
            Some(status) => {
                let log = tail(&self.directory.join("server.log"), LOG_TAIL_LINES);
                Err(interop::Failure::Died { status: status.to_string(), log }.into())
            }
            None => Ok(()),
        }
    }

    /// Kills it and removes its data.
    pub(super) fn discard(mut self) -> Result<(), Failure> {
        self.kill();
        remove(&self.directory)
    }
}

fn duolog(binary: &Path, asked_as: Peer, port: u16, directory: &Path, settings: Settings, more: &[String]) -> Command {
    let mut command = Command::new(binary);
    command.arg("serve").arg("--data-dir").arg(directory.join("data"));
    // All protocols are served, as without settings, on free ports; the one that is asked on a port known beforehand.
    let (kafka, remoting) = match asked_as {
        Peer::Kafka => (port, 0),
        Peer::RocketMq => (0, port),
    };
    for (scheme, port) in [("kafka", kafka), ("namesrv", 0), ("rocketmq", remoting), ("grpc", 0)] {
        command.args(["--listen", &format!("{scheme}://127.0.0.1:{port}")]);
    }
    command.args(["--http", "127.0.0.1:0"]);
    for setting in settings.iter().copied().chain(more.iter().map(String::as_str)) {
        command.args(["--set", setting]);
    }
    command
}

fn remove(directory: &Path) -> Result<(), Failure> {
    match std::fs::remove_dir_all(directory) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Failure::file(directory, error)),
        _ => Ok(()),
    }
}
