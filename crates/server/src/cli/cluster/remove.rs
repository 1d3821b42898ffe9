//! `duolog cluster remove NODE`: strikes off a node that holds nothing and has been stopped.

use super::overview::Overview;
use super::{Failure, NodeArguments, output};
use crate::client::{Cluster, Connection};
use serde_json::json;
use std::time::Duration;
use tokio::time::Instant;

/// How long a node that does not answer may take until the cluster has noticed.
const PATIENCE: Duration = Duration::from_secs(30);
const LOOK: Duration = Duration::from_millis(250);

pub(super) async fn run(arguments: NodeArguments) -> Result<(), Failure> {
    let node = arguments.node;
    let mut client = Cluster::connect(&arguments.server.bootstrap).await?;
    wait_until_gone(&mut client, node).await?;
    let quorum = client.describe_quorum().await?;
    if quorum.voters.iter().chain(&quorum.observers).any(|replica| replica.node == node) {
        client.remove_voter(node).await?;
    }
    client.unregister(node).await?;
    client.set_drained(node, false).await?;
    let mut out = output(arguments.output);
    out.sentence(&format!("node {node} is no part of the cluster any more"), || json!({ "node": node, "removed": true }))?;
    Ok(out.flush()?)
}

/// Returns once the cluster takes the node for gone; refuses one that holds something or answers.
async fn wait_until_gone(client: &mut Cluster, node: i32) -> Result<(), Failure> {
    let begun = Instant::now();
    loop {
        let overview = Overview::gather(client).await?;
        let known = overview.cluster.nodes.iter().find(|known| known.id == node).ok_or(Failure::NoSuchNode { node })?;
        match overview.replicas(node) {
            0 => {}
            replicas => return Err(Failure::HoldsReplicas { node, replicas }),
        }
        if known.fenced {
            return Ok(());
        }
        if Connection::open(&known.address).await.is_ok() || begun.elapsed() > PATIENCE {
            return Err(Failure::NodeRuns { node, address: known.address.clone() });
        }
        tokio::time::sleep(LOOK).await;
    }
}
