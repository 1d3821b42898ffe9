//! `duolog bench`: how a server's speed depends on the number of partitions, on the user's own machine.
//!
//! For each number of partitions it makes a topic, sends messages round robin over all of them through a few connections, and
//! removes the topic. Every message is a batch of its own, many in a request: what producers come to send when their
//! messages are spread over many partitions. Any server that speaks Kafka's protocol can be measured.

use super::{Failure, OutputArguments, ServerArguments, output};
use crate::client::{ClientError, Cluster, NewTopicSpec, OutgoingRecord, Producer, ProducerSettings};
use crate::output::Listing;
use clap::Args;
use duolog_base::{Clock, SystemClock};
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// Partitions created by one request; Kafka refuses 10,000.
const CREATED_AT_ONCE: i32 = 5_000;
/// Far more than a server takes, and far from an overflow.
const MOST_PARTITIONS: i64 = 10_000_000;
/// Not counted: connections are opened and memory is taken.
const WARM_UP: Duration = Duration::from_secs(1);
const MEBIBYTE: f64 = 1_048_576.0;

#[derive(Args, Clone)]
pub(super) struct BenchArguments {
    /// Numbers of partitions to compare
    #[arg(short, long, value_name = "N,...", default_value = "64,1000,10000", value_delimiter = ',',
          value_parser = clap::value_parser!(i32).range(1..=MOST_PARTITIONS))]
    partitions: Vec<i32>,
    /// How long to send for each number of partitions
    #[arg(long, value_name = "SECONDS", default_value = "5", value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,
    /// Bytes of a message
    #[arg(long, value_name = "BYTES", default_value = "1024")]
    size: usize,
    /// Messages in one request, each for another partition
    #[arg(long, value_name = "N", default_value = "64", value_parser = clap::value_parser!(u16).range(1..))]
    messages: u16,
    /// Connections; each has one request under way
    #[arg(long, value_name = "N", default_value = "4", value_parser = clap::value_parser!(u16).range(1..=1024))]
    connections: u16,
    #[command(flatten)]
    server: ServerArguments,
    #[command(flatten)]
    output: OutputArguments,
}

/// What one number of partitions came to.
struct Measured {
    partitions: i32,
    create: Duration,
    messages_per_second: f64,
    /// Of requests, in ascending order.
    latencies: Vec<Duration>,
}

pub(super) async fn run(arguments: BenchArguments) -> Result<(), Failure> {
    let mut measured = Vec::new();
    for partitions in &arguments.partitions {
        measured.push(measure(&arguments, *partitions).await?);
    }
    let mut out = output(arguments.output);
    let first = measured.first().map_or(0.0, |first| first.messages_per_second);
    let mut listing = Listing::new(&["Partitions", "Created in", "Messages/s", "MiB/s", "Relative", "p50", "p99"]);
    for one in &measured {
        let mebibytes = one.messages_per_second * arguments.size as f64 / MEBIBYTE;
        listing.row(vec![
            one.partitions.to_string(),
            format!("{:.3} s", one.create.as_secs_f64()),
            format!("{:.0}", one.messages_per_second),
            format!("{mebibytes:.1}"),
            format!("{:.2}", one.messages_per_second / first),
            milliseconds(one.at(50)),
            milliseconds(one.at(99)),
        ]);
    }
    out.listing(&listing, || Value::Array(measured.iter().map(Measured::json).collect()))?;
    Ok(out.flush()?)
}

impl Measured {
    /// A percentile.
    fn at(&self, percent: usize) -> Duration {
        let last = self.latencies.len().saturating_sub(1);
        self.latencies.get((self.latencies.len() * percent / 100).min(last)).copied().unwrap_or_default()
    }

    fn json(&self) -> Value {
        json!({
            "partitions": self.partitions,
            "create_seconds": self.create.as_secs_f64(),
            "messages_per_second": self.messages_per_second,
            "p50_ms": self.at(50).as_secs_f64() * 1e3,
            "p99_ms": self.at(99).as_secs_f64() * 1e3,
        })
    }
}

fn milliseconds(duration: Duration) -> String {
    format!("{:.2} ms", duration.as_secs_f64() * 1e3)
}

/// Makes a topic, sends, and removes it whatever happened.
async fn measure(arguments: &BenchArguments, partitions: i32) -> Result<Measured, Failure> {
    let mut cluster = Cluster::connect(&arguments.server.bootstrap).await?;
    let topic = format!("duolog-bench-{}-{partitions}", std::process::id());
    let start = Instant::now();
    create(&mut cluster, &topic, partitions).await?;
    let create = start.elapsed();
    let sent = send(arguments, &topic, partitions).await;
    let deleted = cluster.delete_topic(&topic).await;
    let (messages_per_second, mut latencies) = sent?;
    deleted?;
    latencies.sort_unstable();
    Ok(Measured { partitions, create, messages_per_second, latencies })
}

async fn create(cluster: &mut Cluster, topic: &str, partitions: i32) -> Result<(), ClientError> {
    let mut created = partitions.min(CREATED_AT_ONCE);
    let spec = NewTopicSpec { name: topic.to_owned(), partitions: Some(created), replication_factor: None, configs: Vec::new() };
    cluster.create_topic(&spec).await?;
    while created < partitions {
        created = partitions.min(created + CREATED_AT_ONCE);
        cluster.create_partitions(topic, created).await?;
    }
    Ok(())
}

/// Messages a second over all connections, and how long each request took.
async fn send(arguments: &BenchArguments, topic: &str, partitions: i32) -> Result<(f64, Vec<Duration>), Failure> {
    let connections = i32::from(arguments.connections);
    let mut senders = JoinSet::new();
    for number in 0..connections {
        // They begin at different partitions.
        let first = i64::from(partitions) * i64::from(number) / i64::from(connections);
        let cluster = Cluster::connect(&arguments.server.bootstrap).await?;
        let producer = Producer::open(cluster, topic, ProducerSettings::default()).await?;
        senders.spawn(send_round(producer, first as i32, partitions, arguments.clone()));
    }
    let (mut rate, mut latencies) = (0.0, Vec::new());
    while let Some(sender) = senders.join_next().await {
        match sender {
            Ok(sent) => {
                let (own_rate, own_latencies) = sent?;
                rate += own_rate;
                latencies.extend(own_latencies);
            }
            Err(panic) => std::panic::resume_unwind(panic.into_panic()),
        }
    }
    Ok((rate, latencies))
}

/// One connection's part: all partitions in turn, one request at a time.
async fn send_round(
    mut producer: Producer,
    first: i32,
    partitions: i32,
    arguments: BenchArguments,
) -> Result<(f64, Vec<Duration>), ClientError> {
    let timestamp = SystemClock::default().now();
    let record = OutgoingRecord { value: Some(vec![b'x'; arguments.size]), timestamp, ..OutgoingRecord::default() };
    // A partition twice in a request would be one batch of two.
    let messages_a_request = i32::from(arguments.messages).min(partitions);
    let mut next = first;
    let mut latencies = Vec::new();
    let mut messages = 0;
    let mut start = Instant::now();
    let mut warm = false;
    while start.elapsed() < if warm { Duration::from_secs(arguments.seconds) } else { WARM_UP } {
        let chosen = (0..messages_a_request).map(|number| (next + number) % partitions);
        let request: Vec<(i32, OutgoingRecord)> = chosen.map(|partition| (partition, record.clone())).collect();
        next = (next + messages_a_request) % partitions;
        let sent = Instant::now();
        producer.send(&request).await?;
        if warm {
            latencies.push(sent.elapsed());
            messages += request.len();
        } else if start.elapsed() >= WARM_UP {
            (warm, start) = (true, Instant::now());
        }
    }
    Ok((messages as f64 / start.elapsed().as_secs_f64(), latencies))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_the_sorted_latencies() {
        let latencies: Vec<Duration> = (1..=200).map(Duration::from_millis).collect();
        let measured = Measured { partitions: 1, create: Duration::ZERO, messages_per_second: 1.0, latencies };
        assert_eq!((measured.at(50), measured.at(99)), (Duration::from_millis(101), Duration::from_millis(199)));
        let nothing = Measured { latencies: Vec::new(), ..measured };
        assert_eq!(nothing.at(99), Duration::ZERO);
    }
}
