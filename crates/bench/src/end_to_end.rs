//! How long a message takes from the time it was due to the consumer, at a modest rate. Producer and consumer share a clock.

use crate::arguments::{Broker, EndToEnd, Target};
use crate::client::{Detail, From, Sender, consumer};
use crate::failure::Failure;
use crate::latency::Latencies;
use crate::meter::Meter;
use crate::pace::{Schedule, wait_until};
use crate::payload::Payloads;
use crate::produce::partition;
use crate::report::{Report, Traffic};
use rdkafka::Message;
use rdkafka::consumer::BaseConsumer;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long the last messages may take to arrive.
const LIMIT: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(100);
/// The first bytes of a value: its due time in nanoseconds since the start.
const STAMP_BYTES: usize = 8;

pub(crate) fn run(broker: &Broker, load: &EndToEnd) -> Result<Report, Failure> {
    let origin = Instant::now();
    let sender = Sender::new(broker, &load.target.topic, &load.tuning, Detail::Latencies)?;
    let consumer = consumer(broker, &load.target, From::End)?;
    phase(&sender, &consumer, load, origin, load.warm_up.max(0.1))?;
    let beside = load.beside.as_ref().map(|topic| Beside::start(broker, topic)).transpose()?;
    let meter = Meter::start(&broker.pids)?;
    let (count, latencies) = phase(&sender, &consumer, load, origin, load.seconds)?;
    let traffic = Traffic { messages: count, failed: 0, size: load.target.size };
    let report = meter.stop("end-to-end", traffic, latencies.summary())?;
    Ok(match beside {
        Some(beside) => report.beside(beside.stop()),
        None => report,
    })
}

/// A consumer that reads another topic all the while.
struct Beside {
    stop: Arc<AtomicBool>,
    /// Gives the bytes it has read.
    reader: JoinHandle<u64>,
}

impl Beside {
    fn start(broker: &Broker, topic: &str) -> Result<Beside, Failure> {
        let target = Target { topic: topic.to_owned(), partitions: 1, size: 0 };
        let consumer = consumer(broker, &target, From::Beginning)?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let reader = std::thread::spawn(move || {
            let mut bytes = 0;
            while !stopped.load(Ordering::Relaxed) {
                if let Some(Ok(message)) = consumer.poll(POLL) {
                    bytes += message.payload_len() as u64;
                }
            }
            bytes
        });
        Ok(Beside { stop, reader })
    }

    fn stop(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.reader.join().expect("the reader does not panic")
    }
}

/// Sends for so long and waits until everything has arrived.
fn phase(
    sender: &Sender,
    consumer: &BaseConsumer,
    load: &EndToEnd,
    origin: Instant,
    seconds: f64,
) -> Result<(u64, Latencies), Failure> {
    let schedule = Schedule::new(Instant::now(), load.rate);
    let count = schedule.count(seconds);
    let latencies = std::thread::scope(|scope| {
        let reader = scope.spawn(|| read(consumer, origin, count, Duration::from_secs_f64(seconds) + LIMIT));
        write(sender, load, schedule, origin, count)?;
        reader.join().expect("the reader does not panic")
    })?;
    Ok((count, latencies))
}

fn write(sender: &Sender, load: &EndToEnd, schedule: Schedule, origin: Instant, count: u64) -> Result<(), Failure> {
    let payloads = Payloads::new(load.target.size.max(STAMP_BYTES));
    let mut value = Vec::new();
    for number in 0..count {
        let due = schedule.due(number);
        wait_until(due);
        value.clear();
        value.extend_from_slice(payloads.at(number));
        let stamp = due.saturating_duration_since(origin).as_nanos() as u64;
        value[..STAMP_BYTES].copy_from_slice(&stamp.to_be_bytes());
        sender.send(Some(partition(number, load.target.partitions)), &value, due)?;
    }
    Ok(())
}

fn read(consumer: &BaseConsumer, origin: Instant, count: u64, limit: Duration) -> Result<Latencies, Failure> {
    let start = Instant::now();
    let mut latencies = Latencies::new();
    let mut got = 0;
    while got < count {
        if let Some(message) = consumer.poll(POLL) {
            let message = message?;
            let stamp = message.payload().and_then(|value| value.first_chunk::<STAMP_BYTES>());
            let due = Duration::from_nanos(stamp.map_or(0, |bytes| u64::from_be_bytes(*bytes)));
            latencies.record(origin.elapsed().saturating_sub(due));
            got += 1;
        } else if start.elapsed() > limit {
            return Err(Failure::Missing { got, wanted: count, seconds: limit.as_secs() });
        }
    }
    Ok(latencies)
}
