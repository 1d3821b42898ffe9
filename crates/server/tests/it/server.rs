//! A `duolog serve` child on free ports of 127.0.0.1, killed when dropped, and the commands run against it.

use rustix::process::{Pid, Signal, kill_process};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// Far more than any step takes; reaching it fails the test.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// Printed by every child: small files, and no waiting for further group members.
const FAST: [&str; 4] = ["--set", "group.initial.rebalance.delay.ms=0", "--set", "log.file.bytes=16777216"];

/// The binary, without whatever `DUOLOG_...` the test itself was started with.
pub(crate) fn duolog() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_duolog"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("DUOLOG_") {
            command.env_remove(name);
        }
    }
    command.stdin(Stdio::null());
    command
}

pub(crate) struct Server {
    child: Child,
    pub(crate) banner: Vec<String>,
    /// HOST:PORT of the first Kafka listener.
    pub(crate) kafka: String,
    /// HOST:PORT of the HTTP side.
    pub(crate) http: String,
    log: PathBuf,
}

impl Server {
    pub(crate) fn start(data: &Path) -> Server {
        Server::start_with(data, &[])
    }

    pub(crate) fn start_with(data: &Path, arguments: &[&str]) -> Server {
        let logs = std::env::temp_dir().join("duolog-it");
        std::fs::create_dir_all(&logs).unwrap();
        let log = tempfile::Builder::new().prefix("server-").suffix(".log").tempfile_in(logs).unwrap();
        let (log_file, log) = log.keep().unwrap();
        let mut command = duolog();
        command.arg("serve").arg("--data-dir").arg(data);
        command.args(["--listen", "kafka://127.0.0.1:0", "--http", "127.0.0.1:0"]).args(FAST).args(arguments);
        let mut child = command.stdout(Stdio::piped()).stderr(log_file).spawn().unwrap();
        let banner = read_banner(child.stdout.take().unwrap());
        let field = |label: &str| {
            let line = banner.iter().find(|line| line.trim_start().starts_with(label));
            let address = line.and_then(|line| line.split("://").nth(1)).and_then(|rest| rest.split([' ', ',']).next());
            address.map(str::to_owned)
        };
        let (kafka, http) = (field("Kafka"), field("HTTP"));
        let mut server = Server { child, banner, kafka: String::new(), http: String::new(), log };
        let (Some(kafka), Some(http)) = (kafka, http) else {
            let _ = server.child.wait();
            panic!("no banner; the server said:\n{}", server.said());
        };
        (server.kafka, server.http) = (kafka, http);
        server
    }

    /// Everything the server has written to standard error.
    pub(crate) fn said(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// A command against this server.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = duolog();
        command.args(arguments).args(["--bootstrap", &self.kafka]);
        command
    }

    /// Runs a command that must succeed; its standard output.
    pub(crate) fn run(&self, arguments: &[&str]) -> String {
        self.run_with_input(arguments, "")
    }

    pub(crate) fn run_with_input(&self, arguments: &[&str], input: &str) -> String {
        let output = finish(self.command(arguments), input);
        let (out, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{arguments:?}: {}\n{out}{error}\nserver:\n{}", output.status, self.said());
        out.into_owned()
    }

    /// Runs a command that must fail with code 1; what it complained about.
    pub(crate) fn refuse(&self, arguments: &[&str]) -> String {
        let output = finish(self.command(arguments), "");
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {}", String::from_utf8_lossy(&output.stdout));
        String::from_utf8_lossy(&output.stderr).into_owned()
    }

    pub(crate) fn json(&self, arguments: &[&str]) -> serde_json::Value {
        let all: Vec<&str> = arguments.iter().copied().chain(["--json"]).collect();
        serde_json::from_str(&self.run(&all)).unwrap()
    }

    /// Status line and body of a GET.
    pub(crate) fn get(&self, path: &str) -> (String, String) {
        let mut stream = TcpStream::connect(&self.http).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.lines().next().unwrap_or_default().to_owned(), body.to_owned())
    }

    pub(crate) fn terminate(&self) {
        kill_process(self.pid(), Signal::TERM).unwrap();
    }

    /// As Ctrl-C does.
    pub(crate) fn interrupt(&self) {
        kill_process(self.pid(), Signal::INT).unwrap();
    }

    /// Waits until the server has written this to standard error.
    pub(crate) fn says(&self, text: &str) {
        let start = Instant::now();
        while !self.said().contains(text) {
            assert!(start.elapsed() < PATIENCE, "the server does not say {text:?} but:\n{}", self.said());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub(crate) fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Waits for the process to end by itself.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(start.elapsed() < PATIENCE, "the server does not end; it said:\n{}", self.said());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Orderly stop, which must succeed.
    pub(crate) fn stop(mut self) {
        self.terminate();
        let status = self.wait();
        assert!(status.success(), "{status}; the server said:\n{}", self.said());
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
        if !std::thread::panicking() {
            let _ = std::fs::remove_file(&self.log);
        }
    }
}

/// All lines up to the third command to try; fewer if the process ends before.
fn read_banner(out: ChildStdout) -> Vec<String> {
    let (sender, lines) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(out).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    let mut banner: Vec<String> = Vec::new();
    let mut left = None;
    while left != Some(0) {
        let Ok(line) = lines.recv_timeout(PATIENCE) else { break };
        left = match left {
            Some(left) => Some(left - 1),
            None if line.starts_with("Try") => Some(3),
            None => None,
        };
        banner.push(line);
    }
    banner
}

/// Runs a command to its end, bounded in time.
pub(crate) fn finish(mut command: Command, input: &str) -> Output {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_owned();
    std::thread::spawn(move || {
        let _ = stdin.write_all(input.as_bytes());
    });
    let pid = Pid::from_child(&child);
    let (sender, done) = mpsc::channel();
    std::thread::spawn(move || sender.send(child.wait_with_output()));
    match done.recv_timeout(PATIENCE) {
        Ok(output) => output.unwrap(),
        Err(_) => {
            let _ = kill_process(pid, Signal::KILL);
            panic!("{command:?} does not end");
        }
    }
}
