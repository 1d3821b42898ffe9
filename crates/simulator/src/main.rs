//! Plays seeds by hand: one with its trace, or as many as one likes.

use clap::Parser;
use duolog_replica::{MUTANTS, Mutant, plant};
use duolog_simulator::{Cast, Logs, Setting, run_in};
use std::process::ExitCode;
use std::time::{Duration, Instant};

#[derive(Parser)]
#[command(about = "Plays simulated clusters: every seed is another run, and always the same one")]
struct Arguments {
    /// The first seed.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// How many seeds.
    #[arg(long, default_value_t = 1)]
    count: u64,
    /// Goes on for so long instead.
    #[arg(long)]
    minutes: Option<u64>,
    /// Prints every event.
    #[arg(long)]
    trace: bool,
    /// Gives the nodes of every run the production log, not of some runs only.
    #[arg(long)]
    production_log: bool,
    /// Plays delivery in place of groups.
    #[arg(long)]
    delivery: bool,
    /// Plants this bug.
    #[arg(long)]
    mutant: Option<String>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let mutant = match arguments.mutant.as_deref().map(by_name) {
        Some(None) => {
            eprintln!("no such mutant; there are {MUTANTS:?}");
            return ExitCode::FAILURE;
        }
        mutant => mutant.flatten(),
    };
    let _planted = plant(mutant);
    let logs = if arguments.production_log { Logs::Production } else { Logs::BySeed };
    let cast = if arguments.delivery { Cast::Delivery } else { Cast::Groups };
    let began = Instant::now();
    let limit = arguments.minutes.map(|minutes| Duration::from_secs(minutes * 60));
    let (mut acked, mut commits, mut events, mut faults) = (0, 0, 0, 0);
    let (mut delivered, mut came) = (0, 0);
    let mut seed = arguments.seed;
    let goes_on = |seed: u64| limit.map_or(seed - arguments.seed < arguments.count, |limit| began.elapsed() < limit);
    while goes_on(seed) {
        let mut print = |at_ms: u64, text: &str| println!("{at_ms:6} {text}");
        match run_in(Setting { logs, cast }, seed, if arguments.trace { Some(&mut print) } else { None }) {
            Ok(report) => {
                (acked, commits) = (acked + report.acked, commits + report.commits);
                (events, faults) = (events + report.events, faults + report.faults);
                (delivered, came) = (delivered + report.delivered, came + report.came);
            }
            Err(failure) => {
                println!("seed {seed} fails at {} ms: {:?}", failure.at_ms, failure.violation);
                return ExitCode::FAILURE;
            }
        }
        seed += 1;
    }
    let seconds = began.elapsed().as_secs_f64();
    println!(
        "{} seeds in {seconds:.1} s: {events} events, {faults} faults, {acked} acknowledged records, {commits} offsets, {delivered} \
         records of share groups and {came} delayed ones, none lost",
        seed - arguments.seed
    );
    ExitCode::SUCCESS
}

fn by_name(name: &str) -> Option<Mutant> {
    MUTANTS.into_iter().find(|mutant| format!("{mutant:?}") == name)
}
