//! The server under test: started on loopback with a data directory of this run, killed, stopped and started again on
//! the same data and port.

use super::failure::Failure;
use super::options::Subject;
use super::places::{Places, tail};
use super::process::{POLL, Running, run};
use super::{install, kafka};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

const START_LIMIT: Duration = Duration::from_secs(90);
const STOP_LIMIT: Duration = Duration::from_secs(60);
const BUILD_LIMIT: Duration = Duration::from_secs(3600);
const LOG_TAIL_LINES: usize = 40;

enum Kind {
    Duolog { binary: PathBuf },
    Kafka { jars: PathBuf, properties: PathBuf },
    External,
}

/// A server; killed when dropped.
pub(super) struct Broker {
    kind: Kind,
    address: String,
    directory: PathBuf,
    process: Option<Running>,
    starts: usize,
}

impl Broker {
    /// Builds or installs the server and starts it with empty data.
    pub(super) fn start(places: &Places, subject: &Subject) -> Result<Broker, Failure> {
        let directory = places.run.join("server");
        std::fs::create_dir_all(&directory).map_err(|error| Failure::file(&directory, error))?;
        let (kind, address) = match subject {
            Subject::External { bootstrap } => (Kind::External, bootstrap.clone()),
            Subject::Duolog { binary: Some(binary) } => (Kind::Duolog { binary: binary.clone() }, "127.0.0.1:0".to_owned()),
            Subject::Duolog { binary: None } => (Kind::Duolog { binary: build(places)? }, "127.0.0.1:0".to_owned()),
            Subject::Kafka => {
                let jars = install::jars(places, "tools/pom.xml")?;
                let (properties, address) = kafka::prepare(places, &jars, &directory)?;
                (Kind::Kafka { jars, properties }, address)
            }
        };
        let mut broker = Broker { kind, address, directory, process: None, starts: 0 };
        broker.launch()?;
        Ok(broker)
    }

    pub(super) fn address(&self) -> &str {
        &self.address
    }

    /// Whether it is ours to kill.
    pub(super) fn controllable(&self) -> bool {
        !matches!(self.kind, Kind::External)
    }

    /// `kill -9`.
    pub(super) fn kill(&mut self) {
        self.process = None;
    }

    /// Starts it again on the same data and the same port.
    pub(super) fn restart(&mut self) -> Result<(), Failure> {
        self.kill();
        self.launch()
    }

    /// Asks it to end and expects it to say that it ended well.
    pub(super) fn stop(&mut self) -> Result<(), Failure> {
        let Some(mut process) = self.process.take() else { return Ok(()) };
        process.terminate();
        let status = process.wait(STOP_LIMIT)?;
        // A JVM that was asked to end by a signal says so in its exit status.
        let accepted = status.success() || (matches!(self.kind, Kind::Kafka { .. }) && status.code() == Some(143));
        if accepted { Ok(()) } else { Err(Failure::Died { status: status.to_string(), log: process.output() }) }
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
        let mut command = match &self.kind {
            Kind::External => return Ok(()),
            Kind::Duolog { binary } => self.duolog(binary),
            Kind::Kafka { jars, properties } => kafka::command(jars, properties),
        };
        self.starts += 1;
        let mut process = Running::start(&mut command, &self.log())?;
        let start = Instant::now();
        while start.elapsed() < START_LIMIT {
            if let Some(address) = self.ready(&process) {
                self.address = address;
                self.process = Some(process);
                return Ok(());
            }
            if let Some(status) = process.ended() {
                return Err(Failure::Died { status: status.to_string(), log: process.output() });
            }
            std::thread::sleep(POLL);
        }
        Err(Failure::NotReady { seconds: START_LIMIT.as_secs(), log: process.output() })
    }

    fn duolog(&self, binary: &Path) -> Command {
        let mut command = Command::new(binary);
        command.arg("serve").arg("--data-dir").arg(self.directory.join("data"));
        command.args(["--listen", &format!("kafka://{}", self.address), "--http", "127.0.0.1:0"]);
        // As for the peer: groups form at once, which makes a run minutes shorter.
        command.args(["--set", "group.initial.rebalance.delay.ms=0"]);
        command
    }

    /// The address the server says it listens on, once it does.
    fn ready(&self, process: &Running) -> Option<String> {
        let log = std::fs::read(process.log()).ok()?;
        let log = String::from_utf8_lossy(&log);
        match self.kind {
            Kind::Kafka { .. } => log.contains("Kafka Server started").then(|| self.address.clone()),
            _ => announced(&log).filter(|address| std::net::TcpStream::connect(address).is_ok()),
        }
    }
}

/// The address in a banner with `kafka://HOST:PORT` in it. The port that was asked for, 0, is none.
fn announced(log: &str) -> Option<String> {
    log.match_indices("kafka://").find_map(|(at, scheme)| {
        let rest = &log[at + scheme.len()..];
        let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || ".:[]-".contains(c)))?;
        let (host, port) = rest[..end].rsplit_once(':')?;
        let port: u16 = port.parse().ok()?;
        (port != 0 && !host.is_empty()).then(|| format!("{host}:{port}"))
    })
}

pub(crate) fn build(places: &Places) -> Result<PathBuf, Failure> {
    println!("building the server");
    let mut cargo = Command::new("cargo");
    cargo.args(["build", "--release", "--locked", "--package", "duolog"]).current_dir(&places.root);
    run(&mut cargo, &places.run.join("build.log"), BUILD_LIMIT)?;
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| places.root.join("target"), PathBuf::from);
    Ok(places.root.join(target).join("release/duolog"))
}

#[cfg(test)]
mod tests {
    use super::announced;

    #[test]
    fn the_banner_says_where_the_server_listens() {
        assert_eq!(announced("listening on kafka://127.0.0.1:39111\n").as_deref(), Some("127.0.0.1:39111"));
        assert_eq!(announced("asked kafka://127.0.0.1:0, got kafka://127.0.0.1:5 (tcp)").as_deref(), Some("127.0.0.1:5"));
        assert_eq!(announced("\u{1b}[1mkafka://[::1]:7\u{1b}[0m").as_deref(), Some("[::1]:7"));
    }

    #[test]
    fn half_a_line_is_no_address() {
        assert_eq!(announced("kafka://127.0.0.1:39"), None);
        assert_eq!(announced("starting"), None);
    }
}
