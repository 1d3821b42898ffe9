//! Metrics as Prometheus text: one table names them all, and `docs/metrics.md` is written from it.
//!
//! The numbers are counted where things happen; here they are only named, explained and written. A new metric is one
//! entry of [`METRICS`].

use super::http::Served;
use duolog_core::broker::BrokerMetrics;
use duolog_core::coordinator::RuntimeMetrics;
use duolog_core::group::{GroupCensus, GroupMetrics};
use duolog_log::LogStatistics;
use duolog_wire::kafka::api;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use std::fmt;
use std::sync::Arc;

pub(super) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const PREFIX: &str = "duolog";

/// One metric. The exposition puts `duolog_` before the name, and `_total` behind that of a counter.
struct Metric {
    name: &'static str,
    kind: Kind,
    help: &'static str,
    value: Value,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Counter,
    Gauge,
}

enum Value {
    One(fn(&Snapshot) -> u64),
    /// One value for each word of a label.
    Each(&'static str, fn(&Snapshot) -> Vec<(&'static str, u64)>),
}

/// What a scrape looks at.
struct Snapshot {
    served: Arc<Served>,
    log: LogStatistics,
    groups: GroupCensus,
    disk_free_bytes: u64,
}

impl Snapshot {
    fn broker(&self) -> &BrokerMetrics {
        self.served.broker.metrics()
    }

    fn group_counters(&self) -> &GroupMetrics {
        self.served.groups.metrics()
    }

    fn coordinators(&self) -> &RuntimeMetrics {
        self.served.groups.runtime_metrics()
    }
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Snapshot").field("log", &self.log).field("groups", &self.groups).finish_non_exhaustive()
    }
}

const fn counter(name: &'static str, help: &'static str, value: fn(&Snapshot) -> u64) -> Metric {
    Metric { name, kind: Kind::Counter, help, value: Value::One(value) }
}

const fn gauge(name: &'static str, help: &'static str, value: fn(&Snapshot) -> u64) -> Metric {
    Metric { name, kind: Kind::Gauge, help, value: Value::One(value) }
}

const METRICS: &[Metric] = &[
    // Clients.
    gauge("connections", "Open client connections", |s| s.broker().connections.get()),
    counter("connections_refused", "Connections closed for what the client sent", |s| s.broker().connections_refused.get()),
    counter("answers_cut", "Answers not finished, since a file could not be read or was damaged", |s| {
        s.broker().answers_cut.get()
    }),
    Metric {
        name: "requests",
        kind: Kind::Counter,
        help: "Kafka requests, by kind; kinds never asked for are left out",
        value: Value::Each("api", requests),
    },
    // Data.
    gauge("topics", "Topics, internal ones included", |s| s.served.broker.image().topics.len() as u64),
    gauge("partitions", "Partitions, those of internal topics included", |s| {
        s.served.broker.image().topics.values().map(|topic| topic.partitions.len() as u64).sum()
    }),
    counter("bytes_in", "Bytes of record batches accepted from clients", |s| s.broker().bytes_in.get()),
    counter("records_in", "Records accepted from clients", |s| s.broker().records_in.get()),
    counter("batches_in", "Record batches accepted from clients", |s| s.broker().batches_in.get()),
    counter("bytes_out", "Bytes of record batches given to readers", |s| s.broker().bytes_out.get()),
    counter("appends", "Append calls, one a produce request", |s| s.broker().appends.get()),
    counter("appends_failed", "Appends to partitions that were refused", |s| s.broker().appends_failed.get()),
    // The log.
    counter("log_writes", "Writes of queued frames, one system call each", |s| s.log.writes),
    counter("log_written_bytes", "Bytes of those writes, frame headers and padding included", |s| s.log.written_bytes),
    counter("log_syncs", "Syncs that made more of the log durable", |s| s.log.syncs),
    counter("log_rolls", "Log files begun because the one before was full", |s| s.log.rolls),
    counter("log_seals", "Log files that got their sealed index", |s| s.log.seals),
    counter("log_checkpoints", "Checkpoints of the active file", |s| s.log.checkpoints),
    counter("log_files_freed", "Log files removed because nothing in them is alive", |s| s.log.files_freed),
    counter("log_recovered_frames", "Frames read when the log was opened", |s| s.log.recovered_frames),
    gauge("log_queue_bytes", "Batches that wait to be written, in bytes", |s| s.log.queued_bytes as u64),
    gauge("log_tail_cache_bytes", "Memory that holds the newest batches for readers at the tail, in bytes", |s| {
        s.log.tail_cache_bytes as u64
    }),
    gauge("log_durable_position_bytes", "How far the commit log is on disk, in bytes since its beginning", |s| {
        s.served.broker.log().durable_position().0
    }),
    gauge("disk_free_bytes", "Free space where the data directory lies (of several: the one with least), in bytes", |s| {
        s.disk_free_bytes
    }),
    // Groups.
    Metric {
        name: "groups",
        kind: Kind::Gauge,
        help: "Consumer groups, by state",
        value: Value::Each("state", |s| s.groups.by_state().to_vec()),
    },
    gauge("group_members", "Members of all consumer groups", |s| s.groups.members),
    counter("group_rebalances", "Generations that groups have made", |s| s.group_counters().rebalances.get()),
    counter("group_sessions_expired", "Members removed because their session ran out", |s| {
        s.group_counters().expired_sessions.get()
    }),
    counter("group_offsets_committed", "Offsets committed, one a partition", |s| s.group_counters().committed_offsets.get()),
    counter("group_offsets_expired", "Offsets forgotten after their retention", |s| s.group_counters().expired_offsets.get()),
    // Share groups.
    gauge("share_records_in_flight", "Records that share groups were given, or passed over, and are not done with", |s| {
        s.served.share.in_flight()
    }),
    counter("share_records_acquired", "Records given to members of share groups", |s| s.served.share.metrics().acquired.get()),
    counter("share_records_redelivered", "Of these, records that somebody had before", |s| {
        s.served.share.metrics().redelivered.get()
    }),
    Metric {
        name: "share_records_acknowledged",
        kind: Kind::Counter,
        help: "Records of which members of share groups said what became of them, by what they said",
        value: Value::Each("kind", |s| s.served.share.metrics().acknowledged()),
    },
    counter("share_dead_letters", "Records of share groups that became dead letters", |s| {
        s.served.share.metrics().dead_letters.get()
    }),
    // Internal topics.
    gauge("coordinator_partitions", "Partitions of internal topics whose state is loaded", |s| s.groups.partitions),
    counter("coordinator_loads", "Partitions of internal topics that were replayed", |s| s.coordinators().loads.get()),
    counter("coordinator_replayed_records", "Records that were replayed for them", |s| s.coordinators().replayed_records.get()),
    counter("coordinator_failures", "Partitions of internal topics whose state was thrown away, to be replayed", |s| {
        s.coordinators().failures.get()
    }),
    counter("coordinator_refusals", "Appends of coordinators that the log refused and that were tried again", |s| {
        s.coordinators().refusals.get()
    }),
];

fn requests(snapshot: &Snapshot) -> Vec<(&'static str, u64)> {
    let counted = (0..).zip(&snapshot.broker().requests).filter(|(_, counter)| counter.get() > 0);
    counted.filter_map(|(key, counter)| Some((api::api(key)?.name, counter.get()))).collect()
}

/// Free space of the data directory that has least.
fn least_free_bytes(served: &Served) -> u64 {
    let directories = served.broker.directories().iter();
    directories.map(|directory| served.disk.free_bytes(&directory.path).unwrap_or(0)).min().unwrap_or(0)
}

/// The text of all metrics as of now.
pub(super) async fn exposition(served: &Arc<Served>) -> Result<String, fmt::Error> {
    let snapshot = Snapshot {
        served: served.clone(),
        log: served.broker.log().statistics(),
        groups: served.groups.census().await,
        // Unknown is shown as none: an alarm on little space should then ring.
        disk_free_bytes: least_free_bytes(served),
    };
    let mut registry = Registry::with_prefix(PREFIX);
    registry.register_collector(Box::new(snapshot));
    let mut out = String::new();
    text::encode(&mut out, &registry)?;
    Ok(out)
}

impl Collector for Snapshot {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        for metric in METRICS {
            let kind = match metric.kind {
                Kind::Counter => MetricType::Counter,
                Kind::Gauge => MetricType::Gauge,
            };
            let mut descriptor = encoder.encode_descriptor(metric.name, metric.help, None, kind)?;
            match &metric.value {
                Value::One(value) => write(metric.kind, value(self), descriptor)?,
                Value::Each(label, values) => {
                    for (word, value) in values(self) {
                        let labels = [(*label, word)];
                        write(metric.kind, value, descriptor.encode_family(&labels)?)?;
                    }
                }
            }
        }
        Ok(())
    }
}

fn write(kind: Kind, value: u64, encoder: prometheus_client::encoding::MetricEncoder<'_>) -> fmt::Result {
    match kind {
        Kind::Counter => ConstCounter::new(value).encode(encoder),
        Kind::Gauge => ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX)).encode(encoder),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fmt::Write;

    const INTRODUCTION: &str = "\
# Metrics

Generated from the table of metrics; do not edit.

`GET /metrics` on the HTTP address (`http.listen`, 127.0.0.1:9644 unless told otherwise) answers with Prometheus text.
Counters begin at zero with the process; rates are the reader's to derive.

| metric | type | meaning |
|---|---|---|
";

    fn markdown() -> String {
        let mut text = String::from(INTRODUCTION);
        for metric in METRICS {
            let (suffix, kind) = match metric.kind {
                Kind::Counter => ("_total", "counter"),
                Kind::Gauge => ("", "gauge"),
            };
            let label = match &metric.value {
                Value::One(_) => String::new(),
                Value::Each(label, _) => format!("{{{label}=\"...\"}}"),
            };
            let _ = writeln!(text, "| `{PREFIX}_{}{suffix}{label}` | {kind} | {}. |", metric.name, metric.help);
        }
        text
    }

    #[test]
    fn every_name_is_there_once() {
        let mut names: Vec<_> = METRICS.iter().map(|metric| metric.name).collect();
        names.sort_unstable();
        assert!(names.windows(2).all(|pair| pair[0] != pair[1]), "{names:?}");
    }

    #[test]
    fn the_committed_document_is_the_generated_one() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/metrics.md");
        if std::env::var_os("DUOLOG_WRITE_DOCS").is_some() {
            std::fs::write(path, markdown()).unwrap();
        }
        let committed = std::fs::read_to_string(path).unwrap();
        assert_eq!(committed, markdown(), "run the tests of duolog once with DUOLOG_WRITE_DOCS=1");
    }
}
