//! Directories of partitions that have files of their own, ours or Kafka's: where they are, and how `log dump` prints them.

use super::dump::{Depth, Dump};
use super::{DEDICATED, Failure, SHARED, json, log_error, text};
use crate::output::Output;
use duolog_base::{Disk, RealDisk};
use duolog_core::metadata::OFFSETS_TOPIC;
use duolog_log::dedicated::inspect::{self, Item};
use duolog_log::dedicated::{PartitionName, ProducerEntry};
use duolog_wire::record::BatchHeader;
use serde_json::{Value, json};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A partition's directory.
pub(super) struct Directory {
    pub(super) name: PartitionName,
    pub(super) path: PathBuf,
}

/// Whether a directory is a data directory, which holds a commit log.
pub(super) fn is_data_directory(path: &Path) -> bool {
    RealDisk.list(&path.join(SHARED)).is_ok()
}

/// The partitions in `path`: itself if it is one, those of its `dedicated` if it is a data directory, or else those in it.
pub(super) fn find(path: &Path) -> Result<Vec<Directory>, Failure> {
    let failed = log_error(path);
    if is_data_directory(path) {
        let dedicated = path.join(DEDICATED);
        return if dedicated.is_dir() { below(&dedicated).map_err(log_error(&dedicated)) } else { Ok(Vec::new()) };
    }
    let whole = path.canonicalize().map_err(&failed)?;
    let own = whole.file_name().and_then(|name| PartitionName::parse(&name.to_string_lossy()));
    match own {
        Some(name) if !inspect::segments(&RealDisk, path).map_err(&failed)?.is_empty() => {
            Ok(vec![Directory { name, path: path.to_owned() }])
        }
        _ => below(path).map_err(failed),
    }
}

/// Partitions with segments; another directory may be called as a partition is.
fn below(root: &Path) -> io::Result<Vec<Directory>> {
    let mut found = Vec::new();
    for name in inspect::partitions(&RealDisk, root)? {
        let path = root.join(name.to_string());
        if path.is_dir() && !inspect::segments(&RealDisk, &path)?.is_empty() {
            found.push(Directory { name, path });
        }
    }
    Ok(found)
}

/// Prints one partition; `left` is how many batches more are wanted.
pub(super) fn dump(out: &mut Output, arguments: &Dump, partition: &Directory, left: &mut u64) -> Result<(), Failure> {
    let failed = log_error(&partition.path);
    for (line, value) in facts(partition).map_err(&failed)? {
        print(out, &line, &value)?;
    }
    let holds_offsets = partition.name.topic == OFFSETS_TOPIC;
    for item in inspect::items(Arc::new(RealDisk), &partition.path).map_err(&failed)? {
        if *left == 0 {
            break;
        }
        *left -= 1;
        match item.map_err(&failed)? {
            Item::Damage { file, position, bytes } => {
                let line = format!("{position} {bytes} bytes that are not intact batches, in {}", file.display());
                print(out, &line, &json!({ "kind": "damage", "file": file, "position": position, "bytes": bytes }))?;
            }
            Item::Batch { file, position, header, bytes } => {
                let mut value = batch(partition, &file, position, &header);
                if out.is_json() && arguments.show >= Depth::Batches {
                    value["batch"] = json::batch(&bytes, arguments.show, holds_offsets);
                }
                let offsets = format!("offsets {}..={} epoch {}", header.base_offset, header.last_offset(), header.leader_epoch);
                print(out, &format!("{position} batch {} {offsets} {} bytes", partition.name, bytes.len()), &value)?;
                if !out.is_json() {
                    text::print_batch(out, &bytes, arguments.show, holds_offsets)?;
                }
            }
        }
    }
    Ok(())
}

fn print(out: &mut Output, line: &str, value: &Value) -> io::Result<()> {
    if out.is_json() { out.json_line(value) } else { out.line(line) }
}

fn batch(partition: &Directory, file: &Path, position: u64, header: &BatchHeader) -> Value {
    json!({
        "kind": "batch",
        "topic": partition.name.topic,
        "index": partition.name.index.0,
        "file": file,
        "position": position,
        "offset": header.base_offset.0,
        "last_offset": header.last_offset().0,
        "leader_epoch": header.leader_epoch.0,
    })
}

/// What is in the directory besides batches, as lines and as objects.
fn facts(Directory { name, path }: &Directory) -> io::Result<Vec<(String, Value)>> {
    let (topic, index) = (&name.topic, name.index.0);
    let about = |kind: &str, more: Value| {
        let mut value = json!({ "kind": kind, "topic": topic, "index": index });
        if let (Value::Object(value), Value::Object(more)) = (&mut value, more) {
            value.extend(more);
        }
        value
    };
    let id = inspect::topic_id(&RealDisk, path)?.map(|id| id.to_string());
    let line = format!("partition {name} topic id {} in {}", id.as_deref().unwrap_or("unknown"), path.display());
    let mut facts = vec![(line, about("partition", json!({ "topic_id": id, "directory": path })))];
    for (epoch, start) in inspect::epochs(&RealDisk, path)?.unwrap_or_default() {
        facts.push((
            format!("  epoch {epoch} from offset {start}"),
            about("epoch", json!({ "epoch": epoch.0, "offset": start.0 })),
        ));
    }
    for base in inspect::segments(&RealDisk, path)? {
        let offsets = inspect::offset_entries(&RealDisk, path, base)?;
        let times = inspect::time_entries(&RealDisk, path, base)?;
        let aborted = inspect::aborted_transactions(&RealDisk, path, base)?;
        let (o, t, a) = (offsets.len(), times.len(), aborted.len());
        let line = format!("  segment {base}: {o} offset entries, {t} time entries, {a} aborted transactions");
        let more = json!({
            "base": base,
            "offset_entries": offsets.iter().map(|(offset, position)| json!([offset.0, position])).collect::<Vec<_>>(),
            "time_entries": times.iter().map(|(timestamp, offset)| json!([timestamp.0, offset.0])).collect::<Vec<_>>(),
            "aborted": aborted
                .iter()
                .map(|one| json!({ "producer_id": one.producer_id, "first": one.first_offset, "last": one.last_offset }))
                .collect::<Vec<_>>(),
        });
        facts.push((line, about("segment", more)));
    }
    for (offset, producers) in inspect::snapshots(&RealDisk, path)? {
        let Some(producers) = producers else {
            let line = format!("  producers as of {offset}: DAMAGED");
            facts.push((line, about("producers", json!({ "offset": offset.0, "damaged": true }))));
            continue;
        };
        let known: Vec<String> = producers.iter().map(producer).collect();
        let line = format!("  producers as of {offset}: {}", if known.is_empty() { "none".to_owned() } else { known.join("; ") });
        let producers: Vec<Value> = producers
            .iter()
            .map(|one| {
                json!({ "id": one.id, "epoch": one.epoch, "last_sequence": one.last_sequence, "last_offset": one.last_offset })
            })
            .collect();
        facts.push((line, about("producers", json!({ "offset": offset.0, "producers": producers }))));
    }
    Ok(facts)
}

fn producer(known: &ProducerEntry) -> String {
    format!("{} epoch {} sequence {} offset {}", known.id, known.epoch, known.last_sequence, known.last_offset)
}
