//! A group's dead letters as records: how far each partition reaches and was sent again, reading them, and showing one.

use crate::cli::Failure;
use crate::client::{Cluster, FetchedRecord, Fetcher, NotedOffset, OffsetQuery, TopicLayout};
use crate::instant;
use duolog_rocketmq::dead_letters::DeadLetter;
use serde_json::{Value, json};
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// The group whose offsets say what was sent again, before the name of the group of the dead letters.
const PROGRESS_PREFIX: &str = "duolog-dlq-redrive-";
/// What follows is there; no server need wait for it.
const WAIT: Duration = Duration::from_millis(100);

pub(super) fn progress_group(group: &str) -> String {
    format!("{PROGRESS_PREFIX}{group}")
}

/// One partition of the dead letters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) start: i64,
    pub(super) end: i64,
    /// The first that was not sent again.
    pub(super) next: i64,
    /// What the last redrive noted there.
    pub(super) note: String,
}

/// All partitions, by their index.
pub(super) struct Places {
    pub(super) partitions: BTreeMap<i32, Place>,
}

impl Places {
    pub(super) async fn of(cluster: &mut Cluster, topic: &TopicLayout, group: &str) -> Result<Places, Failure> {
        let indexes: Vec<i32> = topic.partitions.iter().map(|partition| partition.index).collect();
        let starts = cluster.offsets(topic, &indexes, OffsetQuery::Earliest).await?;
        let ends = cluster.offsets(topic, &indexes, OffsetQuery::Latest).await?;
        let mut progress: BTreeMap<i32, NotedOffset> = BTreeMap::new();
        for noted in cluster.committed_with_notes(&progress_group(group)).await? {
            if noted.place.topic == topic.name {
                progress.insert(noted.place.partition, noted);
            }
        }
        let place = |(index, start): (i32, i64)| {
            let end = ends.get(&index).copied().unwrap_or(start);
            let (next, note) = progress.remove(&index).map_or((start, String::new()), |noted| (noted.place.offset, noted.note));
            (index, Place { start, end, next: next.max(start), note })
        };
        Ok(Places { partitions: starts.into_iter().map(place).collect() })
    }

    pub(super) fn letters(&self) -> i64 {
        self.partitions.values().map(|place| place.end - place.start).sum()
    }

    pub(super) fn waiting(&self) -> i64 {
        self.partitions.values().map(|place| (place.end - place.next).max(0)).sum()
    }
}

/// Letters in one partition, in their order: of one group, or of all that have theirs there.
pub(super) struct Letters {
    group: Option<String>,
    fetcher: Fetcher,
    read: VecDeque<FetchedRecord>,
    end: i64,
}

impl Letters {
    pub(super) fn new(group: Option<&str>, topic: &TopicLayout, partition: i32, from: i64, end: i64) -> Letters {
        let mut fetcher = Fetcher::default();
        fetcher.seek(topic, partition, from);
        Letters { group: group.map(str::to_owned), fetcher, read: VecDeque::new(), end }
    }

    /// The next one, left where it is; `None` behind the last.
    pub(super) async fn peek(&mut self, cluster: &mut Cluster) -> Result<Option<&FetchedRecord>, Failure> {
        let end = self.end;
        while self.read.is_empty() && self.fetcher.positions().any(|(_, _, next)| next < end) {
            let read = self.fetcher.fetch(cluster, WAIT).await?;
            let is_wanted = |record: &FetchedRecord| self.group.as_ref().is_none_or(|group| is_of(record, group));
            self.read.extend(read.into_iter().filter(is_wanted));
        }
        Ok(self.read.front().filter(|record| record.offset < end))
    }

    pub(super) async fn next(&mut self, cluster: &mut Cluster) -> Result<Option<FetchedRecord>, Failure> {
        Ok(if self.peek(cluster).await?.is_some() { self.read.pop_front() } else { None })
    }
}

/// Whether the group gave it up, as far as the letter says.
pub(super) fn is_of(record: &FetchedRecord, group: &str) -> bool {
    DeadLetter::of(&record.record()).group.is_none_or(|own| own == group)
}

fn number<N: ToString>(number: Option<N>) -> String {
    number.map_or_else(|| "-".to_owned(), |number| number.to_string())
}

pub(super) fn row(record: &FetchedRecord) -> Vec<String> {
    let letter = DeadLetter::of(&record.record());
    let key = record.key.as_ref().map_or_else(|| "-".to_owned(), |key| String::from_utf8_lossy(key).into_owned());
    vec![
        record.partition.to_string(),
        record.offset.to_string(),
        instant::format(record.timestamp),
        letter.topic.unwrap_or_else(|| "-".to_owned()),
        number(letter.partition),
        number(letter.offset),
        number(letter.attempts),
        letter.reason.unwrap_or_else(|| "-".to_owned()),
        key,
        record.value.as_ref().map_or(0, Vec::len).to_string(),
    ]
}

pub(super) fn value(record: &FetchedRecord, place: &Place) -> Value {
    let letter = DeadLetter::of(&record.record());
    json!({
        "partition": record.partition,
        "offset": record.offset,
        "timestamp": record.timestamp.0,
        "origin": { "topic": letter.topic, "partition": letter.partition, "offset": letter.offset },
        "attempts": letter.attempts,
        "reason": letter.reason,
        "key": record.key.as_ref().map(|key| String::from_utf8_lossy(key)),
        "bytes": record.value.as_ref().map_or(0, Vec::len),
        "redriven": record.offset < place.next,
    })
}
