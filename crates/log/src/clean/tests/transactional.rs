//! Transactions under compaction: aborted records, marks and their horizons.

use super::*;
use TransactionOutcome::{Abort, Commit};

fn transactional(producer: i64, sequence: i32) -> BatchBuilder {
    BatchBuilder::new(Compression::None).producer(ProducerId(producer), ProducerEpoch(0), sequence).transactional()
}

fn aborted(producer: i64, first: Offset, last: Offset) -> AbortedTransaction {
    AbortedTransaction { producer_id: ProducerId(producer), first_offset: first, last_offset: last, last_stable_offset: last }
}

fn marks(partition: &Partition) -> Vec<i64> {
    let control = |header: &BatchHeader| header.attributes.is_control();
    partition.headers().into_iter().filter(control).map(|header| header.base_offset.0).collect()
}

#[test]
fn aborted_records_replace_nothing_and_go() {
    let mut partition = Partition::new();
    partition.append("a=1");
    let first = partition.append_as(transactional(7, 0), "a=2 b=1");
    partition.append_as(transactional(8, 0), "c=1");
    let last = partition.end_transaction(7, Abort);
    partition.end_transaction(8, Commit);
    partition.append_as(transactional(7, 2), "b=2");
    partition.end_transaction(7, Commit);
    partition.aborted.push(aborted(7, first, last));
    let outcome = partition.clean(Pass::at(0));
    assert_eq!(partition.texts(), ["0:a=1", "3:c=1", "6:b=2"]);
    assert_eq!(marks(&partition), [4, 5, 7]);
    assert_eq!(outcome.retained_aborts, [aborted(7, first, last)], "the mark is still there, and so is its index entry");
}

#[test]
fn a_mark_goes_its_time_after_the_last_record_of_its_transaction() {
    let mut partition = Partition::new();
    partition.append_as(transactional(7, 0), "a=1");
    partition.end_transaction(7, Commit);
    partition.append("z=1");
    assert_eq!(partition.clean(Pass::at(0)).kept, 3);

    partition.append("a=2");
    partition.clean(Pass::at(0));
    assert!(!partition.headers()[0].attributes.has_delete_horizon(), "this pass still met the record");
    let found = partition.clean(Pass::at(100));
    assert_eq!((found.replaced, marks(&partition)), (1, vec![1]));
    assert_eq!(partition.headers()[0].base_timestamp, TimestampMs(100 + RETENTION_MS));
    assert_eq!(partition.clean(Pass::at(99 + RETENTION_MS)).kept, 3);
    assert_eq!(partition.clean(Pass::at(100 + RETENTION_MS)).dropped, 1);
    assert_eq!((marks(&partition), partition.texts()), (vec![], vec!["2:z=1".into(), "3:a=2".into()]));
}

#[test]
fn each_mark_stands_for_its_own_transaction() {
    let mut partition = Partition::new();
    partition.append_as(transactional(7, 0), "a=1");
    partition.end_transaction(7, Commit);
    partition.append_as(transactional(7, 1), "b=1");
    partition.end_transaction(7, Commit);
    partition.append("b=2");
    for now in [0, 0, RETENTION_MS] {
        partition.clean(Pass::at(now));
    }
    assert_eq!((marks(&partition), partition.texts()), (vec![1], vec!["0:a=1".into(), "4:b=2".into()]));
}

#[test]
fn an_abort_mark_waits_for_the_second_pass_and_its_horizon() {
    let mut partition = Partition::new();
    let first = partition.append_as(transactional(7, 0), "a=1");
    let last = partition.end_transaction(7, Abort);
    partition.append("z=1");
    partition.aborted.push(aborted(7, first, last));
    let outcome = partition.clean(Pass::at(0));
    assert_eq!((outcome.dropped, marks(&partition), outcome.retained_aborts.len()), (1, vec![1], 1));
    let outcome = partition.clean(Pass::at(0));
    assert_eq!((outcome.replaced, outcome.retained_aborts.len()), (1, 0), "nothing is left to be told of");
    assert_eq!(partition.clean(Pass::at(RETENTION_MS)).dropped, 1);
}

#[test]
fn the_mark_with_a_known_producers_epoch_stays_as_a_header() {
    let mut partition = Partition::new();
    partition.end_transaction(7, Commit);
    partition.append("z=1");
    partition.producers.insert(ProducerId(7), ProducerEnd { last_data_offset: None, epoch: ProducerEpoch(0) });
    partition.clean(Pass::at(0));
    partition.clean(Pass::at(RETENTION_MS));
    let header = partition.headers()[0];
    assert_eq!((header.record_count, header.producer_id, header.attributes.is_control()), (0, ProducerId(7), true));
    assert_eq!(partition.clean(Pass::at(RETENTION_MS)).kept, 2);
    partition.producers.clear();
    assert_eq!(partition.clean(Pass::at(RETENTION_MS)).kept, 1, "without a horizon left it goes with its producer");
}

#[test]
fn an_emptied_batch_of_a_transaction_keeps_the_mark() {
    let mut partition = Partition::new();
    let first = partition.append_as(transactional(7, 0), "a=1");
    let last = partition.end_transaction(7, Abort);
    partition.append("z=1");
    partition.aborted.push(aborted(7, first, last));
    let known = ProducerEnd { last_data_offset: Some(first), epoch: ProducerEpoch(0) };
    partition.producers.insert(ProducerId(7), known);
    for now in [0, RETENTION_MS, 2 * RETENTION_MS, 3 * RETENTION_MS] {
        assert_eq!(partition.clean(Pass::at(now)).retained_aborts.len(), 1);
        assert_eq!(partition.headers()[0].record_count, 0);
        assert_eq!(marks(&partition), [1]);
    }
}

#[test]
fn behind_a_damaged_batch_no_mark_goes() {
    let mut partition = Partition::new();
    partition.append_as(transactional(7, 0), "a=1");
    partition.end_transaction(7, Commit);
    partition.append("z=1");
    partition.clean(Pass::at(0));
    partition.batches[0][40] ^= 1;
    for now in [0, RETENTION_MS, 2 * RETENTION_MS] {
        let outcome = partition.clean(Pass::at(now));
        assert_eq!((outcome.errors.len(), outcome.kept), (1, 2));
    }
}

#[test]
fn an_aborted_transaction_whose_mark_is_gone_swallows_nothing() {
    let mut partition = Partition::new();
    let first = partition.append_as(transactional(7, 0), "a=1");
    let last = partition.end_transaction(7, Abort);
    partition.append("z=1");
    partition.aborted.push(aborted(7, first, last));
    for now in [0, 0, RETENTION_MS] {
        partition.clean(Pass::at(now));
    }
    assert_eq!(marks(&partition), Vec::<i64>::new());
    partition.append_as(transactional(7, 1), "b=1");
    let last = partition.end_transaction(7, Commit);
    partition.append("z=2");
    partition.clean(Pass::at(RETENTION_MS));
    assert_eq!((marks(&partition), partition.texts()), (vec![last.0], vec!["3:b=1".into(), "5:z=2".into()]));
}

/// Kafka 4.3.1's own cleaner leaves these bytes of the same partition: a batch that lost a record and got a delete horizon, an
/// emptied batch of a known producer, a mark without a transaction, and the newest records.
#[test]
fn the_bytes_are_those_of_kafkas_cleaner() {
    let mut partition = Partition::new();
    partition.append_as(BatchBuilder::new(Compression::None).producer(ProducerId(9), ProducerEpoch(0), 4), "a=1 b=- c=1");
    partition.append_as(transactional(7, 0), "a=2");
    partition.end_transaction(8, Commit);
    partition.end_transaction(7, Commit);
    partition.append("a=3 d=1");
    let known = ProducerEnd { last_data_offset: Some(Offset(3)), epoch: ProducerEpoch(0) };
    partition.producers.insert(ProducerId(7), known);
    partition.clean(Pass::at(5_000));
    let hex: Vec<String> = partition.batches.iter().map(|b| b.iter().map(|byte| format!("{byte:02x}")).collect()).collect();
    assert_eq!(hex, KAFKAS_BYTES);
}

const KAFKAS_BYTES: [&str; 5] = [
    "00000000000000000000004c00000003022fd2a20300400000000200000000000017700000018bcfe5680200000000000000\
     09000000000004000000021800a2c2aafef96202026201001a00a4c2aafef962040263023100",
    "0000000000000003000000310000000302b0e8f63f001000000000ffffffffffffffff0000018bcfe5680300000000000000\
     0700000000000000000000",
    "0000000000000004000000470000000302c50cf69800700000000000000000000017700000018bcfe5680000000000000000\
     080000ffffffff000000012a00a0c2aafef9620008000000010c00000000000000",
    "0000000000000005000000420000000302edd683a70030000000000000018bcfe568000000018bcfe5680000000000000000\
     070000ffffffff000000012000000008000000010c00000000000000",
    "00000000000000060000004300000003024fa57d2c0000000000010000018bcfe568060000018bcfe56807ffffffffffffff\
     ffffffffffffff00000002100000000261023300100002020264023100",
];
