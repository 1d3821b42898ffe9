//! `duolog log ...`: what lies in a data directory, or in one of Kafka's, as it is on disk.
//!
//! Only `import` writes. No server is asked: what a running server writes meanwhile is seen or not.

mod dump;
mod import;
mod json;
mod metadata;
mod names;
mod offsets;
mod partitions;
mod text;
mod verify;

pub(crate) use import::ImportProblem;

use super::{Failure, OutputArguments, output};
use clap::Subcommand;
use std::io;
use std::path::Path;

/// Where a data directory keeps the commit log.
const SHARED: &str = "shared";
/// Where it keeps the partitions that have files of their own.
const DEDICATED: &str = "dedicated";

#[derive(Subcommand)]
pub(super) enum LogCommand {
    /// Print frames, batches or records in the order in which they were written
    Dump(dump::Dump),
    /// Check all checksums and that indexes agree with the log; exit code 1 if something is wrong
    Verify(verify::Verify),
    /// Take over topics from a log directory of Apache Kafka 4, with their offsets; no server may run
    Import(import::Import),
}

pub(super) fn run(command: LogCommand) -> Result<(), Failure> {
    match command {
        LogCommand::Dump(arguments) => dump::run(&arguments),
        LogCommand::Verify(arguments) => verify::run(&arguments),
        LogCommand::Import(arguments) => import::run(arguments),
    }
}

fn log_error(path: &Path) -> impl Fn(io::Error) -> Failure {
    move |error| Failure::Log { path: path.to_owned(), error }
}
