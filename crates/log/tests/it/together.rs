//! Everything at once on a real disk: appenders, readers, housekeeping, a moving log start. Readers never see a hole.

use crate::scenario::*;
use duolog_base::{Offset, PartitionNumber, RealDisk};
use duolog_log::{Log, LogOptions, ReadError};
use duolog_wire::record::{batches, verify_crc};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

const BATCHES: u64 = 1500;

#[test]
fn readers_see_every_offset_in_order_while_files_are_sealed_and_freed() {
    let dir = tempfile::tempdir().unwrap();
    let options = LogOptions { file_bytes: 64 << 10, tail_cache_bytes: 16 << 10, ..options() };
    let observer = Arc::new(Remembering::default());
    let (log, _) = Log::open(Arc::new(RealDisk), dir.path().join("shared"), options.clone(), observer.clone(), NOW).unwrap();
    (0..2).for_each(|number| log.open_partition(PartitionNumber(number)));
    log.start_threads().unwrap();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let appenders = [0, 1].map(|number| {
            scope.spawn({
                let log = &log;
                move || append_many(log, number)
            })
        });
        let readers = [0, 1].map(|number| {
            scope.spawn({
                let log = &log;
                move || follow(log, number)
            })
        });
        scope.spawn(|| keep_house(&log, &done));
        for handle in appenders.into_iter().chain(readers) {
            handle.join().unwrap();
        }
        done.store(true, Ordering::Release);
    });
    log.close().unwrap();
    assert!(observer.failures.lock().unwrap().is_empty());
    let (log, report) = Log::open(Arc::new(RealDisk), dir.path().join("shared"), options, observer, NOW).unwrap();
    assert!(report.clean_shutdown);
    for number in 0..2 {
        assert_eq!(log.ends(PartitionNumber(number)).unwrap().end, Offset(BATCHES as i64));
    }
}

fn append_many(log: &Log, number: u32) {
    for seed in 0..BATCHES {
        let receipt = append_all(log, &[(number, batch(seed, 1, 200))]);
        receipt.results[0].as_ref().unwrap();
        if seed % 16 == 0 {
            log.wait_durable(receipt.end).blocking_recv().unwrap();
        }
    }
}

/// Reads the partition from its beginning until the last batch, sometimes overtaken by the log start.
fn follow(log: &Log, number: u32) {
    let mut next = 0;
    while next < BATCHES as i64 {
        let plan = match plan(log, number, next, 5000) {
            Ok(plan) => plan,
            Err(ReadError::OutOfRange { start, .. }) => {
                assert!(start.0 > next);
                next = start.0;
                continue;
            }
            Err(error) => panic!("{error}"),
        };
        let bytes = plan.materialize().unwrap();
        for found in batches(&bytes) {
            let (header, range) = found.unwrap();
            verify_crc(&bytes[range]).unwrap();
            assert_eq!(header.base_offset.0, next, "no offset is skipped");
            next += 1;
        }
        assert_eq!(plan.next.0, next);
        thread::yield_now();
    }
}

fn keep_house(log: &Log, done: &AtomicBool) {
    while !done.load(Ordering::Acquire) {
        log.house_step(NOW).unwrap();
        for number in [0, 1].map(PartitionNumber) {
            let ends = log.ends(number).unwrap();
            // Far enough behind that readers are rarely overtaken.
            log.set_log_start(number, Offset((ends.durable.0 - 700).max(0))).unwrap();
        }
        thread::yield_now();
    }
}
