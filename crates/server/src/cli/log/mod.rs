//! `duolog log ...`: what lies in a data directory, read as it is on disk.
//!
//! No server is asked. What a running server writes meanwhile is seen or not.

mod dump;
mod json;
mod names;
mod offsets;
mod text;
mod verify;

use super::{Failure, OutputArguments, output};
use clap::Subcommand;
use std::io;
use std::path::Path;

/// Where a data directory keeps the commit log.
const SHARED: &str = "shared";

#[derive(Subcommand)]
pub(super) enum LogCommand {
    /// Print frames, batches or records in the order in which they were written
    Dump(dump::Dump),
    /// Check all checksums and that indexes agree with the log; exit code 1 if something is wrong
    Verify(verify::Verify),
}

pub(super) fn run(command: LogCommand) -> Result<(), Failure> {
    match command {
        LogCommand::Dump(arguments) => dump::run(&arguments),
        LogCommand::Verify(arguments) => verify::run(&arguments),
    }
}

fn log_error(path: &Path) -> impl Fn(io::Error) -> Failure {
    move |error| Failure::Log { path: path.to_owned(), error }
}
