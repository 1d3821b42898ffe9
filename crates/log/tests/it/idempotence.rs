//! The window of an idempotent producer, as Kafka's brokers keep it: one table of sends and answers.

use crate::scenario::*;
use duolog_base::{Disk, PartitionNumber, ProducerEpoch, ProducerId, TimestampMs};
use duolog_log::{AppendError, Log};
use duolog_sim::SimDisk;
use std::path::PathBuf;
use std::sync::Arc;

fn log() -> (Arc<dyn Disk>, Arc<Log>) {
    let disk: Arc<dyn Disk> = Arc::new(SimDisk::new(1));
    let (log, _) = open(&disk, &dir(), options()).unwrap();
    log.open_partition(PartitionNumber(1));
    (disk, log)
}

fn dir() -> PathBuf {
    "/data/shared".into()
}

/// The base offset given, or what was wrong.
fn send(log: &Log, epoch: i16, sequence: i32, records: usize) -> Result<(i64, bool), AppendError> {
    let bytes = batch_at(1, records, 5, Producer { id: 7, epoch, sequence }, NOW.0);
    append(log, 1, bytes).map(|appended| (appended.base_offset.0, appended.duplicate))
}

fn out_of_order(expected: i32, got: i32) -> Result<(i64, bool), AppendError> {
    Err(AppendError::OutOfOrderSequence { expected, got })
}

#[test]
fn sequences_follow_each_other_and_repeats_get_their_first_offset() {
    let (_, log) = log();
    assert_eq!(send(&log, 0, 0, 2), Ok((0, false)));
    assert_eq!(send(&log, 0, 2, 1), Ok((2, false)));
    assert_eq!(send(&log, 0, 0, 2), Ok((0, true)), "a repeat of the first batch");
    assert_eq!(send(&log, 0, 2, 1), Ok((2, true)), "a repeat of the newest batch");
    assert_eq!(send(&log, 0, 4, 1), out_of_order(3, 4), "a gap");
    assert_eq!(send(&log, 0, 0, 1), out_of_order(3, 0), "begins like a remembered batch, but ends elsewhere");
    assert_eq!(send(&log, 0, 3, 1), Ok((3, false)), "a refused batch changes nothing");
}

#[test]
fn five_batches_are_remembered() {
    let (_, log) = log();
    for sequence in 0..6 {
        assert_eq!(send(&log, 0, sequence, 1), Ok((sequence.into(), false)));
    }
    assert_eq!(send(&log, 0, 1, 1), Ok((1, true)));
    assert_eq!(send(&log, 0, 0, 1), out_of_order(6, 0), "forgotten: too old to be known as a repeat");
}

#[test]
fn a_new_epoch_begins_at_zero_and_fences_the_old_one() {
    let (_, log) = log();
    assert_eq!(send(&log, 0, 0, 1), Ok((0, false)));
    assert_eq!(send(&log, 1, 5, 1), out_of_order(0, 5));
    assert_eq!(send(&log, 1, 0, 1), Ok((1, false)));
    let fenced = AppendError::FencedProducer { current: ProducerEpoch(1), got: ProducerEpoch(0) };
    assert_eq!(send(&log, 0, 1, 1), Err(fenced));
    assert_eq!(send(&log, 1, 1, 1), Ok((2, false)));
}

#[test]
fn an_unknown_producer_may_begin_anywhere_and_sequences_wrap() {
    let (_, log) = log();
    assert_eq!(send(&log, 3, i32::MAX - 1, 2), Ok((0, false)));
    assert_eq!(send(&log, 3, 1, 1), out_of_order(0, 1));
    assert_eq!(send(&log, 3, 0, 3), Ok((2, false)));
    assert_eq!(send(&log, 3, i32::MAX - 1, 2), Ok((0, true)));
}

#[test]
fn a_repeat_waits_for_its_original_to_be_durable() {
    let (_, log) = log();
    let first = append_all(&log, &[(1, batch_at(1, 1, 5, Producer { id: 7, epoch: 0, sequence: 0 }, NOW.0))]);
    let again = append_all(&log, &[(1, batch_at(1, 1, 5, Producer { id: 7, epoch: 0, sequence: 0 }, NOW.0))]);
    assert!(again.results[0].as_ref().unwrap().duplicate);
    assert!(again.end >= first.end);
    assert!(log.durable_position() < again.end);
}

#[test]
fn the_window_survives_a_crash_and_a_clean_restart() {
    for clean in [false, true] {
        let (disk, log) = log();
        for sequence in 0..6 {
            send(&log, 2, sequence, 1).unwrap();
        }
        settle(&log);
        if clean {
            log.close().unwrap();
        }
        let (log, _) = open(&disk, &dir(), options()).unwrap();
        assert_eq!(send(&log, 2, 3, 1), Ok((3, true)));
        assert_eq!(send(&log, 2, 7, 1), out_of_order(6, 7));
        assert_eq!(send(&log, 2, 6, 1), Ok((6, false)));
    }
}

#[test]
fn idle_producers_are_forgotten() {
    let (_, log) = log();
    send(&log, 0, 0, 1).unwrap();
    let known = log.producers(PartitionNumber(1));
    assert_eq!(known.len(), 1);
    assert_eq!((known[0].id, known[0].last_sequence, known[0].last_timestamp), (ProducerId(7), 0, NOW));
    log.expire_producers(TimestampMs(NOW.0 + 1000), 1000);
    assert_eq!(log.producers(PartitionNumber(1)).len(), 1);
    log.expire_producers(TimestampMs(NOW.0 + 1001), 1000);
    assert_eq!(log.producers(PartitionNumber(1)), []);
    assert_eq!(send(&log, 0, 9, 1), Ok((1, false)));
}
