//! `duolog log import`: topics from a log directory of Apache Kafka, with their offsets.
//!
//! No server may run. Says what was taken over; of what a topic's directories do not tell, its configuration, it says that too.

use super::partitions::{self, Directory};
use super::{Failure, OutputArguments, log_error, names, output};
use crate::cli::arguments::pair;
use crate::cli::wait_for;
use crate::output::Listing;
use clap::Args;
use duolog_base::{PartitionIndex, RealDisk, SystemClock, TopicId};
use duolog_core::broker::{Adopted, AdoptedTopic, BrokerOptions, adopt};
use duolog_core::config::BrokerConfig;
use duolog_core::metadata::is_internal_topic;
use duolog_log::dedicated::inspect;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What Kafka keeps beside ordinary topics, and no client can read.
const CLUSTER_METADATA: &str = "__cluster_metadata";

#[derive(Args)]
pub(in crate::cli) struct Import {
    /// A log directory of Kafka (log.dirs) or the directory of one partition; several if the topics are spread over them
    #[arg(required = true, value_name = "KAFKA_LOG_DIR")]
    from: Vec<PathBuf>,
    /// The data directory that gets the topics; repeatable, all those of the node
    #[arg(long, value_name = "DIR", default_value = "./duolog-data")]
    data_dir: Vec<PathBuf>,
    /// Only this topic (repeatable); without it all but internal ones
    #[arg(short, long, value_name = "NAME")]
    topic: Vec<String>,
    /// A configuration of the topics (repeatable): it is not in Kafka's log directories, so defaults apply otherwise
    #[arg(short, long, value_name = "KEY=VALUE", value_parser = pair)]
    config: Vec<(String, String)>,
    #[command(flatten)]
    output: OutputArguments,
}

/// Why there is nothing that could be taken over.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ImportProblem {
    #[error("topic {topic} is internal: what is in it is of use to the cluster that wrote it only")]
    Internal { topic: String },
    #[error("topic {topic} has no partition {missing} in the given directories, but one of index {highest}")]
    Gap { topic: String, missing: i32, highest: i32 },
    #[error("partition {index} of topic {topic} is in {first} and in {second}")]
    Twice { topic: String, index: i32, first: PathBuf, second: PathBuf },
    #[error("{first} and {second} say different topic ids for one topic")]
    TwoIds { first: PathBuf, second: PathBuf },
    #[error("topic {topic} is not in the given directories")]
    NotThere { topic: String },
    #[error("no topic is in the given directories")]
    Nothing,
    #[error("{path} lies in the data directory {data_dir}")]
    Inside { path: PathBuf, data_dir: PathBuf },
}

/// The directories of a topic's partitions.
type Found = BTreeMap<String, BTreeMap<i32, PathBuf>>;

pub(super) fn run(arguments: Import) -> Result<(), Failure> {
    let found = arguments.find()?;
    let (found, skipped) = arguments.choose(found)?;
    let configs: BTreeMap<String, String> = arguments.config.iter().cloned().collect();
    let topics =
        found.into_iter().map(|(name, partitions)| described(name, partitions, &configs)).collect::<Result<Vec<_>, _>>()?;
    let options = BrokerOptions {
        data_dirs: arguments.data_dir.clone(),
        config: arguments.node()?,
        disk: Arc::new(RealDisk),
        clock: Arc::new(SystemClock::default()),
        cluster: None,
    };
    wait_for(async { arguments.report(&adopt(options, topics).await?, &skipped) })
}

impl Import {
    fn find(&self) -> Result<Found, Failure> {
        let mut found = Found::new();
        for from in &self.from {
            self.check_outside(from)?;
            for Directory { name, path } in partitions::find(from)? {
                let indexes = found.entry(name.topic.clone()).or_default();
                if let Some(first) = indexes.insert(name.index.0, path.clone()) {
                    let (topic, index) = (name.topic, name.index.0);
                    return Err(ImportProblem::Twice { topic, index, first, second: path }.into());
                }
            }
        }
        Ok(found)
    }

    /// What lies in the data directory is the node's already.
    fn check_outside(&self, from: &Path) -> Result<(), Failure> {
        let source = from.canonicalize().map_err(log_error(from))?;
        for data_dir in &self.data_dir {
            if data_dir.canonicalize().is_ok_and(|data| source.starts_with(data)) {
                return Err(ImportProblem::Inside { path: from.to_owned(), data_dir: data_dir.clone() }.into());
            }
        }
        Ok(())
    }

    /// The topics that are wanted, and the internal ones that were left out.
    fn choose(&self, mut found: Found) -> Result<(Found, Vec<String>), Failure> {
        let internal = |topic: &str| is_internal_topic(topic) || topic == CLUSTER_METADATA;
        for topic in &self.topic {
            if internal(topic) {
                return Err(ImportProblem::Internal { topic: topic.clone() }.into());
            }
            if !found.contains_key(topic) {
                return Err(ImportProblem::NotThere { topic: topic.clone() }.into());
            }
        }
        found.retain(|topic, _| self.topic.is_empty() || self.topic.contains(topic));
        let skipped: Vec<String> = found.keys().filter(|topic| internal(topic)).cloned().collect();
        found.retain(|topic, _| !internal(topic));
        match (found.is_empty(), skipped.first()) {
            (false, _) => Ok((found, skipped)),
            (true, Some(topic)) => Err(ImportProblem::Internal { topic: topic.clone() }.into()),
            (true, None) => Err(ImportProblem::Nothing.into()),
        }
    }

    /// The node that the data directories belong to; a new one is node 1.
    fn node(&self) -> Result<BrokerConfig, Failure> {
        let mut config = BrokerConfig::default();
        if let Some(home) = self.data_dir.iter().find(|path| names::has_metadata(path))
            && let Some(node) = names::image(home)?.nodes.values().next()
        {
            (config.node_id, config.rack) = (node.id.0, node.rack.clone());
        }
        Ok(config)
    }

    fn report(&self, adopted: &[Adopted], skipped: &[String]) -> Result<(), Failure> {
        let mut listing = Listing::new(&["partition", "start", "end", "segments", "bytes", "torn bytes"]);
        for one in adopted.iter().flat_map(|topic| &topic.partitions) {
            listing.row(vec![
                one.name.to_string(),
                one.start.to_string(),
                one.end.to_string(),
                one.segments.to_string(),
                one.bytes.to_string(),
                one.torn_bytes.to_string(),
            ]);
        }
        let mut out = output(self.output);
        out.listing(&listing, || adopted.iter().map(adopted_json).collect())?;
        out.flush()?;
        for topic in skipped {
            eprintln!("duolog: internal topic {topic} left out");
        }
        if self.config.is_empty() {
            eprintln!("duolog: Kafka's log directories do not hold topic configurations; defaults apply, retention among them");
        }
        Ok(())
    }
}

fn described(name: String, found: BTreeMap<i32, PathBuf>, configs: &BTreeMap<String, String>) -> Result<AdoptedTopic, Failure> {
    let highest = found.keys().next_back().copied().unwrap_or(0);
    if let Some((missing, _)) = (0..).zip(found.keys()).find(|(expected, index)| expected != *index) {
        return Err(ImportProblem::Gap { topic: name, missing, highest }.into());
    }
    let mut id: Option<(TopicId, &PathBuf)> = None;
    for path in found.values() {
        let Some(own) = inspect::topic_id(&RealDisk, path).map_err(log_error(path))? else { continue };
        match id {
            Some((known, first)) if known != own => {
                return Err(ImportProblem::TwoIds { first: first.clone(), second: path.clone() }.into());
            }
            _ => id = Some((own, path)),
        }
    }
    let id = id.map(|(id, _)| id);
    Ok(AdoptedTopic { name, id, partitions: found.into_values().collect(), configs: configs.clone() })
}

fn adopted_json(adopted: &Adopted) -> Value {
    let partitions = adopted.partitions.iter().map(|one| {
        let PartitionIndex(index) = one.name.index;
        json!({
            "index": index,
            "start": one.start.0,
            "end": one.end.0,
            "segments": one.segments,
            "batches": one.batches,
            "bytes": one.bytes,
            "torn_bytes": one.torn_bytes,
        })
    });
    json!({ "topic": adopted.topic.name, "id": adopted.topic.id.to_string(), "partitions": partitions.collect::<Vec<_>>() })
}
