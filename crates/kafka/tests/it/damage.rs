//! A batch that is not the one the log's index names is never delivered, even if a client could not tell: the checksum that clients
//! know covers neither a batch's offset nor its partition.

use crate::client::{FETCH, Server, batch, fetch_request, values};
use duolog_base::{Disk, OpenMode, RealDisk};
use duolog_net::ConnectionLimits;
use duolog_wire::kafka::ErrorCode;
use duolog_wire::kafka::messages::fetch_response::FetchResponse;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use tokio::io::AsyncReadExt;

const PARTITIONS: usize = 4;
/// Many enough for several files: the last one is looked through when it is opened.
const BYTES: usize = 24 << 20;
const DAMAGED_PARTITION: usize = 1;
/// Fetches that are more than enough to read all that can be read.
const FETCHES: usize = 500;

fn value(partition: usize, number: usize, bytes: usize) -> String {
    let mark = format!("{partition}-{number}-");
    mark.repeat(bytes / mark.len())
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let paths = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    paths.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

/// Changes the offset that the batch with this value says of itself, wherever it lies.
fn damage(dir: &Path, value: &str) {
    let find = |bytes: &[u8]| bytes.windows(value.len()).position(|found| found == value.as_bytes());
    let header_bytes = find(&batch(&[value])).unwrap();
    let mut places = 0;
    for path in files(dir) {
        let Some(at) = find(&std::fs::read(&path).unwrap()) else { continue };
        let file = std::fs::OpenOptions::new().read(true).write(true).open(&path).unwrap();
        let lowest = (at - header_bytes + 7) as u64;
        let mut byte = [0];
        file.read_exact_at(&mut byte, lowest).unwrap();
        file.write_all_at(&[byte[0] ^ 1], lowest).unwrap();
        file.sync_all().unwrap();
        places += 1;
    }
    assert_eq!(places, 1);
}

/// Brings all files into the page cache, or takes them from it.
fn cache(dir: &Path, cached: bool) {
    for path in files(dir) {
        match cached {
            true => drop(std::fs::read(&path).unwrap()),
            false => drop(RealDisk.open(&path, OpenMode::Read).unwrap().evict().unwrap()),
        }
    }
}

/// What a client got of each partition, how often its connection was closed instead of an answer, and who got an error.
#[derive(Default)]
struct Seen {
    read: [usize; PARTITIONS],
    closed: usize,
    failed: [bool; PARTITIONS],
}

async fn read_all(server: &Server, batches: usize, bytes: usize) -> Seen {
    let mut seen = Seen::default();
    let mut client = server.client().await;
    for _ in 0..FETCHES {
        let from: Vec<(i32, i64)> = seen.read.iter().enumerate().map(|(at, read)| (at as i32, *read as i64)).collect();
        let request = fetch_request("t", &from);
        client.send(FETCH, 12, |encoder| request.encode(encoder, 12).unwrap()).await;
        let size = client.stream.read_i32().await.unwrap();
        let mut response = vec![0; size as usize];
        if client.stream.read_exact(&mut response).await.is_err() {
            seen.closed += 1;
            client = server.client().await;
            continue;
        }
        // Behind the correlation id and no tagged fields.
        let mut decoder = duolog_wire::kafka::Decoder::new(&response[5..]);
        for data in &FetchResponse::decode(&mut decoder, 12).unwrap().responses[0].partitions {
            let partition = data.partition_index as usize;
            seen.failed[partition] |= data.error_code == ErrorCode::KafkaStorageError as i16;
            for found in values(data.records.and_then(|records| records.bytes()).unwrap_or_default()) {
                assert!(found == value(partition, seen.read[partition], bytes));
                seen.read[partition] += 1;
            }
        }
        let others = (0..PARTITIONS).filter(|partition| *partition != DAMAGED_PARTITION);
        if seen.failed[DAMAGED_PARTITION] && others.into_iter().all(|partition| seen.read[partition] == batches) {
            break;
        }
    }
    seen
}

/// Batches of so many bytes, one of which is damaged, that are read from the page cache or the disk. Every test has its own size: what is
/// known of damaged batches is the process's.
async fn a_damaged_batch_is_not_delivered(bytes: usize, cached: bool) {
    let closed = a_damaged_batch_stays(bytes, cached, &[], BYTES / bytes / PARTITIONS / 8).await;
    assert_eq!(closed, 1, "the next fetch ends before the batch");
}

/// As above, for partitions with files of their own, where a batch has no frame in front of it. A change of the lowest bit makes an even
/// offset greater, an odd one less.
async fn a_damaged_batch_of_a_segment_is_not_delivered(bytes: usize, cached: bool, damaged: usize) {
    let configs = [("duolog.layout", "dedicated"), ("segment.bytes", "2097152")];
    assert_eq!(a_damaged_batch_stays(bytes, cached, &configs, damaged).await, 0);
}

/// Answers how often a connection was closed instead of an answer.
async fn a_damaged_batch_stays(bytes: usize, cached: bool, configs: &[(&str, &str)], damaged: usize) -> usize {
    let batches = BYTES / bytes / PARTITIONS;
    let server = Server::start().await;
    server.topic("t", configs).await;
    let mut client = server.client().await;
    for number in 0..batches {
        for partition in 0..PARTITIONS {
            let acks = if number + 1 == batches { -1 } else { 1 };
            let batch = batch(&[&value(partition, number, bytes)]);
            assert_eq!(client.produce("t", partition as i32, acks, &batch).await.error, 0);
        }
    }
    let dir = server.stop().await;
    damage(dir.path(), &value(DAMAGED_PARTITION, damaged, bytes));
    let path = dir.path().to_owned();
    let server = Server::start_in(dir, ConnectionLimits::default()).await;
    cache(&path, cached);
    let seen = read_all(&server, batches, bytes).await;
    let expected: [usize; PARTITIONS] =
        std::array::from_fn(|partition| if partition == DAMAGED_PARTITION { damaged } else { batches });
    assert_eq!(seen.read, expected);
    assert_eq!(seen.failed, std::array::from_fn(|partition| partition == DAMAGED_PARTITION));
    server.stop().await;
    seen.closed
}

#[tokio::test]
async fn an_answer_that_a_file_cannot_be_read_for_is_counted() {
    const BATCH_BYTES: usize = 100_000;
    let server = Server::start().await;
    server.topic("t", &[]).await;
    let mut client = server.client().await;
    for number in 0..BYTES / BATCH_BYTES {
        assert_eq!(client.produce("t", 0, -1, &batch(&[&value(0, number, BATCH_BYTES)])).await.error, 0);
    }
    let dir = server.stop().await;
    let path = dir.path().to_owned();
    let server = Server::start_in(dir, ConnectionLimits::default()).await;
    // From the sixth batch on a file is gone, as if its sectors had failed.
    let sixth = value(0, 5, BATCH_BYTES);
    let holds = |path: &PathBuf| std::fs::read(path).unwrap().windows(64).position(|found| found == &sixth.as_bytes()[..64]);
    let (file, at) = files(&path).into_iter().find_map(|path| holds(&path).map(|at| (path, at))).unwrap();
    std::fs::OpenOptions::new().write(true).open(file).unwrap().set_len(at as u64).unwrap();
    let broker = server.broker.clone();
    let mut client = server.client().await;
    let request = fetch_request("t", &[(0, 0)]);
    client.send(FETCH, 12, |encoder| request.encode(encoder, 12).unwrap()).await;
    let size = client.stream.read_i32().await.unwrap();
    assert!(client.stream.read_exact(&mut vec![0; size as usize]).await.is_err(), "the connection ends");
    server.stop().await;
    assert_eq!(broker.metrics().answers_cut.get(), 1);
}

#[tokio::test]
async fn a_damaged_batch_of_a_cold_segment_is_not_delivered() {
    a_damaged_batch_of_a_segment_is_not_delivered(14_000, false, 40).await;
}

#[tokio::test]
async fn a_damaged_batch_of_a_segment_in_the_page_cache_is_not_delivered() {
    a_damaged_batch_of_a_segment_is_not_delivered(15_000, true, 41).await;
}

#[tokio::test]
async fn a_damaged_batch_among_cold_ones_is_not_delivered() {
    a_damaged_batch_is_not_delivered(14_000, false).await;
}

#[tokio::test]
async fn a_damaged_batch_of_several_blocks_is_not_delivered() {
    a_damaged_batch_is_not_delivered(300_000, false).await;
}

#[tokio::test]
async fn a_damaged_batch_that_the_page_cache_sends_is_not_delivered() {
    a_damaged_batch_is_not_delivered(100_000, true).await;
}

#[tokio::test]
async fn a_damaged_batch_among_short_ones_of_the_page_cache_is_not_delivered() {
    a_damaged_batch_is_not_delivered(15_000, true).await;
}
