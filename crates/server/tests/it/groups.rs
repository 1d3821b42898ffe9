//! Consumer groups from the command line.

use crate::server::Server;
use tempfile::tempdir;

#[test]
fn a_group_goes_on_where_it_stopped() {
    let directory = tempdir().unwrap();
    let server = Server::start(directory.path());
    server.run(&["topic", "create", "t", "-p", "1"]);
    server.run_with_input(&["produce", "t"], "1\n2\n3\n4\n5\n");
    let part = ["consume", "t", "--group", "g", "--from-beginning", "--count", "2"];
    assert_eq!(server.run(&part), "1\n2\n");
    assert_eq!(server.run(&part), "3\n4\n");
    let described = server.json(&["group", "describe", "g"]);
    assert_eq!(described["state"], "Empty");
    assert_eq!(
        described["partitions"],
        serde_json::json!([{ "topic": "t", "partition": 0, "committed": 4, "end": 5, "lag": 1 }])
    );
    server.stop();
    // The offsets are records: they are there after a restart.
    let server = Server::start(directory.path());
    assert_eq!(server.run(&["consume", "t", "--group", "g", "--exit-at-end"]), "5\n");
    assert_eq!(server.run(&["group", "list"]), "GROUP  STATE  PROTOCOL\ng      Empty  consumer\n");
    server.stop();
}

#[test]
fn offsets_are_reset_only_when_told_to() {
    let directory = tempdir().unwrap();
    let server = Server::start(directory.path());
    server.run(&["topic", "create", "t", "-p", "1"]);
    server.run_with_input(&["produce", "t"], "1\n2\n3\n");
    server.run(&["consume", "t", "-g", "g", "-b", "--exit-at-end"]);
    let committed = |server: &Server| server.json(&["group", "describe", "g"])["partitions"][0]["committed"].clone();
    assert!(server.run(&["group", "reset-offsets", "g", "--to-earliest"]).contains("--execute"));
    assert_eq!(committed(&server), 3);
    for (target, offset) in [
        (&["--to-earliest"][..], 0),
        (&["--to-offset", "2"], 2),
        (&["--to-offset", "99"], 3),
        (&["--to-time", "2000-01-01T00:00:00Z"], 0),
        (&["--to-latest"], 3),
    ] {
        let arguments = [&["group", "reset-offsets", "g", "--execute"], target].concat();
        server.run(&arguments);
        assert_eq!(committed(&server), offset, "{target:?}");
    }
    assert_eq!(server.run(&["group", "delete", "g"]), "deleted g\n");
    assert!(server.refuse(&["group", "delete", "g"]).contains("GROUP_ID_NOT_FOUND"));
    assert_eq!(server.json(&["group", "list"]), serde_json::json!([]));
    server.stop();
}

#[test]
fn two_members_share_the_partitions() {
    let directory = tempdir().unwrap();
    let server = Server::start(directory.path());
    server.run(&["topic", "create", "t", "-p", "4"]);
    let members: Vec<_> = (0..2)
        .map(|_| server.command(&["consume", "t", "-g", "g", "-b"]).stdout(std::process::Stdio::null()).spawn().unwrap())
        .collect();
    // Both have joined and been given their halves within a few heartbeats.
    let start = std::time::Instant::now();
    let described = loop {
        // Until the first of them has joined there is no group to describe.
        let described = server.command(&["group", "describe", "g", "--json"]).output().unwrap();
        let described: serde_json::Value = serde_json::from_slice(&described.stdout).unwrap_or_default();
        let members = described["members"].as_array().map_or(&[][..], Vec::as_slice);
        if members.iter().map(|member| member["partitions"].as_array().unwrap().len()).eq([2, 2]) {
            break described;
        }
        assert!(start.elapsed() < crate::server::PATIENCE, "{described}");
        std::thread::sleep(std::time::Duration::from_millis(50));
    };
    assert_eq!(described["assignor"], "range");
    assert!(server.refuse(&["group", "reset-offsets", "g", "--to-earliest"]).contains("active members"));
    assert!(server.refuse(&["group", "delete", "g"]).contains("NON_EMPTY_GROUP"));
    for mut member in members {
        rustix::process::kill_process(rustix::process::Pid::from_child(&member), rustix::process::Signal::INT).unwrap();
        assert!(member.wait().unwrap().success());
    }
    assert_eq!(server.json(&["group", "describe", "g"])["state"], "Empty");
    server.stop();
}
