//! The commands for clusters, and the others against one.

use super::site::{Site, exists, leaders, live, of_node, until};
use crate::server::{PATIENCE, duolog, finish};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::sync::mpsc;

/// Lines of numbers, in order.
fn numbers(count: usize) -> String {
    (0..count).map(|number| format!("{number}\n")).collect()
}

fn sorted(lines: &str) -> Vec<usize> {
    let mut numbers: Vec<usize> = lines.lines().map(|line| line.parse().unwrap()).collect();
    numbers.sort_unstable();
    numbers
}

#[test]
fn commands_find_leaders_and_coordinators_from_any_node() {
    let site = Site::new();
    let [first, second, third] = site.three();
    first.run(&["topic", "create", "t", "-p", "6", "-r", "3"]);
    let keyed: String = (0..1000).map(|number| format!("{number}:{number}\n")).collect();
    second.run_with_input(&["produce", "t", "-k", ":"], &keyed);
    let consumed = third.run(&["consume", "t", "--from-beginning", "--exit-at-end"]);
    assert_eq!(consumed.lines().count(), 1000);
    let shared = first.run(&["consume", "t", "--from-beginning", "--exit-at-end", "--group", "g"]);
    assert_eq!(shared.lines().count(), 1000);
    let described = second.json(&["group", "describe", "g"]);
    assert!(described.to_string().contains("\"g\""), "{described}");
    let again = third.run(&["consume", "t", "--exit-at-end", "--group", "g", "--from-beginning"]);
    assert_eq!(again, "", "what was committed through one node is known to all");
    drop((first, second, third));
}

#[test]
fn a_node_is_drained_and_removed_and_its_data_stays() {
    let site = Site::new();
    let [first, second, third] = site.three();
    first.run(&["topic", "create", "two", "-p", "6", "-r", "2"]);
    first.run(&["topic", "create", "one", "-p", "3", "-r", "1"]);
    for topic in ["two", "one"] {
        first.run_with_input(&["produce", topic], &numbers(500));
    }
    first.run(&["topic", "create", "three", "-p", "1", "-r", "3"]);
    let refused = second.refuse(&["cluster", "drain", "3"]);
    assert!(refused.contains("three has 3 replicas"), "{refused}");
    first.run(&["topic", "delete", "three"]);
    let refused = second.refuse(&["cluster", "remove", "3"]);
    assert!(refused.contains("cluster drain 3"), "{refused}");
    let drained = second.json(&["cluster", "drain", "3"]);
    assert!(drained["moved"].as_i64().unwrap() > 0, "{drained}");
    let left = until("node 3 holds nothing", &first, |status| of_node(status, 3, "replicas") == 0);
    assert_eq!(of_node(&left, 3, "leads"), 0);
    assert!(leaders(&first, "one").iter().all(|leader| *leader != 3));
    let refused = second.refuse(&["cluster", "remove", "3"]);
    assert!(refused.contains("stop it first"), "{refused}");
    assert!(second.refuse(&["cluster", "remove", "7"]).contains("no node 7"));
    third.stop();
    second.run(&["cluster", "remove", "3"]);
    let found = until("two nodes", &second, |status| status["nodes"].as_array().is_some_and(|nodes| nodes.len() == 2));
    assert_eq!(live(&found), [1, 2]);
    for topic in ["two", "one"] {
        let read = second.run(&["consume", topic, "--from-beginning", "--exit-at-end"]);
        assert_eq!(sorted(&read), (0..500).collect::<Vec<_>>());
    }
    drop((first, second));
}

#[test]
fn a_demonstration_starts_is_used_and_leaves_nothing_behind() {
    let directory = tempfile::tempdir().unwrap();
    let kept = directory.path().join("demo");
    let mut command = duolog();
    command.args(["cluster", "demo", "--nodes", "3", "--dir"]).arg(&kept);
    let log = std::fs::File::create(directory.path().join("log")).unwrap();
    let mut child = command.stdout(Stdio::piped()).stderr(log).spawn().unwrap();
    let (sender, lines) = mpsc::channel();
    let out = child.stdout.take().unwrap();
    std::thread::spawn(move || BufReader::new(out).lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
    let said = || std::fs::read_to_string(directory.path().join("log")).unwrap();
    let mut shown = Vec::new();
    while shown.iter().filter(|line: &&String| line.contains("--bootstrap")).count() < 3 {
        shown.push(lines.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("{shown:?}\n{}", said())));
    }
    let after = |line: &str, word: &str| line.split(word).nth(1).unwrap().split_whitespace().next().unwrap().to_owned();
    let nodes: Vec<&String> = shown.iter().filter(|line| line.contains("  pid ")).collect();
    let pids: Vec<i32> = nodes.iter().map(|line| after(line, " pid ").parse().unwrap()).collect();
    assert_eq!(pids.len(), 3);
    for line in shown.iter().filter(|line| line.contains("cluster status") || line.contains("topic create")) {
        let mut shell = std::process::Command::new("sh");
        shell.args(["-c", line.trim()]);
        let output = finish(shell, "");
        assert!(output.status.success(), "{line}: {}\n{}", String::from_utf8_lossy(&output.stderr), said());
    }
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    assert!(child.wait().unwrap().success(), "{}", said());
    for pid in pids {
        assert!(test_kill_process(Pid::from_raw(pid).unwrap()).is_err(), "process {pid} is left");
    }
    assert!(exists(&kept.join("node-3")), "a directory that was named is kept");
}
