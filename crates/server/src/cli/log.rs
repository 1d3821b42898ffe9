//! `duolog log ...`: what lies in a data directory, read as it is on disk.
//!
//! No server is asked. Partitions appear by their numbers, which is all that the commit log knows of them. What a running
//! server writes meanwhile is seen or not.

use super::{Failure, OutputArguments, output};
use crate::instant;
use crate::output::{Listing, Output};
use clap::{Args, Subcommand, ValueEnum};
use duolog_base::RealDisk;
use duolog_log::inspect::{self, Frame, Item, Kind, VerifyReport};
use duolog_wire::record::{BatchHeader, DecompressLimits, Record, TimestampType, decode_batch};
use serde_json::{Value, json};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where a data directory keeps the commit log.
const SHARED: &str = "shared";
/// Bytes of a key or value shown in text.
const SHOWN_BYTES: usize = 80;

#[derive(Subcommand)]
pub(super) enum LogCommand {
    /// Print frames, batches or records in the order in which they were written
    Dump(Dump),
    /// Check all checksums and that indexes agree with the log; exit code 1 if something is wrong
    Verify(Verify),
}

#[derive(Args)]
pub(super) struct Dump {
    /// The data directory
    #[arg(default_value = "./duolog-data")]
    directory: PathBuf,
    /// How deep to look
    #[arg(short, long, value_enum, default_value = "batches")]
    show: Depth,
    /// Only this partition number (repeatable)
    #[arg(short, long, value_name = "NUMBER")]
    partition: Vec<u32>,
    /// End after this many frames
    #[arg(short, long, value_name = "N")]
    count: Option<u64>,
    #[command(flatten)]
    output: OutputArguments,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
enum Depth {
    /// One line a frame
    Frames,
    /// What the batch header says, too
    Batches,
    /// Every record, too
    Records,
}

#[derive(Args)]
pub(super) struct Verify {
    /// The data directory
    #[arg(default_value = "./duolog-data")]
    directory: PathBuf,
    #[command(flatten)]
    output: OutputArguments,
}

pub(super) fn run(command: LogCommand) -> Result<(), Failure> {
    match command {
        LogCommand::Dump(arguments) => dump(&arguments),
        LogCommand::Verify(arguments) => verify(&arguments),
    }
}

fn log_error(path: &Path) -> impl Fn(io::Error) -> Failure {
    move |error| Failure::Log { path: path.to_owned(), error }
}

fn dump(arguments: &Dump) -> Result<(), Failure> {
    let directory = arguments.directory.join(SHARED);
    let frames = inspect::frames(Arc::new(RealDisk), &directory).map_err(log_error(&directory))?;
    let mut out = output(arguments.output);
    let mut left = arguments.count.unwrap_or(u64::MAX);
    for item in frames {
        let item = item.map_err(log_error(&directory))?;
        let wanted = match &item {
            Item::Frame(frame) => arguments.partition.is_empty() || arguments.partition.contains(&frame.partition.0),
            Item::Hole { .. } => true,
        };
        if !wanted {
            continue;
        }
        if left == 0 {
            break;
        }
        left -= 1;
        if out.is_json() {
            out.json_line(&item_json(&item, arguments.show))?;
        } else {
            print_item(&mut out, &item, arguments.show)?;
        }
    }
    Ok(out.flush()?)
}

fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Batch => "batch",
        Kind::LogStart => "log-start",
        Kind::Drop => "drop",
        Kind::GenerationStart => "generation",
    }
}

fn print_item(out: &mut Output, item: &Item, depth: Depth) -> io::Result<()> {
    let frame = match item {
        Item::Hole { file, position, bytes } => {
            return out.line(&format!("{position} {bytes} bytes that are not frames, in {}", file.display()));
        }
        Item::Frame(frame) => frame,
    };
    let damaged = if frame.intact { "" } else { " DAMAGED" };
    let head = format!("{} {} generation {}", frame.position, kind(frame.kind), frame.generation);
    match frame.kind {
        Kind::GenerationStart => out.line(&format!("{head}{damaged}")),
        Kind::Drop => out.line(&format!("{head} partition {}{damaged}", frame.partition)),
        Kind::LogStart => out.line(&format!("{head} partition {} start {}{damaged}", frame.partition, frame.offset)),
        Kind::Batch => {
            let offsets = format!("offsets {}..={} epoch {}", frame.offset, frame.last_offset, frame.leader_epoch);
            let bytes = frame.payload.len();
            out.line(&format!("{head} partition {} {offsets} {bytes} bytes{damaged}", frame.partition))?;
            print_batch(out, frame, depth)
        }
    }
}

fn print_batch(out: &mut Output, frame: &Frame, depth: Depth) -> io::Result<()> {
    if depth < Depth::Batches || !frame.intact {
        return Ok(());
    }
    match BatchHeader::parse(&frame.payload) {
        Err(error) => return out.line(&format!("  {error}")),
        Ok(header) => out.line(&format!("  {}", describe(&header)))?,
    }
    if depth < Depth::Records {
        return Ok(());
    }
    let decoded = match decode_batch(&frame.payload, DecompressLimits::default()) {
        Ok(decoded) => decoded,
        Err(error) => return out.line(&format!("  {error}")),
    };
    for record in decoded.records() {
        match record {
            Ok(record) => out.line(&format!("    {}", describe_record(&record)))?,
            Err(error) => out.line(&format!("    {error}"))?,
        }
    }
    Ok(())
}

fn describe(header: &BatchHeader) -> String {
    let mut text = format!(
        "{} records, {}, {} {}",
        header.record_count,
        header.compression().name(),
        time_type(header),
        instant::format(header.max_timestamp)
    );
    if header.is_idempotent() {
        text += &format!(", producer {} epoch {} sequence {}", header.producer_id, header.producer_epoch, header.base_sequence);
    }
    if header.attributes.is_transactional() {
        text += ", transactional";
    }
    if header.attributes.is_control() {
        text += ", control";
    }
    text
}

fn time_type(header: &BatchHeader) -> &'static str {
    match header.attributes.timestamp_type() {
        TimestampType::CreateTime => "created",
        TimestampType::LogAppendTime => "appended",
    }
}

fn describe_record(record: &Record<'_>) -> String {
    let mut text =
        format!("{} {} {} => {}", record.offset, instant::format(record.timestamp), shown(record.key), shown(record.value));
    for header in record.headers.clone() {
        text += &format!(" [{}: {}]", String::from_utf8_lossy(header.key), shown(header.value));
    }
    text
}

/// Printable, and not too long.
fn shown(bytes: Option<&[u8]>) -> String {
    let Some(bytes) = bytes else { return "null".to_owned() };
    let cut = &bytes[..bytes.len().min(SHOWN_BYTES)];
    let rest = if cut.len() < bytes.len() { format!("... ({} bytes)", bytes.len()) } else { String::new() };
    format!("\"{}\"{rest}", cut.escape_ascii())
}

fn item_json(item: &Item, depth: Depth) -> Value {
    match item {
        Item::Hole { file, position, bytes } => json!({ "hole": true, "file": file, "position": position.0, "bytes": bytes }),
        Item::Frame(frame) => {
            let mut value = json!({
                "kind": kind(frame.kind),
                "file": frame.file,
                "position": frame.position.0,
                "generation": frame.generation,
                "partition": frame.partition.0,
                "offset": frame.offset.0,
                "last_offset": frame.last_offset.0,
                "leader_epoch": frame.leader_epoch.0,
                "bytes": frame.payload.len(),
                "intact": frame.intact,
            });
            if depth >= Depth::Batches && frame.kind == Kind::Batch {
                value["batch"] = batch_json(frame, depth);
            }
            value
        }
    }
}

fn batch_json(frame: &Frame, depth: Depth) -> Value {
    let Ok(header) = BatchHeader::parse(&frame.payload) else { return Value::Null };
    let mut value = json!({
        "records": header.record_count,
        "compression": header.compression().name(),
        "max_timestamp": header.max_timestamp.0,
        "producer_id": header.producer_id.0,
        "producer_epoch": header.producer_epoch.0,
        "base_sequence": header.base_sequence,
        "transactional": header.attributes.is_transactional(),
        "control": header.attributes.is_control(),
    });
    if let (Depth::Records, Ok(decoded)) = (depth, decode_batch(&frame.payload, DecompressLimits::default())) {
        value["contents"] = decoded.records().filter_map(Result::ok).map(|record| record_json(&record)).collect();
    }
    value
}

fn record_json(record: &Record<'_>) -> Value {
    let text = |bytes: Option<&[u8]>| bytes.map(|bytes| bytes.escape_ascii().to_string());
    json!({
        "offset": record.offset.0,
        "timestamp": record.timestamp.0,
        "key": text(record.key),
        "value": text(record.value),
        "headers": record.headers.clone().map(|h| json!({ "name": text(Some(h.key)), "value": text(h.value) })).collect::<Vec<_>>(),
    })
}

fn verify(arguments: &Verify) -> Result<(), Failure> {
    let directory = arguments.directory.join(SHARED);
    let report = inspect::verify(Arc::new(RealDisk), &directory).map_err(log_error(&directory))?;
    let mut out = output(arguments.output);
    if !out.is_json() && !report.problems.is_empty() {
        out.listing(&problems(&report), || Value::Null)?;
    }
    let VerifyReport { files, frames, batches, bytes, entries, problem_count, .. } = &report;
    let text = format!(
        "{files} files, {frames} frames, {batches} batches of {bytes} bytes, {entries} index entries: {problem_count} problems"
    );
    out.sentence(&text, || report_json(&report))?;
    out.flush()?;
    if report.problem_count == 0 { Ok(()) } else { Err(Failure::Problems { problems: report.problem_count }) }
}

fn problems(report: &VerifyReport) -> Listing {
    let mut listing = Listing::new(&["file", "position", "partition", "problem"]);
    for found in &report.problems {
        let number = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
        listing.row(vec![
            found.file.display().to_string(),
            number(found.position.map(|position| position.to_string())),
            number(found.partition.map(|partition| partition.to_string())),
            found.problem.to_owned(),
        ]);
    }
    listing
}

fn report_json(report: &VerifyReport) -> Value {
    let problem = |found: &inspect::Problem| {
        json!({
            "file": found.file,
            "position": found.position.map(|position| position.0),
            "partition": found.partition.map(|partition| partition.0),
            "problem": found.problem,
        })
    };
    json!({
        "files": report.files,
        "frames": report.frames,
        "batches": report.batches,
        "bytes": report.bytes,
        "index_entries": report.entries,
        "problem_count": report.problem_count,
        "problems": report.problems.iter().map(problem).collect::<Vec<_>>(),
    })
}
