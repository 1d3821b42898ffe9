//! Disk errors stop the log; a full disk refuses appends before it comes to that.

use crate::scenario::*;
use duolog_base::{Disk, Offset, PartitionNumber};
use duolog_log::{AppendError, AppendOrigin, Appended, Log, LogOptions, PartitionError, SyncOutcome};
use duolog_sim::{Failure, Operation, SimDisk};
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::oneshot::error::TryRecvError;

const ONE: PartitionNumber = PartitionNumber(1);

fn dir() -> PathBuf {
    "/data/shared".into()
}

fn start(disk: &SimDisk, options: LogOptions) -> (Arc<Log>, Arc<Remembering>) {
    let observer = Arc::new(Remembering::default());
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let (log, _) = Log::open(shared, dir(), options, observer.clone(), NOW).unwrap();
    log.open_partition(ONE);
    (log, observer)
}

#[test]
fn an_error_of_a_write_or_a_sync_stops_the_log_for_everybody() {
    for operation in [Operation::Write, Operation::Sync] {
        let disk = SimDisk::new(1);
        let (log, observer) = start(&disk, options());
        append(&log, 1, batch(1, 1, 10)).unwrap();
        settle(&log);
        let lost = append_all(&log, &[(1, batch(2, 1, 10))]);
        let mut waiting = log.wait_durable(lost.end);
        disk.fail_next(operation, 0, Failure::Io);
        let failed = log.write_step().and_then(|_| log.sync_step()).unwrap_err();
        assert_eq!(failed.error.raw_os_error(), Some(5));
        assert_eq!(waiting.try_recv(), Err(TryRecvError::Closed), "nobody is told that it is durable");
        assert_eq!(log.wait_written(lost.end).try_recv(), Err(TryRecvError::Closed));
        assert_eq!(append(&log, 1, batch(3, 1, 10)), Err(AppendError::Stopped));
        assert!(matches!(log.set_log_start(ONE, Offset(1)), Err(PartitionError::Stopped)));
        assert!(log.write_step().is_err() && log.sync_step().is_err() && log.house_step(NOW).is_err(), "no second try");
        assert!(log.close().is_err());
        assert_eq!(observer.failures.lock().unwrap().len(), 1);
        assert_eq!(log.ends(ONE).unwrap().durable, Offset(1));

        disk.reboot(2);
        let (log, _) = start(&disk, options());
        assert!(log.ends(ONE).unwrap().end >= Offset(1));
        assert!(append(&log, 1, batch(3, 1, 10)).is_ok());
    }
}

#[test]
fn an_error_with_threads_running_ends_them_and_tells_those_who_wait() {
    let disk = SimDisk::new(1);
    let (log, observer) = start(&disk, options());
    log.start_threads().unwrap();
    disk.fail_next(Operation::Sync, 0, Failure::Io);
    let receipt = append_all(&log, &[(1, batch(2, 1, 10))]);
    assert!(log.wait_durable(receipt.end).blocking_recv().is_err());
    assert!(log.close().is_err(), "the threads end and are joined");
    assert_eq!(observer.failures.lock().unwrap().len(), 1);
}

#[test]
fn appends_are_refused_at_the_reserve_and_go_on_when_there_is_room() {
    let disk = SimDisk::new(1);
    let options = LogOptions { reserve_bytes: 64 << 10, zero_ahead_bytes: 0, recycled_files: 0, ..options() };
    disk.set_capacity(128 << 10);
    let (log, observer) = start(&disk, options.clone());
    let refused = loop {
        match append(&log, 1, batch(1, 1, 900)) {
            Ok(_) => settle(&log),
            Err(error) => break error,
        }
        log.house_step(NOW).unwrap();
    };
    assert_eq!(refused, AppendError::DiskFull { reserve_bytes: 64 << 10 });
    assert!(observer.failures.lock().unwrap().is_empty(), "no append has met the full disk itself");
    assert!(read_all(&log, 1).len() > 20, "reads go on");

    // Giving up data passes, and makes room.
    log.set_log_start(ONE, log.ends(ONE).unwrap().end).unwrap();
    settle(&log);
    log.house_step(NOW).unwrap();
    assert!(append(&log, 1, batch(1, 1, 900)).is_ok());

    // Somebody else fills the disk, and clears it again.
    disk.set_capacity(10 << 10);
    log.house_step(NOW).unwrap();
    assert!(matches!(append(&log, 1, batch(1, 1, 10)), Err(AppendError::DiskFull { .. })));
    disk.set_capacity(1 << 20);
    log.house_step(NOW).unwrap();
    assert!(append(&log, 1, batch(1, 1, 10)).is_ok());
    settle(&log);
}

#[test]
fn what_waits_for_the_disk_is_bounded() {
    let disk = SimDisk::new(1);
    let (log, _) = start(&disk, LogOptions { queue_bytes: 2000, ..options() });
    assert!(append(&log, 1, batch(1, 1, 3000)).is_ok(), "a request larger than the limit is taken alone");
    assert!(matches!(append(&log, 1, batch(1, 1, 10)), Err(AppendError::Overloaded { .. })));
    assert_eq!(log.write_step().unwrap(), SyncOutcome::Progressed);
    assert!(append(&log, 1, batch(1, 1, 10)).is_ok());
}

#[test]
fn the_node_itself_appends_when_clients_have_filled_the_queue_but_not_without_limit() {
    let disk = SimDisk::new(1);
    let (log, _) = start(&disk, LogOptions { queue_bytes: 16_000, ..options() });
    let append_internally = || append_as(&log, AppendOrigin::Internal, &[(1, batch(1, 1, 500))]).results.remove(0);
    let refusal_of = |append: &dyn Fn() -> Result<Appended, AppendError>| (0..100).find_map(|_| append().err());
    let client = refusal_of(&|| append(&log, 1, batch(1, 1, 500))).expect("the queue is bounded");
    assert!(matches!(client, AppendError::Overloaded { queued_bytes } if queued_bytes <= 16_000));
    assert!(append_internally().is_ok());
    let internal = refusal_of(&append_internally).expect("the headroom is bounded, too");
    assert!(matches!(internal, AppendError::Overloaded { queued_bytes } if (16_000..=18_000).contains(&queued_bytes)));
    assert!(matches!(append(&log, 1, batch(1, 1, 10)), Err(AppendError::Overloaded { .. })));
}

#[test]
fn the_node_itself_appends_into_half_of_the_reserve() {
    let disk = SimDisk::new(1);
    let options = LogOptions { reserve_bytes: 64 << 10, zero_ahead_bytes: 0, recycled_files: 0, ..options() };
    disk.set_capacity(128 << 10);
    let (log, observer) = start(&disk, options.clone());
    let refused = |origin| {
        let refusal = (0..1000).find_map(|_| {
            let result = append_as(&log, origin, &[(1, batch(1, 1, 900))]).results.remove(0);
            settle(&log);
            log.house_step(NOW).unwrap();
            result.err()
        });
        refusal.expect("there is a limit")
    };
    assert_eq!(refused(AppendOrigin::Client), AppendError::DiskFull { reserve_bytes: 64 << 10 });
    let before = log.ends(ONE).unwrap().end;
    assert_eq!(refused(AppendOrigin::Internal), AppendError::DiskFull { reserve_bytes: 32 << 10 });
    assert!(log.ends(ONE).unwrap().end.0 > before.0 + 10);
    assert!(observer.failures.lock().unwrap().is_empty(), "no append has met the full disk itself");
}
