//! A server under measurement: started on loopback with an empty data directory, killed when dropped.

use super::cases::Settings;
use super::failure::Failure;
use super::options::Peer;
use super::{kafka, ready, rocketmq};
use crate::interop;
use crate::interop::address::free_port;
use crate::interop::install;
use crate::interop::kafka::free_ports;
use crate::interop::places::{Places, tail};
use crate::interop::process::Running;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

const LOG_TAIL_LINES: usize = 40;

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
    pub(super) fn new(places: &Places, subject: &Subject, settings: Settings, more: &[String]) -> Result<Server, Failure> {
        let directory = places.run.join(subject.name());
        remove(&directory)?;
        std::fs::create_dir_all(&directory).map_err(|error| Failure::file(&directory, error))?;
        let no_port = |error| Failure::file(&directory, error);
        let (port, command, asked_as) = match subject {
            Subject::Duolog { binary, asked_as } => {
                let (port, _) = free_ports().map_err(no_port)?;
                (port, duolog(binary, *asked_as, port, &directory, settings, more), *asked_as)
            }
            Subject::Kafka { jars } => {
                let (port, controller) = free_ports().map_err(no_port)?;
                (port, kafka::prepare(places, jars, (port, controller), &directory)?, Peer::Kafka)
            }
            Subject::RocketMq { jars } => {
                // It takes the port two below for old clients, and the one above for its replicas.
                let port = free_port(-2..=1).map_err(no_port)?;
                (port, rocketmq::prepare(jars, port, &directory, settings)?, Peer::RocketMq)
            }
        };
        Ok(Server { command, asked_as, address: format!("127.0.0.1:{port}"), directory, process: None })
    }

    /// Starts it on the data it has; gives how long it took until it answered that these partitions have a leader.
    pub(super) fn start(&mut self, wanted: Option<(&str, usize)>) -> Result<Duration, Failure> {
        let log = self.directory.join("server.log");
        let mut process = Running::start(&mut self.command, &log)?;
        let took = ready::wait(self.asked_as, &self.address, wanted, &mut process)?;
        self.process = Some(process);
        Ok(took)
    }

    /// `kill -9`.
    pub(super) fn kill(&mut self) {
        self.process = None;
    }

    pub(super) fn address(&self) -> &str {
        &self.address
    }

    pub(super) fn pid(&self) -> Result<u32, Failure> {
        let process = self.process.as_ref().expect("a load is put on a server that runs");
        Ok(process.id())
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
