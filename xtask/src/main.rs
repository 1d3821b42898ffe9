//! The project's own commands: `cargo xtask NAME`. Everything a developer or CI runs, in one place.
//!
//! Each command is a module with a `run` function that takes the remaining arguments and says whether it passed.

mod command;
mod test;

use std::process::ExitCode;

const USAGE: &str = "cargo xtask COMMAND

  test [--only STAGE]...   every check, as CI runs it
";

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let name = arguments.next().unwrap_or_default();
    let rest: Vec<String> = arguments.collect();
    let outcome = match name.as_str() {
        "test" => test::run_command(&rest),
        _ => {
            eprint!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask {name}: {error}");
            ExitCode::FAILURE
        }
    }
}
