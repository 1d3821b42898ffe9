//! `duolog cluster status`: what an operator looks at first.

use super::overview::Overview;
use super::{Failure, OutputArguments, ServerArguments, output};
use crate::client::{Cluster, DataDirectory, NodeDescription, PartitionLayout};
use crate::output::{Listing, Output};
use clap::Args;
use indicatif::BinaryBytes;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// [`Overview::lags`].
type Lags<'a> = BTreeMap<(&'a str, i32, i32), i64>;

/// Partitions that are listed one by one.
const LISTED: usize = 50;

#[derive(Args)]
pub(in crate::cli) struct Status {
    #[command(flatten)]
    server: ServerArguments,
    #[command(flatten)]
    output: OutputArguments,
}

pub(super) async fn run(arguments: Status) -> Result<(), Failure> {
    let mut client = Cluster::connect(&arguments.server.bootstrap).await?;
    let overview = Overview::gather(&mut client).await?;
    let mut out = output(arguments.output);
    match out.is_json() {
        true => out.sentence("", || document(&overview))?,
        false => print(&mut out, &overview)?,
    }
    Ok(out.flush()?)
}

fn print(out: &mut Output, overview: &Overview) -> std::io::Result<()> {
    let Overview { cluster, quorum, .. } = overview;
    let nodes = if cluster.nodes.len() == 1 { "1 node".to_owned() } else { format!("{} nodes", cluster.nodes.len()) };
    let controller = match quorum.leader {
        0.. => format!("controller node {} (epoch {})", quorum.leader, quorum.epoch),
        _ => "no controller".to_owned(),
    };
    out.line(&format!("cluster {}: {nodes}, {controller}", cluster.id))?;
    let mut listing =
        Listing::new(&["node", "address", "state", "metadata", "leads", "replicas", "not in sync", "lag", "data", "disk free"]);
    for node in &cluster.nodes {
        listing.row(row(overview, node));
    }
    out.listing(&listing, || Value::Null)?;
    print_troubled(out, overview)?;
    if !overview.moving.is_empty() {
        out.line(&format!("{} partitions get other replicas", overview.moving.len()))?;
    }
    Ok(())
}

fn row(overview: &Overview, node: &NodeDescription) -> Vec<String> {
    let (lag, data) = match overview.stored(node.id) {
        Some((lag, bytes)) => (lag.to_string(), size(bytes)),
        None => ("?".to_owned(), "?".to_owned()),
    };
    vec![
        node.id.to_string(),
        node.address.clone(),
        Overview::state(node).to_owned(),
        overview.duty(node.id).to_owned(),
        overview.leads(node.id).to_string(),
        overview.replicas(node.id).to_string(),
        overview.out_of_sync(node.id).to_string(),
        lag,
        data,
        overview.directories.get(&node.id).map_or_else(|| "?".to_owned(), |directories| free(directories)),
    ]
}

/// Of each directory, in the order in which the node has them.
fn free(directories: &[DataDirectory]) -> String {
    let of = |directory: &DataDirectory| format!("{} of {}", size(directory.usable_bytes), size(directory.total_bytes));
    directories.iter().map(of).collect::<Vec<_>>().join(", ")
}

fn size(bytes: i64) -> String {
    u64::try_from(bytes).map_or_else(|_| "?".to_owned(), |bytes| BinaryBytes(bytes).to_string())
}

fn print_troubled(out: &mut Output, overview: &Overview) -> std::io::Result<()> {
    let troubled = overview.troubled().count();
    if troubled == 0 {
        return out.line("all replicas are in sync");
    }
    out.line(&format!("{troubled} partitions lack replicas in sync, or a leader:"))?;
    let mut listing = Listing::new(&["partition", "leader", "replicas", "in sync", "lag"]);
    let lags = overview.lags();
    for (topic, partition) in overview.troubled().take(LISTED) {
        let leader = if partition.leader < 0 { "none".to_owned() } else { partition.leader.to_string() };
        listing.row(vec![
            format!("{topic}-{}", partition.index),
            leader,
            joined(&partition.replicas),
            joined(&partition.in_sync),
            lagging(topic, partition, &lags),
        ]);
    }
    out.listing(&listing, || Value::Null)?;
    match troubled.checked_sub(LISTED) {
        Some(more) if more > 0 => out.line(&format!("and {more} more (--json lists all)")),
        _ => Ok(()),
    }
}

/// Of the replicas that are not in sync, `node: records`.
fn lagging(topic: &str, partition: &PartitionLayout, lags: &Lags<'_>) -> String {
    let behind = partition.replicas.iter().filter(|node| !partition.in_sync.contains(node));
    let of = |node: &i32| {
        let lag = lags.get(&(topic, partition.index, *node)).map_or_else(|| "?".to_owned(), i64::to_string);
        format!("{node}: {lag}")
    };
    behind.map(of).collect::<Vec<_>>().join(", ")
}

fn joined(nodes: &[i32]) -> String {
    nodes.iter().map(i32::to_string).collect::<Vec<_>>().join(",")
}

fn document(overview: &Overview) -> Value {
    let Overview { cluster, quorum, moving, .. } = overview;
    let ids = |replicas: &[crate::client::QuorumReplica]| replicas.iter().map(|replica| replica.node).collect::<Vec<_>>();
    let moving: Vec<Value> = moving
        .iter()
        .map(|one| {
            json!({
                "topic": one.topic, "partition": one.partition, "replicas": one.replicas, "adding": one.adding,
                "removing": one.removing,
            })
        })
        .collect();
    let lags = overview.lags();
    json!({
        "cluster": cluster.id,
        "controller": quorum.leader,
        "epoch": quorum.epoch,
        "voters": ids(&quorum.voters),
        "observers": ids(&quorum.observers),
        "nodes": cluster.nodes.iter().map(|node| node_document(overview, node)).collect::<Vec<_>>(),
        "under_replicated": overview.troubled().map(|place| partition_document(place, &lags)).collect::<Vec<_>>(),
        "moving": moving,
    })
}

fn node_document(overview: &Overview, node: &NodeDescription) -> Value {
    let stored = overview.stored(node.id);
    let directory =
        |one: &DataDirectory| json!({ "path": one.path, "total_bytes": one.total_bytes, "usable_bytes": one.usable_bytes });
    json!({
        "node": node.id,
        "address": node.address,
        "rack": node.rack,
        "state": Overview::state(node),
        "metadata": overview.duty(node.id),
        "leads": overview.leads(node.id),
        "replicas": overview.replicas(node.id),
        "out_of_sync": overview.out_of_sync(node.id),
        "lag": stored.map(|(lag, _)| lag),
        "bytes": stored.map(|(_, bytes)| bytes),
        "directories": overview.directories.get(&node.id).map(|all| all.iter().map(directory).collect::<Vec<_>>()),
    })
}

fn partition_document((topic, partition): (&str, &PartitionLayout), lags: &Lags<'_>) -> Value {
    let lag = |node: &i32| Some((node.to_string(), json!(lags.get(&(topic, partition.index, *node))?)));
    json!({
        "topic": topic,
        "partition": partition.index,
        "leader": partition.leader,
        "replicas": partition.replicas,
        "in_sync": partition.in_sync,
        "lag": partition.replicas.iter().filter_map(lag).collect::<serde_json::Map<_, _>>(),
    })
}
