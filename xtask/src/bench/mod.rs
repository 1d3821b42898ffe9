//! `cargo xtask bench`: the load generator of `crates/bench` against servers that this starts, each measurement on a fresh data
//! directory below `target/bench`.
//!
//! `run` measures one server, for tuning; `compare` measures ours and Apache Kafka in turn and writes `docs/benchmarks.md`;
//! `list` names the cases.

mod cases;
mod compare;
mod document;
mod failure;
mod figures;
mod goal;
mod kafka;
mod machine;
mod measure;
mod options;
mod ready;
mod server;
mod tool;

pub(crate) use failure::Failure;

use crate::interop::places::Places;
use cases::{Case, Scale};
use options::{Command, Compare, Run};

/// Takes the arguments that `options` describes.
pub(crate) fn run(arguments: &[String]) -> Result<(), Failure> {
    match options::parse(arguments)? {
        Command::List => {
            cases::all(&Scale::FULL).iter().for_each(|case| println!("{:28} {}", case.name, case.about));
            Ok(())
        }
        Command::Run(options) => run_one(&options),
        Command::Compare(options) => compare_all(&options),
        Command::Document => document::write(&crate::command::root()),
    }
}

fn run_one(options: &Run) -> Result<(), Failure> {
    let places = places()?;
    let cases = chosen(&options.cases, if options.quick { &Scale::QUICK } else { &Scale::FULL })?;
    let tool = tool::build(&places)?;
    let subject = server::subject(&places, options.kafka, options.binary.as_deref())?;
    for case in &cases {
        for _ in 0..options.rounds {
            let figures = measure::measure(&places, &tool, &subject, case, &options.settings)?;
            println!("{}: {figures}", case.name);
        }
    }
    places.clean();
    Ok(())
}

fn compare_all(options: &Compare) -> Result<(), Failure> {
    let places = places()?;
    let cases = chosen(&options.cases, if options.quick { &Scale::QUICK } else { &Scale::FULL })?;
    let tool = tool::build(&places)?;
    let subjects = [server::subject(&places, false, options.binary.as_deref())?, server::subject(&places, true, None)?];
    compare::compare(&places, &tool, &subjects, &cases, options)?;
    places.clean();
    if options.quick { Ok(()) } else { document::write(&places.root) }
}

/// The named cases, or all.
fn chosen(names: &[String], scale: &Scale) -> Result<Vec<Case>, Failure> {
    let all = cases::all(scale);
    if let Some(unknown) = names.iter().find(|name| !all.iter().any(|case| case.matches(name))) {
        return Err(Failure::NoSuchCase { name: unknown.clone() });
    }
    Ok(all.into_iter().filter(|case| names.is_empty() || names.iter().any(|name| case.matches(name))).collect())
}

/// Data and logs lie on the file system of the repository, not on a `/tmp` that may be memory.
fn places() -> Result<Places, Failure> {
    let mut places = Places::new()?;
    places.clean();
    places.run = places.root.join("target/bench").join(format!("run-{}", std::process::id()));
    std::fs::create_dir_all(&places.run).map_err(|error| Failure::file(&places.run, error))?;
    Ok(places)
}
