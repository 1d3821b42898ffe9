//! One connection to each leader that sends batches of one message over its partitions, many in a request, several requests in
//! flight: what a client library with thousands of partitions comes to send, without the library's own cost for each partition.

use crate::arguments::{Broker, RoundRobin};
use crate::client::leaders;
use crate::failure::Failure;
use crate::frame::{produce_request, read_answer};
use crate::latency::Latencies;
use crate::meter::Meter;
use crate::payload::Payloads;
use crate::report::{Report, Traffic};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::task::JoinSet;

/// A request and how many messages it has.
struct Request {
    bytes: Vec<u8>,
    messages: u64,
}

pub(crate) fn run(broker: &Broker, load: &RoundRobin) -> Result<Report, Failure> {
    let connection = |error| Failure::Connection { address: broker.bootstrap.clone(), error };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(connection)?;
    let leaders = leaders(broker, &load.target)?;
    runtime.block_on(async {
        let mut lines = Vec::new();
        for (address, partitions) in leaders {
            let stream = TcpStream::connect(&address).await.map_err(connection)?;
            stream.set_nodelay(true).map_err(connection)?;
            let (reader, writer) = stream.into_split();
            let requests = requests(load, &partitions).into();
            lines.push(Line { reader: BufReader::new(reader), writer, in_flight: load.in_flight, requests });
        }
        let (lines, _) = phase(lines, load.warm_up).await.map_err(connection)?;
        let meter = Meter::start(&broker.pids)?;
        let (_, sum) = phase(lines, load.seconds).await.map_err(connection)?;
        let traffic = Traffic { messages: sum.acknowledged, failed: sum.refused, size: load.target.size };
        meter.stop("round-robin", traffic, sum.latencies.summary())
    })
}

/// The requests of one round over these partitions.
fn requests(load: &RoundRobin, partitions: &[i32]) -> Vec<Request> {
    let payloads = Payloads::new(load.target.size);
    let chunks = partitions.chunks(load.batches.max(1).unsigned_abs() as usize);
    chunks
        .map(|chunk| {
            let messages: Vec<(i32, &[u8])> = chunk.iter().map(|index| (*index, payloads.at(*index as u64))).collect();
            let bytes = produce_request(&load.target.topic, &messages, load.acks);
            Request { bytes, messages: chunk.len() as u64 }
        })
        .collect()
}

/// All lines at the same time.
async fn phase(lines: Vec<Line>, seconds: f64) -> std::io::Result<(Vec<Line>, Sum)> {
    let mut running = JoinSet::new();
    for mut line in lines {
        running.spawn(async move { line.phase(seconds).await.map(|sum| (line, sum)) });
    }
    let (mut lines, mut all) = (Vec::new(), Sum::new());
    while let Some(ended) = running.join_next().await {
        let (line, sum) = ended??;
        lines.push(line);
        all.acknowledged += sum.acknowledged;
        all.refused += sum.refused;
        all.latencies.add(&sum.latencies);
    }
    Ok((lines, all))
}

/// What a phase brought: messages, and the latencies of requests.
struct Sum {
    acknowledged: u64,
    refused: u64,
    latencies: Latencies,
}

impl Sum {
    fn new() -> Sum {
        Sum { acknowledged: 0, refused: 0, latencies: Latencies::new() }
    }
}

struct Line {
    reader: BufReader<OwnedReadHalf>,
    writer: OwnedWriteHalf,
    in_flight: usize,
    requests: Arc<[Request]>,
}

impl Line {
    async fn phase(&mut self, seconds: f64) -> std::io::Result<Sum> {
        let end = Instant::now() + Duration::from_secs_f64(seconds);
        let mut round = self.requests.iter().cycle();
        let mut sent: VecDeque<(Instant, u64)> = VecDeque::with_capacity(self.in_flight);
        let mut sum = Sum::new();
        let mut answer = Vec::new();
        loop {
            let now = Instant::now();
            if now < end && sent.len() < self.in_flight {
                let request = round.next().expect("a topic has partitions");
                self.writer.write_all(&request.bytes).await?;
                sent.push_back((now, request.messages));
                continue;
            }
            let Some((start, messages)) = sent.pop_front() else { break };
            let refused = read_answer(&mut self.reader, &mut answer).await?;
            sum.latencies.record(start.elapsed());
            sum.acknowledged += messages - refused;
            sum.refused += refused;
        }
        Ok(sum)
    }
}
