//! Reading records: remembers a position a partition, asks each leader for what follows.
//!
//! A fetch request stands alone (no session): a command line does not fetch often enough to gain from one.

use super::api::FETCH;
use super::cluster::{Cluster, TopicLayout};
use super::error::{BatchFault, ClientError, accept};
use duolog_base::{Offset, TimestampMs};
use duolog_wire::kafka::Records;
use duolog_wire::kafka::messages::fetch_request::{FetchPartition, FetchRequest, FetchTopic};
use duolog_wire::kafka::messages::fetch_response::{FetchResponse, PartitionData};
use duolog_wire::record::{BatchError, DecompressLimits, KeptHeaders, Record, batches, decode_batch, verify_crc};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Bytes asked for at once: of a node, and of one partition.
const FETCH_BYTES: i32 = 16 << 20;
const PARTITION_BYTES: i32 = 4 << 20;
const NO_SESSION_ID: i32 = 0;
/// Final epoch: the request is not part of a session (KIP-227).
const NO_SESSION_EPOCH: i32 = -1;
const CONSUMER: i32 = -1;
/// Before a leader that did not answer is looked for again.
const PAUSE: Duration = Duration::from_millis(50);

/// A record as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchedRecord {
    pub topic: Arc<str>,
    pub partition: i32,
    pub offset: i64,
    pub timestamp: TimestampMs,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub headers: KeptHeaders,
}

impl FetchedRecord {
    pub fn record(&self) -> Record<'_> {
        Record {
            offset: Offset(self.offset),
            timestamp: self.timestamp,
            key: self.key.as_deref(),
            value: self.value.as_deref(),
            headers: self.headers.iter(),
        }
    }
}

#[derive(Clone, Debug)]
struct Place {
    next: i64,
    /// As of the last answer; -1 before it.
    high_watermark: i64,
}

/// Reads from any number of partitions.
#[derive(Default)]
pub struct Fetcher {
    places: BTreeMap<(Arc<str>, i32), Place>,
    layouts: BTreeMap<Arc<str>, TopicLayout>,
}

impl Fetcher {
    /// Forgets every position.
    pub fn clear(&mut self) {
        self.places.clear();
    }

    /// Reads this partition too, from `offset` on.
    pub fn seek(&mut self, topic: &TopicLayout, partition: i32, offset: i64) {
        let name: Arc<str> = topic.name.as_str().into();
        self.layouts.insert(name.clone(), topic.clone());
        self.places.insert((name, partition), Place { next: offset, high_watermark: -1 });
    }

    /// The next offset of each partition.
    pub fn positions(&self) -> impl Iterator<Item = (&str, i32, i64)> {
        self.places.iter().map(|((topic, partition), place)| (topic.as_ref(), *partition, place.next))
    }

    /// Whether everything that the servers had at the last answer has been read.
    pub fn is_at_end(&self) -> bool {
        self.places.values().all(|place| place.high_watermark >= 0 && place.next >= place.high_watermark)
    }

    /// What follows, waiting up to `max_wait` a node when there is nothing.
    pub async fn fetch(&mut self, cluster: &mut Cluster, max_wait: Duration) -> Result<Vec<FetchedRecord>, ClientError> {
        let mut by_leader: BTreeMap<i32, Vec<(Arc<str>, i32)>> = BTreeMap::new();
        for (topic, partition) in self.places.keys() {
            let leader = self.layouts.get(topic).map_or(Ok(-1), |layout| layout.leader(*partition))?;
            by_leader.entry(leader).or_default().push((topic.clone(), *partition));
        }
        let share = max_wait / by_leader.len().max(1) as u32;
        let mut records = Vec::new();
        for (leader, partitions) in by_leader {
            match self.fetch_from(cluster, leader, &partitions, share, &mut records).await {
                Err(error) if error.is_passing() => {
                    // Who leads now may not be known yet.
                    tokio::time::sleep(PAUSE).await;
                    self.learn_leaders(cluster).await?;
                }
                done => done?,
            }
        }
        Ok(records)
    }

    async fn learn_leaders(&mut self, cluster: &mut Cluster) -> Result<(), ClientError> {
        let names: Vec<Arc<str>> = self.layouts.keys().cloned().collect();
        for name in names {
            let layout = cluster.topic(&name, false).await?;
            self.layouts.insert(name, layout);
        }
        Ok(())
    }

    async fn fetch_from(
        &mut self,
        cluster: &mut Cluster,
        leader: i32,
        partitions: &[(Arc<str>, i32)],
        max_wait: Duration,
        records: &mut Vec<FetchedRecord>,
    ) -> Result<(), ClientError> {
        let mut topics: BTreeMap<&str, Vec<FetchPartition>> = BTreeMap::new();
        for key in partitions {
            let Some(place) = self.places.get(key) else { continue };
            topics.entry(&key.0).or_default().push(FetchPartition {
                partition: key.1,
                fetch_offset: place.next,
                partition_max_bytes: PARTITION_BYTES,
                ..Default::default()
            });
        }
        let topic = |(topic, partitions)| FetchTopic { topic, partitions, ..Default::default() };
        let request = FetchRequest {
            replica_id: CONSUMER,
            max_wait_ms: max_wait.as_millis() as i32,
            min_bytes: 1,
            max_bytes: FETCH_BYTES,
            session_id: NO_SESSION_ID,
            session_epoch: NO_SESSION_EPOCH,
            topics: topics.into_iter().map(topic).collect(),
            ..Default::default()
        };
        let reply = cluster.ask(leader, FETCH, |e, version| request.encode(e, version)).await?;
        let response = reply.decode(FetchResponse::decode)?;
        accept(response.error_code, None, || "fetch".to_owned())?;
        for topic in &response.responses {
            let name: Arc<str> = topic.topic.into();
            for data in &topic.partitions {
                self.take(&name, data, records)?;
            }
        }
        Ok(())
    }

    /// Unpacks one partition's answer and moves its position.
    fn take(&mut self, topic: &Arc<str>, data: &PartitionData<'_>, records: &mut Vec<FetchedRecord>) -> Result<(), ClientError> {
        let partition = data.partition_index;
        accept(data.error_code, None, || format!("{topic}-{partition}"))?;
        let Some(place) = self.places.get_mut(&(topic.clone(), partition)) else { return Ok(()) };
        place.high_watermark = data.high_watermark;
        let bytes = data.records.and_then(|records: Records<'_>| records.bytes()).unwrap_or_default();
        for batch in batches(bytes) {
            let (header, range) = match batch {
                Ok(found) => found,
                // The answer ends inside a batch: it is asked for again.
                Err(BatchError::Partial { .. }) => break,
                Err(error) => return Err(fault(topic, partition, place.next, error.into())),
            };
            if !header.attributes.is_control() {
                unpack(topic, partition, place.next, &bytes[range], records)
                    .map_err(|error| fault(topic, partition, header.base_offset.0, error))?;
            }
            place.next = place.next.max(header.next_offset().0);
        }
        Ok(())
    }
}

fn fault(topic: &str, partition: i32, offset: i64, error: BatchFault) -> ClientError {
    ClientError::Batch { topic: topic.to_owned(), partition, offset, error }
}

fn unpack(topic: &Arc<str>, partition: i32, from: i64, batch: &[u8], records: &mut Vec<FetchedRecord>) -> Result<(), BatchFault> {
    verify_crc(batch)?;
    let decoded = decode_batch(batch, DecompressLimits::default())?;
    for record in decoded.records() {
        let record = record?;
        // A batch begins where it was written, which may be before the position asked for.
        if record.offset.0 < from {
            continue;
        }
        records.push(FetchedRecord {
            topic: topic.clone(),
            partition,
            offset: record.offset.0,
            timestamp: record.timestamp,
            key: record.key.map(<[u8]>::to_vec),
            value: record.value.map(<[u8]>::to_vec),
            headers: record.headers.kept(),
        });
    }
    Ok(())
}
