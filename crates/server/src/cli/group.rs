//! `duolog group ...`: list, describe with lag, reset offsets, delete.

use super::arguments::time;
use super::{Failure, OutputArguments, ServerArguments, output};
use crate::client::{Cluster, CommittedOffset, GroupDescription, OffsetQuery};
use crate::output::Listing;
use clap::{Args, Subcommand};
use duolog_base::TimestampMs;
use duolog_wire::kafka::ErrorCode;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

#[derive(Subcommand)]
pub(super) enum GroupCommand {
    /// List the groups
    List(List),
    /// Show members, committed offsets and lag of a group
    Describe(Describe),
    /// Move a group's committed offsets; only shows what would happen unless --execute is given
    ResetOffsets(ResetOffsets),
    /// Delete groups without members, with their offsets
    Delete(Delete),
}

#[derive(Args)]
pub(super) struct List {
    #[command(flatten)]
    server: ServerArguments,
    #[command(flatten)]
    output: OutputArguments,
}

#[derive(Args)]
pub(super) struct Describe {
    group: String,
    #[command(flatten)]
    server: ServerArguments,
    #[command(flatten)]
    output: OutputArguments,
}

#[derive(Args)]
pub(super) struct ResetOffsets {
    group: String,
    /// Only this topic (repeatable); otherwise all the group has offsets of
    #[arg(short, long)]
    topic: Vec<String>,
    /// Only this partition of the topics (repeatable)
    #[arg(short, long, value_name = "N")]
    partition: Vec<i32>,
    #[command(flatten)]
    target: Target,
    /// Do it
    #[arg(long)]
    execute: bool,
    #[command(flatten)]
    server: ServerArguments,
    #[command(flatten)]
    output: OutputArguments,
}

#[derive(Args)]
#[group(required = true, multiple = false)]
struct Target {
    /// To the oldest record
    #[arg(long)]
    to_earliest: bool,
    /// To the end
    #[arg(long)]
    to_latest: bool,
    /// To this offset, or the nearest there is
    #[arg(long, value_name = "N")]
    to_offset: Option<i64>,
    /// To the first record at or after this time: RFC 3339 or milliseconds
    #[arg(long, value_name = "TIME", value_parser = time)]
    to_time: Option<TimestampMs>,
}

#[derive(Args)]
pub(super) struct Delete {
    #[arg(required = true)]
    groups: Vec<String>,
    #[command(flatten)]
    server: ServerArguments,
    #[command(flatten)]
    output: OutputArguments,
}

pub(super) async fn run(command: GroupCommand) -> Result<(), Failure> {
    match command {
        GroupCommand::List(arguments) => list(arguments).await,
        GroupCommand::Describe(arguments) => describe(arguments).await,
        GroupCommand::ResetOffsets(arguments) => reset_offsets(arguments).await,
        GroupCommand::Delete(arguments) => delete(arguments).await,
    }
}

async fn list(arguments: List) -> Result<(), Failure> {
    let mut cluster = Cluster::connect(&arguments.server.bootstrap).await?;
    let groups = cluster.groups().await?;
    let mut listing = Listing::new(&["group", "state", "protocol"]);
    for group in &groups {
        listing.row(vec![group.group.clone(), group.state.clone(), group.protocol_type.clone()]);
    }
    let mut out = output(arguments.output);
    let value =
        || groups.iter().map(|g| json!({ "group": g.group, "state": g.state, "protocol_type": g.protocol_type })).collect();
    out.listing(&listing, value)?;
    Ok(out.flush()?)
}

/// A partition the group has to do with.
struct Row {
    topic: String,
    partition: i32,
    committed: Option<i64>,
    end: Option<i64>,
    member: String,
    host: String,
}

impl Row {
    /// Records between the committed offset and the end.
    fn lag(&self) -> Option<i64> {
        Some((self.end? - self.committed?).max(0))
    }
}

async fn describe(arguments: Describe) -> Result<(), Failure> {
    let mut cluster = Cluster::connect(&arguments.server.bootstrap).await?;
    let group = cluster.describe_group(&arguments.group).await?;
    let committed = cluster.committed(&arguments.group).await?;
    let rows = rows(&mut cluster, &group, &committed).await?;
    let mut out = output(arguments.output);
    if out.is_json() {
        out.sentence("", || description(&group, &rows))?;
        return Ok(out.flush()?);
    }
    let (members, protocol) = (group.members.len(), if group.protocol.is_empty() { "-" } else { &group.protocol });
    out.line(&format!("{}: {}, {members} members, assignor {protocol}", group.group, group.state))?;
    let mut listing = Listing::new(&["topic", "partition", "committed", "end", "lag", "member", "host"]);
    for row in &rows {
        listing.row(vec![
            row.topic.clone(),
            row.partition.to_string(),
            number(row.committed),
            number(row.end),
            number(row.lag()),
            row.member.clone(),
            row.host.clone(),
        ]);
    }
    out.listing(&listing, || Value::Null)?;
    Ok(out.flush()?)
}

fn number(value: Option<i64>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

async fn rows(cluster: &mut Cluster, group: &GroupDescription, committed: &[CommittedOffset]) -> Result<Vec<Row>, Failure> {
    let places: BTreeMap<(&str, i32), i64> = committed.iter().map(|at| ((at.topic.as_str(), at.partition), at.offset)).collect();
    let assigned = group.members.iter().flat_map(|member| &member.assignment).map(|(topic, index)| (topic.as_str(), *index));
    let partitions: BTreeSet<(&str, i32)> = places.keys().copied().chain(assigned).collect();
    let topics: BTreeSet<&str> = partitions.iter().map(|(topic, _)| *topic).collect();
    let mut ends = BTreeMap::new();
    for topic in topics {
        ends.insert(topic, ends_of(cluster, topic).await?);
    }
    let row = |&(topic, partition): &(&str, i32)| {
        let owner = group.owner(topic, partition);
        Row {
            topic: topic.to_owned(),
            partition,
            committed: places.get(&(topic, partition)).copied(),
            end: ends.get(topic).and_then(|ends| ends.get(&partition)).copied(),
            member: owner.map_or_else(|| "-".to_owned(), |member| member.member.clone()),
            host: owner.map_or_else(|| "-".to_owned(), |member| member.host.clone()),
        }
    };
    Ok(partitions.iter().map(row).collect())
}

/// The ends of a topic's partitions; none if the topic has been deleted.
async fn ends_of(cluster: &mut Cluster, topic: &str) -> Result<BTreeMap<i32, i64>, Failure> {
    let layout = match cluster.topic(topic, false).await {
        Err(error) if error.code() == Some(ErrorCode::UnknownTopicOrPartition) => return Ok(BTreeMap::new()),
        done => done?,
    };
    let indexes: Vec<i32> = layout.partitions.iter().map(|partition| partition.index).collect();
    Ok(cluster.offsets(&layout, &indexes, OffsetQuery::Latest).await?)
}

fn description(group: &GroupDescription, rows: &[Row]) -> Value {
    let members = group.members.iter().map(|member| {
        json!({
            "member": member.member,
            "instance": member.instance,
            "client": member.client,
            "host": member.host,
            "partitions": member.assignment.iter().map(|(topic, index)| format!("{topic}-{index}")).collect::<Vec<_>>(),
        })
    });
    let partitions = rows.iter().map(|row| {
        json!({
            "topic": row.topic,
            "partition": row.partition,
            "committed": row.committed,
            "end": row.end,
            "lag": row.lag(),
        })
    });
    json!({
        "group": group.group,
        "state": group.state,
        "assignor": group.protocol,
        "coordinator": group.coordinator,
        "members": members.collect::<Vec<_>>(),
        "partitions": partitions.collect::<Vec<_>>(),
    })
}

async fn reset_offsets(arguments: ResetOffsets) -> Result<(), Failure> {
    let mut cluster = Cluster::connect(&arguments.server.bootstrap).await?;
    let group = cluster.describe_group(&arguments.group).await?;
    if !group.members.is_empty() {
        return Err(Failure::GroupActive { group: arguments.group });
    }
    let committed = cluster.committed(&arguments.group).await?;
    let named: BTreeSet<&str> = arguments.topic.iter().map(String::as_str).collect();
    let topics = if named.is_empty() { committed.iter().map(|at| at.topic.as_str()).collect() } else { named };
    let mut targets = Vec::new();
    for topic in topics {
        targets.extend(targets_of(&mut cluster, topic, &arguments).await?);
    }
    if arguments.execute && !targets.is_empty() {
        cluster.commit_for_empty_group(&arguments.group, &targets).await?;
    }
    let before = |target: &CommittedOffset| {
        let found = committed.iter().find(|at| at.topic == target.topic && at.partition == target.partition);
        found.map(|at| at.offset)
    };
    let mut listing = Listing::new(&["topic", "partition", "from", "to"]);
    for target in &targets {
        listing.row(vec![target.topic.clone(), target.partition.to_string(), number(before(target)), target.offset.to_string()]);
    }
    let mut out = output(arguments.output);
    let change = |t: &CommittedOffset| json!({ "topic": t.topic, "partition": t.partition, "from": before(t), "to": t.offset });
    let value = || json!({ "executed": arguments.execute, "offsets": targets.iter().map(change).collect::<Vec<_>>() });
    out.listing(&listing, value)?;
    if !arguments.execute && !out.is_json() {
        out.line("nothing changed; add --execute to do it")?;
    }
    Ok(out.flush()?)
}

async fn targets_of(cluster: &mut Cluster, topic: &str, arguments: &ResetOffsets) -> Result<Vec<CommittedOffset>, Failure> {
    let layout = cluster.topic(topic, false).await?;
    let mut indexes: Vec<i32> = layout.partitions.iter().map(|partition| partition.index).collect();
    indexes.retain(|index| arguments.partition.is_empty() || arguments.partition.contains(index));
    let query = match &arguments.target {
        Target { to_time: Some(at), .. } => OffsetQuery::Time(*at),
        Target { to_latest: true, .. } => OffsetQuery::Latest,
        _ => OffsetQuery::Earliest,
    };
    let mut offsets = cluster.offsets(&layout, &indexes, query).await?;
    if let Some(wanted) = arguments.target.to_offset {
        let end = cluster.offsets(&layout, &indexes, OffsetQuery::Latest).await?;
        for (index, offset) in &mut offsets {
            let (start, end) = (*offset, end.get(index).copied().unwrap_or(*offset));
            *offset = wanted.min(end).max(start);
        }
    }
    Ok(offsets.into_iter().map(|(partition, offset)| CommittedOffset { topic: topic.to_owned(), partition, offset }).collect())
}

async fn delete(arguments: Delete) -> Result<(), Failure> {
    let mut cluster = Cluster::connect(&arguments.server.bootstrap).await?;
    let mut out = output(arguments.output);
    let mut failed = 0;
    for group in &arguments.groups {
        match cluster.delete_group(group).await {
            Ok(()) => out.sentence(&format!("deleted {group}"), || json!({ "group": group, "deleted": true }))?,
            Err(error) => {
                failed += 1;
                eprintln!("duolog: {error}");
            }
        }
    }
    out.flush()?;
    if failed > 0 { Err(Failure::Some { failed, all: arguments.groups.len() }) } else { Ok(()) }
}
