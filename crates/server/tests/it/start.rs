//! Starting, stopping, refusing to start, and the HTTP side.

use crate::server::{Server, duolog, finish};
use std::io::Write;
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;
use tempfile::tempdir;

#[test]
fn the_banner_says_where_what_and_three_commands_that_work_as_they_stand() {
    let directory = tempdir().unwrap();
    let server = Server::start(&directory.path().join("data"));
    let text = server.banner.join("\n");
    assert!(text.contains("flush=sync") && text.contains(&directory.path().join("data").display().to_string()), "{text}");
    let commands = &server.banner[server.banner.len() - 3..];
    for command in commands {
        let mut shell = Command::new("sh");
        shell.args(["-c", command.trim()]);
        let output = finish(shell, "");
        assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
        if command.contains(" consume ") {
            assert_eq!(String::from_utf8_lossy(&output.stdout), "hello, log\n");
        }
    }
    server.stop();
}

#[test]
fn the_http_side_tells_health_readiness_and_counters() {
    let directory = tempdir().unwrap();
    let server = Server::start(directory.path());
    server.run_with_input(&["produce", "t"], "one\ntwo\n");
    for path in ["/healthz", "/readyz", "/"] {
        assert_eq!(server.get(path).0, "HTTP/1.1 200 OK", "{path}");
    }
    assert!(server.get("/").1.contains("/metrics"));
    let (_, metrics) = server.get("/metrics");
    assert!(metrics.contains("\nduolog_records_in_total 2\n"), "{metrics}");
    assert!(metrics.contains("duolog_requests_total{api=\"Produce\"} "), "{metrics}");
    assert!(metrics.contains("# TYPE duolog_connections gauge"), "{metrics}");
    assert!(metrics.contains("\nduolog_groups{state=\"Empty\"} 0\n"), "{metrics}");
    server.run(&["consume", "t", "--group", "g", "--from-beginning", "--exit-at-end"]);
    let (_, metrics) = server.get("/metrics");
    for line in ["groups{state=\"Empty\"} 1", "group_offsets_committed_total 1", "coordinator_failures_total 0"] {
        assert!(metrics.contains(&format!("\nduolog_{line}\n")), "{line}: {metrics}");
    }
    for counter in ["log_writes", "log_syncs", "group_rebalances", "coordinator_loads"] {
        assert!(metrics.contains(&format!("\nduolog_{counter}_total ")), "{counter}: {metrics}");
        assert!(!metrics.contains(&format!("\nduolog_{counter}_total 0\n")), "{counter}: {metrics}");
    }
    assert_eq!(server.get("/nothing").0, "HTTP/1.1 404 Not Found");
    server.stop();
}

#[test]
fn data_and_topics_are_there_after_a_restart() {
    let directory = tempdir().unwrap();
    let server = Server::start(directory.path());
    server.run(&["topic", "create", "kept", "--partitions", "2", "--set", "retention.ms=-1"]);
    server.run_with_input(&["produce", "kept", "--key-separator", ":"], "a:1\nb:2\nc:3\n");
    let mut expected = server.json(&["topic", "describe", "kept"]);
    server.stop();
    let server = Server::start(directory.path());
    // A leader that starts again is a new leader.
    for partition in expected[0]["partitions"].as_array_mut().unwrap() {
        partition["leader_epoch"] = (partition["leader_epoch"].as_i64().unwrap() + 1).into();
    }
    assert_eq!(server.json(&["topic", "describe", "kept"]), expected);
    let mut lines: Vec<String> =
        server.run(&["consume", "kept", "--from-beginning", "--exit-at-end", "--key"]).lines().map(str::to_owned).collect();
    lines.sort();
    assert_eq!(lines, ["a\t1", "b\t2", "c\t3"]);
    server.stop();
}

#[test]
fn a_second_process_on_the_same_directory_is_refused() {
    let directory = tempdir().unwrap();
    let server = Server::start(directory.path());
    let mut second = duolog();
    second.args(["serve", "--listen", "kafka://127.0.0.1:0", "--http", &server.http, "--data-dir"]).arg(directory.path());
    let output = finish(second, "");
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        complaint.contains("in use by another process") && complaint.contains(&*directory.path().to_string_lossy()),
        "{complaint}"
    );
    assert!(output.stdout.is_empty(), "no banner without a server");
    server.stop();
}

#[test]
fn an_address_in_use_is_named() {
    let (one, two) = (tempdir().unwrap(), tempdir().unwrap());
    let server = Server::start(one.path());
    let mut second = duolog();
    let listener = format!("kafka://{}", server.kafka);
    second.args(["serve", "--listen", &listener, "--http", "127.0.0.1:0", "--data-dir"]).arg(two.path());
    let output = finish(second, "");
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    assert!(complaint.contains(&listener), "{complaint}");
    server.stop();
}

/// Runs `serve` with something wrong in its configuration; what it complains about.
fn misconfigured(arguments: &[&str], variable: Option<(&str, &str)>) -> String {
    let directory = tempdir().unwrap();
    let mut command = duolog();
    command.args(["serve", "--listen", "kafka://127.0.0.1:0", "--http", "127.0.0.1:0", "--data-dir"]);
    command.arg(directory.path()).args(arguments).envs(variable);
    let output = finish(command, "");
    assert_eq!(output.status.code(), Some(2));
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn a_mistake_in_any_layer_names_the_key_and_the_nearest_one() {
    let nearest = "unknown configuration key num.partitons; did you mean num.partitions?";
    assert!(misconfigured(&["--set", "num.partitons=3"], None).contains(nearest));
    assert!(misconfigured(&[], Some(("DUOLOG_NUM_PARTITONS", "3"))).contains("did you mean num.partitions?"));
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "num.partitons = 3\n").unwrap();
    assert!(misconfigured(&["--config", &file.path().to_string_lossy()], None).contains(nearest));
    let malformed = misconfigured(&["--set", "num.partitions=many"], None);
    assert!(malformed.contains("\"many\"") && malformed.contains("num.partitions"), "{malformed}");
}

#[test]
fn a_scheme_that_is_not_served_is_refused() {
    let complaint = misconfigured(&["--listen", "amqp://127.0.0.1:0"], None);
    assert!(complaint.contains("amqp://") && complaint.contains("kafka://"), "{complaint}");
}

#[test]
fn file_environment_and_flags_lie_over_each_other() {
    let directory = tempdir().unwrap();
    let file = directory.path().join("duolog.toml");
    std::fs::write(&file, "num.partitions = 2\n").unwrap();
    let server = Server::start_with(&directory.path().join("a"), &["--config", &file.to_string_lossy()]);
    server.run_with_input(&["produce", "t"], "x\n");
    assert_eq!(server.json(&["topic", "list"])[0]["partitions"], 2);
    server.stop();
    let flags = ["--config", &*file.to_string_lossy(), "--set", "num.partitions=5"];
    let server = Server::start_with(&directory.path().join("b"), &flags);
    server.run_with_input(&["produce", "t"], "x\n");
    assert_eq!(server.json(&["topic", "list"])[0]["partitions"], 5);
    server.stop();
}

/// A client that asks and asks and never reads: an orderly stop waits a while for its answers.
fn client_that_does_not_read(server: &Server) -> TcpStream {
    const API_VERSIONS: [u8; 14] = [0, 0, 0, 10, 0, 18, 0, 0, 0, 0, 0, 1, 0xff, 0xff];
    let mut client = TcpStream::connect(&server.kafka).unwrap();
    client.set_write_timeout(Some(Duration::from_secs(1))).unwrap();
    let requests = API_VERSIONS.repeat(1_000);
    let mut sent = 0;
    while client.write_all(&requests).is_ok() {
        sent += requests.len();
        assert!(sent < 1 << 30, "the server takes requests without limit");
    }
    client
}

#[test]
fn a_second_signal_ends_the_process_at_once() {
    let directory = tempdir().unwrap();
    let mut server = Server::start(directory.path());
    let client = client_that_does_not_read(&server);
    server.interrupt();
    server.says("stopping");
    server.interrupt();
    assert_eq!(server.wait().code(), Some(1));
    assert!(server.said().contains("stopping at once") && !server.said().contains("stopped"), "{}", server.said());
    drop(client);
    // What was cut short is found whole by the next start.
    Server::start(directory.path()).stop();
}

#[test]
fn logs_are_json_when_asked() {
    let directory = tempdir().unwrap();
    let mut server = Server::start_with(directory.path(), &["--log-format", "json"]);
    server.terminate();
    assert!(server.wait().success());
    let said = server.said();
    let lines: Vec<serde_json::Value> = said.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(lines.iter().any(|line| line["message"] == "listening"), "{said}");
    assert!(lines.iter().any(|line| line["message"] == "stopped"), "{said}");
}

#[test]
fn clients_are_told_the_address_they_dialled_or_the_advertised_one() {
    let directory = tempdir().unwrap();
    let arguments = ["--listen", "outside=kafka://127.0.0.1:0?advertised=localhost:1"];
    let server = Server::start_with(directory.path(), &arguments);
    // Through the first listener everything works, since it answers with itself.
    server.run(&["topic", "create", "t"]);
    let outside = server.banner.iter().find(|line| line.contains("(outside)")).unwrap();
    let address = outside.split("://").nth(1).unwrap().split(' ').next().unwrap();
    let mut command = duolog();
    command.args(["topic", "describe", "t", "--bootstrap", address]);
    let output = finish(command, "");
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && complaint.contains("localhost:1"), "{complaint}");
    server.stop();
}
