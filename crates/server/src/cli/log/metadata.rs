//! `duolog log verify` for the metadata: its own files, and whether it is as new as the batches in the data directory.
//!
//! A metadata file that was exchanged for an older copy may be sound. But a partition has its number in the metadata before it has a
//! batch, and a leader its epoch before it writes one.

use super::verify::Finding;
use super::{Failure, log_error, names, partitions};
use duolog_base::{LeaderEpoch, RealDisk};
use duolog_core::metadata::{MetadataImage, MetadataOpenError, PartitionImage, verify};
use duolog_log::dedicated::inspect::VerifyReport as PartitionReport;
use duolog_log::inspect::VerifyReport;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What the metadata is compared with.
pub(super) struct Data<'a> {
    pub(super) shared: Option<&'a VerifyReport>,
    pub(super) partitions: Vec<(&'a partitions::Directory, &'a PartitionReport)>,
}

/// What was found.
pub(super) struct Found {
    pub(super) files: usize,
    pub(super) findings: Vec<Finding>,
}

/// `None` if the metadata is in another data directory.
pub(super) fn look(data_directory: &Path, data: &Data<'_>) -> Result<Option<Found>, Failure> {
    if !names::has_metadata(data_directory) {
        return Ok(None);
    }
    let directory = names::directory(data_directory);
    let report = verify(Arc::new(RealDisk), &directory).map_err(log_error(&directory))?;
    let mut findings: Vec<Finding> = report.problems.iter().map(|problem| finding(problem, &directory)).collect();
    if let Some(image) = &report.image {
        let older = older_than_data(image, data).into_iter();
        findings.extend(older.map(|problem| Finding { file: directory.clone(), position: None, partition: None, problem }));
    }
    Ok(Some(Found { files: report.files, findings }))
}

fn finding(problem: &MetadataOpenError, directory: &Path) -> Finding {
    let (file, position, problem) = match problem {
        MetadataOpenError::Corrupt { path, position, problem } => (path.clone(), Some(*position), (*problem).to_owned()),
        MetadataOpenError::NewerFormat { path, .. } | MetadataOpenError::Io { path, .. } => {
            (path.clone(), None, problem.to_string())
        }
        other => (PathBuf::from(directory), None, other.to_string()),
    };
    Finding { file, position, partition: None, problem }
}

/// What the batches say that the metadata ought to know.
fn older_than_data(image: &MetadataImage, data: &Data<'_>) -> Vec<String> {
    let known: HashMap<_, &PartitionImage> =
        image.topics.values().flat_map(|topic| &topic.partitions).map(|partition| (partition.number, partition)).collect();
    let mut problems = Vec::new();
    for (number, epoch) in data.shared.iter().flat_map(|report| &report.epochs) {
        if number.0 >= image.next_partition_number {
            problems.push(format!("it is older than the data: it has not given out partition number {number}"));
        } else if let Some(partition) = known.get(number) {
            problems.extend(newer_epoch(partition, *epoch));
        }
    }
    for (directory, report) in &data.partitions {
        let topic = image.topic(&directory.name.topic);
        if let (Some(partition), Some(epoch)) =
            (topic.and_then(|topic| topic.partition(directory.name.index)), report.newest_epoch)
        {
            problems.extend(newer_epoch(partition, epoch));
        }
    }
    problems
}

fn newer_epoch(partition: &PartitionImage, epoch: LeaderEpoch) -> Option<String> {
    let (number, known) = (partition.number, partition.leader_epoch);
    (epoch > known).then(|| {
        format!("it is older than the data: partition {number} has batches of leader epoch {epoch}, the metadata knows {known}")
    })
}
