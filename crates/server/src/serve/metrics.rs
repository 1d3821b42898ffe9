//! Metrics as Prometheus text. The numbers are counted where things happen; here they are only named and written.

use duolog_core::broker::{Broker, BrokerMetrics};
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

/// A counter's name (the exposition adds `_total`), its help, and where it is counted.
type CounterRow = (&'static str, &'static str, fn(&BrokerMetrics) -> u64);

const COUNTERS: &[CounterRow] = &[
    ("bytes_in", "Bytes of record batches accepted from clients", |m| m.bytes_in.get()),
    ("records_in", "Records accepted from clients", |m| m.records_in.get()),
    ("batches_in", "Record batches accepted from clients", |m| m.batches_in.get()),
    ("bytes_out", "Bytes of record batches given to readers", |m| m.bytes_out.get()),
    ("appends", "Append calls, one a produce request", |m| m.appends.get()),
    ("appends_failed", "Appends to partitions that were refused", |m| m.appends_failed.get()),
    ("connections_refused", "Connections closed for what the client sent", |m| m.connections_refused.get()),
];

#[derive(Debug)]
struct BrokerCollector(Arc<BrokerSource>);

/// The broker, in a form that can be printed for debugging.
struct BrokerSource(Arc<Broker>);

impl fmt::Debug for BrokerSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Broker")
    }
}

/// The text of all metrics as of now.
pub(super) fn exposition(broker: &Arc<Broker>) -> Result<String, fmt::Error> {
    let mut registry = Registry::with_prefix(PREFIX);
    registry.register_collector(Box::new(BrokerCollector(Arc::new(BrokerSource(broker.clone())))));
    let mut out = String::new();
    text::encode(&mut out, &registry)?;
    Ok(out)
}

impl Collector for BrokerCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let broker = &self.0.0;
        for (name, help, counter) in COUNTERS {
            let value = ConstCounter::new(counter(broker.metrics()));
            value.encode(encoder.encode_descriptor(name, help, None, MetricType::Counter)?)?;
        }
        requests(broker.metrics(), &mut encoder)?;
        let image = broker.image();
        let partitions: usize = image.topics.values().map(|topic| topic.partitions.len()).sum();
        gauge(&mut encoder, "connections", "Open client connections", broker.metrics().connections.get())?;
        gauge(&mut encoder, "topics", "Topics, internal ones included", image.topics.len() as u64)?;
        gauge(&mut encoder, "partitions", "Partitions, those of internal topics included", partitions as u64)?;
        gauge(&mut encoder, "log_durable_position_bytes", "How far the commit log is on disk", broker.log().durable_position().0)
    }
}

fn gauge(encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: u64) -> Result<(), fmt::Error> {
    let value = ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
    value.encode(encoder.encode_descriptor(name, help, None, MetricType::Gauge)?)
}

fn requests(metrics: &BrokerMetrics, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
    let mut family = encoder.encode_descriptor("requests", "Kafka requests, by kind", None, MetricType::Counter)?;
    for (key, counter) in (0..).zip(&metrics.requests) {
        let Some(info) = api::api(key).filter(|_| counter.get() > 0) else { continue };
        let labels = [("api", info.name)];
        ConstCounter::new(counter.get()).encode(family.encode_family(&labels)?)?;
    }
    Ok(())
}
