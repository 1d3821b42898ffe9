//! Reading what only the disk has: after a restart nothing is in memory, and the log is written around the page cache.

use crate::client::{Client, FETCH, Server, batch, fetch_request, values};
use duolog_net::ConnectionLimits;
use duolog_wire::kafka::messages::fetch_response::FetchResponse;

const PARTITIONS: i32 = 4;
const BATCHES: usize = 100;

/// Batches of all sizes; those of the partitions lie between each other.
fn value(partition: i32, number: usize) -> String {
    format!("{partition}-{number}-").repeat(1 + (number * 37 + partition as usize * 11) % 97 * 200)
}

/// Reads all partitions to their ends, as often as it takes.
async fn read_all(client: &mut Client) {
    let mut read = [0; PARTITIONS as usize];
    while read != [BATCHES; PARTITIONS as usize] {
        let from: Vec<(i32, i64)> = (0..PARTITIONS).map(|partition| (partition, read[partition as usize] as i64)).collect();
        let request = fetch_request("t", &from);
        let response = client.call(FETCH, 12, |encoder| request.encode(encoder, 12).unwrap()).await;
        let (_, mut decoder) = response.body();
        let before = read;
        for data in FetchResponse::decode(&mut decoder, 12).unwrap().responses[0].partitions.iter() {
            let next = &mut read[data.partition_index as usize];
            for found in values(data.records.and_then(|records| records.bytes()).unwrap_or_default()) {
                assert!(found == value(data.partition_index, *next));
                *next += 1;
            }
        }
        assert_ne!(read, before, "there is more");
    }
}

#[tokio::test]
async fn consumers_far_behind_get_what_was_written_before_a_restart() {
    let server = Server::start().await;
    server.topic("t", &[]).await;
    let mut client = server.client().await;
    for number in 0..BATCHES {
        for partition in 0..PARTITIONS {
            let acks = if number + 1 == BATCHES { -1 } else { 1 };
            assert_eq!(client.produce("t", partition, acks, &batch(&[&value(partition, number)])).await.error, 0);
        }
    }
    let server = Server::start_in(server.stop().await, ConnectionLimits::default()).await;
    let mut readers = Vec::new();
    for _ in 0..3 {
        let mut client = server.client().await;
        readers.push(tokio::spawn(async move { read_all(&mut client).await }));
    }
    for reader in readers {
        reader.await.unwrap();
    }
    // Once more, now that the blocks were read before.
    read_all(&mut server.client().await).await;
    server.stop().await;
}
