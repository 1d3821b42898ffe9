//! `duolog log verify`: every checksum, and whether the indexes agree with the log, of the commit log, of each partition that has
//! files of its own, and of the metadata.

use super::{Failure, OutputArguments, SHARED, log_error, metadata, output, partitions};
use crate::output::Listing;
use clap::Args;
use duolog_base::{PartitionNumber, RealDisk};
use duolog_log::dedicated::inspect::{self as dedicated, VerifyReport as PartitionReport};
use duolog_log::inspect::{self, VerifyReport};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::sync::Arc;

#[derive(Args)]
pub(in crate::cli) struct Verify {
    /// A data directory, the directory of a partition (of Kafka's, too), or a directory of such
    #[arg(default_value = "./duolog-data")]
    directory: PathBuf,
    #[command(flatten)]
    output: OutputArguments,
}

/// Something that is not as it should be.
#[derive(Clone)]
pub(super) struct Finding {
    pub(super) file: PathBuf,
    pub(super) position: Option<u64>,
    pub(super) partition: Option<PartitionNumber>,
    pub(super) problem: String,
}

/// What was found in the commit log if there is one, in the partitions, and in the metadata if it is here.
struct Found {
    shared: Option<VerifyReport>,
    partitions: Vec<PartitionReport>,
    metadata: Option<metadata::Found>,
}

pub(super) fn run(arguments: &Verify) -> Result<(), Failure> {
    let found = look(arguments)?;
    let mut out = output(arguments.output);
    if !out.is_json() && found.problems() > 0 {
        out.listing(&found.listing(), || Value::Null)?;
    }
    out.sentence(&found.sentence(), || found.json())?;
    out.flush()?;
    match found.problems() {
        0 => Ok(()),
        problems => Err(Failure::Problems { problems }),
    }
}

fn look(arguments: &Verify) -> Result<Found, Failure> {
    let directories = partitions::find(&arguments.directory)?;
    let whole = partitions::is_data_directory(&arguments.directory);
    let shared = match directories.is_empty() || whole {
        true => {
            let directory = arguments.directory.join(SHARED);
            Some(inspect::verify(Arc::new(RealDisk), &directory).map_err(log_error(&directory))?)
        }
        false => None,
    };
    let verify =
        |known: &partitions::Directory| dedicated::verify(Arc::new(RealDisk), &known.path).map_err(log_error(&known.path));
    let partitions: Vec<PartitionReport> = directories.iter().map(verify).collect::<Result<_, _>>()?;
    let data = metadata::Data { shared: shared.as_ref(), partitions: directories.iter().zip(&partitions).collect() };
    let metadata = if whole { metadata::look(&arguments.directory, &data)? } else { None };
    Ok(Found { shared, partitions, metadata })
}

impl Found {
    fn problems(&self) -> u64 {
        let shared = self.shared.as_ref().map_or(0, |report| report.problem_count);
        let metadata = self.metadata.as_ref().map_or(0, |found| found.findings.len() as u64);
        shared + self.sum(|report| report.problem_count) + metadata
    }

    fn sum(&self, of: impl Fn(&PartitionReport) -> u64) -> u64 {
        self.partitions.iter().map(of).sum()
    }

    fn sentence(&self) -> String {
        let mut parts = Vec::new();
        if let Some(VerifyReport { files, frames, batches, bytes, entries, .. }) = &self.shared {
            parts.push(format!("{files} files, {frames} frames, {batches} batches of {bytes} bytes, {entries} index entries"));
        }
        if !self.partitions.is_empty() {
            let (segments, batches) = (self.sum(|report| report.segments as u64), self.sum(|report| report.batches));
            let (bytes, entries) = (self.sum(|report| report.bytes), self.sum(|report| report.entries));
            let count = self.partitions.len();
            parts.push(format!(
                "{count} partition directories, {segments} segments, {batches} batches of {bytes} bytes, {entries} index entries"
            ));
        }
        if let Some(metadata) = &self.metadata {
            parts.push(format!("{} metadata files", metadata.files));
        }
        format!("{}: {} problems", parts.join("; "), self.problems())
    }

    fn findings(&self) -> Vec<Finding> {
        let shared = self.shared.iter().flat_map(|report| &report.problems).map(|found| Finding {
            file: found.file.clone(),
            position: found.position.map(|position| position.0),
            partition: found.partition,
            problem: found.problem.to_owned(),
        });
        let partitions = self.partitions.iter().flat_map(|report| &report.problems).map(|found| Finding {
            file: found.file.clone(),
            position: found.position,
            partition: None,
            problem: found.problem.to_owned(),
        });
        let metadata = self.metadata.iter().flat_map(|found| &found.findings).cloned();
        shared.chain(partitions).chain(metadata).collect()
    }

    fn listing(&self) -> Listing {
        let mut listing = Listing::new(&["file", "position", "partition", "problem"]);
        let number = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
        for found in self.findings() {
            listing.row(vec![
                found.file.display().to_string(),
                number(found.position.map(|position| position.to_string())),
                number(found.partition.map(|partition| partition.to_string())),
                found.problem,
            ]);
        }
        listing
    }

    fn json(&self) -> Value {
        let problem = |found: Finding| {
            json!({
                "file": found.file,
                "position": found.position,
                "partition": found.partition.map(|partition| partition.0),
                "problem": found.problem,
            })
        };
        let both = |of: fn(&VerifyReport) -> u64, dedicated: fn(&PartitionReport) -> u64| {
            self.shared.as_ref().map_or(0, of) + self.sum(dedicated)
        };
        json!({
            "files": self.shared.as_ref().map_or(0, |report| report.files),
            "frames": self.shared.as_ref().map_or(0, |report| report.frames),
            "partition_directories": self.partitions.len(),
            "metadata_files": self.metadata.as_ref().map_or(0, |found| found.files),
            "segments": self.sum(|report| report.segments as u64),
            "batches": both(|report| report.batches, |report| report.batches),
            "bytes": both(|report| report.bytes, |report| report.bytes),
            "index_entries": both(|report| report.entries, |report| report.entries),
            "problem_count": self.problems(),
            "problems": self.findings().into_iter().map(problem).collect::<Vec<_>>(),
        })
    }
}
