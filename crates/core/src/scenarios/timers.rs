//! The leader of a partition of timers: what it writes, begins to deliver, and says to owners. What is written is committed at once.

use super::{Machine, Said};
use crate::delay::decisions::{Due, Intent, Kind, Leadership, Outcome, Recall, Writing, each_record, stored};
use crate::delay::records::{self, Entry, Fate};
use crate::delay::{Delayed, Ended, Ending, Half, Owner, Resolution, Target, Timer, TimerId};
use bytes::{Bytes, BytesMut};
use duolog_base::{Offset, PartitionIndex, PartitionNumber, ProducerId, TimestampMs};
use duolog_wire::record::{BatchBuilder, BatchHeader, Compression, NewRecord, patch_base_offset};
use std::collections::{BTreeMap, BTreeSet};

pub(super) struct Keeper {
    leadership: Leadership,
    log: Vec<BytesMut>,
    end: i64,
    lives: i64,
    /// By their names: time and place.
    known: BTreeMap<String, Timer>,
}

impl Default for Keeper {
    fn default() -> Keeper {
        let leadership = Leadership::new(Offset(0), ProducerId(1));
        Keeper { leadership, log: Vec::new(), end: 0, lives: 1, known: BTreeMap::new() }
    }
}

fn id(name: &str) -> TimerId {
    TimerId(name.bytes().fold(0, |id, byte| id << 8 | u128::from(byte)))
}

fn name_of(id: TimerId) -> String {
    let bytes = id.0.to_be_bytes();
    String::from_utf8(bytes.into_iter().skip_while(|byte| *byte == 0).collect()).expect("a name")
}

fn target(number: i64) -> Target {
    let topic = format!("topic-{number}");
    Target { number: PartitionNumber(number as u32), topic, partition: PartitionIndex(0) }
}

impl Keeper {
    fn delayed(name: &str, said: &Said<'_>) -> Delayed {
        let (mut builder, mut batch) = (BatchBuilder::new(Compression::None), BytesMut::new());
        let record = NewRecord { timestamp: TimestampMs(0), key: None, value: Some(name.as_bytes()), headers: &[] };
        builder.push(record).and_then(|()| builder.build(&mut batch)).expect("a batch");
        Delayed { at: TimestampMs(said.number("at")), target: target(said.number_or("to", 1)), tags: 0, batch: batch.freeze() }
    }

    /// Appends what was decided, and reads it back.
    fn append(&mut self, writing: Writing) -> Vec<String> {
        if writing.is_empty() {
            return Vec::new();
        }
        let mut batch = writing.finish().expect("a batch");
        patch_base_offset(&mut batch, Offset(self.end));
        self.end += i64::from(BatchHeader::parse(&batch).expect("a header").record_count);
        let mut lines = Vec::new();
        each_record(&batch, |record| {
            let entry = records::decode(record.offset, record.key.expect("a key"), record.value, &record.headers)?;
            lines.push(format!("writes {}: {}", record.offset, told(&entry)));
            Ok(())
        })
        .expect("records");
        self.leadership.replay(&batch, Offset(self.end)).expect("what is written can be read");
        self.log.push(batch);
        lines
    }

    fn find(&self, timer: Timer) -> Option<Due> {
        let mut found = None;
        for batch in &self.log {
            let each = each_record(batch, |record| {
                if record.offset == timer.offset {
                    found = stored(record, timer)?;
                }
                Ok(())
            });
            each.expect("records");
        }
        found
    }

    fn store(&mut self, said: &Said<'_>) -> Vec<String> {
        let name = said.word(0);
        let delayed = Keeper::delayed(name, said);
        let timer = Timer { at: delayed.at, offset: Offset(self.end) };
        let mut writing = Writing::new(TimestampMs(0));
        match said.find("owner") {
            Some(owner) => {
                let owner = Owner { group: owner.to_owned(), transaction: said.find("transaction").unwrap_or("").to_owned() };
                writing.half(id(name), &Half { delayed, owner })
            }
            None => writing.timer(id(name), &delayed),
        }
        .expect("a batch");
        self.known.insert(name.to_owned(), timer);
        self.append(writing)
    }

    fn begin(&mut self, now: i64, room: Option<usize>) -> Vec<String> {
        let timers = self.leadership.timers().due(TimestampMs(now), 100);
        let due: Vec<Due> = timers.iter().filter_map(|timer| self.find(*timer)).collect();
        let mut writing = Writing::new(TimestampMs(0));
        let gone = self.leadership.begin(&due, |_| room, &mut writing).expect("a batch");
        let mut lines: Vec<String> = gone.iter().map(|timer| format!("{} has no target any more", timer.offset)).collect();
        lines.extend(self.append(writing));
        if lines.is_empty() { vec!["nothing is due".to_owned()] } else { lines }
    }

    fn finish(&mut self, said: &Said<'_>) -> Vec<String> {
        let number = PartitionNumber(said.word(0).parse().expect("a number"));
        let open = self.leadership.timers().open().find(|(open, _)| *open == number);
        let Some(intent) = open.map(|(_, intent)| intent.clone()) else { return vec!["nothing is open".to_owned()] };
        let outcome = match said.what {
            "taken" => {
                let found = intent.timers.iter().filter_map(|timer| self.find(*timer));
                Outcome::Over(found.map(|due| (due.name, due.timer)).collect())
            }
            _ => Outcome::Void,
        };
        let mut writing = Writing::new(TimestampMs(0));
        Leadership::finish(number, &outcome, &mut writing).expect("a batch");
        if outcome == Outcome::Void {
            self.leadership.renumber(ProducerId(100 + self.lives));
        }
        self.append(writing)
    }

    fn end(&mut self, said: &Said<'_>) -> Vec<String> {
        let name = said.word(0);
        let offset = self.known.get(name).map_or(Offset(said.number_or("offset", 0)), |timer| timer.offset);
        let resolution = match said.what {
            "commit" => Resolution::Commit,
            "rollback" => Resolution::Rollback,
            _ => Resolution::Divert(target(said.number("to"))),
        };
        let (group, transaction) = (said.find("by").unwrap_or("g").to_owned(), said.find("transaction").map(str::to_owned));
        let ending = Ending { offset, group, transaction, resolution };
        let found = self.find(Timer { at: TimestampMs(0), offset });
        let mut writing = Writing::new(TimestampMs(0));
        let diverted = id(&format!("{name}'"));
        let ended = self.leadership.end(&ending, found.as_ref(), diverted, &mut BTreeSet::new(), &mut writing).expect("a batch");
        let mut lines = self.append(writing);
        lines.push(match ended {
            Ended::Done => "done".to_owned(),
            Ended::Over => "it is over".to_owned(),
            Ended::Unknown => "there is no such half".to_owned(),
            Ended::NotTheOwner => "refused: not the owner".to_owned(),
        });
        lines
    }

    fn ask(&mut self, said: &Said<'_>) -> Vec<String> {
        let now = TimestampMs(said.word(0).parse().expect("a number"));
        let halves = self.leadership.timers().halves().to_ask(now, 100);
        let found = halves.into_iter().filter_map(|timer| self.find(timer)).collect();
        let mut writing = Writing::new(TimestampMs(0));
        let questions = self.leadership.ask(found, TimestampMs(said.number("next")), &mut writing).expect("a batch");
        let mut lines = self.append(writing);
        let question = |(offset, asked, half): &(Offset, u32, Half)| {
            format!("asks {} about {offset}, which was done {asked} times before", half.owner.group)
        };
        lines.extend(questions.iter().map(question));
        if lines.is_empty() { vec!["nobody is asked".to_owned()] } else { lines }
    }
}

fn told(entry: &Entry) -> String {
    let offsets = |intent: &Intent| intent.timers.iter().map(|timer| timer.offset.to_string()).collect::<Vec<_>>().join(" ");
    match entry {
        Entry::Timer(timer) => format!("a timer for {}", timer.at.0),
        Entry::Half(timer) => format!("a half, of which its owner is asked at {}", timer.at.0),
        Entry::Fate(half, Fate::Asked { next, questions }) => {
            format!("the owner of {half} is asked for the {questions}. time, next at {}", next.0)
        }
        Entry::Fate(half, Fate::Committed) => format!("{half} is committed"),
        Entry::FateGone => "the fate of a half is gone".to_owned(),
        Entry::Gone(timer) => format!("{} is gone", timer.offset),
        Entry::Intent(number, intent) => format!(
            "the intent for target {number}: {} as producer {} from sequence {}",
            offsets(intent),
            intent.producer,
            intent.base_sequence
        ),
        Entry::Done(number) => format!("the intent for target {number} is done"),
    }
}

impl Machine for Keeper {
    fn step(&mut self, said: &Said<'_>) -> Vec<String> {
        match said.what {
            "timer" | "half" => self.store(said),
            "begin" => {
                let room = if said.find("room") == Some("none") { None } else { Some(said.number_or("room", 1 << 20) as usize) };
                self.begin(said.word(0).parse().expect("a number"), room)
            }
            "taken" | "void" => self.finish(said),
            "recall" => {
                let name = said.word(0);
                let timer = self.known[name];
                let recall = Recall { timer, id: id(said.find("id").unwrap_or(name)) };
                let mut writing = Writing::new(TimestampMs(0));
                let found = self.find(timer);
                let recalled =
                    self.leadership.recall(recall, found.as_ref(), &mut BTreeSet::new(), &mut writing).expect("a batch");
                let mut lines = self.append(writing);
                lines.push(if recalled { "recalled" } else { "it is not pending" }.to_owned());
                lines
            }
            "commit" | "rollback" | "divert" => self.end(said),
            "ask" => self.ask(said),
            // Another leader reads what is there, and numbers what it delivers under a producer id of its own.
            "leader" => {
                self.lives += 1;
                self.leadership = Leadership::new(Offset(0), ProducerId(self.lives));
                let log: Bytes = self.log.concat().into();
                self.leadership.replay(&log, Offset(self.end)).expect("what was written can be read");
                let open = self.leadership.timers().open().map(|(number, intent)| {
                    let first = intent.timers.first().and_then(|timer| self.find(*timer));
                    let what = first.map_or("nothing".to_owned(), |due| {
                        let kind = if due.name.kind == Kind::Half { "half" } else { "timer" };
                        format!("{kind} {}", name_of(due.name.id))
                    });
                    format!("finds open: {}, which begins with {what}", told(&Entry::Intent(number, intent.clone())))
                });
                open.collect()
            }
            "waits" => {
                vec![format!("{} in all, {} halves", self.leadership.timers().len(), self.leadership.timers().halves().len())]
            }
            other => panic!("nobody knows what to do to {other}"),
        }
    }
}
