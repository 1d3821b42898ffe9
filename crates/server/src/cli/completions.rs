//! `duolog completions SHELL`: a script for the shell to complete our commands and flags.

use super::{CommandLine, Failure};
use clap::{Args, CommandFactory};
use clap_complete::Shell;
use std::io::Write;

#[derive(Args)]
pub(super) struct CompletionsArguments {
    shell: Shell,
}

pub(super) fn run(arguments: &CompletionsArguments) -> Result<(), Failure> {
    // Generated in memory first: the generator panics when its writer fails.
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut CommandLine::command(), "duolog", &mut script);
    Ok(std::io::stdout().write_all(&script)?)
}
