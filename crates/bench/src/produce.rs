//! Producing through librdkafka, at full speed or at an asked rate.

use crate::arguments::{Broker, Produce};
use crate::client::{Detail, Sender};
use crate::failure::Failure;
use crate::meter::Meter;
use crate::pace::{Schedule, rest_until};
use crate::payload::Payloads;
use crate::report::{Report, Traffic};
use std::time::{Duration, Instant};

/// At full speed the clock is looked at once in so many messages.
const CLOCK_EVERY: u64 = 256;

pub(crate) fn run(broker: &Broker, load: &Produce) -> Result<Report, Failure> {
    let detail = if load.rate.is_some() { Detail::Latencies } else { Detail::Failures };
    let sender = Sender::new(broker, &load.target.topic, &load.tuning, detail)?;
    let payloads = Payloads::new(load.target.size);
    if load.warm_up > 0.0 {
        send(&sender, load, &payloads, load.warm_up)?;
        sender.drain();
        sender.take();
    }
    let meter = Meter::start(broker.pid)?;
    let sent = send(&sender, load, &payloads, load.seconds)?;
    let undelivered = sender.drain();
    let (failed, latencies) = sender.take();
    let failed = failed + undelivered;
    let traffic = Traffic { messages: sent - failed, failed, size: load.target.size };
    meter.stop("produce", traffic, latencies.summary())
}

fn send(sender: &Sender, load: &Produce, payloads: &Payloads, seconds: f64) -> Result<u64, Failure> {
    match load.rate {
        Some(rate) => at_rate(sender, load, payloads, seconds, rate),
        None => at_full_speed(sender, load, payloads, seconds),
    }
}

fn at_full_speed(sender: &Sender, load: &Produce, payloads: &Payloads, seconds: f64) -> Result<u64, Failure> {
    let start = Instant::now();
    let end = start + Duration::from_secs_f64(seconds);
    let mut number = 0;
    while number < load.messages && (number % CLOCK_EVERY != 0 || Instant::now() < end) {
        sender.send(partition(number, load.target.partitions), payloads.at(number), start)?;
        number += 1;
    }
    Ok(number)
}

fn at_rate(sender: &Sender, load: &Produce, payloads: &Payloads, seconds: f64, rate: f64) -> Result<u64, Failure> {
    let schedule = Schedule::new(Instant::now(), rate);
    let count = schedule.count(seconds).min(load.messages);
    for number in 0..count {
        let due = schedule.due(number);
        rest_until(due);
        sender.send(partition(number, load.target.partitions), payloads.at(number), due)?;
    }
    Ok(count)
}

/// Round robin.
pub(crate) fn partition(number: u64, partitions: i32) -> i32 {
    (number % partitions.unsigned_abs().max(1) as u64) as i32
}
