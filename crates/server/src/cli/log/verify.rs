//! `duolog log verify`: every checksum, and whether the indexes agree with the log, of the commit log and of each partition that has
//! files of its own.

use super::{Failure, OutputArguments, SHARED, log_error, output, partitions};
use crate::output::Listing;
use clap::Args;
use duolog_base::RealDisk;
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

/// What was found, in the commit log if there is one and in the partitions.
struct Found {
    shared: Option<VerifyReport>,
    partitions: Vec<PartitionReport>,
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
    let shared = match directories.is_empty() || partitions::is_data_directory(&arguments.directory) {
        true => {
            let directory = arguments.directory.join(SHARED);
            Some(inspect::verify(Arc::new(RealDisk), &directory).map_err(log_error(&directory))?)
        }
        false => None,
    };
    let verify =
        |known: &partitions::Directory| dedicated::verify(Arc::new(RealDisk), &known.path).map_err(log_error(&known.path));
    Ok(Found { shared, partitions: directories.iter().map(verify).collect::<Result<_, _>>()? })
}

impl Found {
    fn problems(&self) -> u64 {
        let shared = self.shared.as_ref().map_or(0, |report| report.problem_count);
        shared + self.partitions.iter().map(|report| report.problem_count).sum::<u64>()
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
        format!("{}: {} problems", parts.join("; "), self.problems())
    }

    fn listing(&self) -> Listing {
        let mut listing = Listing::new(&["file", "position", "partition", "problem"]);
        let number = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
        for found in self.shared.iter().flat_map(|report| &report.problems) {
            listing.row(vec![
                found.file.display().to_string(),
                number(found.position.map(|position| position.to_string())),
                number(found.partition.map(|partition| partition.to_string())),
                found.problem.to_owned(),
            ]);
        }
        for found in self.partitions.iter().flat_map(|report| &report.problems) {
            let position = number(found.position.map(|position| position.to_string()));
            listing.row(vec![found.file.display().to_string(), position, number(None), found.problem.to_owned()]);
        }
        listing
    }

    fn json(&self) -> Value {
        let shared = self.shared.iter().flat_map(|report| &report.problems).map(|found| {
            json!({
                "file": found.file,
                "position": found.position.map(|position| position.0),
                "partition": found.partition.map(|partition| partition.0),
                "problem": found.problem,
            })
        });
        let partitions = self.partitions.iter().flat_map(|report| &report.problems);
        let partitions =
            partitions.map(|found| json!({ "file": found.file, "position": found.position, "problem": found.problem }));
        let both = |of: fn(&VerifyReport) -> u64, dedicated: fn(&PartitionReport) -> u64| {
            self.shared.as_ref().map_or(0, of) + self.sum(dedicated)
        };
        json!({
            "files": self.shared.as_ref().map_or(0, |report| report.files),
            "frames": self.shared.as_ref().map_or(0, |report| report.frames),
            "partition_directories": self.partitions.len(),
            "segments": self.sum(|report| report.segments as u64),
            "batches": both(|report| report.batches, |report| report.batches),
            "bytes": both(|report| report.bytes, |report| report.bytes),
            "index_entries": both(|report| report.entries, |report| report.entries),
            "problem_count": self.problems(),
            "problems": shared.chain(partitions).collect::<Vec<_>>(),
        })
    }
}
