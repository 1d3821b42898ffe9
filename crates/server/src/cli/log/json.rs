//! What `log dump --json` prints: an object a frame.

use super::dump::{Depth, kind, partition};
use super::names::Names;
use super::offsets;
use duolog_log::inspect::{Item, Kind};
use duolog_wire::record::{BatchHeader, DecompressLimits, Record, decode_batch};
use serde_json::{Value, json};

pub(super) fn item(item: &Item, depth: Depth, names: &Names) -> Value {
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
            if let Some((topic, index)) = partition(frame).and_then(|number| names.of(number)) {
                value["topic"] = topic.into();
                value["index"] = index.into();
            }
            if depth >= Depth::Batches && frame.kind == Kind::Batch {
                value["batch"] = batch(&frame.payload, depth, names.holds_offsets(frame.partition));
            }
            value
        }
    }
}

pub(super) fn batch(payload: &[u8], depth: Depth, holds_offsets: bool) -> Value {
    let Ok(header) = BatchHeader::parse(payload) else { return Value::Null };
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
    if let (Depth::Records, Ok(decoded)) = (depth, decode_batch(payload, DecompressLimits::default())) {
        value["contents"] = decoded.records().filter_map(Result::ok).map(|one| record(&one, holds_offsets)).collect();
    }
    value
}

fn record(record: &Record<'_>, holds_offsets: bool) -> Value {
    let text = |bytes: Option<&[u8]>| bytes.map(|bytes| bytes.escape_ascii().to_string());
    let mut value = json!({
        "offset": record.offset.0,
        "timestamp": record.timestamp.0,
        "key": text(record.key),
        "value": text(record.value),
        "headers": record.headers.clone().map(|h| json!({ "name": text(Some(h.key)), "value": text(h.value) })).collect::<Vec<_>>(),
    });
    if let (true, Some(decoded)) = (holds_offsets, offsets::value(record.key, record.value)) {
        value["decoded"] = decoded;
    }
    value
}
