//! `duolog cluster demo`: a cluster of processes of this binary on one machine, for trying out.
//!
//! Nodes listen on consecutive ports of 127.0.0.1, ten for each. With `--dir` data, secret and ports are kept and found again; without,
//! everything is gone at the end. A node that is killed stays away until it is started again with the command that is printed then.

use crate::serve::Signals;
use clap::Args;
use duolog_core::metadata::{IdSource, RandomIds};
use rustix::process::{Pid, Signal, kill_process};
use std::fmt::Write as _;
use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// Where free ports are looked for first, and how far apart the nodes' are.
const FIRST_PORT: u16 = 19092;
const PORTS_A_NODE: u16 = 10;
/// How many places are looked at for ports that are all free.
const PLACES: u16 = 100;
/// How long a node may take to start, and to stop.
const START_LIMIT: Duration = Duration::from_secs(60);
const STOP_LIMIT: Duration = Duration::from_secs(20);
const LOOK: Duration = Duration::from_millis(100);
/// The last nodes find nobody to hand over to.
const HAND_OVER: &str = "controlled.shutdown.timeout.ms=2000";
/// Line of a node's output after which it can be used.
const READY: &str = "Try in another terminal";

#[derive(Args)]
pub(in crate::cli) struct Demo {
    /// How many nodes
    #[arg(long, value_name = "N", default_value = "3", value_parser = clap::value_parser!(u16).range(1..=9))]
    nodes: u16,
    /// Keeps everything here; otherwise it is gone at the end
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum DemoError {
    #[error("{path}: {error}", path = path.display())]
    File { path: PathBuf, error: io::Error },
    #[error("{path} does not hold a port", path = path.display())]
    Port { path: PathBuf },
    #[error("no {count} consecutive ports are free on 127.0.0.1 from {FIRST_PORT} on")]
    NoPorts { count: u16 },
    #[error("starting node {node}: {error}")]
    Spawn { node: u16, error: io::Error },
    #[error("node {node} did not start; what it said stands above")]
    NotStarted { node: u16 },
    #[error("signals: {0}")]
    Signals(io::Error),
}

/// Everything the nodes have in common.
struct Site {
    dir: PathBuf,
    first_port: u16,
    program: PathBuf,
    is_kept: bool,
}

/// A node as a process.
struct Node {
    number: u16,
    child: Child,
    has_ended: bool,
}

pub(super) async fn run(arguments: Demo) -> Result<(), DemoError> {
    let site = Site::open(&arguments)?;
    let mut signals = Signals::install().map_err(DemoError::Signals)?;
    let mut nodes = Vec::new();
    let outcome = match site.start(arguments.nodes, &mut nodes) {
        Ok(()) => {
            site.announce(&nodes);
            watch(&site, &mut signals, &mut nodes).await;
            Ok(())
        }
        Err(error) => Err(error),
    };
    // The others take over what each leads, as long as there are others.
    nodes.iter_mut().rev().for_each(Node::stop);
    if !site.is_kept {
        let _ = fs::remove_dir_all(&site.dir);
    }
    outcome
}

/// Returns at a signal, or when no node is left.
async fn watch(site: &Site, signals: &mut Signals, nodes: &mut [Node]) {
    while nodes.iter().any(|node| !node.has_ended) {
        tokio::select! {
            signal = signals.next() => return eprintln!("{signal}: stopping all nodes"),
            () = tokio::time::sleep(LOOK) => nodes.iter_mut().for_each(|node| node.look(site)),
        }
    }
}

impl Site {
    fn open(arguments: &Demo) -> Result<Site, DemoError> {
        let temporary = || std::env::temp_dir().join(format!("duolog-demo-{}", std::process::id()));
        let dir = arguments.dir.clone().unwrap_or_else(temporary);
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |error| DemoError::File { path, error }
        };
        fs::create_dir_all(&dir).map_err(failed(&dir))?;
        let secret = dir.join("secret");
        if !secret.exists() {
            let text = format!("{}{}\n", RandomIds.next_id(), RandomIds.next_id());
            let mut options = fs::OpenOptions::new();
            let file = options.write(true).create_new(true).mode(0o600).open(&secret).map_err(failed(&secret))?;
            (&file).write_all(text.as_bytes()).map_err(failed(&secret))?;
        }
        let program = std::env::current_exe().map_err(failed(Path::new("duolog")))?;
        let first_port = first_port(&dir.join("port"), arguments.nodes)?;
        Ok(Site { dir, first_port, program, is_kept: arguments.dir.is_some() })
    }

    /// Starts all nodes at once, and returns when all can be used.
    fn start(&self, count: u16, nodes: &mut Vec<Node>) -> Result<(), DemoError> {
        let (ready, started) = mpsc::channel();
        for number in 1..=count {
            let mut command = Command::new(&self.program);
            command.args(self.arguments(number)).args(["--parent", &std::process::id().to_string()]);
            // Ctrl-C is for this process, which stops them one after the other.
            command.process_group(0).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
            let mut child = command.spawn().map_err(|error| DemoError::Spawn { node: number, error })?;
            let (out, error) = (child.stdout.take(), child.stderr.take());
            nodes.push(Node { number, child, has_ended: false });
            if let (Some(out), Some(error)) = (out, error) {
                let ready = ready.clone();
                std::thread::spawn(move || wait_for_banner(out, number, &ready));
                std::thread::spawn(move || relay(error, number));
            }
        }
        let deadline = Instant::now() + START_LIMIT;
        for _ in 1..=count {
            let mut has_failed = None;
            while has_failed.is_none() {
                match started.recv_timeout(LOOK) {
                    Ok(_) => break,
                    Err(_) => {
                        has_failed = nodes.iter_mut().find_map(|node| node.has_failed(deadline).then_some(node.number));
                    }
                }
            }
            if let Some(node) = has_failed {
                return Err(DemoError::NotStarted { node });
            }
        }
        Ok(())
    }

    fn port(&self, node: u16, offset: u16) -> String {
        format!("127.0.0.1:{}", self.first_port + (node - 1) * PORTS_A_NODE + offset)
    }

    fn kafka(&self, node: u16) -> String {
        self.port(node, 0)
    }

    /// What one node is started with.
    fn arguments(&self, node: u16) -> Vec<String> {
        let listeners = ["kafka", "peer", "namesrv", "rocketmq", "grpc"];
        let data = self.dir.join(format!("node-{node}")).display().to_string();
        let mut arguments = vec!["serve".to_owned(), "--node-id".to_owned(), node.to_string(), "--data-dir".to_owned(), data];
        for (offset, scheme) in (0..).zip(listeners) {
            arguments.extend(["--listen".to_owned(), format!("{scheme}://{}", self.port(node, offset))]);
        }
        let secret = self.dir.join("secret").display().to_string();
        let rest = [
            ["--http".to_owned(), self.port(node, listeners.len() as u16)],
            ["--join".to_owned(), self.port(1, 1)],
            ["--cluster-secret-file".to_owned(), secret],
            ["--set".to_owned(), HAND_OVER.to_owned()],
        ];
        arguments.extend(rest.into_iter().flatten());
        arguments
    }

    /// Nobody reading it is no reason to stop.
    fn announce(&self, nodes: &[Node]) {
        let mut out = io::stdout().lock();
        let _ = out.write_all(self.text(nodes).as_bytes()).and_then(|()| out.flush());
    }

    fn text(&self, nodes: &[Node]) -> String {
        let mut text = format!("Duolog: a cluster of {} nodes in {}\n", nodes.len(), self.dir.display());
        for Node { number, child, .. } in nodes {
            let names = ["kafka", "peer", "name server", "rocketmq", "grpc", "http"];
            let ports = (0..).zip(names).map(|(offset, name)| format!("  {name} {}", self.port(*number, offset)));
            let _ = writeln!(text, "  node {number}  pid {}{}", child.id(), ports.collect::<String>());
        }
        let program = self.program.display();
        let all: Vec<String> = nodes.iter().map(|node| self.kafka(node.number)).collect();
        let bootstrap = format!("--bootstrap {}", all.join(","));
        let _ = writeln!(text, "\nTry in another terminal (Ctrl-C here ends the cluster):");
        let _ = writeln!(text, "  {program} cluster status {bootstrap}");
        let _ = writeln!(text, "  {program} topic create hello --partitions 6 {bootstrap}");
        let _ = writeln!(text, "  seq 100000 | {program} produce hello {bootstrap}");
        text
    }
}

impl Node {
    /// Says so once it has ended, and how it comes back.
    fn look(&mut self, site: &Site) {
        if let (false, Ok(Some(status))) = (self.has_ended, self.child.try_wait()) {
            self.has_ended = true;
            eprintln!("node {} has ended ({status}). It comes back with:", self.number);
            eprintln!("  {} {}", site.program.display(), site.arguments(self.number).join(" "));
        }
    }

    fn has_failed(&mut self, deadline: Instant) -> bool {
        self.has_ended = !matches!(self.child.try_wait(), Ok(None));
        self.has_ended || Instant::now() > deadline
    }

    fn stop(&mut self) {
        if self.has_ended {
            return;
        }
        // It may have ended by itself.
        let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
        let deadline = Instant::now() + STOP_LIMIT;
        while matches!(self.child.try_wait(), Ok(None)) {
            if Instant::now() > deadline {
                let _ = self.child.kill();
            }
            std::thread::sleep(LOOK);
        }
        self.has_ended = true;
    }
}

/// The first port of those that are kept in a file, or of those that are free.
fn first_port(file: &Path, nodes: u16) -> Result<u16, DemoError> {
    let failed = |error| DemoError::File { path: file.to_owned(), error };
    match fs::read_to_string(file) {
        Ok(text) => text.trim().parse().map_err(|_| DemoError::Port { path: file.to_owned() }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let count = nodes * PORTS_A_NODE;
            let are_free =
                |first: &u16| (*first..*first + count).all(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok());
            let mut firsts = (0..PLACES).map(|place| FIRST_PORT + place * PORTS_A_NODE);
            let first = firsts.find(are_free).ok_or(DemoError::NoPorts { count })?;
            fs::write(file, format!("{first}\n")).map_err(failed)?;
            Ok(first)
        }
        Err(error) => Err(failed(error)),
    }
}

/// Tells once that the node can be used, and reads on so that it can write.
fn wait_for_banner(out: impl Read, node: u16, ready: &mpsc::Sender<u16>) {
    for line in BufReader::new(out).lines().map_while(Result::ok) {
        if line.starts_with(READY) {
            // Nobody waits any more if the start has failed.
            let _ = ready.send(node);
        }
    }
}

/// Writes what a node says, with its number in front.
fn relay(error: impl Read, node: u16) {
    for line in BufReader::new(error).lines().map_while(Result::ok) {
        eprintln!("[{node}] {line}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_found_once_and_then_kept() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("port");
        let first = first_port(&file, 3).unwrap();
        let _taken = TcpListener::bind((Ipv4Addr::LOCALHOST, first));
        assert_eq!(first_port(&file, 3).unwrap(), first);
        fs::write(&file, "many").unwrap();
        assert!(matches!(first_port(&file, 3), Err(DemoError::Port { .. })));
    }
}
