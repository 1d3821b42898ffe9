//! The servers of one measurement: one alone, or several that know each other.

use super::cases::Settings;
use super::failure::Failure;
use super::ready::Wanted;
use super::server::{Member, Server, Subject};
use crate::interop::address::free_port;
use crate::interop::places::Places;
use std::time::{Duration, Instant};

pub(super) struct Cluster {
    nodes: Vec<Server>,
}

impl Cluster {
    /// Prepares the servers with empty data directories; `start` starts them.
    pub(super) fn new(
        places: &Places,
        subject: &Subject,
        settings: Settings,
        more: &[String],
        nodes: usize,
    ) -> Result<Cluster, Failure> {
        if nodes == 1 {
            return Ok(Cluster { nodes: vec![Server::new(places, subject, settings, more, None)?] });
        }
        // Below those that connections get: the first nodes connect before the last one listens.
        let ports = (0..nodes).map(|_| Ok((free_port(0..=0)?, free_port(0..=0)?))).collect::<std::io::Result<Vec<_>>>();
        let ports = ports.map_err(|error| Failure::file(&places.run, error))?;
        let node = |at| Server::new(places, subject, settings, more, Some(&Member { at, ports: &ports }));
        Ok(Cluster { nodes: (0..nodes).map(node).collect::<Result<_, _>>()? })
    }

    /// Starts them on the data they have; gives how long it took until each answered that all are there.
    pub(super) fn start(&mut self) -> Result<Duration, Failure> {
        let start = Instant::now();
        self.nodes.iter_mut().try_for_each(Server::spawn)?;
        let wanted = Wanted { nodes: self.nodes.len(), ..Wanted::default() };
        self.nodes.iter_mut().try_for_each(|node| node.wait(wanted))?;
        Ok(start.elapsed())
    }

    /// `kill -9` and a start of all; gives how long it took until these partitions had a leader again.
    pub(super) fn restart(&mut self, topic: &str, partitions: usize) -> Result<Duration, Failure> {
        self.kill();
        let start = Instant::now();
        self.nodes.iter_mut().try_for_each(Server::spawn)?;
        let wanted = Wanted { nodes: self.nodes.len(), leaders: Some((topic, partitions)), not: None };
        self.nodes.iter_mut().try_for_each(|node| node.wait(wanted))?;
        Ok(start.elapsed())
    }

    /// `kill -9` of all.
    pub(super) fn kill(&mut self) {
        self.nodes.iter_mut().for_each(Server::kill);
    }

    /// `kill -9` of one node.
    pub(super) fn kill_one(&mut self, at: usize) {
        self.nodes[at].kill();
    }

    /// Asks one node to end, and waits until it has.
    pub(super) fn stop_one(&mut self, at: usize) -> Result<(), Failure> {
        self.nodes[at].stop()
    }

    /// Until another node says that all partitions have a leader, and none of them the node that is gone.
    pub(super) fn wait_for_leaders_without(&mut self, gone: usize, topic: &str, partitions: usize) -> Result<(), Failure> {
        let asked = (gone + 1) % self.nodes.len();
        self.nodes[asked].wait(Wanted { nodes: 1, leaders: Some((topic, partitions)), not: Some(number(gone)) })
    }

    /// As clients are told it.
    pub(super) fn address(&self) -> String {
        self.nodes.iter().map(Server::address).collect::<Vec<_>>().join(",")
    }

    /// Of the processes that run.
    pub(super) fn pids(&self) -> Vec<u32> {
        self.nodes.iter().filter_map(Server::pid).collect()
    }

    /// Fails when a server ended without being asked.
    pub(super) fn check(&mut self) -> Result<(), Failure> {
        self.nodes.iter_mut().try_for_each(Server::check)
    }

    /// Kills them and removes their data.
    pub(super) fn discard(self) -> Result<(), Failure> {
        self.nodes.into_iter().try_for_each(Server::discard)
    }
}

/// The number of a node in its cluster.
pub(super) fn number(at: usize) -> i32 {
    i32::try_from(at).expect("there are a few nodes") + 1
}
