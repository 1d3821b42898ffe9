//! The clients of a run: processes that write what they do and see to one common pipe, whose order is the order in which it
//! became known. They stop when their standard input ends, so that none outlives the run.

use super::cluster::Cluster;
use super::failure::Failure;
use super::judge::{ClientNumber, Judge};
use crate::interop::install;
use crate::interop::places::{Places, tail};
use crate::interop::process::POLL;
use rustix::process::{Pid, Signal, kill_process_group};
use std::fs::File;
use std::io::{BufRead, BufReader, PipeReader, PipeWriter};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

pub(super) const TOPIC: &str = "chaos";
pub(super) const PARTITIONS: u64 = 4;
/// A producer waits for its answers, at most two minutes by default; a reader reads everything that is left.
const STOP_LIMIT: Duration = Duration::from_secs(150);
const TAIL_LINES: usize = 30;

/// A client library.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    Java,
    Librdkafka,
    Remoting,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Work {
    Create,
    Produce,
    Consume,
}

/// What clients print, on its way to the judge.
pub(super) struct Pipe {
    writer: PipeWriter,
    reader: JoinHandle<Result<(), Failure>>,
    judge: Arc<Mutex<Judge>>,
}

impl Pipe {
    pub(super) fn new() -> std::io::Result<Pipe> {
        let (reader, writer) = std::io::pipe()?;
        let judge = Arc::new(Mutex::new(Judge::new()));
        let own = judge.clone();
        Ok(Pipe { writer, reader: std::thread::spawn(move || feed(reader, &own)), judge })
    }

    pub(super) fn judge(&self) -> MutexGuard<'_, Judge> {
        self.judge.lock().expect("the judge does not panic")
    }

    /// Whether a line could not be understood.
    pub(super) fn broken(&self) -> bool {
        self.reader.is_finished()
    }

    /// Waits until everything is read; all clients have ended.
    pub(super) fn finish(self) -> Result<Arc<Mutex<Judge>>, Failure> {
        drop(self.writer);
        self.reader.join().expect("the reader does not panic")?;
        Ok(self.judge)
    }
}

fn feed(reader: PipeReader, judge: &Mutex<Judge>) -> Result<(), Failure> {
    for line in BufReader::new(reader).lines() {
        let line = line.map_err(|error| Failure::NoEvent { line: error.to_string() })?;
        let taken = judge.lock().expect("nobody panics with the judge").take(&line);
        if let Err(failure) = taken {
            println!("{failure}");
            return Err(failure);
        }
    }
    Ok(())
}

/// The installed client libraries.
pub(super) struct Library {
    java: [PathBuf; 2],
    python: PathBuf,
    script: PathBuf,
    logs: PathBuf,
    started: ClientNumber,
}

impl Library {
    pub(super) fn install(places: &Places) -> Result<Library, Failure> {
        let jars = install::jars(places, "chaos/java/pom.xml")?;
        let classes = install::classes(places, &["chaos/java/src"], &jars)?;
        let python = install::python(places, "python")?;
        let script = places.suites.join("chaos/python/client.py");
        Ok(Library { java: [classes, jars.join("*")], python, script, logs: places.run.clone(), started: 0 })
    }

    /// The number that the next client will have.
    pub(super) fn next(&self) -> ClientNumber {
        self.started + 1
    }

    pub(super) fn start(&mut self, family: Family, work: Work, cluster: &Cluster, pipe: &Pipe) -> Result<Client, Failure> {
        self.started += 1;
        let mut command = match family {
            Family::Java => self.java("kafka"),
            Family::Remoting => self.java("remoting"),
            Family::Librdkafka => {
                let mut python = Command::new(&self.python);
                python.arg(&self.script).env("PYTHONDONTWRITEBYTECODE", "1");
                python
            }
        };
        let work = match work {
            Work::Create => "create",
            Work::Produce => "produce",
            Work::Consume => "consume",
        };
        let addresses = if family == Family::Remoting { cluster.name_servers() } else { cluster.kafka() };
        command.args([work, &self.started.to_string(), &addresses, TOPIC, &PARTITIONS.to_string()]);
        let name = format!("{}-{family:?}-{work}", self.started).to_lowercase();
        Client::start(name, &mut command, pipe, &self.logs)
    }

    fn java(&self, kind: &str) -> Command {
        let [classes, jars] = &self.java;
        let mut java = Command::new("java");
        java.args(["-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]);
        // RocketMQ's client logs below the home directory.
        java.arg(format!("-Duser.home={}", self.logs.display()));
        java.arg("-cp").arg(format!("{}:{}", classes.display(), jars.display())).args(["chaos.Main", kind]);
        java
    }
}

/// A running client; killed when dropped.
pub(super) struct Client {
    name: String,
    child: Child,
    log: PathBuf,
    ended: bool,
}

impl Client {
    fn start(name: String, command: &mut Command, pipe: &Pipe, logs: &std::path::Path) -> Result<Client, Failure> {
        let log = logs.join(format!("{name}.log"));
        let file = |error| Failure::file(&log, error);
        let errors = File::create(&log).map_err(file)?;
        let out = pipe.writer.try_clone().map_err(file)?;
        command.stdin(Stdio::piped()).stdout(out).stderr(errors).process_group(0);
        let child = command.spawn().map_err(file)?;
        Ok(Client { name, child, log, ended: false })
    }

    /// Fails when it ended without being asked.
    pub(super) fn check(&mut self) -> Result<(), Failure> {
        match self.status() {
            Some(status) => Err(self.failed(status)),
            None => Ok(()),
        }
    }

    /// Lets it finish: a producer gets its answers, a reader reads to the end.
    pub(super) fn stop(&mut self) -> Result<(), Failure> {
        self.ask_to_stop();
        let start = Instant::now();
        while start.elapsed() < STOP_LIMIT {
            match self.status() {
                Some(status) if status == "exit status: 0" => return Ok(()),
                Some(status) => return Err(self.failed(status)),
                None => std::thread::sleep(POLL),
            }
        }
        Err(self.failed("it does not end".to_owned()))
    }

    pub(super) fn ask_to_stop(&mut self) {
        drop(self.child.stdin.take());
    }

    fn status(&mut self) -> Option<String> {
        let status = self.child.try_wait().expect("a child of this process can be waited for")?;
        self.ended = true;
        Some(status.to_string())
    }

    fn failed(&self, status: String) -> Failure {
        Failure::ClientEnded { client: self.name.clone(), status, said: tail(&self.log, TAIL_LINES) }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        if !self.ended {
            let group = Pid::from_child(&self.child);
            let _ = kill_process_group(group, Signal::KILL);
            let _ = self.child.wait();
        }
    }
}
