//! Everything behind the binary `duolog`: the server's wiring, the command line, and the client it uses.
//!
//! * [`client`]: a small Kafka client. Public, because the process tests drive a server with it.
//! * `cli`: one file a command.
//! * `serve`: configuration layers, listeners, HTTP, metrics, orderly start and stop.
//!
//! Nothing below this crate knows of the command line, HTTP, signals or allocators.

mod cli;
pub mod client;
#[doc(hidden)]
pub mod fuzzing;
mod instant;
mod output;
mod serve;

use clap::Parser;
use std::process::ExitCode;

/// Exit code for what was not understood; the same as for an unknown flag.
const USAGE: u8 = 2;
/// Exit code of a server whose place in the cluster another process has taken: to start it again would not help.
const SUPERSEDED: u8 = 3;

/// What `main` does.
pub fn main() -> ExitCode {
    match cli::CommandLine::parse().run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) if failure.is_closed_pipe() => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("duolog: {failure}");
            match failure {
                failure if failure.is_usage() => ExitCode::from(USAGE),
                failure if failure.is_superseded() => ExitCode::from(SUPERSEDED),
                _ => ExitCode::FAILURE,
            }
        }
    }
}
