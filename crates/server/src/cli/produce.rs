//! `duolog produce TOPIC`: every line of the input becomes a record.
//!
//! A thread reads lines into a bounded channel; what has gathered there while a request was under way is the next
//! request. So a slow typist's line leaves at once, and a file goes out in large batches.

use super::arguments::pair;
use super::{Failure, OutputArguments, ServerArguments, output};
use crate::client::{Cluster, OutgoingRecord, Producer, ProducerSettings, partition_for_key};
use clap::{Args, ValueEnum};
use duolog_base::{Clock, SystemClock};
use duolog_wire::record::Compression;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use std::fs::File;
use std::io::{self, BufRead, BufReader, IsTerminal, Read};
use std::path::{Path, PathBuf};
use tokio::sync::mpsc;

/// Lines that wait between the reader and the sender.
const QUEUED_LINES: usize = 16_384;
/// Bytes of lines sent in one request.
const REQUEST_BYTES: usize = 4 << 20;
/// Longest line, in bytes.
const MAX_LINE_BYTES: u64 = 64 << 20;

#[derive(Clone, Copy, ValueEnum)]
enum Codec {
    None,
    Gzip,
    Snappy,
    Lz4,
    Zstd,
}

#[derive(Clone, Copy, ValueEnum)]
enum AcksArgument {
    /// On disk of every in-sync replica
    All,
    /// In the leader's page cache
    #[value(name = "1")]
    Leader,
    /// Not acknowledged at all
    #[value(name = "0")]
    None,
}

#[derive(Args)]
pub(super) struct ProduceArguments {
    topic: String,
    /// Read this file instead of standard input
    #[arg(short, long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// What stands between key and value of a line; without it lines have no key
    #[arg(short, long, value_name = "TEXT")]
    key_separator: Option<String>,
    /// A header for every record
    #[arg(short = 'H', long = "header", value_name = "NAME=VALUE", value_parser = pair)]
    headers: Vec<(String, String)>,
    /// How batches are compressed
    #[arg(short = 'z', long, value_enum, default_value = "none")]
    compression: Codec,
    /// Everything goes to this partition; otherwise the key decides, or the lines go round
    #[arg(short, long, value_name = "N")]
    partition: Option<i32>,
    /// When a record counts as sent
    #[arg(short, long, value_enum, default_value = "all")]
    acks: AcksArgument,
    #[command(flatten)]
    server: ServerArguments,
    #[command(flatten)]
    output: OutputArguments,
}

/// A line of the input, without its line feed.
struct Line {
    number: u64,
    bytes: Vec<u8>,
}

pub(super) async fn run(arguments: ProduceArguments) -> Result<(), Failure> {
    let settings =
        ProducerSettings { acks: acks(arguments.acks), compression: codec(arguments.compression), ..Default::default() };
    let (input, size) = open_input(arguments.file.as_deref())?;
    let cluster = Cluster::connect(&arguments.server.bootstrap).await?;
    let mut producer = Producer::open(cluster, &arguments.topic, settings).await?;
    let router = Router::new(&arguments, producer.partitions())?;
    let (lines, mut queue) = mpsc::channel(QUEUED_LINES);
    let reader = std::thread::spawn(move || read_lines(input, &lines));
    let progress = progress(arguments.file.is_some() || !io::stdin().is_terminal(), size);
    let sent = send_lines(&mut producer, router, &mut queue, &progress).await;
    progress.finish_and_clear();
    // Frees a reader that waits for room in the queue.
    drop(queue);
    let sent = sent?;
    let path = arguments.file.unwrap_or_else(|| PathBuf::from("standard input"));
    match reader.join() {
        Ok(read) => read.map_err(|error| Failure::Input { path, error })?,
        Err(panic) => std::panic::resume_unwind(panic),
    }
    let mut out = output(arguments.output);
    let topic = &arguments.topic;
    let noun = if sent.records == 1 { "record" } else { "records" };
    out.sentence(
        &format!("sent {} {noun} to {topic}", sent.records),
        || json!({ "topic": topic, "records": sent.records, "bytes": sent.bytes }),
    )?;
    Ok(out.flush()?)
}

fn acks(argument: AcksArgument) -> i16 {
    match argument {
        AcksArgument::All => -1,
        AcksArgument::Leader => 1,
        AcksArgument::None => 0,
    }
}

fn codec(argument: Codec) -> Compression {
    match argument {
        Codec::None => Compression::None,
        Codec::Gzip => Compression::Gzip,
        Codec::Snappy => Compression::Snappy,
        Codec::Lz4 => Compression::Lz4,
        Codec::Zstd => Compression::Zstd,
    }
}

type Input = Box<dyn Read + Send>;

/// The input, and its size if it has one.
fn open_input(path: Option<&Path>) -> Result<(Input, Option<u64>), Failure> {
    let Some(path) = path else { return Ok((Box::new(io::stdin()), None)) };
    let input_error = |error| Failure::Input { path: path.to_owned(), error };
    let file = File::open(path).map_err(input_error)?;
    let size = file.metadata().map_err(input_error)?.len();
    Ok((Box::new(file), Some(size)))
}

fn read_lines(input: Input, lines: &mpsc::Sender<Line>) -> io::Result<()> {
    let mut input = BufReader::with_capacity(1 << 20, input);
    for number in 1.. {
        let mut bytes = Vec::new();
        if input.by_ref().take(MAX_LINE_BYTES).read_until(b'\n', &mut bytes)? == 0 {
            break;
        }
        if bytes.last() == Some(&b'\n') {
            bytes.pop();
        } else if bytes.len() as u64 == MAX_LINE_BYTES {
            return Err(io::Error::new(io::ErrorKind::InvalidData, LineTooLong { number }));
        }
        if lines.blocking_send(Line { number, bytes }).is_err() {
            break;
        }
    }
    Ok(())
}

#[derive(Debug, thiserror::Error)]
#[error("line {number} is longer than {MAX_LINE_BYTES} bytes")]
struct LineTooLong {
    number: u64,
}

/// Shown on standard error, and only if that is a terminal and nobody types there.
fn progress(wanted: bool, size: Option<u64>) -> ProgressBar {
    if !wanted || !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let (bar, template) = match size {
        Some(size) => (ProgressBar::new(size), "{bar:40} {bytes}/{total_bytes} {bytes_per_sec} {eta}"),
        None => (ProgressBar::no_length(), "{spinner} {bytes} {bytes_per_sec}"),
    };
    // The template is a constant: it parses.
    bar.with_style(ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()))
}

struct Sent {
    records: u64,
    bytes: u64,
}

async fn send_lines(
    producer: &mut Producer,
    mut router: Router,
    queue: &mut mpsc::Receiver<Line>,
    progress: &ProgressBar,
) -> Result<Sent, Failure> {
    let mut sent = Sent { records: 0, bytes: 0 };
    while let Some(first) = queue.recv().await {
        let mut bytes = first.bytes.len();
        let mut records = vec![router.route(first)?];
        while bytes < REQUEST_BYTES {
            let Ok(line) = queue.try_recv() else { break };
            bytes += line.bytes.len() + 1;
            records.push(router.route(line)?);
        }
        producer.send(&records).await?;
        router.turn();
        sent.records += records.len() as u64;
        sent.bytes += bytes as u64;
        progress.inc(bytes as u64);
    }
    Ok(sent)
}

/// Makes a record of a line and chooses its partition.
struct Router {
    key_separator: Option<String>,
    headers: Vec<(String, Vec<u8>)>,
    fixed: Option<i32>,
    partitions: usize,
    /// Where records without a key go at present.
    current: i32,
    clock: SystemClock,
}

impl Router {
    fn new(arguments: &ProduceArguments, partitions: usize) -> Result<Router, Failure> {
        if let Some(partition) = arguments.partition {
            let valid = usize::try_from(partition).is_ok_and(|index| index < partitions);
            if !valid {
                return Err(Failure::NoPartition { topic: arguments.topic.clone(), partition });
            }
        }
        let clock = SystemClock::default();
        Ok(Router {
            key_separator: arguments.key_separator.clone(),
            headers: arguments.headers.iter().map(|(name, value)| (name.clone(), value.clone().into_bytes())).collect(),
            fixed: arguments.partition,
            partitions,
            // Runs that send one line each should not all choose partition 0.
            current: (clock.now().0 % partitions.max(1) as i64) as i32,
            clock,
        })
    }

    fn route(&mut self, line: Line) -> Result<(i32, OutgoingRecord), Failure> {
        let (key, value) = self.split(line)?;
        let partition = match (&key, self.fixed) {
            (_, Some(fixed)) => fixed,
            (Some(key), None) => partition_for_key(key, self.partitions).0,
            (None, None) => self.current,
        };
        let timestamp = self.clock.now();
        Ok((partition, OutgoingRecord { key, value: Some(value), headers: self.headers.clone(), timestamp }))
    }

    fn split(&self, line: Line) -> Result<(Option<Vec<u8>>, Vec<u8>), Failure> {
        let Some(separator) = &self.key_separator else { return Ok((None, line.bytes)) };
        let pattern = separator.as_bytes();
        let at = line.bytes.windows(pattern.len().max(1)).position(|window| window == pattern);
        let at = at.ok_or_else(|| Failure::NoSeparator { line: line.number, separator: separator.clone() })?;
        let value = line.bytes[at + pattern.len()..].to_vec();
        let mut key = line.bytes;
        key.truncate(at);
        Ok((Some(key), value))
    }

    /// Sends the next records without a key elsewhere.
    fn turn(&mut self) {
        self.current = (self.current + 1) % self.partitions.max(1) as i32;
    }
}
