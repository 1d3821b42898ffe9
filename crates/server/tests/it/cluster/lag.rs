//! How far replicas lag behind is shown.

use super::site::{Site, live, of_node, peer_port, until};
use serde_json::Value;

/// Each is a batch of its own, and lasts hours at a byte a second.
const BATCHES: i64 = 5;
const BATCH_BYTES: usize = 100_000;

#[test]
fn status_shows_what_a_replica_lacks_until_it_has_caught_up() {
    let site = Site::new();
    let [first, second, mut third] = site.three();
    let whole = |status: &Value| live(status) == [1, 2, 3] && status["under_replicated"].as_array().is_some_and(Vec::is_empty);
    let throttled = "follower.replication.throttled.replicas";
    first.run(&[
        "topic",
        "create",
        "t",
        "-p",
        "1",
        "-r",
        "3",
        "--set",
        "min.insync.replicas=2",
        "--set",
        &format!("{throttled}=0:3"),
    ]);
    let found = until("all replicas are in sync", &first, whole);
    assert_eq!([1, 2, 3].map(|node| of_node(&found, node, "lag")), [0; 3]);
    let port = peer_port(&third);
    third.kill();
    until("the lost node is not in sync", &first, |status| {
        status["under_replicated"][0]["in_sync"].as_array().is_some_and(|in_sync| in_sync.len() == 2)
    });
    for _ in 0..BATCHES {
        first.run_with_input(&["produce", "t"], &format!("{}\n", "x".repeat(BATCH_BYTES)));
    }
    let third = site.start_set(3, port, "follower.replication.throttled.rate=1");
    let found = until("the node lags", &second, |status| live(status) == [1, 2, 3] && lag(status) == Some(BATCHES - 1));
    assert_eq!(of_node(&found, 3, "lag"), BATCHES - 1);
    assert_eq!(of_node(&found, 1, "lag") + of_node(&found, 2, "lag"), 0);
    let text = second.run(&["cluster", "status"]);
    assert!(text.lines().any(|line| line.starts_with("t-0") && line.contains(&format!("3: {}", BATCHES - 1))), "{text}");
    first.run(&["topic", "alter", "t", "--unset", throttled]);
    let found = until("it has caught up", &first, |status| whole(status) && of_node(status, 3, "lag") == 0);
    assert_eq!(found["under_replicated"], Value::Array(Vec::new()));
    for server in [third, second, first] {
        server.stop();
    }
}

/// Of the third node's replica of the only partition that lacks one.
fn lag(status: &Value) -> Option<i64> {
    status["under_replicated"][0]["lag"]["3"].as_i64()
}
