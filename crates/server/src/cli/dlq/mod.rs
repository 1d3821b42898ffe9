//! `duolog dlq ...`: list, show, redrive and discard the messages that groups gave up.
//!
//! The dead letters of a group of RocketMQ clients are the records of the topic `%DLQ%` and its name; those of a share group lie in the topic that
//! the group is configured to have, which may have those of other groups, too.

mod letters;
mod redrive;

use super::{Failure, OutputArguments, ServerArguments, output};
use crate::client::{Cluster, TopicLayout};
use crate::output::Listing;
use clap::{Args, Subcommand};
use duolog_rocketmq::names::{DEAD_LETTER_PREFIX, dead_letter_topic};
use duolog_wire::kafka::ErrorCode;
use letters::{Letters, Places};
use serde_json::{Value, json};
use std::collections::BTreeMap;

#[derive(Subcommand)]
pub(super) enum DlqCommand {
    /// List the groups that have dead letters
    List(List),
    /// Show a group's dead letters: where they come from, how often they were tried, why they were given up
    Show(Show),
    /// Send dead letters to their topics again, each of them once, however often this is run
    Redrive(redrive::Redrive),
    /// Delete dead letters
    Discard(Discard),
}

#[derive(Args)]
pub(super) struct List {
    #[command(flatten)]
    server: ServerArguments,
    #[command(flatten)]
    output: OutputArguments,
}

#[derive(Args)]
pub(super) struct Show {
    group: String,
    /// Show so many at most, the oldest of each partition first
    #[arg(short, long, value_name = "N", default_value_t = 100)]
    limit: usize,
    /// Only those that were not sent again
    #[arg(long)]
    waiting: bool,
    #[command(flatten)]
    server: ServerArguments,
    #[command(flatten)]
    output: OutputArguments,
}

#[derive(Args)]
pub(super) struct Discard {
    group: String,
    #[command(flatten)]
    which: Which,
    /// Only this partition of the dead letters
    #[arg(short, long, value_name = "N")]
    partition: Option<i32>,
    #[command(flatten)]
    server: ServerArguments,
    #[command(flatten)]
    output: OutputArguments,
}

#[derive(Args)]
#[group(required = true, multiple = false)]
struct Which {
    /// Those that were sent again
    #[arg(long)]
    redriven: bool,
    /// Those before this offset
    #[arg(long, value_name = "OFFSET")]
    before: Option<i64>,
    /// All of them
    #[arg(long)]
    all: bool,
}

pub(super) async fn run(command: DlqCommand) -> Result<(), Failure> {
    match command {
        DlqCommand::List(arguments) => list(arguments).await,
        DlqCommand::Show(arguments) => show(arguments).await,
        DlqCommand::Redrive(arguments) => redrive::run(arguments).await,
        DlqCommand::Discard(arguments) => discard(arguments).await,
    }
}

/// The key of a share group that names its topic.
const TOPIC_OF_SHARE_GROUP: &str = "errors.deadletterqueue.topic.name";

/// The topic of a group's dead letters.
async fn topic_of(cluster: &mut Cluster, group: &str) -> Result<TopicLayout, Failure> {
    let configured = cluster.group_config(group, TOPIC_OF_SHARE_GROUP).await?.filter(|topic| !topic.is_empty());
    let topic = configured.unwrap_or_else(|| dead_letter_topic(group));
    // What is not there and could not be made by a Kafka client has an invalid name.
    let is_missing = |code| matches!(code, ErrorCode::UnknownTopicOrPartition | ErrorCode::InvalidTopicException);
    match cluster.topic(&topic, false).await {
        Err(error) if error.code().is_some_and(is_missing) => Err(Failure::NoDeadLetters { group: group.to_owned(), topic }),
        done => Ok(done?),
    }
}

async fn list(arguments: List) -> Result<(), Failure> {
    let mut cluster = Cluster::connect(&arguments.server.bootstrap).await?;
    let mut topics = cluster.topics().await?;
    topics.retain(|topic| topic.name.starts_with(DEAD_LETTER_PREFIX));
    topics.sort_by(|a, b| a.name.cmp(&b.name));
    let mut listing = Listing::new(&["group", "letters", "waiting"]);
    let mut values = Vec::new();
    for topic in &topics {
        let group = topic.name.trim_start_matches(DEAD_LETTER_PREFIX);
        let places = Places::of(&mut cluster, topic, group).await?;
        let (letters, waiting) = (places.letters(), places.waiting());
        listing.row(vec![group.to_owned(), letters.to_string(), waiting.to_string()]);
        values.push(json!({ "group": group, "topic": topic.name, "letters": letters, "waiting": waiting }));
    }
    let mut out = output(arguments.output);
    out.listing(&listing, || Value::Array(values))?;
    Ok(out.flush()?)
}

async fn show(arguments: Show) -> Result<(), Failure> {
    let mut cluster = Cluster::connect(&arguments.server.bootstrap).await?;
    let topic = topic_of(&mut cluster, &arguments.group).await?;
    let places = Places::of(&mut cluster, &topic, &arguments.group).await?;
    let headings = ["partition", "offset", "time", "topic", "from", "at", "attempts", "reason", "key", "bytes"];
    let (mut listing, mut values) = (Listing::new(&headings), Vec::new());
    for (&partition, place) in &places.partitions {
        let from = if arguments.waiting { place.next } else { place.start };
        let mut letters = Letters::new(Some(&arguments.group), &topic, partition, from, place.end);
        while values.len() < arguments.limit
            && let Some(record) = letters.next(&mut cluster).await?
        {
            listing.row(letters::row(&record));
            values.push(letters::value(&record, place));
        }
    }
    let mut out = output(arguments.output);
    out.listing(&listing, || Value::Array(values))?;
    Ok(out.flush()?)
}

async fn discard(arguments: Discard) -> Result<(), Failure> {
    let mut cluster = Cluster::connect(&arguments.server.bootstrap).await?;
    let topic = topic_of(&mut cluster, &arguments.group).await?;
    let places = Places::of(&mut cluster, &topic, &arguments.group).await?;
    if let Some(partition) = arguments.partition.filter(|partition| !places.partitions.contains_key(partition)) {
        return Err(Failure::NoPartition { topic: topic.name, partition });
    }
    let chosen = places.partitions.iter().filter(|(index, _)| arguments.partition.is_none_or(|only| only == **index));
    let before: BTreeMap<i32, (i64, i64)> = chosen
        .map(|(index, place)| {
            let wanted = match arguments.which {
                Which { before: Some(offset), .. } => offset,
                Which { all: true, .. } => place.end,
                _ => place.next,
            };
            (*index, (place.start, wanted.clamp(place.start, place.end)))
        })
        .filter(|(_, (start, before))| before > start)
        .collect();
    for (index, (start, before)) in &before {
        let mut letters = Letters::new(None, &topic, *index, *start, *before);
        while let Some(record) = letters.next(&mut cluster).await? {
            if !letters::is_of(&record, &arguments.group) {
                return Err(Failure::OthersLetter { topic: topic.name, partition: *index, offset: record.offset });
            }
        }
    }
    let ends: BTreeMap<i32, i64> = before.iter().map(|(index, (_, before))| (*index, *before)).collect();
    cluster.delete_records(&topic, &ends).await?;
    let mut listing = Listing::new(&["partition", "before", "discarded"]);
    for (index, (start, before)) in &before {
        listing.row(vec![index.to_string(), before.to_string(), (before - start).to_string()]);
    }
    let value = |(index, (start, before)): (&i32, &(i64, i64))| json!({ "partition": index, "before": before, "discarded": before - start });
    let mut out = output(arguments.output);
    out.listing(&listing, || json!({ "group": arguments.group, "partitions": before.iter().map(value).collect::<Vec<_>>() }))?;
    Ok(out.flush()?)
}
