//! Nodes of one cluster, their directories and ports, and what is waited for.

use crate::server::{PATIENCE, Server, duolog, finish};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::{Duration, Instant};
use tempfile::TempDir;

const SECRET: &str = "what these nodes share";
const LOOK: Duration = Duration::from_millis(20);

/// Where nodes live, and what they share.
pub(super) struct Site {
    directory: TempDir,
}

impl Site {
    pub(super) fn new() -> Site {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("secret"), format!("{SECRET}\n")).unwrap();
        Site { directory }
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(super) fn data(&self, node: i32) -> PathBuf {
        self.path(&format!("data-{node}"))
    }

    /// A member at any free port, or at the one it had before.
    pub(super) fn start(&self, node: i32, peer_port: u16, join: &[&str]) -> Server {
        self.start_in(&self.data(node), node, peer_port, join)
    }

    /// A member at the port it had before, with a setting.
    pub(super) fn start_set(&self, node: i32, peer_port: u16, setting: &str) -> Server {
        self.start_with(&self.data(node), node, peer_port, &["--set", setting])
    }

    pub(super) fn start_in(&self, data: &Path, node: i32, peer_port: u16, join: &[&str]) -> Server {
        let join: Vec<&str> = join.iter().flat_map(|address| ["--join", address]).collect();
        self.start_with(data, node, peer_port, &join)
    }

    fn start_with(&self, data: &Path, node: i32, peer_port: u16, more: &[&str]) -> Server {
        let (node_text, peer) = (node.to_string(), format!("peer://127.0.0.1:{peer_port}"));
        let secret = self.path("secret").display().to_string();
        let mut arguments = vec!["--node-id", &node_text, "--listen", &peer, "--cluster-secret-file", &secret];
        arguments.extend(more);
        Server::start_with(data, &arguments)
    }

    /// Nodes 1, 2 and 3, all of them let in.
    pub(super) fn three(&self) -> [Server; 3] {
        let first = self.start(1, 0, &[]);
        let join = peer_address(&first);
        let (second, third) = (self.start(2, 0, &[&join]), self.start(3, 0, &[&join]));
        let all = [first, second, third];
        until("three live nodes, all of them voters", &all[0], |status| {
            live(status) == [1, 2, 3] && status["voters"].as_array().map(Vec::len) == Some(3)
        });
        all
    }

    /// What `serve` says when it does not start: it must not.
    pub(super) fn refused(&self, node: i32, arguments: &[&str]) -> Output {
        let mut command = duolog();
        command.args(["serve", "--node-id", &node.to_string(), "--data-dir"]).arg(self.data(node));
        command.args(["--listen", "kafka://127.0.0.1:0", "--http", "127.0.0.1:0"]).args(arguments);
        let output = finish(command, "");
        assert!(!output.status.success() && output.stdout.is_empty(), "{output:?}");
        output
    }
}

/// Where other nodes reach this one, as its banner says.
pub(super) fn peer_address(server: &Server) -> String {
    let line = server.banner.iter().find(|line| line.trim_start().starts_with("Cluster")).unwrap();
    line.split("peer://").nth(1).unwrap().to_owned()
}

pub(super) fn peer_port(server: &Server) -> u16 {
    peer_address(server).rsplit(':').next().unwrap().parse().unwrap()
}

pub(super) fn complaint(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// `cluster status` of a server; nothing if it cannot tell now.
pub(super) fn status(server: &Server) -> Option<Value> {
    let output = finish(server.command(&["cluster", "status", "--json"]), "");
    serde_json::from_slice(&output.stdout).ok()
}

/// Waits until the server's view of the cluster is as wanted.
pub(super) fn until(what: &str, server: &Server, wanted: impl Fn(&Value) -> bool) -> Value {
    let start = Instant::now();
    loop {
        let found = status(server);
        if let Some(found) = found.as_ref().filter(|found| wanted(found)) {
            return found.clone();
        }
        assert!(start.elapsed() < PATIENCE, "not reached: {what}; it is {found:?}; the server said:\n{}", server.said());
        std::thread::sleep(LOOK);
    }
}

/// The nodes that are not fenced.
pub(super) fn live(status: &Value) -> Vec<i64> {
    let nodes = status["nodes"].as_array().unwrap().iter();
    nodes.filter(|node| node["state"] == "live").map(|node| node["node"].as_i64().unwrap()).collect()
}

/// A number of a node's row.
pub(super) fn of_node(status: &Value, node: i64, column: &str) -> i64 {
    let nodes = status["nodes"].as_array().unwrap();
    nodes.iter().find(|one| one["node"] == node).and_then(|one| one[column].as_i64()).unwrap()
}

/// The leader of each partition of a topic; -1 for none.
pub(super) fn leaders(server: &Server, topic: &str) -> Vec<i64> {
    let described = server.json(&["topic", "describe", topic]);
    let partitions = described[0]["partitions"].as_array().unwrap();
    partitions.iter().map(|partition| partition["leader"].as_i64().unwrap()).collect()
}

pub(super) fn exists(path: &Path) -> bool {
    path.try_exists().unwrap()
}
