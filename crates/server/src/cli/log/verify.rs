//! `duolog log verify`: every checksum, and whether the indexes agree with the log.

use super::{Failure, OutputArguments, SHARED, log_error, output};
use crate::output::Listing;
use clap::Args;
use duolog_base::RealDisk;
use duolog_log::inspect::{self, VerifyReport};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::sync::Arc;

#[derive(Args)]
pub(in crate::cli) struct Verify {
    /// The data directory
    #[arg(default_value = "./duolog-data")]
    directory: PathBuf,
    #[command(flatten)]
    output: OutputArguments,
}

pub(super) fn run(arguments: &Verify) -> Result<(), Failure> {
    let directory = arguments.directory.join(SHARED);
    let report = inspect::verify(Arc::new(RealDisk), &directory).map_err(log_error(&directory))?;
    let mut out = output(arguments.output);
    if !out.is_json() && !report.problems.is_empty() {
        out.listing(&problems(&report), || Value::Null)?;
    }
    let VerifyReport { files, frames, batches, bytes, entries, problem_count, .. } = &report;
    let text = format!(
        "{files} files, {frames} frames, {batches} batches of {bytes} bytes, {entries} index entries: {problem_count} problems"
    );
    out.sentence(&text, || report_json(&report))?;
    out.flush()?;
    if report.problem_count == 0 { Ok(()) } else { Err(Failure::Problems { problems: report.problem_count }) }
}

fn problems(report: &VerifyReport) -> Listing {
    let mut listing = Listing::new(&["file", "position", "partition", "problem"]);
    for found in &report.problems {
        let number = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
        listing.row(vec![
            found.file.display().to_string(),
            number(found.position.map(|position| position.to_string())),
            number(found.partition.map(|partition| partition.to_string())),
            found.problem.to_owned(),
        ]);
    }
    listing
}

fn report_json(report: &VerifyReport) -> Value {
    let problem = |found: &inspect::Problem| {
        json!({
            "file": found.file,
            "position": found.position.map(|position| position.0),
            "partition": found.partition.map(|partition| partition.0),
            "problem": found.problem,
        })
    };
    json!({
        "files": report.files,
        "frames": report.frames,
        "batches": report.batches,
        "bytes": report.bytes,
        "index_entries": report.entries,
        "problem_count": report.problem_count,
        "problems": report.problems.iter().map(problem).collect::<Vec<_>>(),
    })
}
