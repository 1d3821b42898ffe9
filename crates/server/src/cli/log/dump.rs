//! `duolog log dump`: walks over the frames and prints those that are wanted.

use super::names::Names;
use super::{Failure, OutputArguments, SHARED, json, log_error, output, partitions, text};
use crate::output::Output;
use clap::{Args, ValueEnum};
use duolog_base::{PartitionNumber, RealDisk};
use duolog_log::dedicated::PartitionName;
use duolog_log::inspect::{self, Frame, Item, Kind};
use std::path::PathBuf;
use std::sync::Arc;

#[derive(Args)]
pub(in crate::cli) struct Dump {
    /// A data directory, the directory of a partition (of Kafka's, too), or a directory of such
    #[arg(default_value = "./duolog-data")]
    directory: PathBuf,
    /// How deep to look
    #[arg(short, long, value_enum, default_value = "batches")]
    pub(super) show: Depth,
    /// Only this topic (repeatable)
    #[arg(short, long, value_name = "NAME")]
    topic: Vec<String>,
    /// Only this partition of the topics (repeatable)
    #[arg(short, long, value_name = "INDEX", requires = "topic")]
    partition: Vec<i32>,
    /// Only the partition with this number in the log, which a deleted topic's partitions keep (repeatable)
    #[arg(short, long, value_name = "NUMBER", conflicts_with = "topic")]
    number: Vec<u32>,
    /// End after this many frames
    #[arg(short, long, value_name = "N")]
    count: Option<u64>,
    #[command(flatten)]
    output: OutputArguments,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(super) enum Depth {
    /// One line a frame
    Frames,
    /// What the batch header says, too
    Batches,
    /// Every record, too
    Records,
}

impl Dump {
    /// The names of partitions. Without them numbers are shown, unless names are asked for.
    fn names(&self) -> Result<Names, Failure> {
        match Names::read(&self.directory) {
            Ok(names) => Ok(names),
            Err(failure) if !self.topic.is_empty() => Err(failure),
            Err(failure) => {
                eprintln!("duolog: partitions are shown by number: {failure}");
                Ok(Names::default())
            }
        }
    }

    fn check(&self, names: &Names) -> Result<(), Failure> {
        let unknown = self.topic.iter().find(|topic| !names.has_topic(topic));
        unknown.map_or(Ok(()), |topic| Err(Failure::NoTopic { topic: topic.clone() }))
    }

    fn wants_partition(&self, name: &PartitionName) -> bool {
        let topic = self.topic.is_empty() || self.topic.contains(&name.topic);
        topic && self.number.is_empty() && (self.partition.is_empty() || self.partition.contains(&name.index.0))
    }

    fn wants(&self, frame: &Frame, names: &Names) -> bool {
        let Some(partition) = partition(frame) else { return self.topic.is_empty() && self.number.is_empty() };
        if self.topic.is_empty() {
            return self.number.is_empty() || self.number.contains(&partition.0);
        }
        names.of(partition).is_some_and(|(topic, index)| {
            self.topic.iter().any(|wanted| wanted == topic) && (self.partition.is_empty() || self.partition.contains(&index))
        })
    }
}

pub(super) fn run(arguments: &Dump) -> Result<(), Failure> {
    let directories = partitions::find(&arguments.directory)?;
    let mut out = output(arguments.output);
    let mut left = arguments.count.unwrap_or(u64::MAX);
    if directories.is_empty() || partitions::is_data_directory(&arguments.directory) {
        frames(arguments, &mut out, &mut left)?;
    }
    for partition in directories.iter().filter(|partition| arguments.wants_partition(&partition.name)) {
        if left > 0 {
            partitions::dump(&mut out, arguments, partition, &mut left)?;
        }
    }
    Ok(out.flush()?)
}

/// What is in the commit log.
fn frames(arguments: &Dump, out: &mut Output, left: &mut u64) -> Result<(), Failure> {
    let directory = arguments.directory.join(SHARED);
    let frames = inspect::frames(Arc::new(RealDisk), &directory).map_err(log_error(&directory))?;
    let names = arguments.names()?;
    arguments.check(&names)?;
    for item in frames {
        let item = item.map_err(log_error(&directory))?;
        if matches!(&item, Item::Frame(frame) if !arguments.wants(frame, &names)) {
            continue;
        }
        if *left == 0 {
            break;
        }
        *left -= 1;
        if out.is_json() {
            out.json_line(&json::item(&item, arguments.show, &names))?;
        } else {
            text::print(out, &item, arguments.show, &names)?;
        }
    }
    Ok(())
}

/// Whom the frame belongs to, if not to the log as a whole.
pub(super) fn partition(frame: &Frame) -> Option<PartitionNumber> {
    (frame.kind != Kind::GenerationStart).then_some(frame.partition)
}

pub(super) fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Batch => "batch",
        Kind::Truncation => "truncation",
        Kind::LogStart => "log-start",
        Kind::Drop => "drop",
        Kind::GenerationStart => "generation",
    }
}
