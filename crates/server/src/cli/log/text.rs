//! What `log dump` prints for people: a line a frame, batch or record.

use super::dump::{Depth, kind};
use super::names::Names;
use super::offsets;
use crate::instant;
use crate::output::Output;
use duolog_log::inspect::{Item, Kind};
use duolog_wire::record::{BatchHeader, DecompressLimits, Record, TimestampType, decode_batch};
use std::io;

/// Bytes of a key or value shown.
const SHOWN_BYTES: usize = 80;

pub(super) fn print(out: &mut Output, item: &Item, depth: Depth, names: &Names) -> io::Result<()> {
    let frame = match item {
        Item::Hole { file, position, bytes } => {
            return out.line(&format!("{position} {bytes} bytes that are not frames, in {}", file.display()));
        }
        Item::Frame(frame) => frame,
    };
    let place = match names.of(frame.partition) {
        Some((topic, index)) => format!("partition {} {topic}-{index}", frame.partition),
        None => format!("partition {}", frame.partition),
    };
    let damaged = if frame.intact { "" } else { " DAMAGED" };
    let head = format!("{} {} generation {}", frame.position, kind(frame.kind), frame.generation);
    match frame.kind {
        Kind::GenerationStart => out.line(&format!("{head}{damaged}")),
        Kind::Drop => out.line(&format!("{head} {place}{damaged}")),
        Kind::Truncation => out.line(&format!("{head} {place} end {}{damaged}", frame.offset)),
        Kind::LogStart => out.line(&format!("{head} {place} start {}{damaged}", frame.offset)),
        Kind::Batch => {
            let offsets = format!("offsets {}..={} epoch {}", frame.offset, frame.last_offset, frame.leader_epoch);
            let bytes = frame.payload.len();
            out.line(&format!("{head} {place} {offsets} {bytes} bytes{damaged}"))?;
            if !frame.intact {
                return Ok(());
            }
            print_batch(out, &frame.payload, depth, names.holds_offsets(frame.partition))
        }
    }
}

pub(super) fn print_batch(out: &mut Output, payload: &[u8], depth: Depth, holds_offsets: bool) -> io::Result<()> {
    if depth < Depth::Batches {
        return Ok(());
    }
    match BatchHeader::parse(payload) {
        Err(error) => return out.line(&format!("  {error}")),
        Ok(header) => out.line(&format!("  {}", describe(&header)))?,
    }
    if depth < Depth::Records {
        return Ok(());
    }
    let decoded = match decode_batch(payload, DecompressLimits::default()) {
        Ok(decoded) => decoded,
        Err(error) => return out.line(&format!("  {error}")),
    };
    for record in decoded.records() {
        match record {
            Ok(record) => out.line(&format!("    {}", describe_record(&record, holds_offsets)))?,
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

fn describe_record(record: &Record<'_>, holds_offsets: bool) -> String {
    let known = if holds_offsets { offsets::sentence(record.key, record.value) } else { None };
    let contents = known.unwrap_or_else(|| format!("{} => {}", shown(record.key), shown(record.value)));
    let mut text = format!("{} {} {contents}", record.offset, instant::format(record.timestamp));
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
