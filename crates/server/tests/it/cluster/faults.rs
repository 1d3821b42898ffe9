//! Nodes that are killed, stopped and started again under load: nothing acknowledged is lost, and work goes on.

use super::site::{Site, leaders, live, peer_port, until};
use crate::journal::{self, Load, PARTITIONS, TOPIC, verify};
use crate::server::Server;
use duolog_sim::Crash;
use rustix::process::{Signal, kill_process};
use serde_json::Value;
use std::process::Command;

fn create(server: &Server) {
    server.run(&["topic", "create", TOPIC, "-p", &PARTITIONS.to_string(), "-r", "3", "--set", "min.insync.replicas=2"]);
}

/// All replicas are there again.
fn whole(status: &Value) -> bool {
    live(status) == [1, 2, 3] && status["under_replicated"].as_array().is_some_and(Vec::is_empty)
}

/// The cluster with the leader of partition 0 in front; the others may lead as well.
fn leader_first(mut nodes: Vec<(i32, Server)>) -> Vec<(i32, Server)> {
    let leader = leaders(&nodes[0].1, TOPIC)[0];
    let at = nodes.iter().position(|(id, _)| i64::from(*id) == leader).unwrap();
    nodes.swap(0, at);
    nodes
}

#[test]
fn a_killed_leader_is_replaced_under_load_and_comes_back() {
    let (site, journal) = (Site::new(), journal::new());
    let nodes: Vec<(i32, Server)> = (1..).zip(site.three()).collect();
    create(&nodes[0].1);
    let mut nodes = leader_first(nodes);
    let load = Load::patient(&nodes[1].1.kafka, &journal, 0);
    load.wait_for(300);
    let port = peer_port(&nodes[0].1);
    nodes[0].1.kill();
    load.wait_for(300);
    let back = site.start(nodes[0].0, port, &[]);
    until("all replicas are in sync again", &back, whole);
    load.wait_for(100);
    load.stop();
    verify(&back.kafka, &journal, Some(Crash::Kill));
    nodes.into_iter().skip(1).for_each(|(_, server)| server.stop());
    drop(back);
}

#[test]
fn a_node_that_is_told_to_stop_hands_over_and_no_record_is_left_without_its_answer() {
    let (site, journal) = (Site::new(), journal::new());
    let nodes: Vec<(i32, Server)> = (1..).zip(site.three()).collect();
    create(&nodes[0].1);
    until("all replicas are in sync", &nodes[0].1, whole);
    let mut nodes = leader_first(nodes);
    let load = Load::patient(&nodes[1].1.kafka, &journal, 0);
    load.wait_for(300);
    let (id, mut stopped) = nodes.remove(0);
    let port = peer_port(&stopped);
    stopped.terminate();
    let status = stopped.wait();
    assert!(status.success(), "{status}: {}", stopped.said());
    assert!(stopped.said().contains("other nodes lead"), "{}", stopped.said());
    load.wait_for(300);
    let back = site.start(id, port, &[]);
    until("all replicas are in sync again", &back, whole);
    load.stop();
    assert_eq!(verify(&back.kafka, &journal, None).1, 0, "what was stored was answered");
    nodes.into_iter().for_each(|(_, server)| server.stop());
    drop(back);
}

#[test]
fn all_nodes_are_killed_at_once_and_nothing_acknowledged_is_lost() {
    let (site, journal) = (Site::new(), journal::new());
    let mut nodes: Vec<(i32, Server)> = (1..).zip(site.three()).collect();
    create(&nodes[0].1);
    let load = Load::start(&nodes[0].1.kafka, &journal, 0);
    load.wait_for(300);
    let ports: Vec<u16> = nodes.iter().map(|(_, server)| peer_port(server)).collect();
    nodes.iter_mut().for_each(|(_, server)| server.kill());
    load.stop();
    // A majority must be there before any of them has started.
    let site = &site;
    let nodes: Vec<Server> = std::thread::scope(|scope| {
        let starts: Vec<_> = (1..).zip(ports).map(|(id, port)| scope.spawn(move || site.start(id, port, &[]))).collect();
        starts.into_iter().map(|start| start.join().unwrap()).collect()
    });
    until("all replicas are in sync again", &nodes[0], whole);
    verify(&nodes[1].kafka, &journal, Some(Crash::Kill));
    drop(nodes);
}

#[test]
fn a_process_whose_place_another_one_has_taken_ends_when_it_wakes_up() {
    let site = Site::new();
    let [first, second, mut third] = site.three();
    kill_process(third.pid(), Signal::STOP).unwrap();
    until("the silent node is fenced", &first, |status| live(status) == [1, 2]);
    let copied = Command::new("cp").arg("-r").arg(site.data(3)).arg(site.data(33)).status().unwrap();
    assert!(copied.success());
    let taker = site.start_in(&site.data(33), 3, 0, &[]);
    until("the other one is live", &taker, |status| live(status) == [1, 2, 3]);
    kill_process(third.pid(), Signal::CONT).unwrap();
    assert_eq!(third.wait().code(), Some(3), "{}", third.said());
    assert!(third.said().contains("another process"), "{}", third.said());
    drop((first, second, taker));
}
