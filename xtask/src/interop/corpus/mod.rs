//! The end-to-end run: a text of more than 100 MB, produced by librdkafka, consumed by franz-go in a group of three, while
//! a member dies and the server is killed and started again. What arrives is compared byte for byte.

mod delivery;
mod text;

use super::broker::Broker;
use super::failure::Failure;
use super::install;
use super::places::Places;
use super::process::{POLL, Running};
use super::tally::Tally;
use delivery::{Deliveries, Journal};
use std::process::Command;
use std::time::{Duration, Instant};
use text::Corpus;

/// The whole run may take this long.
const LIMIT: Duration = Duration::from_secs(300);
/// Members that ask nicely get this long to commit and leave.
const LEAVE_LIMIT: Duration = Duration::from_secs(30);
const MEMBERS: usize = 3;
/// The percentage of lines that have arrived when a member is killed, and when the server is.
const MEMBER_DIES_AT: usize = 20;
const SERVER_DIES_AT: usize = 40;

/// What is under way, and what has been done to it so far.
struct Run<'a> {
    broker: &'a mut Broker,
    producer: Running,
    members: Vec<Running>,
    journals: Vec<Journal>,
    deliveries: Deliveries<'a>,
    /// Lines that had been delivered twice when the first member was killed.
    repeated_before_a_death: Option<usize>,
    server_killed: bool,
}

pub(super) fn run(places: &Places, broker: &mut Broker) -> Result<Tally, Failure> {
    let corpus = Corpus::open(&places.cache.join("corpus.txt"))?;
    let mut run = start(places, broker, &corpus)?;
    let outcome = drive(&mut run);
    if let Err(failure) = &outcome {
        println!("{failure}");
        println!("-- the end of what the producer printed:\n{}", run.producer.output());
        for member in &run.members {
            println!("-- the end of what a member printed:\n{}", member.output());
        }
    }
    println!("{}", run.deliveries.summary());
    let repeated = run.repeated_before_a_death;
    let produced = run.producer.wait(LIMIT).is_ok_and(|status| status.success());
    let checks = [
        ("the producer has an acknowledgement for every line", produced),
        ("the server was killed while it was written and read", run.server_killed || !run.broker.controllable()),
        ("every line arrived", outcome.is_ok() && run.deliveries.complete()),
        ("every line is the same byte for byte, in order, also when it arrived again", run.deliveries.wrong().is_none()),
        ("nothing arrived twice before anybody died", repeated == Some(0)),
        ("the members that lived left the group and ended well", outcome.is_ok() && leave(&mut run.members)),
    ];
    let mut tally = Tally::default();
    for (name, passed) in checks {
        if passed { tally.passed += 1 } else { tally.failed.push(format!("corpus: {name}")) }
    }
    Ok(tally)
}

fn start<'a>(places: &Places, broker: &'a mut Broker, corpus: &'a Corpus) -> Result<Run<'a>, Failure> {
    let python = install::python(places, "python")?;
    let member = install::go_program(places, "corpus/consumer")?;
    let topic = format!("corpus-{}", std::process::id());
    let mut produce = Command::new(python);
    produce.arg(places.suites.join("corpus/produce.py")).arg(&broker.addresses().kafka).arg(&topic);
    produce.arg(corpus.path()).arg(text::PARTITIONS.to_string());
    let producer = Running::start(&mut produce, &places.run.join("corpus-producer.log"))?;
    let (mut members, mut journals) = (Vec::new(), Vec::new());
    for number in 0..MEMBERS {
        let journal = places.run.join(format!("corpus-member-{number}.journal"));
        let mut consume = Command::new(&member);
        consume.args([&broker.addresses().kafka, &topic]).arg(&journal);
        members.push(Running::start(&mut consume, &places.run.join(format!("corpus-member-{number}.log")))?);
        journals.push(Journal::new(journal));
    }
    let deliveries = Deliveries::new(corpus);
    Ok(Run { broker, producer, members, journals, deliveries, repeated_before_a_death: None, server_killed: false })
}

/// Follows the journals, kills when it is time, and returns when every line has arrived or cannot any more.
fn drive(run: &mut Run) -> Result<(), Failure> {
    let start = Instant::now();
    while !run.deliveries.complete() {
        if start.elapsed() > LIMIT {
            let line = "the corpus run".to_owned();
            return Err(Failure::TooSlow { line, seconds: LIMIT.as_secs(), output: run.deliveries.summary() });
        }
        for journal in &mut run.journals {
            journal.read(&mut run.deliveries)?;
        }
        strike(run)?;
        for process in run.members.iter_mut().chain([&mut run.producer]) {
            if process.ended().is_some_and(|status| !status.success()) {
                return Err(Failure::Failed { line: process.line().to_owned(), output: process.output() });
            }
        }
        std::thread::sleep(POLL);
    }
    Ok(())
}

fn strike(run: &mut Run) -> Result<(), Failure> {
    let arrived = run.deliveries.percent();
    if run.repeated_before_a_death.is_none() && arrived >= MEMBER_DIES_AT {
        // Journals are read after the kill once more, so what it wrote last is not lost.
        run.repeated_before_a_death = Some(run.deliveries.repeated());
        drop(run.members.remove(0));
        println!("killed a member at {arrived} %");
    } else if !run.server_killed && arrived >= SERVER_DIES_AT && run.broker.controllable() {
        run.server_killed = !run.deliveries.complete() && run.producer.ended().is_none();
        let start = Instant::now();
        run.broker.restart()?;
        println!("killed the server at {arrived} %; it serves again after {} ms", start.elapsed().as_millis());
    }
    Ok(())
}

fn leave(members: &mut [Running]) -> bool {
    members.iter().for_each(Running::terminate);
    members.iter_mut().all(|member| member.wait(LEAVE_LIMIT).is_ok_and(|status| status.success()))
}
