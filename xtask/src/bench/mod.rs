//! `cargo xtask bench`: the load generator of `crates/bench` against servers that this starts, each measurement on a fresh data
//! directory below `target/bench`.
//!
//! `run` measures one server, for tuning; `compare` measures ours and Apache Kafka in turn and writes `docs/benchmarks.md`;
//! `list` names the cases.

mod cases;
mod cluster;
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
mod remoting;
mod rocketmq;
mod server;
mod tool;

pub(crate) use failure::Failure;

use crate::interop::places::Places;
use cases::{Case, Scale};
use options::{Command, Compare, Peer, Run};

/// Takes the arguments that `options` describes.
pub(crate) fn run(arguments: &[String]) -> Result<(), Failure> {
    match options::parse(arguments)? {
        Command::List => {
            for case in Peer::ALL.into_iter().flat_map(|peer| cases::all(peer, &Scale::FULL)) {
                println!("{:28} {}", case.name, case.about);
            }
            Ok(())
        }
        Command::Run(options) => run_one(&options),
        Command::Compare(options) => compare_all(&options),
        Command::Document => document::write(&crate::command::root()),
    }
}

fn run_one(options: &Run) -> Result<(), Failure> {
    let places = places()?;
    let asked_as = options.peer.unwrap_or_else(|| peer_of(&options.cases));
    let cases = chosen(asked_as, &options.cases, scale(options.quick))?;
    let tool = tool::build(&places)?;
    let subject = match options.peer {
        Some(peer) => server::peer(&places, peer)?,
        None => server::ours(&places, asked_as, options.binary.as_deref())?,
    };
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
    let cases = chosen(options.peer, &options.cases, scale(options.quick))?;
    let tool = tool::build(&places)?;
    let subjects = [server::ours(&places, options.peer, options.binary.as_deref())?, server::peer(&places, options.peer)?];
    compare::compare(&places, &tool, &subjects, &cases, options)?;
    places.clean();
    if options.quick { Ok(()) } else { document::write(&places.root) }
}

fn scale(quick: bool) -> &'static Scale {
    if quick { &Scale::QUICK } else { &Scale::FULL }
}

/// With whom the first of these cases is compared.
fn peer_of(names: &[String]) -> Peer {
    let has = |peer: &Peer| names.iter().any(|name| cases::all(*peer, &Scale::QUICK).iter().any(|case| case.matches(name)));
    Peer::ALL.into_iter().find(has).unwrap_or_default()
}

/// The named cases, or all.
fn chosen(peer: Peer, names: &[String], scale: &Scale) -> Result<Vec<Case>, Failure> {
    let all = cases::all(peer, scale);
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
