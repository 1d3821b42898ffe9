//! `duolog consume TOPIC`: prints records, from chosen partitions or as a member of a group.
//!
//! Without a starting point it waits for new records. It ends at Ctrl-C, after `--count` records, or with `--exit-at-end`
//! when everything has been printed; a group member commits and leaves in all three cases. Records of clients of either protocol are
//! shown in either one's terms (`--view`).

mod messages;

use super::arguments::time;
use super::{Failure, OutputArguments, ServerArguments, output};
use crate::client::{
    ClientError, Cluster, CommittedOffset, FetchedRecord, Fetcher, GroupMember, MemberEvent, OffsetQuery, TopicLayout,
};
use crate::output::Output;
use clap::{Args, ValueEnum};
use duolog_base::TimestampMs;
use duolog_wire::kafka::ErrorCode;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

const MAX_WAIT: Duration = Duration::from_millis(500);
const COMMIT_EVERY: Duration = Duration::from_secs(5);

#[derive(Args)]
pub(super) struct ConsumeArguments {
    topic: String,
    /// Begin with the oldest record
    #[arg(short = 'b', long, conflicts_with_all = ["offset", "from_time"])]
    from_beginning: bool,
    /// Begin with this offset
    #[arg(short, long, value_name = "N", requires = "partition", conflicts_with = "from_time", value_parser = clap::value_parser!(i64).range(0..))]
    offset: Option<i64>,
    /// Begin with the first record at or after this time: RFC 3339 or milliseconds
    #[arg(long, value_name = "TIME", value_parser = time)]
    from_time: Option<TimestampMs>,
    /// Only this partition (repeatable)
    #[arg(short, long, value_name = "N", conflicts_with = "group")]
    partition: Vec<i32>,
    /// Share the partitions with the other members of this group, and commit what was printed
    #[arg(short, long)]
    group: Option<String>,
    /// End after this many records
    #[arg(short, long, value_name = "N")]
    count: Option<u64>,
    /// End when all that is there has been printed
    #[arg(short, long)]
    exit_at_end: bool,
    /// In whose terms to print: as records, or as RocketMQ's messages with all that belongs to them
    #[arg(long, value_enum, default_value_t = View::Kafka)]
    view: View,
    /// Print the key, too, and a tab; messages always have their keys
    #[arg(short, long)]
    key: bool,
    #[command(flatten)]
    server: ServerArguments,
    #[command(flatten)]
    output: OutputArguments,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum View {
    Kafka,
    Rocketmq,
}

pub(super) async fn run(arguments: ConsumeArguments) -> Result<(), Failure> {
    let mut cluster = Cluster::connect(&arguments.server.bootstrap).await?;
    let topic = cluster.topic(&arguments.topic, false).await.map_err(|error| match error.code() {
        Some(ErrorCode::UnknownTopicOrPartition) => Failure::NoTopic { topic: arguments.topic.clone() },
        _ => Failure::Client(error),
    })?;
    let member = arguments.group.as_ref().map(|group| GroupMember::new(group, std::slice::from_ref(&arguments.topic)));
    let mut session = Session {
        printer: Printer { out: output(arguments.output), view: arguments.view, key: arguments.key, left: arguments.count },
        cluster,
        topic,
        member,
        fetcher: Fetcher::default(),
        last_commit: Instant::now(),
        assigned: false,
        arguments,
    };
    let outcome = tokio::select! {
        outcome = session.read() => outcome,
        // An error means that there are no signals to wait for.
        Ok(()) = tokio::signal::ctrl_c() => Ok(()),
    };
    // A cancelled exchange leaves its connection with half an answer in it; saying goodbye needs fresh ones.
    let known = session.cluster.nodes().into_iter().map(|node| node.address);
    let known: Vec<String> = session.arguments.server.bootstrap.iter().cloned().chain(known).collect();
    session.cluster = Cluster::connect(&known).await?;
    let goodbye = session.end().await;
    outcome.and(goodbye)
}

/// One run of the command.
struct Session {
    arguments: ConsumeArguments,
    cluster: Cluster,
    topic: TopicLayout,
    member: Option<GroupMember>,
    fetcher: Fetcher,
    printer: Printer,
    last_commit: Instant,
    /// A group member has had an assignment.
    assigned: bool,
}

impl Session {
    async fn read(&mut self) -> Result<(), Failure> {
        if self.member.is_none() {
            self.seek_chosen().await?;
        }
        while self.printer.left != Some(0) {
            self.poll_group().await?;
            let records = self.fetch().await?;
            self.print(&records)?;
            self.commit(false).await?;
            if self.arguments.exit_at_end && self.fetcher.is_at_end() {
                break;
            }
        }
        Ok(())
    }

    fn print(&mut self, records: &[FetchedRecord]) -> Result<(), Failure> {
        for record in records {
            if !self.printer.print(record)? {
                // What was fetched and not printed is not consumed.
                self.fetcher.seek(&self.topic, record.partition, record.offset);
                self.rewind_others(record, records);
                break;
            }
        }
        Ok(self.printer.out.flush()?)
    }

    /// Moves partitions whose records come after `stop` in this fetch back to their first unprinted record.
    fn rewind_others(&mut self, stop: &FetchedRecord, records: &[FetchedRecord]) {
        let rest = records.iter().skip_while(|record| *record != stop);
        let mut first: BTreeMap<i32, i64> = BTreeMap::new();
        for record in rest {
            first.entry(record.partition).or_insert(record.offset);
        }
        for (partition, offset) in first {
            self.fetcher.seek(&self.topic, partition, offset);
        }
    }

    async fn fetch(&mut self) -> Result<Vec<FetchedRecord>, Failure> {
        match self.fetcher.fetch(&mut self.cluster, MAX_WAIT).await {
            Err(error) if error.code() == Some(ErrorCode::OffsetOutOfRange) => {
                Err(self.out_of_range().await.map_or(Failure::Client(error), |found| found))
            }
            done => Ok(done?),
        }
    }

    /// Finds which position is outside its log.
    async fn out_of_range(&mut self) -> Option<Failure> {
        let indexes = self.indexes();
        let start = self.cluster.offsets(&self.topic, &indexes, OffsetQuery::Earliest).await.ok()?;
        let end = self.cluster.offsets(&self.topic, &indexes, OffsetQuery::Latest).await.ok()?;
        self.fetcher.positions().find_map(|(topic, partition, offset)| {
            let (start, end) = (*start.get(&partition)?, *end.get(&partition)?);
            let outside = !(start..=end).contains(&offset);
            outside.then(|| Failure::OffsetOutOfRange { topic: topic.to_owned(), partition, offset, start, end })
        })
    }

    fn indexes(&self) -> Vec<i32> {
        self.topic.partitions.iter().map(|partition| partition.index).collect()
    }

    async fn seek_chosen(&mut self) -> Result<(), Failure> {
        let known = self.indexes();
        let chosen = if self.arguments.partition.is_empty() { known.clone() } else { self.arguments.partition.clone() };
        if let Some(&partition) = chosen.iter().find(|partition| !known.contains(partition)) {
            return Err(Failure::NoPartition { topic: self.arguments.topic.clone(), partition });
        }
        if let Some(offset) = self.arguments.offset {
            chosen.iter().for_each(|partition| self.fetcher.seek(&self.topic, *partition, offset));
            return Ok(());
        }
        self.seek_to(&chosen).await
    }

    /// Positions these partitions where the arguments say.
    async fn seek_to(&mut self, partitions: &[i32]) -> Result<(), Failure> {
        let query = match self.arguments.from_time {
            Some(at) => OffsetQuery::Time(at),
            None if self.arguments.from_beginning => OffsetQuery::Earliest,
            None => OffsetQuery::Latest,
        };
        for (partition, offset) in self.cluster.offsets(&self.topic, partitions, query).await? {
            self.fetcher.seek(&self.topic, partition, offset);
        }
        Ok(())
    }

    /// Keeps the membership alive and takes over what is assigned.
    async fn poll_group(&mut self) -> Result<(), Failure> {
        let Some(member) = &mut self.member else { return Ok(()) };
        let MemberEvent::Assigned(partitions) = member.poll(&mut self.cluster).await? else { return Ok(()) };
        let group = self.arguments.group.clone().unwrap_or_default();
        let committed = self.cluster.committed(&group).await?;
        let mine: Vec<i32> =
            partitions.into_iter().filter(|(topic, _)| *topic == self.topic.name).map(|(_, index)| index).collect();
        self.topic = self.cluster.topic(&self.arguments.topic, false).await?;
        self.fetcher.clear();
        self.assigned = true;
        let place = |partition: i32| committed.iter().find(|at| at.topic == self.topic.name && at.partition == partition);
        let (known, new): (Vec<i32>, Vec<i32>) = mine.into_iter().partition(|partition| place(*partition).is_some());
        for partition in known {
            let offset = place(partition).map_or(0, |at| at.offset);
            self.fetcher.seek(&self.topic, partition, offset);
        }
        self.seek_to(&new).await
    }

    /// Commits the positions if it is time, or at the end.
    async fn commit(&mut self, now: bool) -> Result<(), ClientError> {
        let Some(member) = &mut self.member else { return Ok(()) };
        if !now && self.last_commit.elapsed() < COMMIT_EVERY {
            return Ok(());
        }
        self.last_commit = Instant::now();
        let at = |(topic, partition, offset): (&str, i32, i64)| CommittedOffset { topic: topic.to_owned(), partition, offset };
        let offsets: Vec<CommittedOffset> = self.fetcher.positions().map(at).collect();
        member.commit(&mut self.cluster, &offsets).await
    }

    async fn end(&mut self) -> Result<(), Failure> {
        self.printer.out.flush()?;
        self.commit(true).await?;
        if let Some(member) = &mut self.member {
            member.leave(&mut self.cluster).await?;
        }
        Ok(())
    }
}

struct Printer {
    out: Output,
    view: View,
    key: bool,
    /// Records still to be printed; `None` for all.
    left: Option<u64>,
}

impl Printer {
    /// `false` if enough has been printed already.
    fn print(&mut self, record: &FetchedRecord) -> std::io::Result<bool> {
        match &mut self.left {
            Some(0) => return Ok(false),
            Some(left) => *left -= 1,
            None => {}
        }
        let value = record.value.as_deref().unwrap_or_default();
        match (self.view, self.out.is_json()) {
            (View::Kafka, true) => self.out.json_line(&as_json(record))?,
            (View::Rocketmq, true) => self.out.json_line(&messages::as_json(record))?,
            (View::Rocketmq, false) => messages::print(&mut self.out, record)?,
            (View::Kafka, false) if self.key => {
                self.out.raw_line(&[record.key.as_deref().unwrap_or_default(), b"\t", value])?;
            }
            (View::Kafka, false) => self.out.raw_line(&[value])?,
        }
        Ok(true)
    }
}

fn as_json(record: &FetchedRecord) -> Value {
    let mut value = Map::new();
    value.insert("topic".into(), json!(&*record.topic));
    value.insert("partition".into(), json!(record.partition));
    value.insert("offset".into(), json!(record.offset));
    value.insert("timestamp".into(), json!(record.timestamp.0));
    put_bytes(&mut value, "key", record.key.as_deref());
    put_bytes(&mut value, "value", record.value.as_deref());
    let headers = record.headers.iter().map(|header| {
        let mut shown = Map::new();
        put_bytes(&mut shown, "name", Some(header.key));
        put_bytes(&mut shown, "value", header.value);
        Value::Object(shown)
    });
    if headers.len() > 0 {
        value.insert("headers".into(), headers.collect());
    }
    Value::Object(value)
}

/// As text where it is text; otherwise as hexadecimal digits under `NAME_hex`.
fn put_bytes(object: &mut Map<String, Value>, name: &str, bytes: Option<&[u8]>) {
    match bytes.map(std::str::from_utf8) {
        None => object.insert(name.to_owned(), Value::Null),
        Some(Ok(text)) => object.insert(name.to_owned(), json!(text)),
        Some(Err(_)) => {
            let digits: String = bytes.unwrap_or_default().iter().map(|byte| format!("{byte:02x}")).collect();
            object.insert(format!("{name}_hex"), json!(digits))
        }
    };
}
