//! How a node becomes part of a cluster at its start: as the founder, as one that joins, or as one that was there before.

use super::Cluster;
use super::messages::{JOIN, Join, JoinAnswer};
use crate::metadata::error::{MembershipError, MetadataOpenError, Unavailable};
use crate::metadata::raft::{decode, encode};
use crate::metadata::record::Change;
use duolog_base::NodeId;
use duolog_peer::MAX_CLUSTER_BYTES;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::time::Instant;

/// How long one node may take to answer a wish to join.
const JOIN_LIMIT: Duration = Duration::from_secs(15);
/// How long to wait until they are asked again.
const JOIN_PAUSE: Duration = Duration::from_millis(100);
/// A node whose id is taken for so long is not one that has lost its disk a moment ago.
const TAKEN_LIMIT: Duration = Duration::from_secs(5);
/// How often it is said that a start is waiting for other nodes.
const COMPLAINT_INTERVAL: Duration = Duration::from_secs(10);

/// Says now and then what a start waits for.
pub(in crate::metadata) struct Patience {
    complained: Instant,
}

impl Patience {
    pub(in crate::metadata) fn new() -> Patience {
        Patience { complained: Instant::now() }
    }

    pub(in crate::metadata) fn wait_for(&mut self, what: &str) {
        if self.complained.elapsed() >= COMPLAINT_INTERVAL {
            self.complained = Instant::now();
            tracing::warn!("the start is still waiting for {what}");
        }
    }
}

/// What became of the wish to join.
enum Wish {
    Granted,
    /// Another node that is alive has the id.
    Taken,
    /// To be asked again.
    Open,
}

impl Cluster {
    /// Founds, joins or re-enters, and returns once this node has what the cluster had when it was asked. Waits for other nodes without
    /// a limit: there is nothing to be done without them.
    pub(in crate::metadata) async fn enter(&self, join: &[String]) -> Result<(), MetadataOpenError> {
        if self.log.is_new().await? {
            match join.is_empty() {
                true => self.log.found(&self.address).await?,
                false => self.join(join, true).await?,
            }
        } else {
            let members = self.log.members();
            if !members.addresses.contains_key(&self.node) && !join.is_empty() {
                self.join(join, false).await?;
            } else {
                self.log.check_is_member(&members)?;
                self.admitted.store(true, Ordering::Release);
                if members.voters.len() == 1 && members.voters.contains(&self.node) {
                    self.log.lead().await?;
                }
            }
        }
        self.admitted.store(true, Ordering::Release);
        self.catch_up().await
    }

    async fn catch_up(&self) -> Result<(), MetadataOpenError> {
        let mut patience = Patience::new();
        loop {
            let newest = Change::new(Vec::new()).decided_on(self.applied());
            match self.propose(newest, Instant::now() + self.request_limit).await {
                // What it was told of has been applied, in either case.
                Ok(_) => return Ok(()),
                Err(Unavailable::Stopped) => return Err(MetadataOpenError::Raft(Unavailable::Stopped.to_string())),
                Err(_) => patience.wait_for("a leader of the metadata: most of its voters must be there"),
            }
        }
    }

    /// Asks one after the other until one has taken this node in.
    async fn join(&self, addresses: &[String], is_new: bool) -> Result<(), MetadataOpenError> {
        let mut patience = Patience::new();
        let mut taken_since = None;
        loop {
            let mut is_taken = false;
            for address in addresses {
                match self.ask_to_join(address, is_new).await {
                    Wish::Granted => return Ok(()),
                    Wish::Taken => is_taken = true,
                    Wish::Open => {}
                }
            }
            taken_since = is_taken.then(|| taken_since.unwrap_or_else(Instant::now));
            if taken_since.is_some_and(|since| since.elapsed() >= TAKEN_LIMIT) {
                return Err(MembershipError::Duplicate { node: self.node }.into());
            }
            patience.wait_for("one of the nodes it was told to join");
            tokio::time::sleep(JOIN_PAUSE).await;
        }
    }

    async fn ask_to_join(&self, address: &str, is_new: bool) -> Wish {
        let mut address = address.to_owned();
        let mut answer = self.ask_at(&address, is_new).await;
        if let Some((_, JoinAnswer::AskAt { address: leaders, .. })) = answer {
            address = leaders;
            answer = self.ask_at(&address, is_new).await;
        }
        match answer {
            Some((leader, JoinAnswer::Joined { cluster })) if self.joined(leader, &address, &cluster) => Wish::Granted,
            Some((_, JoinAnswer::Taken)) => Wish::Taken,
            _ => Wish::Open,
        }
    }

    async fn ask_at(&self, address: &str, is_new: bool) -> Option<(NodeId, JoinAnswer)> {
        let join = Join { node: self.node.0, address: self.address.clone(), is_new };
        match self.road.peers.call_address(address, JOIN, encode(&join), JOIN_LIMIT).await {
            Ok((node, answer)) => Some((node, decode(&answer)?)),
            Err(error) => {
                tracing::info!(address, %error, "asked in vain to be taken in");
                None
            }
        }
    }

    fn joined(&self, leader: NodeId, address: &str, cluster: &str) -> bool {
        if cluster.len() > MAX_CLUSTER_BYTES {
            tracing::warn!(%leader, "a node took this one into a cluster whose id is too long");
            return false;
        }
        self.road.peers.set_address(leader, address);
        self.road.peers.identity().set_cluster(cluster);
        self.admitted.store(true, Ordering::Release);
        true
    }

    /// Tells the leader where this node is now.
    pub(super) async fn announce(&self, leader: NodeId) -> Result<(), Unavailable> {
        let join = Join { node: self.node.0, address: self.address.clone(), is_new: false };
        let answer: Option<JoinAnswer> = self.ask(leader, JOIN, &join).await?;
        tracing::info!(%leader, ?answer, "told the leader of the metadata where this node is");
        Ok(())
    }
}
