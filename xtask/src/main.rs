//! The repository's chores, run as `cargo xtask <chore>`: each is a module with one entry function.
//!
//! Nothing here is part of the product; developers and the continuous build call it.

mod bench;
mod chaos;
mod command;
mod fuzz;
mod generate;
mod interop;
mod oracle;
mod test;

use std::process::ExitCode;

const USAGE: &str = "usage: cargo xtask test [--only STAGE]... | cargo xtask generate [--descriptors DIR] [--check] | cargo xtask oracle [--golden] | cargo xtask bench ... | cargo xtask fuzz --minutes N [--target T]... | cargo xtask chaos ...";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match arguments.first().map(String::as_str) {
        Some("fuzz") => fuzz::run(&arguments[1..]).map_err(|error| error.to_string()),
        Some("bench") => bench::run(&arguments[1..]).map_err(|error| error.to_string()),
        Some("chaos") => chaos::run(&arguments[1..]).map_err(|error| error.to_string()),
        Some("generate") => generate::run(&arguments[1..]).map_err(|error| error.to_string()),
        Some("interop") => interop::run(&arguments[1..]).map_err(|error| error.to_string()),
        Some("oracle") => oracle::run(&arguments[1..]).map_err(|error| error.to_string()),
        Some("test") => test::run_command(&arguments[1..]).map_err(|error| error.to_string()),
        _ => Err(USAGE.to_string()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("{message}");
            ExitCode::FAILURE
        }
    }
}
