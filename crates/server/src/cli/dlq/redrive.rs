//! `duolog dlq redrive`: dead letters go to their topics again, each of them once.
//!
//! They are sent in portions. Before one is sent, a note is committed beside the offset up to which all is done: under which producer id the
//! portion is sent and how far it reaches. Behind it the offset is committed without a note. Whoever finds a note sends just that portion again under that id,
//! from its first sequence: what the partitions have of it already they know and do not store twice. So nothing is sent twice wherever
//! a redrive is cut short, as long as the partitions remember the producer (`producer.id.expiration.ms`).

use super::letters::{Letters, Place, Places, progress_group};
use super::topic_of;
use crate::cli::{Failure, OutputArguments, ServerArguments, output};
use crate::client::{
    Cluster, CommittedOffset, FetchedRecord, Identity, NotedOffset, OutgoingRecord, Producer, ProducerSettings, TopicLayout,
    partition_for_key,
};
use crate::output::Listing;
use clap::Args;
use duolog_base::{Clock, ProducerEpoch, ProducerId, SystemClock, TimestampMs};
use duolog_rocketmq::dead_letters::{DeadLetter, headers_again};
use duolog_wire::kafka::ErrorCode;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Letters of a portion, and bytes of their values unless the first has more.
const PORTION: usize = 100;
const PORTION_BYTES: usize = 1 << 20;

#[derive(Args)]
pub(in crate::cli) struct Redrive {
    group: String,
    /// To this topic instead of those that the letters come from
    #[arg(short, long, value_name = "TOPIC")]
    to: Option<String>,
    /// Send so many a second at most
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    rate: Option<u32>,
    /// Send so many at most
    #[arg(short, long, value_name = "N")]
    limit: Option<usize>,
    /// Only show what would be sent where
    #[arg(short = 'n', long)]
    dry_run: bool,
    #[command(flatten)]
    server: ServerArguments,
    #[command(flatten)]
    output: OutputArguments,
}

/// What is being sent.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Note {
    producer: i64,
    epoch: i16,
    /// The offset behind the portion, and how many letters it has.
    end: i64,
    letters: usize,
    /// Where they go instead of their own topics.
    to: Option<String>,
}

/// One run.
struct Run {
    cluster: Cluster,
    bootstrap: Vec<String>,
    group: String,
    topic: TopicLayout,
    producers: BTreeMap<String, Producer>,
    /// How many went to each topic.
    sent: BTreeMap<String, usize>,
    started: Instant,
}

pub(super) async fn run(arguments: Redrive) -> Result<(), Failure> {
    let mut cluster = Cluster::connect(&arguments.server.bootstrap).await?;
    let topic = topic_of(&mut cluster, &arguments.group).await?;
    let places = Places::of(&mut cluster, &topic, &arguments.group).await?;
    let mut run = Run {
        cluster,
        bootstrap: arguments.server.bootstrap.clone(),
        group: arguments.group.clone(),
        topic,
        producers: BTreeMap::new(),
        sent: BTreeMap::new(),
        started: Instant::now(),
    };
    for (partition, place) in places.partitions {
        match arguments.dry_run {
            true => run.count(&arguments, partition, place).await?,
            false => run.redrive(&arguments, partition, place).await?,
        }
    }
    let mut listing = Listing::new(&["topic", "letters"]);
    for (topic, count) in &run.sent {
        listing.row(vec![topic.clone(), count.to_string()]);
    }
    let mut out = output(arguments.output);
    out.listing(&listing, || json!({ "group": run.group, "executed": !arguments.dry_run, "topics": run.sent }))?;
    if arguments.dry_run && !out.is_json() {
        out.line("nothing was sent; leave out --dry-run to do it")?;
    }
    Ok(out.flush()?)
}

/// Where a letter goes.
fn destination(record: &FetchedRecord, to: Option<&str>) -> Result<String, Failure> {
    let own = || DeadLetter::of(&record.record()).topic;
    let unknown = || Failure::NoOrigin { partition: record.partition, offset: record.offset };
    to.map(str::to_owned).or_else(own).ok_or_else(unknown)
}

/// To which of so many partitions: the one it comes from if it goes back, else that of its key. The same each time it is asked.
fn partition_of(record: &FetchedRecord, goes_back: bool, partitions: usize) -> i32 {
    let own = DeadLetter::of(&record.record()).partition.filter(|index| goes_back && (0..partitions as i32).contains(index));
    match (own, &record.key) {
        (Some(partition), _) => partition,
        (None, Some(key)) => partition_for_key(key, partitions).0,
        (None, None) => (record.offset % partitions as i64) as i32,
    }
}

fn outgoing(record: &FetchedRecord, now: TimestampMs) -> OutgoingRecord {
    let text = |key: Vec<u8>| String::from_utf8_lossy(&key).into_owned();
    let headers = headers_again(&record.record(), now).into_iter();
    OutgoingRecord {
        key: record.key.clone(),
        value: record.value.clone(),
        headers: headers.map(|(key, value)| (text(key), value.unwrap_or_default())).collect(),
        timestamp: now,
    }
}

impl Run {
    /// How many may be sent yet.
    fn left(&self, arguments: &Redrive) -> usize {
        arguments.limit.map_or(usize::MAX, |limit| limit.saturating_sub(self.sent.values().sum()))
    }

    async fn count(&mut self, arguments: &Redrive, partition: i32, place: Place) -> Result<(), Failure> {
        let mut letters = Letters::new(Some(&self.group), &self.topic, partition, place.next, place.end);
        while self.left(arguments) > 0
            && let Some(record) = letters.next(&mut self.cluster).await?
        {
            *self.sent.entry(destination(&record, arguments.to.as_deref())?).or_default() += 1;
        }
        Ok(())
    }

    /// Sends what one partition has.
    async fn redrive(&mut self, arguments: &Redrive, partition: i32, place: Place) -> Result<(), Failure> {
        let mut letters = Letters::new(Some(&self.group), &self.topic, partition, place.next, place.end);
        if let Ok(note) = serde_json::from_str::<Note>(&place.note)
            && note.end > place.next
        {
            self.finish(&mut letters, partition, note).await?;
        }
        loop {
            let most = PORTION.min(arguments.rate.map_or(PORTION, |rate| rate as usize)).min(self.left(arguments));
            let portion = self.portion(&mut letters, most).await?;
            let Some(last) = portion.last() else { return Ok(()) };
            let (first, end) = (portion[0].offset, last.offset + 1);
            self.open_producers(&portion, arguments.to.as_deref()).await?;
            let Identity { id, epoch } = self.cluster.new_identity().await?;
            let note = Note { producer: id.0, epoch: epoch.0, end, letters: portion.len(), to: arguments.to.clone() };
            let text = serde_json::to_string(&note).expect("plain values");
            self.commit(partition, first, text).await?;
            self.send(&portion, &note).await?;
            self.commit(partition, end, String::new()).await?;
            self.keep_to(arguments.rate).await;
        }
    }

    /// Sends again what somebody began to send.
    async fn finish(&mut self, letters: &mut Letters, partition: i32, note: Note) -> Result<(), Failure> {
        let mut portion = Vec::new();
        while letters.peek(&mut self.cluster).await?.is_some_and(|record| record.offset < note.end) {
            portion.extend(letters.next(&mut self.cluster).await?);
        }
        if portion.len() != note.letters {
            let (found, expected) = (portion.len(), note.letters);
            return Err(Failure::RedriveBroken { group: progress_group(&self.group), partition, found, expected });
        }
        self.open_producers(&portion, note.to.as_deref()).await?;
        self.send(&portion, &note).await?;
        self.commit(partition, note.end, String::new()).await
    }

    async fn portion(&mut self, letters: &mut Letters, most: usize) -> Result<Vec<FetchedRecord>, Failure> {
        let (mut portion, mut bytes) = (Vec::new(), 0);
        while portion.len() < most && bytes < PORTION_BYTES {
            let Some(record) = letters.next(&mut self.cluster).await? else { break };
            bytes += record.value.as_ref().map_or(0, Vec::len);
            portion.push(record);
        }
        Ok(portion)
    }

    async fn open_producers(&mut self, portion: &[FetchedRecord], to: Option<&str>) -> Result<(), Failure> {
        for record in portion {
            let topic = destination(record, to)?;
            if self.producers.contains_key(&topic) {
                continue;
            }
            let cluster = Cluster::connect(&self.bootstrap).await?;
            let producer = match Producer::open_nameless(cluster, &topic, ProducerSettings::default()).await {
                Err(error) if error.code() == Some(ErrorCode::UnknownTopicOrPartition) => return Err(Failure::NoTopic { topic }),
                opened => opened?,
            };
            self.producers.insert(topic, producer);
        }
        Ok(())
    }

    async fn send(&mut self, portion: &[FetchedRecord], note: &Note) -> Result<(), Failure> {
        let now = SystemClock::default().now();
        let mut by_topic: BTreeMap<String, Vec<(i32, OutgoingRecord)>> = BTreeMap::new();
        for record in portion {
            let topic = destination(record, note.to.as_deref())?;
            let partitions = self.producers.get(&topic).map_or(1, Producer::partitions);
            let partition = partition_of(record, note.to.is_none(), partitions);
            by_topic.entry(topic).or_default().push((partition, outgoing(record, now)));
        }
        for (topic, records) in by_topic {
            let Some(producer) = self.producers.get_mut(&topic) else { continue };
            producer.begin_as(Identity { id: ProducerId(note.producer), epoch: ProducerEpoch(note.epoch) });
            producer.send(&records).await?;
            *self.sent.entry(topic).or_default() += records.len();
        }
        Ok(())
    }

    async fn commit(&mut self, partition: i32, offset: i64, note: String) -> Result<(), Failure> {
        let place = CommittedOffset { topic: self.topic.name.clone(), partition, offset };
        let group = progress_group(&self.group);
        Ok(self.cluster.commit_note_for_empty_group(&group, NotedOffset { place, note }).await?)
    }

    /// Waits until as many have been sent as may be by now.
    async fn keep_to(&self, rate: Option<u32>) {
        let Some(rate) = rate else { return };
        let due = Duration::from_secs_f64(self.sent.values().sum::<usize>() as f64 / f64::from(rate));
        tokio::time::sleep(due.saturating_sub(self.started.elapsed())).await;
    }
}
