//! The checker of histories: sound ones pass, and each kind of bad one is found.

use Promise::{Durable, Written};
use duolog_base::{Offset, PartitionNumber, ProducerEpoch, ProducerId};
use duolog_sim::{Crash, Event, Gaps, History, MOST_VIOLATIONS, Origin, Promise, Violation};

const P: PartitionNumber = PartitionNumber(4);
const OTHER: PartitionNumber = PartitionNumber(5);

/// A record of producer 1 whose sequence is its value.
fn sent(value: u64) -> Event {
    Event::Sent { partition: P, value, origin: Some(origin(value)) }
}

fn origin(value: u64) -> Origin {
    Origin { producer: ProducerId(1), epoch: ProducerEpoch(0), sequence: value as i32 }
}

fn acked(offset: i64, value: u64, promise: Promise) -> Event {
    Event::Acked { partition: P, offset: Offset(offset), value, promise }
}

fn sought(offset: i64) -> Event {
    Event::Sought { reader: 0, partition: P, offset: Offset(offset) }
}

fn polled(records: &[(i64, u64)]) -> Event {
    let records = records.iter().map(|(offset, value)| (Offset(*offset), *value)).collect();
    Event::Polled { reader: 0, partition: P, records, promise: Durable }
}

fn at_end(end: i64) -> Event {
    Event::AtEnd { partition: P, end: Offset(end), promise: Durable }
}

fn violations(gaps: Gaps, events: Vec<Event>) -> Vec<Violation> {
    let mut history = History::new(gaps);
    events.into_iter().for_each(|event| history.record(event));
    history.check().to_vec()
}

/// Three durable records, 10, 11 and 12, and then the events.
fn after_three(events: Vec<Event>) -> Vec<Violation> {
    let mut all: Vec<Event> = (10..13).map(sent).collect();
    all.extend((0..3).map(|offset| acked(offset, 10 + offset as u64, Durable)));
    all.extend(events);
    violations(Gaps::Illegal, all)
}

fn lost(offset: i64, value: u64) -> Violation {
    Violation::LostWrite { partition: P, offset: Offset(offset), value }
}

#[test]
fn a_sound_history_passes() {
    let events = vec![
        sought(0),
        polled(&[(0, 10), (1, 11)]),
        at_end(3),
        Event::Crashed(Crash::PowerLoss),
        polled(&[(2, 12)]),
        sent(13),
        // The answer was lost, the retry answered with the offset of the first append.
        sent(13),
        polled(&[(3, 13)]),
        acked(3, 13, Durable),
        sought(0),
        polled(&[(0, 10), (1, 11), (2, 12), (3, 13)]),
        at_end(4),
        Event::LogStart { partition: P, start: Offset(3) },
        sought(0),
        polled(&[(3, 13)]),
    ];
    assert_eq!(after_three(events), []);
}

#[test]
fn an_acked_record_past_the_end_is_lost() {
    assert_eq!(after_three(vec![at_end(2)]), [lost(2, 12)]);
    assert_eq!(after_three(vec![Event::Crashed(Crash::PowerLoss), at_end(0)]), [lost(0, 10), lost(1, 11), lost(2, 12)]);
}

#[test]
fn an_acked_record_that_a_reader_passes_over_is_lost() {
    assert_eq!(after_three(vec![sought(0), polled(&[(0, 10), (2, 12)])]), [lost(1, 11)]);
}

#[test]
fn a_record_that_was_read_is_owed_though_nobody_was_told() {
    let events = vec![sent(13), sought(3), polled(&[(3, 13)]), Event::Crashed(Crash::PowerLoss), at_end(3)];
    assert_eq!(after_three(events), [lost(3, 13)]);
}

#[test]
fn what_was_only_written_is_owed_after_a_kill_and_not_after_power_loss() {
    let run = |crash| after_three(vec![sent(13), acked(3, 13, Written), Event::Crashed(crash), sought(3), at_written_end(3)]);
    assert_eq!(run(Crash::Kill), [lost(3, 13)]);
    assert_eq!(run(Crash::PowerLoss), []);
    // Its offset may be another record's then, and it may come again.
    let events = vec![
        sent(13),
        sent(14),
        acked(3, 13, Written),
        Event::Crashed(Crash::PowerLoss),
        acked(3, 14, Durable),
        sent(15),
        acked(4, 15, Durable),
    ];
    assert_eq!(after_three(events), []);
}

fn at_written_end(end: i64) -> Event {
    Event::AtEnd { partition: P, end: Offset(end), promise: Written }
}

#[test]
fn a_durable_end_says_nothing_about_what_is_only_written() {
    assert_eq!(after_three(vec![sent(13), acked(3, 13, Written), at_end(3)]), []);
}

#[test]
fn a_sequence_at_two_offsets_is_a_duplicate() {
    let duplicate = [Violation::Duplicate { partition: P, origin: origin(12), first: Offset(2), second: Offset(3) }];
    assert_eq!(after_three(vec![sought(3), polled(&[(3, 12)])]), duplicate);
    assert_eq!(after_three(vec![Event::Crashed(Crash::PowerLoss), acked(3, 12, Durable)]), duplicate);
    // Without an origin it is a retry, and legal.
    let plain = Event::Sent { partition: P, value: 7, origin: None };
    assert_eq!(violations(Gaps::Illegal, vec![plain, acked(0, 7, Durable), acked(1, 7, Durable)]), []);
}

#[test]
fn two_values_at_one_offset_are_inconsistent() {
    let found = [Violation::InconsistentOffsets { partition: P, offset: Offset(2), first: 12, second: 13 }];
    assert_eq!(after_three(vec![sent(13), acked(2, 13, Durable)]), found);
    assert_eq!(after_three(vec![sent(13), sought(2), polled(&[(2, 13)])]), found);
}

#[test]
fn a_gap_is_a_skip_unless_gaps_are_legal() {
    let events = || {
        let plain = [5, 6].map(|value| Event::Sent { partition: P, value, origin: None });
        plain.into_iter().chain([sought(0), polled(&[(0, 5), (2, 6)])]).collect()
    };
    let skip = Violation::IntPollSkip { reader: 0, partition: P, from: Offset(1), to: Offset(2) };
    assert_eq!(violations(Gaps::Illegal, events()), [skip]);
    assert_eq!(violations(Gaps::Legal, events()), []);
    // A known record is missed all the same.
    let mut all = vec![sent(4), acked(1, 4, Durable)];
    all.extend(events());
    assert_eq!(violations(Gaps::Legal, all), [lost(1, 4)]);
}

#[test]
fn a_reader_that_goes_back_is_found() {
    let found = after_three(vec![sought(0), polled(&[(0, 10), (1, 11)]), polled(&[(1, 11), (2, 12)])]);
    assert_eq!(found, [Violation::NonmonotonicPoll { reader: 0, partition: P, at: Offset(2), got: Offset(1) }]);
}

#[test]
fn a_producers_records_out_of_order_are_found() {
    let found = |earlier, later| Violation::NonmonotonicSend {
        partition: P,
        producer: ProducerId(1),
        earlier: Offset(earlier),
        later: Offset(later),
    };
    let events = vec![sent(13), sent(14), acked(3, 14, Durable), acked(4, 13, Durable)];
    assert_eq!(after_three(events), [found(3, 4)]);
    let events = vec![sent(13), sent(14), acked(4, 13, Durable), acked(3, 14, Durable)];
    assert_eq!(after_three(events), [found(3, 4)]);
    // Two producers owe each other nothing.
    let stranger = Origin { producer: ProducerId(2), ..origin(0) };
    let events = vec![
        Event::Sent { partition: P, value: 20, origin: Some(stranger) },
        sent(13),
        acked(3, 13, Durable),
        acked(4, 20, Durable),
    ];
    assert_eq!(after_three(events), []);
}

#[test]
fn what_nobody_sent_is_found() {
    let found = [Violation::NeverSent { partition: P, offset: Offset(3), value: 99 }];
    assert_eq!(after_three(vec![sought(3), polled(&[(3, 99)])]), found);
    let elsewhere = Event::Sent { partition: OTHER, value: 99, origin: None };
    assert_eq!(after_three(vec![elsewhere, sought(3), polled(&[(3, 99)])]), found);
}

#[test]
fn a_refused_record_that_appears_is_found() {
    let refused = || vec![sent(13), Event::Refused { partition: P, value: 13 }];
    let mut events = refused();
    events.extend([sought(3), polled(&[(3, 13)])]);
    assert_eq!(after_three(events), [Violation::RefusedSeen { partition: P, offset: Offset(3), value: 13 }]);
    let mut events = refused();
    events.extend([sent(13), acked(3, 13, Durable)]);
    assert_eq!(after_three(events), []);
}

#[test]
fn a_durable_end_that_goes_back_is_found() {
    let found = after_three(vec![at_end(5), at_end(4)]);
    assert_eq!(found, [Violation::EndWentBack { partition: P, from: Offset(5), to: Offset(4) }]);
}

#[test]
fn only_what_lies_past_the_log_start_is_owed() {
    let mut history = History::new(Gaps::Illegal);
    for event in [sent(1), sent(2), acked(0, 1, Durable), acked(1, 2, Durable)] {
        history.record(event);
    }
    assert_eq!((history.owed(P), history.owed(OTHER)), (2, 0));
    history.record(Event::LogStart { partition: P, start: Offset(1) });
    assert_eq!(history.owed(P), 1);
    history.record(sought(1));
    history.record(at_end(1));
    assert_eq!(history.check(), [lost(1, 2)]);
}

#[test]
fn a_gap_or_a_step_back_within_one_poll_is_told_apart() {
    let plain = || [5, 6, 7].map(|value| Event::Sent { partition: P, value, origin: None }).into_iter();
    let run = |events: Vec<Event>| violations(Gaps::Illegal, plain().chain(events).collect());
    let skip = Violation::IntPollSkip { reader: 0, partition: P, from: Offset(1), to: Offset(2) };
    assert_eq!(run(vec![sought(0), polled(&[(0, 5), (2, 6)])]), [skip]);
    let skip = Violation::PollSkip { reader: 0, partition: P, from: Offset(1), to: Offset(2) };
    assert_eq!(run(vec![sought(0), polled(&[(0, 5)]), polled(&[(2, 6)])]), [skip]);
    let back = Violation::IntNonmonotonicPoll { reader: 0, partition: P, at: Offset(2), got: Offset(1) };
    assert_eq!(run(vec![sought(0), polled(&[(0, 5), (1, 6), (1, 6)])]), [back]);
}

#[test]
fn a_reader_that_never_gets_to_the_end_has_not_seen_what_is_owed() {
    let caught_up = Event::CaughtUp { reader: 0, partition: P };
    let unseen = |at, offset| Violation::Unseen { reader: 0, partition: P, at: Offset(at), offset: Offset(offset) };
    assert_eq!(after_three(vec![sought(0), polled(&[(0, 10)]), caught_up.clone()]), [unseen(1, 1), unseen(1, 2)]);
    assert_eq!(after_three(vec![sought(0), polled(&[(0, 10), (1, 11), (2, 12)]), caught_up]), []);
}

#[test]
fn an_acknowledged_record_with_another_in_its_place_is_lost() {
    let reread = Event::Reread { reader: 0, partition: P };
    let events = vec![sent(13), sought(0), polled(&[(0, 10), (1, 13), (2, 12)]), reread.clone()];
    let inconsistent = Violation::InconsistentOffsets { partition: P, offset: Offset(1), first: 11, second: 13 };
    assert_eq!(after_three(events), [inconsistent, lost(1, 11)]);
    assert_eq!(after_three(vec![sought(0), polled(&[(0, 10), (1, 11), (2, 12)]), reread.clone()]), []);
    // What an earlier reading brought does not count.
    let events = vec![sought(0), polled(&[(0, 10), (1, 11), (2, 12)]), sought(0), polled(&[(0, 10), (1, 11)]), reread];
    assert_eq!(after_three(events), [lost(2, 12)]);
}

#[test]
fn a_lost_record_counts_once_and_only_acknowledged_ones_count_as_such() {
    let mut history = History::new(Gaps::Illegal);
    let before = (10..13).map(sent).chain([acked(0, 10, Durable), acked(1, 11, Durable), sought(2), polled(&[(2, 12)])]);
    let reread = Event::Reread { reader: 0, partition: P };
    for event in before.chain([at_end(1), at_end(1), sought(0), polled(&[(0, 10)]), reread]) {
        history.record(event);
    }
    assert_eq!(history.check(), [lost(1, 11), lost(2, 12)]);
    assert_eq!(history.counts().get("lost-write"), Some(&2));
    assert_eq!((history.lost(), history.acknowledged()), (1, 2));
}

#[test]
fn more_violations_than_are_kept_are_counted() {
    let many = MOST_VIOLATIONS as u64 + 5;
    let mut history = History::new(Gaps::Illegal);
    for value in 0..many {
        history.record(sent(value));
        history.record(acked(value as i64, value, Durable));
    }
    history.record(at_end(0));
    assert_eq!(history.check().len(), MOST_VIOLATIONS);
    assert_eq!(history.counts()["lost-write"], many as usize);
}
