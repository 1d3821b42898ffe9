//! `cargo xtask chaos`: unmodified clients write to and read from a server to which faults happen, and the checker of histories
//! judges what they were told. `--peer kafka` does the same to Apache Kafka with its default settings, which loses acknowledged
//! records with the power: a check of the checker. docs/chaos.md says more.

mod clients;
mod cluster;
mod disk;
mod failure;
mod fault;
mod judge;
mod options;
mod proxy;

use crate::interop::places::Places;
use clients::{Client, Family, Library, PARTITIONS, Pipe, Work};
use cluster::Cluster;
use duolog_sim::{History, Random};
use failure::Failure;
use fault::Fault;
use options::{Length, Options, Peer};
use std::time::{Duration, Instant};

/// Acknowledgements and records read between two faults: at least so many, and at most so many more.
const LEAST_PROGRESS: u64 = 1_000;
const MORE_PROGRESS: u64 = 4_000;
/// Clients wait up to ten seconds between attempts to connect.
const PROGRESS_LIMIT: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(20);
/// Nothing is acknowledged for so long.
const QUIET: Duration = Duration::from_secs(3);
const REFUSED_LIMIT: Duration = Duration::from_secs(60);
const SHOWN_VIOLATIONS: usize = 10;

/// Takes the arguments that `options` describes. The last line it prints says what was lost.
pub(crate) fn run(arguments: &[String]) -> Result<(), Failure> {
    let mut options = options::parse(arguments)?;
    let places = Places::new()?;
    if options.faults.is_empty() {
        options.faults = fault::short_selection(&places.run.join("probe"), options.nodes);
    }
    let seed = options.seed.unwrap_or_else(|| u64::from(std::process::id()));
    println!("seed {seed}");
    let cuts_power = options.faults.contains(&Fault::PowerLoss);
    let mut run = Run::start(&places, &options, Random::new(seed))?;
    run.faults(&options)?;
    let history = run.finish()?;
    report(&history);
    let violations = history.counts().values().sum();
    match options.peer {
        Peer::Kafka if cuts_power && history.lost() == 0 => return Err(Failure::NothingLost),
        Peer::Kafka if cuts_power => {}
        _ if violations > 0 => return Err(Failure::Violations { violations, logs: places.run }),
        _ => {}
    }
    places.clean();
    Ok(())
}

struct Run {
    random: Random,
    // Clients before servers: they are dropped in this order.
    producers: Vec<Client>,
    consumers: Vec<Client>,
    families: &'static [Family],
    library: Library,
    pipe: Pipe,
    cluster: Cluster,
}

impl Run {
    /// Starts server and clients, two of each family.
    fn start(places: &Places, options: &Options, random: Random) -> Result<Run, Failure> {
        let library = Library::install(places)?;
        let cluster = Cluster::start(places, options)?;
        let pipe = Pipe::new().map_err(|error| Failure::file(&places.run, error))?;
        let families: &[Family] = match options.peer {
            Peer::Ours => &[Family::Java, Family::Librdkafka, Family::Remoting],
            Peer::Kafka => &[Family::Java, Family::Librdkafka],
        };
        let mut run = Run { random, producers: Vec::new(), consumers: Vec::new(), families, library, pipe, cluster };
        run.library.start(Family::Java, Work::Create, &run.cluster, &run.pipe)?.stop()?;
        run.cluster.sync()?;
        for family in families {
            run.consumers.push(run.library.start(*family, Work::Consume, &run.cluster, &run.pipe)?);
            run.producers.push(run.library.start(*family, Work::Produce, &run.cluster, &run.pipe)?);
        }
        Ok(run)
    }

    /// Lets the faults happen, with progress before each of them and after the last.
    fn faults(&mut self, options: &Options) -> Result<(), Failure> {
        let start = Instant::now();
        let mut round = 0;
        loop {
            self.progress()?;
            let fault = match options.length {
                Length::Rounds(rounds) if round == rounds * options.faults.len() => return Ok(()),
                Length::Rounds(_) => options.faults[round % options.faults.len()],
                Length::Time(time) if start.elapsed() >= time => return Ok(()),
                Length::Time(_) => self.random.pick(&options.faults),
            };
            round += 1;
            let node = self.random.below(self.cluster.nodes.len() as u64) as usize;
            let so_far = self.pipe.judge().progress;
            println!("{:>4} s: {} on node {node} after {so_far}", start.elapsed().as_secs(), fault.name());
            let pipe = &self.pipe;
            fault.strike(&mut self.cluster, node, || are_refused(pipe))?;
            if let Some(crash) = fault.crash() {
                self.pipe.judge().crashed(crash);
            }
        }
    }

    /// Waits until producers got answers and readers got records, or says that the server does not come back.
    fn progress(&mut self) -> Result<(), Failure> {
        let wanted = LEAST_PROGRESS + self.random.below(MORE_PROGRESS);
        let before = self.pipe.judge().progress;
        let start = Instant::now();
        while start.elapsed() < PROGRESS_LIMIT {
            let now = self.pipe.judge().progress;
            if now.acked >= before.acked + wanted && now.polled >= before.polled + wanted {
                return Ok(());
            }
            self.cluster.check()?;
            self.producers.iter_mut().chain(&mut self.consumers).try_for_each(Client::check)?;
            if self.pipe.broken() {
                break;
            }
            std::thread::sleep(LOOK);
        }
        Err(Failure::NoProgress { seconds: start.elapsed().as_secs(), wanted, log: self.cluster.log_tails() })
    }

    /// Ends the writers, then the readers at the end of the log, and reads everything again with a client of each family.
    fn finish(mut self) -> Result<History, Failure> {
        self.producers.iter_mut().for_each(Client::ask_to_stop);
        self.producers.iter_mut().try_for_each(Client::stop)?;
        self.consumers.iter_mut().for_each(Client::ask_to_stop);
        self.consumers.iter_mut().try_for_each(Client::stop)?;
        self.pipe.judge().rereaders = self.library.next();
        for family in self.families {
            self.library.start(*family, Work::Consume, &self.cluster, &self.pipe)?.stop()?;
        }
        self.cluster.check()?;
        let judge = self.pipe.finish()?;
        let judge = std::sync::Arc::into_inner(judge).expect("the reader of the pipe has ended");
        let judge = judge.into_inner().expect("nobody panicked with the judge");
        println!("{}", judge.progress);
        assert_eq!(
            judge.progress.ends,
            2 * PARTITIONS * self.families.len() as u64,
            "every reader came to the end of each partition"
        );
        Ok(judge.history)
    }
}

/// Waits until producers have got no answer for a while.
fn are_refused(pipe: &Pipe) -> Result<(), Failure> {
    let start = Instant::now();
    while start.elapsed() < REFUSED_LIMIT {
        let before = pipe.judge().progress.acked;
        std::thread::sleep(QUIET);
        if pipe.judge().progress.acked == before {
            return Ok(());
        }
    }
    Err(Failure::NotRefused { seconds: start.elapsed().as_secs() })
}

fn report(history: &History) {
    for violation in history.check().iter().take(SHOWN_VIOLATIONS) {
        println!("  {violation:?}");
    }
    for (name, count) in history.counts().iter().filter(|(name, _)| **name != "lost-write") {
        println!("{name}: {count}");
    }
    // Records that readers were shown are owed, too.
    let all_lost = history.counts().get("lost-write").copied().unwrap_or_default();
    if all_lost > history.lost() {
        println!("lost-write: {} records that were read and never acknowledged", all_lost - history.lost());
    }
    println!("lost-write: {} of {} acknowledged records", history.lost(), history.acknowledged());
}
