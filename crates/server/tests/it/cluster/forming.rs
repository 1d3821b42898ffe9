//! Who becomes part of a cluster, and who does not.

use super::site::{Site, complaint, live, of_node, peer_address, peer_port, until};
use crate::server::{Server, duolog};
use rustix::process::{Pid, Signal, kill_process};
use std::process::Stdio;

#[test]
fn three_processes_form_a_cluster_that_any_of_them_can_be_asked_about() {
    let site = Site::new();
    let [first, second, third] = site.three();
    second.run(&["topic", "create", "t", "--partitions", "6", "--replication-factor", "3"]);
    for server in [&first, &second, &third] {
        let found = until("every node leads two of six partitions, all in sync", server, |status| {
            (1..=3).all(|node| of_node(status, node, "leads") == 2 && of_node(status, node, "replicas") == 6)
                && status["under_replicated"].as_array().is_some_and(Vec::is_empty)
        });
        assert_eq!(found["controller"], 1);
    }
    let text = third.run(&["cluster", "status"]);
    assert!(text.contains("3 nodes, controller node 1") && text.contains("all replicas are in sync"), "{text}");
    for server in [third, second, first] {
        server.stop();
    }
}

#[test]
fn a_node_that_was_alone_founds_a_cluster_with_its_data_and_runs_alone_no_more() {
    let site = Site::new();
    let alone = Server::start(&site.data(1));
    alone.run(&["topic", "create", "old", "--partitions", "1"]);
    alone.run_with_input(&["produce", "old"], "kept\n");
    alone.stop();
    let first = site.start(1, 0, &[]);
    let second = site.start(2, 0, &[&peer_address(&first)]);
    until("two live nodes", &second, |status| live(status) == [1, 2]);
    assert_eq!(second.run(&["consume", "old", "--from-beginning", "--exit-at-end"]), "kept\n");
    second.stop();
    first.stop();
    let refused = site.refused(1, &[]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(complaint(&refused).contains("peer://"), "{}", complaint(&refused));
}

#[test]
fn the_offsets_of_a_node_that_was_alone_get_replicas_on_those_that_join() {
    const OFFSETS_PARTITIONS: i64 = 50;
    let site = Site::new();
    let alone = Server::start(&site.data(1));
    alone.run(&["topic", "create", "t", "--partitions", "1"]);
    alone.run_with_input(&["produce", "t"], "read\nunread\n");
    assert_eq!(alone.run(&["consume", "t", "--group", "survivors", "--from-beginning", "--count", "1"]), "read\n");
    alone.stop();
    let mut first = site.start_set(1, 0, "leader.imbalance.check.interval.seconds=1");
    let join = peer_address(&first);
    let (second, third) = (site.start(2, 0, &[&join]), site.start(3, 0, &[&join]));
    until("the groups' topic is on all nodes, the other one where it was", &third, |status| {
        let replicas: i64 = live(status).iter().map(|node| of_node(status, *node, "replicas")).sum();
        let voters = status["voters"].as_array().map(Vec::len);
        replicas == 3 * OFFSETS_PARTITIONS + 1
            && voters == Some(3)
            && status["under_replicated"].as_array().is_some_and(Vec::is_empty)
    });
    assert!(third.run(&["topic", "describe", "__consumer_offsets"]).contains("min.insync.replicas"));
    first.kill();
    until("two live nodes", &second, |status| live(status) == [2, 3]);
    assert!(second.run(&["group", "list"]).contains("survivors"));
    third.stop();
    second.stop();
}

#[test]
fn who_cannot_be_a_member_is_told_why() {
    let site = Site::new();
    let first = site.start(1, 0, &[]);
    let (join, secret) = (peer_address(&first), site.path("secret").display().to_string());
    let wrong = site.path("wrong").display().to_string();
    std::fs::write(&wrong, "what nobody shares").unwrap();
    let (peer, at) = (["--listen", "peer://127.0.0.1:0"], ["--join", &*join]);
    let refusal = |node, arguments: &[&[&str]]| {
        let refused = site.refused(node, &arguments.concat());
        assert_eq!(refused.status.code(), Some(2), "{}", complaint(&refused));
        complaint(&refused)
    };
    let said = refusal(2, &[&peer, &at]);
    assert!(said.contains("--cluster-secret-file"), "{said}");
    let said = refusal(2, &[&peer, &at, &["--cluster-secret-file", &wrong]]);
    assert!(said.contains(&join) && said.contains("another cluster secret"), "{said}");
    let said = refusal(2, &[&at, &["--cluster-secret-file", &secret]]);
    assert!(said.contains("--listen peer://"), "{said}");
    std::fs::create_dir(site.path("other")).unwrap();
    let other = ["--data-dir", &*site.path("other").display().to_string()].map(str::to_owned);
    let other: Vec<&str> = other.iter().map(String::as_str).collect();
    let mut command = duolog();
    command.args(["serve", "--http", "127.0.0.1:0", "--listen", "kafka://127.0.0.1:0"]).args(other).args(peer).args(at);
    let output = crate::server::finish(
        {
            command.args(["--cluster-secret-file", &secret]);
            command
        },
        "",
    );
    assert_eq!(output.status.code(), Some(2));
    assert!(complaint(&output).contains("this node's id, 1"), "{}", complaint(&output));
    let second = site.start(2, 0, &[&join]);
    until("two live nodes", &first, |status| live(status) == [1, 2]);
    let said = {
        let empty = site.path("empty").display().to_string();
        let mut command = duolog();
        command.args(["serve", "--node-id", "2", "--data-dir", &empty, "--cluster-secret-file", &secret]).args(peer).args(at);
        command.args(["--http", "127.0.0.1:0", "--listen", "kafka://127.0.0.1:0"]);
        let output = crate::server::finish(command, "");
        assert_eq!(output.status.code(), Some(2));
        complaint(&output)
    };
    assert!(said.contains("node 2 is registered by another process that is alive"), "{said}");
    second.stop();
    // A member of one cluster does not slip into another one.
    site.start(3, 0, &[]).stop();
    let said = refusal(3, &[&peer, &at, &["--cluster-secret-file", &secret]]);
    assert!(said.contains("another cluster than"), "{said}");
    first.stop();
}

#[test]
fn a_start_that_waits_for_others_is_not_ready_and_can_be_stopped() {
    let site = Site::new();
    let first = site.start(1, 0, &[]);
    let (port, join) = (peer_port(&first), peer_address(&first));
    first.stop();
    let mut command = duolog();
    let secret = site.path("secret").display().to_string();
    command.args(["serve", "--node-id", "2", "--listen", "kafka://127.0.0.1:0", "--listen", "peer://127.0.0.1:0"]);
    command.args(["--http", "127.0.0.1:0", "--join", &join, "--cluster-secret-file", &secret, "--data-dir"]).arg(site.data(2));
    let log = std::fs::File::create(site.path("waiting.log")).unwrap();
    let mut child = command.stdout(Stdio::null()).stderr(log).spawn().unwrap();
    let said = || std::fs::read_to_string(site.path("waiting.log")).unwrap();
    let start = std::time::Instant::now();
    while !said().contains("asked in vain") {
        assert!(start.elapsed() < crate::server::PATIENCE, "{}", said());
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    assert!(child.wait().unwrap().success(), "{}", said());
    assert!(said().contains("stopped before the start was complete"), "{}", said());
    // It begins where it was, once somebody is there.
    let first = site.start(1, port, &[]);
    let second = site.start(2, 0, &[&join]);
    until("two live nodes", &first, |status| live(status) == [1, 2]);
    second.stop();
    first.stop();
}
