//! Sending: several connections with several requests in flight each, queue by queue in turn. Closed loops, all on one thread.

use super::frame::{SEND_BATCH_MESSAGE, SEND_MESSAGE_V2, SUCCESS, Template, batch, read_answer};
use crate::arguments::{Broker, RemotingSend};
use crate::failure::Failure;
use crate::latency::Latencies;
use crate::meter::Meter;
use crate::payload::Payloads;
use crate::report::{Report, Traffic};
use std::io::Result as IoResult;
use std::time::{Duration, Instant, SystemTime};
use tokio::io::{AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

/// Requests are numbered on each connection from here to its number of them in flight, and then again.
const FIRST_OPAQUE: u32 = 1;

pub(crate) fn run(broker: &Broker, load: &RemotingSend) -> Result<Report, Failure> {
    let connection = |error| Failure::Connection { address: broker.bootstrap.clone(), error };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(connection)?;
    runtime.block_on(tokio::task::LocalSet::new().run_until(async {
        let mut lines = Vec::with_capacity(load.connections);
        for number in 0..load.connections {
            lines.push(Line::connect(broker, load, number).await.map_err(connection)?);
        }
        let (_, lines) = phase(lines, load.warm_up, u64::MAX).await.map_err(connection)?;
        let meter = Meter::start(&broker.pids)?;
        let each = load.messages.div_ceil(load.connections.max(1) as u64);
        let (outcome, _) = phase(lines, load.seconds, each).await.map_err(connection)?;
        let traffic = Traffic { messages: outcome.acknowledged, failed: outcome.refused, size: load.size };
        meter.stop("remoting-send", traffic, outcome.latencies.summary())
    }))
}

struct Outcome {
    acknowledged: u64,
    refused: u64,
    latencies: Latencies,
}

/// Lets all connections send for so long, or so many messages each.
async fn phase(lines: Vec<Line>, seconds: f64, messages: u64) -> IoResult<(Outcome, Vec<Line>)> {
    let end = Instant::now() + Duration::from_secs_f64(seconds);
    let running: Vec<_> = lines.into_iter().map(|line| tokio::task::spawn_local(line.run(end, messages))).collect();
    let mut all = Outcome { acknowledged: 0, refused: 0, latencies: Latencies::new() };
    let mut lines = Vec::with_capacity(running.len());
    for line in running {
        let (outcome, line) = line.await.expect("a connection's load does not panic")?;
        all.acknowledged += outcome.acknowledged;
        all.refused += outcome.refused;
        all.latencies.add(&outcome.latencies);
        lines.push(line);
    }
    Ok((all, lines))
}

/// One connection. It has one template a queue, and takes them in turn.
struct Line {
    reader: BufReader<OwnedReadHalf>,
    writer: OwnedWriteHalf,
    templates: Vec<Template>,
    next: usize,
    in_flight: usize,
    /// Messages of one request.
    batch: u64,
    /// Requests that are ready to leave together.
    outgoing: Vec<u8>,
}

impl Line {
    async fn connect(broker: &Broker, load: &RemotingSend, number: usize) -> IoResult<Line> {
        let stream = TcpStream::connect(&broker.bootstrap).await?;
        stream.set_nodelay(true)?;
        let (reader, writer) = stream.into_split();
        let templates: Vec<Template> = (0..round(load)).map(|number| request(load, number)).collect();
        // Connections begin at different queues.
        let next = number * templates.len() / load.connections.max(1);
        let (in_flight, batch) = (load.in_flight, load.batch as u64);
        Ok(Line { reader: BufReader::new(reader), writer, templates, next, in_flight, batch, outgoing: Vec::new() })
    }

    async fn run(mut self, end: Instant, messages: u64) -> IoResult<(Outcome, Line)> {
        let mut outcome = Outcome { acknowledged: 0, refused: 0, latencies: Latencies::new() };
        let mut started = vec![Instant::now(); self.in_flight];
        let mut free: Vec<u32> = (0..self.in_flight as u32).collect();
        let mut left = messages.div_ceil(self.batch);
        let mut answer = Vec::new();
        loop {
            let now = Instant::now();
            while left > 0 && now < end && !free.is_empty() {
                let slot = free.pop().expect("it is not empty");
                started[slot as usize] = now;
                self.outgoing.extend_from_slice(self.templates[self.next].numbered(FIRST_OPAQUE + slot));
                self.next = (self.next + 1) % self.templates.len();
                left -= 1;
            }
            if !self.outgoing.is_empty() {
                self.writer.write_all(&self.outgoing).await?;
                self.outgoing.clear();
            }
            if free.len() == self.in_flight {
                return Ok((outcome, self));
            }
            // What has come already is taken in before the next requests leave.
            loop {
                let read = read_answer(&mut self.reader, &mut answer).await?;
                let slot = read.opaque.wrapping_sub(FIRST_OPAQUE);
                let start = started.get(slot as usize).ok_or_else(|| std::io::Error::other("an answer nobody asked for"))?;
                outcome.latencies.record(start.elapsed());
                match read.code {
                    SUCCESS => outcome.acknowledged += self.batch,
                    _ => outcome.refused += self.batch,
                }
                free.push(slot);
                if self.reader.buffer().is_empty() || free.len() == self.in_flight {
                    break;
                }
            }
        }
    }
}

/// Requests after which the same queues get the same tags again.
fn round(load: &RemotingSend) -> u64 {
    let (queues, tags) = (u64::from(load.queues.unsigned_abs()), load.tags.max(1));
    let (mut divisor, mut rest) = (queues, tags);
    while rest > 0 {
        (divisor, rest) = (rest, divisor % rest);
    }
    queues / divisor * tags
}

/// One message, or a batch, for the queue whose turn it is.
fn request(load: &RemotingSend, number: u64) -> Template {
    let queue = number % u64::from(load.queues.unsigned_abs());
    let payloads = Payloads::new(load.size);
    let properties = |number: u64| {
        let mut text = format!("UNIQ_KEY\u{1}{number:032X}\u{2}WAIT\u{1}true\u{2}");
        if load.tags > 0 {
            text += &format!("TAGS\u{1}tag{}\u{2}", number % load.tags);
        }
        if load.delay_ms > 0 {
            text += &format!("TIMER_DELAY_MS\u{1}{}\u{2}", load.delay_ms);
        }
        text
    };
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_millis();
    let is_batch = load.batch > 1;
    let (code, body, text) = match is_batch {
        false => (SEND_MESSAGE_V2, payloads.at(number).to_vec(), properties(number)),
        true => {
            let texts: Vec<String> = (0..load.batch as u64).map(properties).collect();
            let messages: Vec<(&[u8], &str)> =
                texts.iter().enumerate().map(|(number, text)| (payloads.at(number as u64), text.as_str())).collect();
            (SEND_BATCH_MESSAGE, batch(&messages), String::new())
        }
    };
    let fields = [
        ("a", "bench".to_owned()),
        ("b", load.topic.clone()),
        ("c", "TBW102".to_owned()),
        ("d", "4".to_owned()),
        ("e", queue.to_string()),
        ("f", "0".to_owned()),
        ("g", now.to_string()),
        ("h", "0".to_owned()),
        ("i", text),
        ("j", "0".to_owned()),
        ("k", "false".to_owned()),
        ("m", is_batch.to_string()),
    ];
    Template::new(code, &fields, &body)
}
