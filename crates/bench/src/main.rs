//! `duolog-bench`: puts one kind of load on a broker that somebody else started and reports what came of it. It does not
//! know whether the broker is Duolog or Apache Kafka.
//!
//! Most loads go through librdkafka. Others are written to the socket directly, because a client library would be measured
//! instead of the broker: many clients with one message in flight each, requests over very many partitions, and what RocketMQ's
//! clients send.
//! `cargo xtask bench` starts the brokers and calls this; so can a person.

mod arguments;
mod client;
mod consume;
mod create;
mod end_to_end;
mod ends;
mod failure;
mod frame;
mod in_flight;
mod latency;
mod meter;
mod pace;
mod payload;
mod produce;
mod program;
mod remoting;
mod report;
mod round_robin;

use arguments::{Arguments, Mode};
use clap::Parser;
use failure::Failure;
use meter::Meter;
use report::Report;
use std::process::ExitCode;
use std::time::Duration;

/// The kernel may delay a wake-up by this much; the default of 50 us would be part of every latency. In nanoseconds.
const TIMER_SLACK_NS: u64 = 1_000;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    // Only costs precision when it fails.
    let _ = rustix::thread::set_current_timer_slack(std::num::NonZeroU64::new(TIMER_SLACK_NS));
    match measure(&arguments) {
        Ok(report) => {
            if arguments.json {
                println!("{}", serde_json::to_string(&report).expect("a report is plain data"));
            } else {
                print!("{report}");
            }
            ExitCode::SUCCESS
        }
        Err(failure) => {
            eprintln!("{failure}");
            ExitCode::FAILURE
        }
    }
}

fn measure(arguments: &Arguments) -> Result<Report, Failure> {
    let broker = &arguments.broker;
    match &arguments.mode {
        Mode::Produce(load) => produce::run(broker, load),
        Mode::Consume(load) => consume::run(broker, load),
        Mode::EndToEnd(load) => end_to_end::run(broker, load),
        Mode::InFlight(load) => in_flight::run(broker, load),
        Mode::RoundRobin(load) => round_robin::run(broker, load),
        Mode::Create(load) => create::run(broker, load),
        Mode::RemotingCreate(load) => remoting::create(broker, load),
        Mode::RemotingSend(load) => remoting::send(broker, load),
        Mode::RemotingPull(load) => remoting::pull(broker, load),
        Mode::RemotingPop(load) => remoting::pop(broker, load),
        Mode::RemotingTransact(load) => remoting::transact(broker, load),
        Mode::RemotingLateness(load) => remoting::lateness(broker, load),
        Mode::Program(load) => program::run(broker, load),
        Mode::Idle { seconds } => idle(&broker.pids, *seconds),
    }
}

/// What the broker uses while nobody asks anything of it.
fn idle(pids: &[u32], seconds: f64) -> Result<Report, Failure> {
    let meter = Meter::start(pids)?;
    std::thread::sleep(Duration::from_secs_f64(seconds));
    meter.stop("idle", report::Traffic::default(), None)
}
