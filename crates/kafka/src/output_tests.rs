//! What arrives at a client is what the plan names, wherever it lies and however the client reads.

use super::*;
use crate::damage;
use bytes::BytesMut;
use duolog_base::{Disk, LeaderEpoch, Offset, OpenMode, PartitionNumber, RealDisk, TimestampMs};
use duolog_log::{
    Advance, AppendBatch, AppendOrigin, Log, LogFailure, LogObserver, LogOptions, ReadLimits, ReadPlan, SyncOutcome, TidyOptions,
};
use duolog_wire::record::{BatchBuilder, Compression, NewRecord};
use parking_lot::Mutex;
use std::io::Write;
use std::ops::Range;
use std::os::fd::BorrowedFd;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;

const STALL: Duration = Duration::from_secs(60);
const BLOCK: usize = BLOCK_BYTES as usize;

/// A file of which nothing is in the page cache. Counts how often it is read, and by how many at a time.
#[derive(Default)]
struct ColdFile {
    bytes: Mutex<Vec<u8>>,
    block_reads: AtomicUsize,
    other_reads: AtomicUsize,
    fails: AtomicUsize,
}

impl ColdFile {
    fn new(bytes: Vec<u8>) -> Arc<ColdFile> {
        Arc::new(ColdFile { bytes: Mutex::new(bytes), ..ColdFile::default() })
    }

    fn copy(&self, buffer: &mut [u8], position: u64) -> usize {
        let bytes = self.bytes.lock();
        let from = bytes.get(position as usize..).unwrap_or_default();
        let count = buffer.len().min(from.len());
        buffer[..count].copy_from_slice(&from[..count]);
        count
    }

    fn fail(&self) -> io::Result<()> {
        let fails = self.fails.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |fails| fails.checked_sub(1));
        if fails.is_ok() { Err(io::Error::other("bad sector")) } else { Ok(()) }
    }

    fn reads(&self) -> (usize, usize) {
        (self.block_reads.load(Ordering::Relaxed), self.other_reads.load(Ordering::Relaxed))
    }
}

impl DiskFile for ColdFile {
    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        self.fail()?;
        self.other_reads.fetch_add(1, Ordering::Relaxed);
        Ok(self.copy(buffer, position))
    }

    fn read_direct_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        self.fail()?;
        assert!(buffer.as_ptr().addr().is_multiple_of(4096) && buffer.len().is_multiple_of(4096));
        self.block_reads.fetch_add(1, Ordering::Relaxed);
        Ok(self.copy(buffer, position))
    }

    fn write_at(&self, _slices: &[IoSlice<'_>], _position: u64) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.bytes.lock().len() as u64)
    }

    fn set_len(&self, _bytes: u64) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn evict(&self) -> io::Result<bool> {
        Ok(true)
    }

    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        None
    }
}

/// Bytes that differ from place to place.
fn content(bytes: usize) -> Vec<u8> {
    (0..bytes as u64).map(|at| (at.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8).collect()
}

async fn connected() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (client, accepted) = tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
    (accepted.unwrap().0, client.unwrap())
}

fn part(file: &Arc<dyn DiskFile>, range: Range<usize>) -> ReadPart {
    let settled = file.length().unwrap();
    ReadPart::File { file: file.clone(), position: range.start as u64, bytes: range.len(), settled, frame: None }
}

/// What a client receives of these parts.
async fn sent(output: &mut Output, parts: Vec<ReadPart>) -> Result<Vec<u8>, SendError> {
    let bytes = parts.into_iter().map(|part| output.part(part)).sum();
    let (server, mut client) = connected().await;
    let receiving = tokio::spawn(async move {
        let mut received = vec![0; bytes];
        client.read_exact(&mut received).await.map(|_| received)
    });
    output.flush(&server, STALL).await?;
    drop(server);
    Ok(receiving.await.unwrap()?)
}

/// Where a file could not be read, and why.
fn unreadable(sent: Result<Vec<u8>, SendError>) -> (u64, io::ErrorKind) {
    match sent {
        Err(SendError::Unreadable { position, error, .. }) => (position, error.kind()),
        other => panic!("{:?}", other.map(|bytes| bytes.len())),
    }
}

fn output(blocks: &Arc<Blocks>) -> Output {
    Output::new(blocks.clone())
}

/// A file on a disk, nothing of which is in the page cache (on a tmpfs all of it is).
fn uncached_file(bytes: &[u8]) -> Arc<dyn DiskFile> {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(bytes).unwrap();
    file.as_file().sync_all().unwrap();
    let opened = RealDisk.open(file.path(), OpenMode::Read).unwrap();
    opened.evict().unwrap();
    // The name is gone from here on.
    opened
}

#[tokio::test]
async fn memory_cached_and_uncached_ranges_arrive_in_order_from_a_file_that_is_deleted() {
    let bytes = content(6 * BLOCK + 777);
    let file = uncached_file(&bytes);
    // Some of it gets into the page cache.
    for position in [0, 2 * BLOCK + 5000, 3 * BLOCK] {
        file.read_at(&mut [0; 70_000], position as u64).unwrap();
    }
    let mut ranges = vec![0..50_000, BLOCK - 10..3 * BLOCK + 10, 5 * BLOCK..bytes.len(), 17..18];
    ranges.extend((0..200).map(|number| 4 * BLOCK + number * 3000..4 * BLOCK + number * 3000 + 1500));
    ranges.extend((0..100).map(|number| 100_000 + number * 20_000..100_000 + number * 20_000 + 40_000));
    let mut parts = Vec::new();
    let mut expected = Vec::new();
    for (number, range) in ranges.into_iter().enumerate() {
        expected.extend_from_slice(&bytes[range.clone()]);
        parts.push(part(&file, range));
        if number % 3 == 0 {
            expected.extend_from_slice(b"memory");
            parts.push(ReadPart::Memory(Bytes::from_static(b"memory")));
        }
    }
    let blocks = Arc::new(Blocks::default());
    assert!(sent(&mut output(&blocks), parts).await.unwrap() == expected);
}

#[tokio::test]
async fn reading_on_takes_each_block_from_the_disk_once_and_the_next_one_ahead() {
    let bytes = content(8 * BLOCK);
    let cold = ColdFile::new(bytes.clone());
    let file: Arc<dyn DiskFile> = cold.clone();
    let blocks = Arc::new(Blocks::default());
    let mut output = output(&blocks);
    // A first look that is small reads little.
    assert!(sent(&mut output, vec![part(&file, 100..200)]).await.unwrap() == bytes[100..200]);
    assert_eq!(cold.reads(), (0, 1));
    // Batches in small fetches, with those of others between them.
    for fetch in 0..400 {
        let ranges = (0..4).map(|batch| 200 + fetch * 10_000 + batch * 2500..200 + fetch * 10_000 + batch * 2500 + 1000);
        let expected: Vec<u8> = ranges.clone().flat_map(|range| bytes[range].to_vec()).collect();
        assert!(sent(&mut output, ranges.map(|range| part(&file, range)).collect()).await.unwrap() == expected);
    }
    let (block_reads, other_reads) = cold.reads();
    assert!((4..=5).contains(&block_reads), "3.8 blocks, and one ahead: {block_reads}");
    assert_eq!(other_reads, 1);
}

#[tokio::test]
async fn readers_near_each_other_share_blocks_and_the_last_one_frees_them() {
    let bytes = content(4 * BLOCK);
    let cold = ColdFile::new(bytes.clone());
    let file: Arc<dyn DiskFile> = cold.clone();
    let blocks = Arc::new(Blocks::default());
    let mut staying = output(&blocks);
    assert!(sent(&mut staying, vec![part(&file, 0..BLOCK)]).await.unwrap() == bytes[..BLOCK]);
    let readers: Vec<_> = (0..8)
        .map(|_| {
            let (file, mut output) = (file.clone(), output(&blocks));
            tokio::spawn(async move { sent(&mut output, vec![part(&file, 0..4 * BLOCK)]).await.unwrap() })
        })
        .collect();
    for reader in readers {
        assert!(reader.await.unwrap() == bytes);
    }
    assert_eq!(cold.reads(), (4, 0));
    assert_eq!(Arc::strong_count(&file), 2, "blocks that are kept do not hold their file");
    assert!(blocks.kept() > 0);
    drop(staying);
    assert_eq!(blocks.kept(), 0);
}

#[tokio::test]
async fn slow_readers_hold_no_blocks() {
    const READERS: usize = 60;
    const EACH: usize = 16 * BLOCK;
    // What is in the blocks matters elsewhere.
    let bytes = vec![7; EACH + READERS * BLOCK];
    let cold = ColdFile::new(bytes.clone());
    let file: Arc<dyn DiskFile> = cold.clone();
    let blocks = Arc::new(Blocks::default());
    let mut clients = Vec::new();
    let mut senders = Vec::new();
    for number in 0..READERS {
        let (server, client) = connected().await;
        clients.push(client);
        let mut output = output(&blocks);
        output.part(part(&file, number * BLOCK..number * BLOCK + EACH));
        senders.push(tokio::spawn(async move { output.flush(&server, STALL).await }));
    }
    // None of the sockets takes so much. Once all are stuck, one that reads is still served.
    let quick = sent(&mut output(&blocks), vec![part(&file, 0..EACH)]).await.unwrap();
    assert!(quick == bytes[..EACH]);
    assert!(blocks.in_memory() <= 32 + 16);
    assert!(senders.iter().all(|sender| !sender.is_finished()));
    for (number, mut client) in clients.into_iter().enumerate() {
        let mut received = vec![0; EACH];
        client.read_exact(&mut received).await.unwrap();
        assert!(received == bytes[number * BLOCK..][..EACH]);
    }
    for sender in senders {
        sender.await.unwrap().unwrap();
    }
    assert_eq!(blocks.kept(), 0);
}

#[tokio::test]
async fn what_is_written_behind_a_block_is_not_taken_from_it() {
    let bytes = content(BLOCK);
    let half = BLOCK / 2;
    let cold = ColdFile::new([&bytes[..half], &vec![0; half][..]].concat());
    let file: Arc<dyn DiskFile> = cold.clone();
    let blocks = Arc::new(Blocks::default());
    let mut output = output(&blocks);
    let first = ReadPart::File { file: file.clone(), position: 0, bytes: half, settled: half as u64, frame: None };
    assert!(sent(&mut output, vec![first]).await.unwrap() == bytes[..half]);
    cold.bytes.lock().copy_from_slice(&bytes);
    assert!(sent(&mut output, vec![part(&file, half - 10..BLOCK)]).await.unwrap() == bytes[half - 10..]);
    assert_eq!(cold.reads(), (1, 1));
}

#[tokio::test]
async fn a_failed_read_is_told_and_tried_anew_by_the_next_one() {
    let bytes = content(BLOCK);
    let cold = ColdFile::new(bytes.clone());
    let file: Arc<dyn DiskFile> = cold.clone();
    let blocks = Arc::new(Blocks::default());
    // Once for the read ahead of its need, once for the need.
    cold.fails.store(2, Ordering::Relaxed);
    let failed = unreadable(sent(&mut output(&blocks), vec![part(&file, 0..BLOCK)]).await);
    assert_eq!(failed, (0, io::ErrorKind::Other));
    assert!(sent(&mut output(&blocks), vec![part(&file, 0..BLOCK)]).await.unwrap() == bytes);
}

#[tokio::test]
async fn a_failed_read_of_any_length_is_told_with_its_place() {
    let blocks = Arc::new(Blocks::default());
    for (from, bytes) in [(BLOCK, BLOCK), (BLOCK + 100, 1_000), (BLOCK + 100, 50_000)] {
        let cold = ColdFile::new(content(4 * BLOCK));
        cold.fails.store(usize::MAX, Ordering::Relaxed);
        let file: Arc<dyn DiskFile> = cold;
        let failed = unreadable(sent(&mut output(&blocks), vec![part(&file, from..from + bytes)]).await);
        assert_eq!(failed, (from as u64, io::ErrorKind::Other), "{bytes} bytes");
    }
}

#[tokio::test]
async fn a_cached_range_beyond_the_end_of_its_file_is_told_with_its_place() {
    let named = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(named.path(), content(BLOCK)).unwrap();
    let file = RealDisk.open(named.path(), OpenMode::Read).unwrap();
    let beyond = ReadPart::File { file, position: 100, bytes: BLOCK, settled: 2 * BLOCK_BYTES, frame: None };
    let failed = sent(&mut output(&Arc::new(Blocks::default())), vec![beyond]).await.unwrap_err();
    let SendError::Unreadable { file, position, error } = failed else { panic!("{failed}") };
    assert_eq!((file.as_path(), position, error.kind()), (named.path(), BLOCK_BYTES, io::ErrorKind::UnexpectedEof));
}

#[tokio::test]
async fn a_range_beyond_the_end_of_its_file_is_an_error() {
    let cold = ColdFile::new(content(BLOCK + 100));
    let file: Arc<dyn DiskFile> = cold.clone();
    let blocks = Arc::new(Blocks::default());
    let beyond = ReadPart::File { file, position: 0, bytes: 2 * BLOCK, settled: 2 * BLOCK_BYTES, frame: None };
    let failed = unreadable(sent(&mut output(&blocks), vec![beyond]).await);
    assert_eq!(failed, (BLOCK_BYTES, io::ErrorKind::UnexpectedEof));
}

#[tokio::test]
async fn what_is_read_again_soon_goes_through_the_page_cache() {
    let bytes = content(3 * BLOCK);
    let cold = ColdFile::new(bytes.clone());
    let file: Arc<dyn DiskFile> = cold.clone();
    let blocks = Arc::new(Blocks::default());
    for reads in [(3, 0), (3, 3)] {
        assert!(sent(&mut output(&blocks), vec![part(&file, 0..3 * BLOCK)]).await.unwrap() == bytes);
        assert_eq!((blocks.kept(), cold.reads()), (0, reads));
    }
}

#[tokio::test]
async fn a_scan_of_old_data_never_enters_the_page_cache_however_often() {
    // Longer than what is remembered; a look at each block is enough.
    let cold = ColdFile::new(Vec::new());
    let file: Arc<dyn DiskFile> = cold.clone();
    let blocks = Blocks::default();
    for _ in 0..2 {
        for block in 0..10_000 {
            let place = Place { file: file.clone(), position: block * BLOCK_BYTES, settled: u64::MAX };
            assert!(blocks.get(&place, 1).await.is_err(), "the file is empty");
        }
    }
    assert_eq!(cold.reads(), (20_000, 0));
}

#[tokio::test]
async fn what_lies_in_two_blocks_is_put_together() {
    let bytes = content(2 * BLOCK);
    let file: Arc<dyn DiskFile> = ColdFile::new(bytes.clone());
    let blocks = Blocks::default();
    let place = Place { file, position: BLOCK_BYTES - 10, settled: 2 * BLOCK_BYTES };
    assert!(blocks.ready_whole(&place, 85).is_none());
    assert!(blocks.get_whole(&place, 85).await.unwrap() == bytes[BLOCK - 10..][..85]);
    assert!(blocks.ready_whole(&place, 85).unwrap() == bytes[BLOCK - 10..][..85]);
}

struct NoObserver;

impl LogObserver for NoObserver {
    fn advanced(&self, _partitions: &[PartitionNumber], _what: Advance) {}
    fn failed(&self, failure: &LogFailure) {
        panic!("{failure:?}");
    }
}

/// So many batches of a log, in the page cache, as a plan that reads them all from its file.
fn stored_batches(count: usize, bytes: usize) -> (tempfile::TempDir, ReadPlan) {
    const NOW: TimestampMs = TimestampMs(1_700_000_000_000);
    let dir = tempfile::tempdir().unwrap();
    let options = LogOptions {
        file_bytes: 64 << 20,
        zero_ahead_bytes: 1 << 20,
        unsealed_entries: 1000,
        tail_cache_bytes: 1 << 20,
        queue_bytes: 64 << 20,
        reserve_bytes: 0,
        checkpoint_bytes: 64 << 20,
        recycled_files: 0,
        tidy: TidyOptions { step_bytes: 0, ..TidyOptions::default() },
        keys: None,
    };
    let partition = PartitionNumber(1);
    let open = || Log::open(Arc::new(RealDisk), dir.path().join("log"), options.clone(), Arc::new(NoObserver), NOW).unwrap().0;
    let log = open();
    log.open_partition(partition);
    for number in 0..count {
        let mut builder = BatchBuilder::new(Compression::None);
        let value = content(number + bytes).split_off(number);
        builder.push(NewRecord { timestamp: NOW, value: Some(&value), ..NewRecord::default() }).unwrap();
        let mut batch = BytesMut::new();
        builder.build(&mut batch).unwrap();
        let list = [AppendBatch { partition, range: 0..batch.len(), leader_epoch: LeaderEpoch(0), tag_filter: 0 }];
        assert!(log.append(batch, &list, AppendOrigin::Client, NOW).results[0].is_ok());
        while log.write_step().unwrap() == SyncOutcome::Progressed {}
    }
    while log.sync_step().unwrap() == SyncOutcome::Progressed {}
    log.close().unwrap();
    // Nothing of it is in memory any more.
    let limits = ReadLimits { upto: Offset(i64::MAX), max_bytes: usize::MAX, at_least_one: true, tags: None };
    let plan = open().read(partition, Offset(0), limits).unwrap();
    assert!(plan.parts.len() == count && plan.parts.iter().all(|part| matches!(part, ReadPart::File { .. })));
    for part in &plan.parts {
        let ReadPart::File { file, position, bytes, .. } = part else { continue };
        file.read_at(&mut vec![0; *bytes + 64], *position - 64).unwrap();
    }
    (dir, plan)
}

#[tokio::test]
async fn batches_of_the_page_cache_arrive_whatever_their_size() {
    for (count, bytes) in [(300, 100), (60, 40_000), (20, 300_000), (3, 3 << 20), (1, 5)] {
        let (_dir, plan) = stored_batches(count, bytes);
        let expected = plan.materialize().unwrap();
        let mut parts = vec![ReadPart::Memory(Bytes::from_static(b"begin"))];
        parts.extend(plan.parts.clone());
        parts.push(ReadPart::Memory(Bytes::from_static(b"end")));
        let received = sent(&mut output(&Arc::new(Blocks::default())), parts).await.unwrap();
        assert!(received == [b"begin", &expected[..], b"end"].concat(), "{count} of {bytes}");
    }
}

#[tokio::test]
async fn what_lies_before_a_damaged_batch_is_sent_and_nothing_of_it() {
    const DAMAGED: usize = 5;
    let (_dir, plan) = stored_batches(8, 100_000);
    let before = plan.materialize().unwrap();
    let ReadPart::File { file, position, .. } = &plan.parts[DAMAGED] else { panic!() };
    // The lowest byte of its offset, which the checksum that clients know does not cover.
    let named = std::fs::OpenOptions::new().write(true).open(damage::path_of(&**file)).unwrap();
    named.write_all_at(&[DAMAGED as u8 ^ 1], position + 7).unwrap();
    let (server, mut client) = connected().await;
    let mut output = output(&Arc::new(Blocks::default()));
    let lengths: Vec<usize> = plan.parts.iter().map(|part| output.part(part.clone())).collect();
    let receiving = tokio::spawn(async move {
        let mut received = Vec::new();
        client.read_to_end(&mut received).await.map(|_| received)
    });
    let ended = output.flush(&server, STALL).await;
    assert!(matches!(ended, Err(SendError::Damaged)), "{:?}", ended.err());
    drop(server);
    let whole: usize = lengths[..DAMAGED].iter().sum();
    assert!(receiving.await.unwrap().unwrap() == before[..whole]);
}
