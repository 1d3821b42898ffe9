//! `kill -9` under load, again and again, and an orderly stop under load.

mod full_disk;
mod grpc;
mod io_errors;
mod ledger;
mod pipelines;
mod raw;
mod writer;

use crate::journal::{self, Load, PARTITIONS, TOPIC, verify};
use crate::server::Server;
use duolog_sim::Crash;
use tempfile::tempdir;

const DEFAULT_ROUNDS: usize = 5;
/// Acknowledged records of the first rounds before the kill; later ones differ.
const ACKS_BEFORE_KILL: [usize; 5] = [200, 1_500, 40, 3_000, 700];

/// `DUOLOG_CRASH_ROUNDS`, for longer runs.
pub(crate) fn rounds(default: usize) -> usize {
    std::env::var("DUOLOG_CRASH_ROUNDS").map_or(default, |rounds| rounds.parse().unwrap())
}

pub(crate) fn acks_before_fault(round: usize) -> usize {
    ACKS_BEFORE_KILL[round % ACKS_BEFORE_KILL.len()] + 13 * round
}

#[test]
fn nothing_acknowledged_is_lost_or_changed_by_kill_9() {
    let directory = tempdir().unwrap();
    let journal = journal::new();
    let mut server = Server::start(directory.path());
    server.run(&["topic", "create", TOPIC, "-p", &PARTITIONS.to_string()]);
    for round in 0..rounds(DEFAULT_ROUNDS) {
        let load = Load::start(&server.kafka, &journal, round);
        load.wait_for(acks_before_fault(round));
        server.kill();
        load.stop();
        server = Server::start(directory.path());
        let (records, in_doubt) = verify(&server.kafka, &journal, Some(Crash::Kill));
        println!("round {round}: {records} records, {in_doubt} of them never acknowledged");
    }
    server.stop();
}

#[test]
fn an_orderly_stop_under_load_leaves_no_record_without_its_answer() {
    let directory = tempdir().unwrap();
    let journal = journal::new();
    let mut server = Server::start(directory.path());
    server.run(&["topic", "create", TOPIC, "-p", &PARTITIONS.to_string()]);
    let load = Load::start(&server.kafka, &journal, 0);
    load.wait_for(500);
    server.terminate();
    let status = server.wait();
    load.stop();
    assert!(status.success(), "{status}: {}", server.said());
    let server = Server::start(directory.path());
    assert_eq!(verify(&server.kafka, &journal, None).1, 0, "what was stored was answered");
    server.stop();
}
