//! One connection that sends batches of one message over many partitions, many in a request, several requests in flight: what
//! a client library with thousands of partitions comes to send, without the library's own cost for each partition.

use crate::arguments::{Broker, RoundRobin};
use crate::failure::Failure;
use crate::frame::{produce_request, read_answer};
use crate::latency::Latencies;
use crate::meter::Meter;
use crate::payload::Payloads;
use crate::report::{Report, Traffic};
use std::collections::VecDeque;
use std::time::{Duration, Instant};
use tokio::io::{AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

/// A request and how many messages it has.
struct Request {
    bytes: Vec<u8>,
    messages: u64,
}

pub(crate) fn run(broker: &Broker, load: &RoundRobin) -> Result<Report, Failure> {
    let connection = |error| Failure::Connection { address: broker.bootstrap.clone(), error };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(connection)?;
    let requests = requests(load);
    runtime.block_on(async {
        let stream = TcpStream::connect(&broker.bootstrap).await.map_err(connection)?;
        stream.set_nodelay(true).map_err(connection)?;
        let (reader, writer) = stream.into_split();
        let mut line = Line { reader: BufReader::new(reader), writer, in_flight: load.in_flight };
        line.phase(&requests, load.warm_up).await.map_err(connection)?;
        let meter = Meter::start(&broker.pids)?;
        let (acknowledged, failed, latencies) = line.phase(&requests, load.seconds).await.map_err(connection)?;
        let traffic = Traffic { messages: acknowledged, failed, size: load.target.size };
        meter.stop("round-robin", traffic, latencies.summary())
    })
}

/// The requests of one round over all partitions.
fn requests(load: &RoundRobin) -> Vec<Request> {
    let payloads = Payloads::new(load.target.size);
    let partitions: Vec<i32> = (0..load.target.partitions).collect();
    let chunks = partitions.chunks(load.batches.max(1).unsigned_abs() as usize);
    chunks
        .map(|chunk| {
            let messages: Vec<(i32, &[u8])> = chunk.iter().map(|index| (*index, payloads.at(*index as u64))).collect();
            let bytes = produce_request(&load.target.topic, &messages, load.acks);
            Request { bytes, messages: chunk.len() as u64 }
        })
        .collect()
}

struct Line {
    reader: BufReader<OwnedReadHalf>,
    writer: OwnedWriteHalf,
    in_flight: usize,
}

impl Line {
    /// Acknowledged messages, refused ones and the latencies of requests.
    async fn phase(&mut self, requests: &[Request], seconds: f64) -> std::io::Result<(u64, u64, Latencies)> {
        let end = Instant::now() + Duration::from_secs_f64(seconds);
        let mut round = requests.iter().cycle();
        let mut sent: VecDeque<(Instant, u64)> = VecDeque::with_capacity(self.in_flight);
        let (mut acknowledged, mut failed, mut latencies) = (0, 0, Latencies::new());
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
            latencies.record(start.elapsed());
            acknowledged += messages - refused;
            failed += refused;
        }
        Ok((acknowledged, failed, latencies))
    }
}
