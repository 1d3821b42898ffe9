//! `duolog topic ...`: create, list, describe, alter, delete.

use super::arguments::pair;
use super::{Failure, OutputArguments, ServerArguments, output};
use crate::client::{Cluster, ConfigChange, ConfigEntry, NewTopicSpec, OffsetQuery, TopicLayout};
use crate::output::{Listing, Output};
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use std::collections::BTreeMap;

#[derive(Subcommand)]
pub(super) enum TopicCommand {
    /// Create a topic
    Create(Create),
    /// List the topics
    List(List),
    /// Show partitions, offsets and configuration of topics
    Describe(Describe),
    /// Change the configuration or raise the number of partitions
    Alter(Alter),
    /// Delete topics and everything in them
    Delete(Delete),
}

#[derive(Args)]
pub(super) struct Create {
    topic: String,
    /// How many partitions; the server's default otherwise
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(i32).range(1..))]
    partitions: Option<i32>,
    /// How many replicas a partition; the server's default otherwise
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(i16).range(1..))]
    replication_factor: Option<i16>,
    /// A configuration value, such as retention.ms=60000
    #[arg(short, long = "set", value_name = "KEY=VALUE", value_parser = pair)]
    set: Vec<(String, String)>,
    /// It is no error if the topic exists already
    #[arg(long)]
    if_not_exists: bool,
    #[command(flatten)]
    server: ServerArguments,
    #[command(flatten)]
    output: OutputArguments,
}

#[derive(Args)]
pub(super) struct List {
    /// Internal topics, too
    #[arg(short, long)]
    all: bool,
    #[command(flatten)]
    server: ServerArguments,
    #[command(flatten)]
    output: OutputArguments,
}

#[derive(Args)]
pub(super) struct Describe {
    #[arg(required = true)]
    topics: Vec<String>,
    /// Every configuration value, not only those set on the topic
    #[arg(short, long)]
    all: bool,
    #[command(flatten)]
    server: ServerArguments,
    #[command(flatten)]
    output: OutputArguments,
}

#[derive(Args)]
pub(super) struct Alter {
    topic: String,
    /// Raise the number of partitions to N
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(i32).range(1..), required_unless_present_any = ["set", "unset"])]
    partitions: Option<i32>,
    /// Set a configuration value
    #[arg(short, long = "set", value_name = "KEY=VALUE", value_parser = pair)]
    set: Vec<(String, String)>,
    /// Go back to the server's default
    #[arg(short, long = "unset", value_name = "KEY")]
    unset: Vec<String>,
    #[command(flatten)]
    server: ServerArguments,
    #[command(flatten)]
    output: OutputArguments,
}

#[derive(Args)]
pub(super) struct Delete {
    #[arg(required = true)]
    topics: Vec<String>,
    #[command(flatten)]
    server: ServerArguments,
    #[command(flatten)]
    output: OutputArguments,
}

pub(super) async fn run(command: TopicCommand) -> Result<(), Failure> {
    match command {
        TopicCommand::Create(arguments) => create(arguments).await,
        TopicCommand::List(arguments) => list(arguments).await,
        TopicCommand::Describe(arguments) => describe(arguments).await,
        TopicCommand::Alter(arguments) => alter(arguments).await,
        TopicCommand::Delete(arguments) => delete(arguments).await,
    }
}

async fn create(arguments: Create) -> Result<(), Failure> {
    let mut cluster = Cluster::connect(&arguments.server.bootstrap).await?;
    let name = &arguments.topic;
    let spec = NewTopicSpec {
        name: name.clone(),
        partitions: arguments.partitions,
        replication_factor: arguments.replication_factor,
        configs: arguments.set,
    };
    let created = match cluster.create_topic(&spec).await {
        Err(error) if arguments.if_not_exists && error.code() == Some(duolog_wire::kafka::ErrorCode::TopicAlreadyExists) => false,
        done => done.map(|()| true)?,
    };
    let partitions = cluster.topic_at_last(name).await?.partitions.len();
    let verb = if created { "created" } else { "exists" };
    let mut out = output(arguments.output);
    out.sentence(
        &format!("{verb} {name} with {partitions} partitions"),
        || json!({ "topic": name, "created": created, "partitions": partitions }),
    )?;
    Ok(out.flush()?)
}

async fn list(arguments: List) -> Result<(), Failure> {
    let mut cluster = Cluster::connect(&arguments.server.bootstrap).await?;
    let mut topics = cluster.topics().await?;
    topics.retain(|topic| arguments.all || !topic.internal);
    topics.sort_by(|a, b| a.name.cmp(&b.name));
    let mut listing = Listing::new(&["topic", "partitions", "replicas"]);
    for topic in &topics {
        listing.row(vec![topic.name.clone(), topic.partitions.len().to_string(), replicas(topic).to_string()]);
    }
    let mut out = output(arguments.output);
    out.listing(&listing, || Value::Array(topics.iter().map(summary).collect()))?;
    Ok(out.flush()?)
}

fn replicas(topic: &TopicLayout) -> usize {
    topic.partitions.first().map_or(0, |partition| partition.replicas.len())
}

fn summary(topic: &TopicLayout) -> Value {
    json!({
        "topic": topic.name,
        "id": topic.id.to_string(),
        "partitions": topic.partitions.len(),
        "replicas": replicas(topic),
        "internal": topic.internal,
    })
}

async fn describe(arguments: Describe) -> Result<(), Failure> {
    let mut cluster = Cluster::connect(&arguments.server.bootstrap).await?;
    let mut out = output(arguments.output);
    let mut described = Vec::new();
    for name in &arguments.topics {
        let topic = cluster.topic(name, false).await?;
        let indexes: Vec<i32> = topic.partitions.iter().map(|partition| partition.index).collect();
        let start = cluster.offsets(&topic, &indexes, OffsetQuery::Earliest).await?;
        let end = cluster.offsets(&topic, &indexes, OffsetQuery::Latest).await?;
        let mut configs = cluster.topic_configs(name).await?;
        configs.retain(|entry| arguments.all || entry.overridden);
        if out.is_json() {
            described.push(description(&topic, &start, &end, &configs));
        } else {
            print_description(&mut out, &topic, &start, &end, &configs)?;
        }
    }
    if out.is_json() {
        out.sentence("", || Value::Array(described))?;
    }
    Ok(out.flush()?)
}

type Offsets = BTreeMap<i32, i64>;

fn print_description(
    out: &mut Output,
    topic: &TopicLayout,
    start: &Offsets,
    end: &Offsets,
    configs: &[ConfigEntry],
) -> std::io::Result<()> {
    out.line(&format!("{} ({}), {} partitions", topic.name, topic.id, topic.partitions.len()))?;
    for entry in configs {
        out.line(&format!("  {} = {}", entry.key, entry.value.as_deref().unwrap_or("(hidden)")))?;
    }
    let mut listing = Listing::new(&["partition", "leader", "epoch", "replicas", "in sync", "start", "end"]);
    for partition in &topic.partitions {
        listing.row(vec![
            partition.index.to_string(),
            partition.leader.to_string(),
            partition.leader_epoch.to_string(),
            joined(&partition.replicas),
            joined(&partition.in_sync),
            offset(start, partition.index),
            offset(end, partition.index),
        ]);
    }
    out.listing(&listing, || Value::Null)
}

fn offset(offsets: &Offsets, partition: i32) -> String {
    offsets.get(&partition).map_or_else(|| "-".to_owned(), i64::to_string)
}

fn joined(nodes: &[i32]) -> String {
    let names: Vec<String> = nodes.iter().map(i32::to_string).collect();
    names.join(",")
}

fn description(topic: &TopicLayout, start: &Offsets, end: &Offsets, configs: &[ConfigEntry]) -> Value {
    let partitions: Vec<Value> = topic
        .partitions
        .iter()
        .map(|partition| {
            json!({
                "partition": partition.index,
                "leader": partition.leader,
                "leader_epoch": partition.leader_epoch,
                "replicas": partition.replicas,
                "in_sync": partition.in_sync,
                "start_offset": start.get(&partition.index),
                "end_offset": end.get(&partition.index),
            })
        })
        .collect();
    let configs: BTreeMap<&str, Option<&str>> =
        configs.iter().map(|entry| (entry.key.as_str(), entry.value.as_deref())).collect();
    let mut value = summary(topic);
    value["partitions"] = Value::Array(partitions);
    value["configs"] = json!(configs);
    value
}

async fn alter(arguments: Alter) -> Result<(), Failure> {
    let mut cluster = Cluster::connect(&arguments.server.bootstrap).await?;
    let name = &arguments.topic;
    let set = arguments.set.into_iter().map(|(key, value)| ConfigChange { key, value: Some(value) });
    let unset = arguments.unset.into_iter().map(|key| ConfigChange { key, value: None });
    let changes: Vec<ConfigChange> = set.chain(unset).collect();
    if !changes.is_empty() {
        cluster.alter_topic_configs(name, &changes).await?;
    }
    if let Some(count) = arguments.partitions {
        cluster.create_partitions(name, count).await?;
    }
    let mut out = output(arguments.output);
    out.sentence(&format!("altered {name}"), || json!({ "topic": name, "altered": true }))?;
    Ok(out.flush()?)
}

async fn delete(arguments: Delete) -> Result<(), Failure> {
    let mut cluster = Cluster::connect(&arguments.server.bootstrap).await?;
    let mut out = output(arguments.output);
    let mut failed = 0;
    for name in &arguments.topics {
        let outcome = cluster.delete_topic(name).await;
        match &outcome {
            Ok(()) => out.sentence(&format!("deleted {name}"), || json!({ "topic": name, "deleted": true }))?,
            Err(error) => {
                failed += 1;
                eprintln!("duolog: {error}");
            }
        }
    }
    out.flush()?;
    if failed > 0 { Err(Failure::Some { failed, all: arguments.topics.len() }) } else { Ok(()) }
}
