//! Producing through librdkafka, at full speed or at an asked rate.

use crate::arguments::{Broker, Produce};
use crate::client::{Detail, Sender};
use crate::failure::Failure;
use crate::latency::Latencies;
use crate::meter::Meter;
use crate::pace::{Schedule, rest_until};
use crate::payload::Payloads;
use crate::report::{Report, Traffic};
use std::time::{Duration, Instant};

/// At full speed the clock is looked at once in so many messages.
const CLOCK_EVERY: u64 = 256;

pub(crate) fn run(broker: &Broker, load: &Produce) -> Result<Report, Failure> {
    let detail = if load.rate.is_some() { Detail::Latencies } else { Detail::Failures };
    let new = |index| Sender::new(broker, &topic(load, index), &load.tuning, detail);
    let senders = (0..load.producers.max(1)).map(new).collect::<Result<Vec<_>, _>>()?;
    let payloads = Payloads::new(load.target.size);
    if load.warm_up > 0.0 {
        send(&senders, load, &payloads, load.warm_up)?;
        drain(&senders);
        take(&senders);
    }
    let meter = Meter::start(&broker.pids)?;
    let sent = send(&senders, load, &payloads, load.seconds)?;
    let undelivered = drain(&senders);
    let (failed, latencies) = take(&senders);
    let failed = failed + undelivered;
    let traffic = Traffic { messages: sent - failed, failed, size: load.target.size };
    meter.stop("produce", traffic, latencies.summary())
}

/// The topic of one of the producers.
fn topic(load: &Produce, index: i32) -> String {
    let topic = &load.target.topic;
    if load.producers > 1 { format!("{topic}-{index}") } else { topic.clone() }
}

/// Waits for all; gives how many messages did not come through.
fn drain(senders: &[Sender]) -> u64 {
    senders.iter().map(Sender::drain).sum()
}

/// Failures and latencies of all since the last time.
fn take(senders: &[Sender]) -> (u64, Latencies) {
    let mut all = (0, Latencies::new());
    for (failed, latencies) in senders.iter().map(Sender::take) {
        all.0 += failed;
        all.1.add(&latencies);
    }
    all
}

fn send(senders: &[Sender], load: &Produce, payloads: &Payloads, seconds: f64) -> Result<u64, Failure> {
    match load.rate {
        Some(rate) => at_rate(senders, load, payloads, seconds, rate),
        None => at_full_speed(senders, load, payloads, seconds),
    }
}

fn at_full_speed(senders: &[Sender], load: &Produce, payloads: &Payloads, seconds: f64) -> Result<u64, Failure> {
    let start = Instant::now();
    let end = start + Duration::from_secs_f64(seconds);
    let mut number = 0;
    while number < load.messages && (number % CLOCK_EVERY != 0 || Instant::now() < end) {
        send_one(senders, load, payloads, number, start)?;
        number += 1;
    }
    Ok(number)
}

fn at_rate(senders: &[Sender], load: &Produce, payloads: &Payloads, seconds: f64, rate: f64) -> Result<u64, Failure> {
    let schedule = Schedule::new(Instant::now(), rate);
    let count = schedule.count(seconds).min(load.messages);
    for number in 0..count {
        let due = schedule.due(number);
        rest_until(due);
        send_one(senders, load, payloads, number, due)?;
    }
    Ok(count)
}

/// Sends to the next partition of all producers' partitions, counted as one row; or has the library choose.
fn send_one(senders: &[Sender], load: &Produce, payloads: &Payloads, number: u64, due: Instant) -> Result<(), Failure> {
    let partition = partition(number, load.target.partitions) as usize;
    let chosen = (!load.keyless).then_some((partition / senders.len()) as i32);
    senders[partition % senders.len()].send(chosen, payloads.at(number), due)
}

/// Round robin.
pub(crate) fn partition(number: u64, partitions: i32) -> i32 {
    (number % partitions.unsigned_abs().max(1) as u64) as i32
}
