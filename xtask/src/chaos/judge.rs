//! From the lines that clients print to what the checker says of them.

use super::failure::Failure;
use duolog_base::{Offset, PartitionNumber, ProducerEpoch, ProducerId};
use duolog_sim::{Crash, Event, Gaps, History, Origin, Promise, ValueHash};
use serde::Deserialize;
use std::hash::{DefaultHasher, Hash, Hasher};

/// Number of a client in a run.
pub(super) type ClientNumber = u32;

/// What a client says, a line of JSON each.
#[derive(Debug, Deserialize)]
#[serde(tag = "event", rename_all = "lowercase")]
enum Line {
    /// Without a sequence the client promises neither order nor that it appends it once.
    Sent {
        client: ClientNumber,
        partition: u32,
        value: String,
        sequence: Option<u32>,
    },
    Acked {
        partition: u32,
        value: String,
        offset: i64,
    },
    /// The client gave up; the record may be there or not.
    Unknown {
        value: String,
        why: String,
    },
    Sought {
        client: ClientNumber,
        partition: u32,
        offset: i64,
    },
    Polled {
        client: ClientNumber,
        partition: u32,
        records: Vec<(i64, String)>,
    },
    /// The client read up to this end, which the log told it when nobody wrote any more.
    End {
        client: ClientNumber,
        partition: u32,
        offset: i64,
    },
}

/// What a run has come to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Progress {
    pub(super) acked: u64,
    pub(super) polled: u64,
    pub(super) unknown: u64,
    /// Partitions that readers have read to the end.
    pub(super) ends: u64,
}

impl std::fmt::Display for Progress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} records acknowledged, {} in doubt, {} read", self.acked, self.unknown, self.polled)
    }
}

/// Feeds the checker. Every answer of these clients promises durability: they ask for it, and readers see nothing less.
pub(super) struct Judge {
    pub(super) history: History,
    pub(super) progress: Progress,
    /// Clients from this number on began when all writers had ended.
    pub(super) rereaders: ClientNumber,
}

impl Judge {
    pub(super) fn new() -> Judge {
        Judge { history: History::new(Gaps::Illegal), progress: Progress::default(), rereaders: ClientNumber::MAX }
    }

    pub(super) fn crashed(&mut self, crash: Crash) {
        self.history.record(Event::Crashed(crash));
    }

    pub(super) fn take(&mut self, line: &str) -> Result<(), Failure> {
        let line: Line = serde_json::from_str(line).map_err(|_| Failure::NoEvent { line: line.to_owned() })?;
        let promise = Promise::Durable;
        match line {
            Line::Sent { client, partition, value, sequence } => {
                let producer = ProducerId(i64::from(client));
                let origin = |sequence: u32| Origin { producer, epoch: ProducerEpoch(0), sequence: sequence as i32 };
                let (partition, value, origin) = (PartitionNumber(partition), hash(&value), sequence.map(origin));
                self.history.record(Event::Sent { partition, value, origin });
            }
            Line::Acked { partition, value, offset } => {
                self.progress.acked += 1;
                let (partition, offset, value) = (PartitionNumber(partition), Offset(offset), hash(&value));
                self.history.record(Event::Acked { partition, offset, value, promise });
            }
            Line::Unknown { value, why } => {
                self.progress.unknown += 1;
                if self.progress.unknown == 1 {
                    println!("  the first record in doubt: {value}: {why}");
                }
            }
            Line::Sought { client, partition, offset } => {
                let (partition, offset) = (PartitionNumber(partition), Offset(offset));
                self.history.record(Event::Sought { reader: client, partition, offset });
            }
            Line::Polled { client, partition, records } => {
                self.progress.polled += records.len() as u64;
                let records = records.iter().map(|(offset, value)| (Offset(*offset), hash(value))).collect();
                self.history.record(Event::Polled { reader: client, partition: PartitionNumber(partition), records, promise });
            }
            Line::End { client, partition, offset } => self.end(client, PartitionNumber(partition), Offset(offset)),
        }
        Ok(())
    }

    fn end(&mut self, reader: ClientNumber, partition: PartitionNumber, end: Offset) {
        self.progress.ends += 1;
        self.history.record(Event::AtEnd { partition, end, promise: Promise::Durable });
        self.history.record(Event::CaughtUp { reader, partition });
        if reader >= self.rereaders {
            self.history.record(Event::Reread { reader, partition });
        }
    }
}

fn hash(value: &str) -> ValueHash {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SENT: [&str; 4] = [
        r#"{"event":"sent","client":1,"partition":0,"value":"1-0","sequence":0}"#,
        r#"{"event":"acked","client":1,"partition":0,"value":"1-0","offset":0}"#,
        r#"{"event":"sent","client":2,"partition":0,"value":"2-0"}"#,
        r#"{"event":"acked","client":2,"partition":0,"value":"2-0","offset":1}"#,
    ];

    fn judged(lines: &[&str]) -> (Judge, Vec<&'static str>) {
        let mut judge = Judge::new();
        judge.rereaders = 9;
        SENT.iter().chain(lines).for_each(|line| judge.take(line).unwrap());
        let names = judge.history.check().iter().map(|violation| violation.name()).collect();
        (judge, names)
    }

    #[test]
    fn what_was_acknowledged_and_read_again_is_sound() {
        let (judge, names) = judged(&[
            r#"{"event":"sought","client":9,"partition":0,"offset":0}"#,
            r#"{"event":"polled","client":9,"partition":0,"records":[[0,"1-0"],[1,"2-0"]]}"#,
            r#"{"event":"end","client":9,"partition":0,"offset":2}"#,
        ]);
        assert!(names.is_empty(), "{names:?}");
        assert_eq!(judge.progress, Progress { acked: 2, polled: 2, unknown: 0, ends: 1 });
        assert_eq!((judge.history.lost(), judge.history.acknowledged()), (0, 2));
    }

    #[test]
    fn a_record_that_is_not_read_again_is_lost_and_unseen() {
        let (judge, names) = judged(&[
            r#"{"event":"sought","client":9,"partition":0,"offset":0}"#,
            r#"{"event":"polled","client":9,"partition":0,"records":[[0,"1-0"]]}"#,
            r#"{"event":"end","client":9,"partition":0,"offset":1}"#,
        ]);
        assert_eq!(names, ["lost-write", "unseen"]);
        assert_eq!((judge.history.lost(), judge.history.acknowledged()), (1, 2));
    }

    #[test]
    fn a_line_that_is_no_event_is_refused() {
        assert!(matches!(Judge::new().take("Exception in thread main"), Err(Failure::NoEvent { .. })));
    }
}
