//! `duolog-fuzz`: every target with its regressions, its seeds and so many mutations of them, the same on every run.
//!
//! `cargo xtask test` runs it without arguments. An input that fails is made small and kept in `fuzz/regressions`, where it
//! stays part of every later run.

use duolog_fuzz::corpus::{self, Input};
use duolog_fuzz::watchdog::Watchdog;
use duolog_fuzz::{TARGETS, Target, find, minimize, mutate, panics};
use duolog_sim::Random;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

const USAGE: &str = "usage: duolog-fuzz [--target T]... [--times N] [--seed S]
       duolog-fuzz --target T --replay FILE
       duolog-fuzz --target T --keep FILE       makes a failing input small and a regression
       duolog-fuzz --target T --seeds DIRECTORY
       duolog-fuzz --list";

/// What the mutations of a run begin from, unless another is asked for.
const SEED: u64 = 1;

enum Chore {
    /// So many times the usual number of mutations.
    Run {
        times: u64,
        seed: u64,
    },
    Replay(PathBuf),
    Keep(PathBuf),
    Seeds(PathBuf),
    List,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some((targets, chore)) = parse(&arguments) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    let outcome = match chore {
        Chore::List => {
            TARGETS.iter().for_each(|target| println!("{} {}", target.name, target.max_bytes));
            Ok(true)
        }
        Chore::Seeds(directory) => each(&targets, |target| corpus::write_seeds(target, &directory).map(|()| true)),
        Chore::Replay(file) => each(&targets, |target| replay(target, &file)),
        Chore::Keep(file) => each(&targets, |target| keep(target, &file)),
        Chore::Run { times, seed } => each(&targets, |target| run(target, times, seed)),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn parse(arguments: &[String]) -> Option<(Vec<&'static Target>, Chore)> {
    let mut targets = Vec::new();
    let (mut times, mut seed) = (1, SEED);
    let mut chore = None;
    let mut rest = arguments.iter();
    while let Some(flag) = rest.next() {
        if flag == "--list" {
            chore = Some(Chore::List);
            continue;
        }
        let value = rest.next()?;
        match flag.as_str() {
            "--target" => targets.push(find(value)?),
            "--times" => times = value.parse().ok()?,
            "--seed" => seed = value.parse().ok()?,
            "--replay" => chore = Some(Chore::Replay(value.into())),
            "--keep" => chore = Some(Chore::Keep(value.into())),
            "--seeds" => chore = Some(Chore::Seeds(value.into())),
            _ => return None,
        }
    }
    if targets.is_empty() {
        targets = TARGETS.iter().collect();
    }
    Some((targets, chore.unwrap_or(Chore::Run { times, seed })))
}

/// Goes through all targets, also after one has failed.
fn each(targets: &[&'static Target], work: impl Fn(&'static Target) -> io::Result<bool>) -> io::Result<bool> {
    targets.iter().try_fold(true, |good, target| Ok(work(target)? && good))
}

/// Runs one input; what went wrong, if anything.
fn attempt(target: &Target, watchdog: &Watchdog, bytes: &[u8]) -> Option<String> {
    watchdog.begin(bytes);
    let failure = panics::of(|| (target.run)(bytes));
    watchdog.end();
    failure
}

fn watch(target: &'static Target) -> Watchdog {
    Watchdog::start(move |bytes| {
        let kept = corpus::save_regression(target, bytes);
        eprintln!("{}: an input takes too long: {kept:?}", target.name);
        std::process::abort();
    })
}

fn run(target: &'static Target, times: u64, seed: u64) -> io::Result<bool> {
    panics::remember();
    let watchdog = watch(target);
    let start = Instant::now();
    let (regressions, seeds) = (corpus::regressions(target)?, corpus::seeds(target)?);
    for input in regressions.iter().chain(&seeds) {
        if let Some(failure) = attempt(target, &watchdog, &input.bytes) {
            eprintln!("{}: {}\n{failure}", target.name, input.name);
            return Ok(false);
        }
    }
    let mut random = Random::new(seed);
    let rounds = if seeds.is_empty() { 0 } else { target.rounds * times };
    for _ in 0..rounds {
        let pick = |random: &mut Random| -> &Input { &seeds[random.below(seeds.len() as u64) as usize] };
        let (input, other) = (pick(&mut random), pick(&mut random));
        let bytes = mutate::mutate(&mut random, &input.bytes, &other.bytes, target.max_bytes);
        if let Some(failure) = attempt(target, &watchdog, &bytes) {
            report(target, &watchdog, bytes, &failure)?;
            return Ok(false);
        }
    }
    let (found, begun) = (regressions.len(), seeds.len());
    println!("{}: {found} regressions, {begun} seeds, {rounds} mutations in {} ms", target.name, start.elapsed().as_millis());
    Ok(true)
}

fn report(target: &Target, watchdog: &Watchdog, bytes: Vec<u8>, failure: &str) -> io::Result<()> {
    let small = minimize::minimize(bytes, |candidate| attempt(target, watchdog, candidate).is_some());
    let path = corpus::save_regression(target, &small)?;
    eprintln!("{}: {failure}\nkept as {}, {} bytes", target.name, path.display(), small.len());
    Ok(())
}

fn replay(target: &'static Target, file: &Path) -> io::Result<bool> {
    let bytes = std::fs::read(file)?;
    let _watchdog = watch(target);
    (target.run)(&bytes);
    println!("{}: {} is fine", target.name, file.display());
    Ok(true)
}

fn keep(target: &'static Target, file: &Path) -> io::Result<bool> {
    panics::remember();
    let watchdog = watch(target);
    let bytes = std::fs::read(file)?;
    match attempt(target, &watchdog, &bytes) {
        Some(failure) => report(target, &watchdog, bytes, &failure)?,
        // A state that built up over many inputs, or a limit of the other program's (memory, time): kept as it is.
        None => println!("does not fail by itself, kept as {}", corpus::save_regression(target, &bytes)?.display()),
    }
    Ok(false)
}
