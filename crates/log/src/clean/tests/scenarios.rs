//! Single passes over small partitions, told one by one.

use super::*;
use duolog_wire::record::{HEADER_BYTES, set_log_append_time};

fn idempotent(producer: i64, sequence: i32) -> BatchBuilder {
    BatchBuilder::new(Compression::None).producer(ProducerId(producer), ProducerEpoch(0), sequence)
}

#[test]
fn the_newest_record_of_each_key_stays_at_its_offset() {
    let mut partition = Partition::new();
    partition.append("a=1 b=1 c=1");
    partition.append("a=2 b=2");
    partition.append("a=3");
    let outcome = partition.clean(Pass::at(0));
    assert_eq!(partition.texts(), ["2:c=1", "4:b=2", "5:a=3"]);
    assert_eq!((outcome.kept, outcome.replaced, outcome.dropped), (1, 2, 0));
    assert_eq!((outcome.statistics.records_read, outcome.statistics.records_kept), (6, 3));
    assert_eq!(partition.first_dirty, Offset(6));
}

#[test]
fn a_batch_without_a_record_left_goes() {
    let mut partition = Partition::new();
    partition.append("a=1");
    partition.append("a=2");
    assert_eq!(partition.clean(Pass::at(0)).dropped, 1);
    assert_eq!(partition.texts(), ["1:a=2"]);
}

#[test]
fn a_clean_part_loses_what_the_dirty_part_replaces() {
    let mut partition = Partition::new();
    partition.append("a=1 b=1");
    partition.clean(Pass::at(0));
    partition.append("b=2");
    let outcome = partition.clean(Pass::at(0));
    assert_eq!(partition.texts(), ["0:a=1", "2:b=2"]);
    assert_eq!(outcome.replaced, 1);
}

#[test]
fn nothing_at_or_beyond_the_bound_is_touched_or_counts() {
    let mut partition = Partition::new();
    partition.append("a=1 b=1 a=2");
    let bound = partition.append("a=3 a=4");
    partition.append("b=2");
    partition.clean(Pass { bound: Some(bound), ..Pass::at(0) });
    assert_eq!(partition.texts(), ["1:b=1", "2:a=2", "3:a=3", "4:a=4", "5:b=2"]);
    assert_eq!(partition.first_dirty, bound);
}

#[test]
fn a_bound_within_a_batch_holds_for_its_records() {
    let mut partition = Partition::new();
    partition.append("a=1 a=2 a=3 -=1 b=- a=4");
    partition.clean(Pass { bound: Some(Offset(2)), ..Pass::at(0) });
    assert_eq!(partition.texts(), ["1:a=2", "2:a=3", "3:-=1", "4:b=-", "5:a=4"]);
    let header = partition.headers()[0];
    assert!(!header.attributes.has_delete_horizon(), "the tombstone was not covered");
    partition.clean(Pass::at(0));
    assert_eq!(partition.texts(), ["4:b=-", "5:a=4"]);
    assert!(partition.headers()[0].attributes.has_delete_horizon());
}

#[test]
fn records_without_a_key_go_and_empty_keys_are_keys() {
    let mut partition = Partition::new();
    partition.append("-=1 =1 a=1 -=- =2");
    let outcome = partition.clean(Pass::at(0));
    assert_eq!(partition.texts(), ["2:a=1", "4:=2"]);
    assert_eq!(outcome.statistics.keyless_records, 2);
}

#[test]
fn a_tombstone_stays_for_its_time_after_the_pass_that_found_it() {
    let mut partition = Partition::new();
    partition.append("a=1 b=1");
    partition.append("a=-");
    partition.append("c=1");
    partition.clean(Pass::at(5_000));
    assert_eq!(partition.texts(), ["1:b=1", "2:a=-", "3:c=1"]);
    let tombstone = partition.headers()[1];
    assert!(tombstone.attributes.has_delete_horizon());
    assert_eq!((tombstone.base_timestamp, tombstone.max_timestamp), (TimestampMs(6_000), TimestampMs(CREATED + 2)));
    assert_eq!(partition.stored()[1].timestamp, CREATED + 2);

    assert_eq!(partition.clean(Pass::at(5_999)).replaced, 0, "the horizon is set once");
    assert_eq!(partition.texts(), ["1:b=1", "2:a=-", "3:c=1"]);
    assert_eq!(partition.clean(Pass::at(6_000)).dropped, 1);
    assert_eq!(partition.texts(), ["1:b=1", "3:c=1"]);
}

#[test]
fn a_batch_whose_tombstone_goes_keeps_its_values_and_times() {
    let mut partition = Partition::new();
    partition.append("a=- b=1");
    partition.append("z=1");
    partition.clean(Pass::at(0));
    let before = partition.stored();
    partition.clean(Pass::at(RETENTION_MS));
    assert_eq!(partition.stored(), before[1..]);
    assert_eq!(partition.clean(Pass::at(RETENTION_MS + 1)).kept, 2);
}

#[test]
fn a_tombstone_that_a_full_map_left_out_gets_its_own_time() {
    let mut partition = Partition::new();
    partition.append("a=- b=1 c=1 d=- e=1");
    let small = |now| Pass { map_bytes: 0, ..Pass::at(now) };
    // Three keys fit: the pass covers offsets 0 to 2.
    partition.clean(small(0));
    assert_eq!(partition.first_dirty, Offset(3));
    partition.clean(small(2 * RETENTION_MS));
    assert_eq!(partition.texts(), ["1:b=1", "2:c=1", "3:d=-", "4:e=1"], "found by this pass, it stays");
    partition.append("z=1");
    partition.clean(small(3 * RETENTION_MS - 1));
    assert_eq!(partition.texts()[2], "3:d=-");
    partition.clean(small(3 * RETENTION_MS));
    assert_eq!(partition.texts(), ["1:b=1", "2:c=1", "4:e=1", "5:z=1"]);
}

#[test]
fn a_tombstone_keeps_its_time_when_the_rest_of_its_batch_is_covered() {
    let mut partition = Partition::new();
    partition.append("a=- b=1 c=1 d=1");
    partition.append("z=1");
    partition.clean(Pass { bound: Some(Offset(2)), ..Pass::at(0) });
    partition.clean(Pass::at(RETENTION_MS / 2));
    assert_eq!(partition.headers()[0].base_timestamp, TimestampMs(RETENTION_MS));
}

#[test]
fn a_lost_checkpoint_does_not_give_tombstones_more_time() {
    let mut partition = Partition::new();
    partition.append("a=- b=1");
    partition.append("z=1");
    partition.clean(Pass::at(0));
    partition.first_dirty = Offset(0);
    partition.clean(Pass::at(RETENTION_MS));
    assert_eq!(partition.texts(), ["1:b=1", "2:z=1"]);
}

#[test]
fn the_header_stays_of_a_batch_with_a_producers_last_sequence() {
    let mut partition = Partition::new();
    partition.append_as(idempotent(7, 40), "a=1 a=2");
    partition.append_as(idempotent(8, 0), "a=3");
    partition.append("a=4");
    let known = ProducerEnd { last_data_offset: Some(Offset(1)), epoch: ProducerEpoch(0) };
    partition.producers.insert(ProducerId(7), known);
    let outcome = partition.clean(Pass::at(0));
    assert_eq!((outcome.replaced, outcome.dropped, outcome.kept), (1, 1, 1));
    let header = partition.headers()[0];
    assert_eq!((header.record_count, header.base_sequence, header.last_offset()), (0, 40, Offset(1)));
    assert_eq!((header.max_timestamp, header.total_bytes()), (TimestampMs(CREATED + 1), HEADER_BYTES));

    assert_eq!(partition.clean(Pass::at(0)).kept, 2, "an empty batch stays as it is");
    partition.producers.clear();
    assert_eq!(partition.clean(Pass::at(0)).dropped, 1, "and goes with its producer");
}

#[test]
fn the_last_batch_of_a_pass_stays_as_a_header() {
    let mut partition = Partition::new();
    partition.append("a=1");
    partition.append("-=1");
    partition.clean(Pass::at(0));
    let headers = partition.headers();
    assert_eq!((headers[1].record_count, headers[1].next_offset()), (0, Offset(2)));
    partition.append("b=1");
    assert_eq!(partition.clean(Pass::at(0)).dropped, 1);
}

#[test]
fn times_set_by_the_broker_survive() {
    let mut partition = Partition::new();
    partition.append("a=1 b=- c=1");
    set_log_append_time(&mut partition.batches[0], TimestampMs(123_456));
    partition.append("a=2");
    partition.clean(Pass::at(0));
    let header = partition.headers()[0];
    assert_eq!(header.attributes.timestamp_type(), TimestampType::LogAppendTime);
    assert_eq!(header.max_timestamp, TimestampMs(123_456));
    assert_eq!(partition.stored()[0].timestamp, 123_456);
}

#[test]
fn the_largest_timestamp_is_that_of_the_records_left() {
    let mut partition = Partition::new();
    partition.append("a=1 b=1 c=1");
    partition.append("c=2");
    partition.clean(Pass::at(0));
    let header = partition.headers()[0];
    assert_eq!((header.base_timestamp.0, header.max_timestamp.0), (CREATED, CREATED + 1));
    assert_eq!(header.last_offset_delta, 2, "the batch still ends where it ended");
}

#[test]
fn a_damaged_batch_ends_the_pass_and_stays() {
    let mut partition = Partition::new();
    partition.append("a=1");
    partition.append("a=2");
    let damaged = partition.append("a=3 b=1");
    partition.append("a=4");
    let last = partition.batches[2].len() - 2;
    partition.batches[2][last] ^= 1;
    let bytes = partition.batches[2].clone();
    let outcome = partition.clean(Pass::at(0));
    assert!(matches!(outcome.errors[..], [CleanError::Batch(BatchError::Crc { .. })]), "{:?}", outcome.errors);
    assert_eq!(partition.first_dirty, damaged, "nothing behind it counts");
    assert_eq!((partition.batches.len(), &partition.batches[1]), (3, &bytes));
    let stuck = partition.clean(Pass::at(0));
    assert_eq!((stuck.errors.len(), partition.first_dirty), (1, damaged));
}

#[test]
fn a_damaged_batch_in_the_clean_part_stays_while_others_are_cleaned() {
    let mut partition = Partition::new();
    partition.append("a=1");
    partition.append("b=1");
    partition.clean(Pass::at(0));
    partition.batches[0][30] ^= 1;
    let bytes = partition.batches[0].clone();
    partition.append("a=2 b=2");
    let outcome = partition.clean(Pass::at(0));
    assert_eq!((outcome.errors.len(), outcome.dropped, outcome.statistics.damaged_batches), (1, 1, 1));
    assert_eq!(partition.batches[0], bytes);
}

#[test]
fn records_that_cannot_be_read_end_the_pass_before_their_batch() {
    let mut partition = Partition::new();
    partition.append("a=1");
    let malformed = partition.append("a=2 b=1");
    // The last byte is the count of headers of the last record: one that is not there. The checksum is made anew.
    *partition.batches[1].last_mut().expect("a whole batch") = 2;
    set_log_append_time(&mut partition.batches[1], TimestampMs(0));
    let outcome = partition.clean(Pass::at(0));
    assert_eq!(outcome.errors, [CleanError::Record(RecordError::Malformed { index: 1 })]);
    assert_eq!((partition.first_dirty, partition.batches.len()), (malformed, 2), "its first record replaces nothing");
}

#[test]
fn cut_off_bytes_are_an_error() {
    let mut partition = Partition::new();
    partition.append("a=1 a=2");
    let whole = partition.batches[0].clone();
    for length in 0..whole.len() {
        let mut scan = KeyScan::new(OffsetMap::new(0, 8, HashKey([0, 0])), Offset(0), Offset(2), [], DecompressLimits::default());
        assert!(scan.feed(&whole[..length]).is_err(), "{length}");
        assert_eq!(scan.feed(&whole), Ok(ScanState::Closed), "an error closes the scan");
        assert_eq!(scan.finish().end(), Offset(0));
    }
}

#[test]
fn a_full_map_covers_a_prefix() {
    let mut partition = Partition::new();
    partition.append("a=1 b=1 c=1 a=2");
    partition.append("d=1 a=3 b=2");
    let outcome = partition.clean(Pass { map_bytes: 0, ..Pass::at(0) });
    assert_eq!(partition.first_dirty, Offset(4), "the fourth key finds no room");
    assert_eq!(partition.texts(), ["1:b=1", "2:c=1", "3:a=2", "4:d=1", "5:a=3", "6:b=2"]);
    assert_eq!((outcome.kept, outcome.replaced), (1, 1));
}
