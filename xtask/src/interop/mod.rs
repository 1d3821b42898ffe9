//! `cargo xtask interop`: unmodified clients of Kafka and RocketMQ in Java, Python, Go and Node, Kafka's own tools, kcat and Kafka
//! Streams against one running server. The same suites run against Apache Kafka with `--peer kafka` and against Apache
//! RocketMQ with `--peer rocketmq`, which shows that they test the protocol and not us.
//!
//! Nothing is skipped: a tool that is missing fails the run. What a suite prints, and what the server logs, is shown when
//! a scenario fails.

pub(crate) mod address;
mod broker;
mod control;
mod corpus;
pub(crate) mod failure;
pub(crate) mod install;
pub(crate) mod kafka;
mod options;
pub(crate) mod places;
pub(crate) mod process;
pub(crate) mod rocketmq;
mod suites;
mod tally;

pub(crate) use broker::{build, wait_until};
pub(crate) use failure::Failure;

use broker::Broker;
use control::Control;
use places::Places;
use process::Running;
use std::time::Instant;
use suites::{CORPUS, SUITES, Suite, Target};
use tally::Tally;

/// Takes the arguments that `options` describes; the last line it prints is the sum of all suites.
pub(crate) fn run(arguments: &[String]) -> Result<(), Failure> {
    let options = options::parse(arguments)?;
    let places = Places::new()?;
    let mut broker = Broker::start(&places, &options.subject, options.nodes)?;
    println!("server under test: {:?}", broker.addresses());
    let control = Control::new()?;
    let wanted = |name: &str, by_default: bool| match options.suites.as_slice() {
        [] => by_default,
        chosen => chosen.iter().any(|chosen| chosen == name),
    };
    let mut total = Tally::default();
    for suite in SUITES.iter().filter(|suite| wanted(suite.name, suite.by_default(&options.subject))) {
        let scenario = options.scenario.as_deref();
        let tally = attempt(suite.name, &mut broker, |broker| run_suite(&places, suite, broker, &control, scenario));
        add(&mut total, tally);
        if let Err(death) = broker.check() {
            println!("{death}");
            total.failed.push(format!("{}: the server survives the suite", suite.name));
            broker.restart()?;
        }
    }
    if wanted(CORPUS, !broker.addresses().kafka.is_empty()) && options.scenario.is_none() {
        add(&mut total, attempt(CORPUS, &mut broker, |broker| corpus::run(&places, broker)));
    }
    if let Err(failure) = broker.stop() {
        println!("stopping the server: {failure}");
        total.failed.push("the server ends well when it is asked to".to_owned());
    }
    println!("{} passed, {} failed", total.passed, total.failed.len());
    if total.failed.is_empty() {
        places.clean();
        return Ok(());
    }
    println!("logs are in {}", places.run.display());
    Err(Failure::Scenarios { failed: total.failed.len() })
}

/// Runs one suite and says how it went. A suite that could not run is one failure.
fn attempt(name: &str, broker: &mut Broker, suite: impl FnOnce(&mut Broker) -> Result<Tally, Failure>) -> Tally {
    let start = Instant::now();
    let tally = suite(broker).unwrap_or_else(|failure| {
        println!("{failure}");
        Tally { passed: 0, failed: vec![format!("{name}: the suite runs")] }
    });
    for scenario in &tally.failed {
        println!("FAILED {scenario}");
    }
    if !tally.failed.is_empty() {
        println!("-- the end of the server's log:\n{}", broker.log_tail());
    }
    println!("{name}: {} passed, {} failed ({} s)", tally.passed, tally.failed.len(), start.elapsed().as_secs());
    tally
}

fn run_suite(
    places: &Places,
    suite: &Suite,
    broker: &mut Broker,
    control: &Control,
    scenario: Option<&str>,
) -> Result<Tally, Failure> {
    let asks = if broker.controllable() { control.address.as_str() } else { "" };
    let target = Target { addresses: broker.addresses(), control: asks, scenario };
    let mut command = (suite.prepare)(places, &target)?;
    let log = places.run.join(format!("{}.log", suite.name));
    let mut running = Running::start(&mut command, &log)?;
    let outcome = running.wait_while(suite.limit, || control.serve(broker));
    let output = std::fs::read(&log).map_err(|error| Failure::file(&log, error))?;
    let mut tally = tally::count(suite.dialect, &String::from_utf8_lossy(&output));
    let ended_well = outcome.as_ref().is_ok_and(std::process::ExitStatus::success);
    if !ended_well || tally.passed == 0 || !tally.failed.is_empty() {
        println!("-- the end of what {} printed:\n{}", suite.name, running.output());
    }
    if tally.failed.is_empty() && (!ended_well || tally.passed == 0) {
        let why = outcome.map_or_else(|_| String::from("took too long"), |status| status.to_string());
        tally.failed.push(format!("{}: the suite runs to its end ({why})", suite.name));
    }
    Ok(tally)
}

fn add(total: &mut Tally, tally: Tally) {
    total.passed += tally.passed;
    total.failed.extend(tally.failed);
}
