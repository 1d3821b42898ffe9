//! The cases: what is started, what load is put on it, what is to be reached. Loads are written as on the load generator's
//! command line.
//!
//! Ours runs with its defaults (`flush=sync`: acknowledged means on disk) and Kafka with its own (no sync) unless a case
//! says otherwise.

use super::figures::Metric;
use super::goal::{Bound, Goal};
use super::options::Peer;
use super::remoting;
use super::tool;

/// How long loads run.
#[derive(Debug)]
pub(super) struct Scale {
    pub(super) seconds: u32,
    /// A JVM needs some of it to compile what it runs; ours gets the same.
    pub(super) warm_up: u32,
    /// Messages of 1 KiB that a consumer reads; four times as many of 100 bytes.
    pub(super) messages: u64,
    /// What the active file holds when a loaded server is killed.
    file_bytes: u64,
    /// Messages of 1 KiB that are read from the disk beside a hot topic.
    cold_messages: u64,
}

impl Scale {
    pub(super) const FULL: Scale =
        Scale { seconds: 10, warm_up: 5, messages: 1_500_000, file_bytes: 1 << 30, cold_messages: 20_000_000 };
    /// Shows that everything runs; the numbers mean little.
    pub(super) const QUICK: Scale =
        Scale { seconds: 2, warm_up: 1, messages: 100_000, file_bytes: 1 << 26, cold_messages: 300_000 };
}

/// What differs from our server's defaults, as `key=value` for `--set`.
pub(super) type Settings = &'static [&'static str];

/// What is measured.
#[derive(Clone, Debug)]
pub(super) enum Plan {
    /// The loads of `before` one after the other, then the one that counts.
    Load { before: Vec<String>, load: String },
    /// The same, with the page cache emptied in between.
    ColdLoad { before: Vec<String>, load: String },
    /// The time from the start of a new server to its first answer.
    Start,
    /// The same after these loads and `kill -9`, until these partitions have a leader again.
    Restart { before: Vec<String>, topic: &'static str, partitions: usize },
    /// As `Load`, on a cluster.
    ClusterLoad { before: Vec<String>, load: String },
    /// A node of a cluster is lost so long after the beginning of what is measured, with `kill -9` or because it is asked to end.
    LoseNode { before: Vec<String>, load: String, after_seconds: f64, killed: bool },
    /// The time from `kill -9` of a node until others lead all of these partitions.
    MoveLeaders { before: Vec<String>, topic: &'static str, partitions: usize },
}

/// Nodes of a cluster.
const NODES: usize = 3;

impl Plan {
    /// How many servers it takes.
    pub(super) fn nodes(&self) -> usize {
        match self {
            Plan::ClusterLoad { .. } | Plan::LoseNode { .. } | Plan::MoveLeaders { .. } => NODES,
            Plan::Load { .. } | Plan::ColdLoad { .. } | Plan::Start | Plan::Restart { .. } => 1,
        }
    }
}

#[derive(Clone, Debug)]
pub(super) struct Case {
    pub(super) name: String,
    pub(super) about: String,
    pub(super) settings: Settings,
    /// Whether the peer is measured too.
    pub(super) peer: bool,
    pub(super) plan: Plan,
    /// What the tables show.
    pub(super) metrics: &'static [Metric],
    pub(super) goals: Vec<Goal>,
}

impl Case {
    /// Whether a name on the command line means it.
    pub(super) fn matches(&self, name: &str) -> bool {
        name.strip_suffix('*').map_or(self.name == name, |start| self.name.starts_with(start))
    }
}

pub(super) const SYNC: Settings = &["flush=sync"];
/// As Kafka by default.
pub(super) const ASYNC: Settings = &["flush=async"];
const DEFAULTS: Settings = &[];

pub(super) const THROUGHPUT: &[Metric] = &[Metric::CpuPerMillion, Metric::Rate, Metric::Rss];
pub(super) const LATENCY: &[Metric] = &[Metric::Rate, Metric::P50, Metric::P99, Metric::P999, Metric::CpuPerMillion];
const FOOTPRINT: &[Metric] = &[Metric::Rss, Metric::OpenFiles];
const GAP: &[Metric] = &[Metric::Longest, Metric::P99, Metric::P50, Metric::Rate];
const TIME: &[Metric] = &[Metric::Seconds, Metric::Rss, Metric::OpenFiles];

const IDLE_RSS_MIB: f64 = 48.0;
const LOADED_RSS_MIB: f64 = 256.0;
const OPEN_FILES: f64 = 200.0;
/// The asked rate of the paced cases, and what counts as reached.
const PACE: u32 = 20_000;
const PACE_REACHED: f64 = 19_800.0;

pub(super) fn all(peer: Peer, scale: &Scale) -> Vec<Case> {
    match peer {
        Peer::Kafka => kafka(scale),
        Peer::RocketMq => remoting::cases(scale),
    }
}

fn kafka(scale: &Scale) -> Vec<Case> {
    let mut cases = Vec::new();
    throughput(&mut cases, scale);
    one_in_flight(&mut cases, scale);
    paced(&mut cases, scale);
    round_robin(&mut cases, scale);
    end_to_end(&mut cases, scale);
    cold_read(&mut cases, scale);
    footprint(&mut cases, scale);
    start(&mut cases, scale);
    share(&mut cases, scale);
    cluster(&mut cases, scale);
    cases
}

pub(super) fn goal(metric: Metric, bound: Bound) -> Goal {
    Goal { metric, bound }
}

fn create(partitions: u32) -> String {
    format!("create --topic bench --partitions {partitions}")
}

/// With a sync before each acknowledgement on both sides: ours by `flush`, Kafka by this setting of the topic.
fn create_synced(partitions: u32) -> String {
    format!("create --topic bench --partitions {partitions} --set flush.messages=1")
}

/// Full speed through librdkafka: two sizes, two partition counts, with and without lz4.
fn throughput(cases: &mut Vec<Case>, scale: &Scale) {
    for (size, size_name) in [(1024, "1kb"), (100, "100b")] {
        for partitions in [1, 8] {
            for (codec, suffix) in [("none", ""), ("lz4", "-lz4")] {
                let name = format!("{size_name}-{partitions}p{suffix}");
                let messages = if size == 100 { scale.messages * 4 } else { scale.messages };
                let what = format!("{size} B, {partitions} partitions, codec {codec}, acks=all");
                let target = format!("--topic bench --partitions {partitions} --size {size}");
                let Scale { seconds, warm_up, .. } = scale;
                let produce = format!("produce {target} --codec {codec}");
                cases.push(Case {
                    name: format!("produce-{name}"),
                    about: format!("produce at full speed: {what}; ours syncs, Kafka does not"),
                    settings: DEFAULTS,
                    peer: true,
                    plan: Plan::Load {
                        before: vec![create(partitions)],
                        load: format!("{produce} --seconds {seconds} --warm-up {warm_up}"),
                    },
                    metrics: THROUGHPUT,
                    goals: vec![
                        goal(Metric::CpuPerMillion, Bound::OfPeerAtMost(0.5)),
                        goal(Metric::Rate, Bound::OfPeerAtLeast(1.0)),
                        goal(Metric::Rss, Bound::AtMost(LOADED_RSS_MIB)),
                    ],
                });
                cases.push(Case {
                    name: format!("consume-{name}"),
                    about: format!("consume at full speed from the page cache: {what}"),
                    settings: DEFAULTS,
                    peer: true,
                    plan: Plan::Load {
                        before: vec![create(partitions), format!("{produce} --messages {messages} --seconds 300")],
                        load: format!("consume {target} --messages {messages} --passes-before 2"),
                    },
                    metrics: THROUGHPUT,
                    goals: vec![
                        goal(Metric::CpuPerMillion, Bound::OfPeerAtMost(0.5)),
                        goal(Metric::Rate, Bound::OfPeerAtLeast(1.0)),
                        goal(Metric::Rss, Bound::AtMost(LOADED_RSS_MIB)),
                    ],
                });
            }
        }
    }
}

/// A sync before each acknowledgement on both sides, one message in flight a client.
fn one_in_flight(cases: &mut Vec<Case>, scale: &Scale) {
    let Scale { seconds, warm_up, .. } = scale;
    let load = |clients: u32, partitions: u32| {
        format!("in-flight --topic bench --partitions {partitions} --clients {clients} --seconds {seconds} --warm-up {warm_up}")
    };
    for partitions in [1, 8] {
        cases.push(Case {
            name: format!("sync-64x1-{partitions}p"),
            about: format!("sync, 64 clients with one message of 1 KiB in flight each, {partitions} partitions"),
            settings: SYNC,
            peer: true,
            plan: Plan::Load { before: vec![create_synced(partitions)], load: load(64, partitions) },
            metrics: LATENCY,
            goals: vec![goal(Metric::Rate, Bound::OfPeerAtLeast(10.0)), goal(Metric::P99, Bound::AtMost(10.0))],
        });
    }
    cases.push(Case {
        name: "sync-1x1".to_owned(),
        about: "sync, one client with one message of 1 KiB in flight".to_owned(),
        settings: SYNC,
        peer: true,
        plan: Plan::Load { before: vec![create_synced(1)], load: load(1, 1) },
        metrics: LATENCY,
        goals: vec![goal(Metric::P50, Bound::AtMost(0.35))],
    });
    cases.push(Case {
        name: "async-64x1".to_owned(),
        about: "no sync on either side, 64 clients with one message of 1 KiB in flight each".to_owned(),
        settings: ASYNC,
        peer: true,
        plan: Plan::Load { before: vec![create(1)], load: load(64, 1) },
        metrics: LATENCY,
        goals: vec![],
    });
}

/// A librdkafka producer looks at each of its partitions whenever it wakes: one with thousands of them falls behind by itself.
const PRODUCER_PARTITIONS: u32 = 500;

/// 20,000 messages a second asked of librdkafka, round robin; from several producers if there are many partitions.
fn paced(cases: &mut Vec<Case>, scale: &Scale) {
    let Scale { seconds, warm_up, .. } = scale;
    for partitions in [1_u32, 64, 1000, 4000] {
        let goals = if partitions == 4000 {
            vec![
                goal(Metric::Rate, Bound::AtLeast(PACE_REACHED)),
                goal(Metric::P99, Bound::AtMost(20.0)),
                goal(Metric::CpuPerMillion, Bound::OfPeerAtMost(0.1)),
            ]
        } else {
            vec![]
        };
        let producers = partitions.div_ceil(PRODUCER_PARTITIONS);
        let before = match producers {
            1 => vec![create(partitions)],
            _ => (0..producers)
                .map(|producer| format!("create --topic bench-{producer} --partitions {}", partitions / producers))
                .collect(),
        };
        let target = format!("--topic bench --partitions {partitions} --size 1024 --producers {producers}");
        cases.push(Case {
            name: format!("paced-{partitions}p"),
            about: format!(
                "{PACE} msg/s of 1 KiB asked, round robin over {partitions} partitions, linger 5 ms, producers: {producers}"
            ),
            settings: DEFAULTS,
            peer: true,
            plan: Plan::Load { before, load: format!("produce {target} --rate {PACE} --seconds {seconds} --warm-up {warm_up}") },
            metrics: LATENCY,
            goals,
        });
    }
}

/// One message a batch, 64 batches a request: the slope over partitions.
fn round_robin(cases: &mut Vec<Case>, scale: &Scale) {
    const BASE: &str = "round-robin-64p";
    let Scale { seconds, warm_up, .. } = scale;
    for partitions in [64, 1000, 10_000, 50_000] {
        let goals = if [1000, 10_000].contains(&partitions) {
            vec![
                goal(Metric::Rate, Bound::OfCaseAtLeast(BASE, 0.9)),
                goal(Metric::CpuPerMillion, Bound::OfCaseAtMost(BASE, 1.0 / 0.9)),
            ]
        } else {
            vec![]
        };
        let target = format!("--topic bench --partitions {partitions} --size 1024");
        cases.push(Case {
            name: format!("round-robin-{partitions}p"),
            about: format!("full speed, batches of one 1 KiB message, 64 in a request, round robin over {partitions} partitions"),
            settings: DEFAULTS,
            // It opens a file and more for each partition, and no process here may open 50,000.
            peer: partitions <= 10_000,
            plan: Plan::Load {
                before: vec![create(partitions)],
                load: format!("round-robin {target} --seconds {seconds} --warm-up {warm_up}"),
            },
            metrics: &[Metric::Rate, Metric::CpuPerMillion, Metric::P99, Metric::Rss, Metric::OpenFiles],
            goals,
        });
    }
}

/// 500 messages a second without linger, from due to received.
fn end_to_end(cases: &mut Vec<Case>, scale: &Scale) {
    let seconds = scale.seconds;
    // At this rate a JVM takes longer to compile what it runs.
    let warm_up = 3 * scale.warm_up;
    let load = |acks: i32| {
        format!(
            "end-to-end --topic bench --size 1024 --rate 500 --linger-ms 0 --acks {acks} --seconds {seconds} --warm-up {warm_up}"
        )
    };
    let case = |name: &str, about: &str, settings, create: String, acks, p99_ms| Case {
        name: name.to_owned(),
        about: format!("end to end at 500 msg/s of 1 KiB, linger 0: {about}"),
        settings,
        peer: true,
        plan: Plan::Load { before: vec![create], load: load(acks) },
        metrics: LATENCY,
        goals: vec![goal(Metric::P99, Bound::AtMost(p99_ms))],
    };
    cases.push(case("end-to-end-acks-1", "acks=1, no sync on either side", ASYNC, create(1), 1, 1.0));
    cases.push(case("end-to-end-sync", "acks=all, sync on both sides", SYNC, create_synced(1), -1, 2.0));
}

/// A hot topic alone, and beside a consumer that reads 20 GB which only the disk has.
fn cold_read(cases: &mut Vec<Case>, scale: &Scale) {
    let Scale { seconds, cold_messages, .. } = scale;
    let warm_up = 3 * scale.warm_up;
    let load = format!("end-to-end --topic bench --rate 2000 --linger-ms 0 --seconds {seconds} --warm-up {warm_up}");
    let metrics = &[Metric::P50, Metric::P99, Metric::P999, Metric::Beside];
    cases.push(Case {
        name: "hot".to_owned(),
        about: "end to end at 2,000 msg/s of 1 KiB, linger 0, acks=all: the hot topic alone".to_owned(),
        settings: DEFAULTS,
        peer: true,
        plan: Plan::Load { before: vec![create(1)], load: load.clone() },
        metrics,
        goals: vec![],
    });
    let fill = format!("produce --topic cold --messages {cold_messages} --seconds 600");
    cases.push(Case {
        name: "hot-beside-cold".to_owned(),
        about: format!("the same while a consumer reads {} MB at full speed that only the disk has", cold_messages / 1000),
        settings: DEFAULTS,
        peer: true,
        plan: Plan::ColdLoad {
            before: vec![create(1), "create --topic cold".to_owned(), fill],
            load: format!("{load} --beside cold"),
        },
        metrics,
        goals: vec![],
    });
}

fn footprint(cases: &mut Vec<Case>, scale: &Scale) {
    let Scale { seconds, .. } = scale;
    cases.push(Case {
        name: "idle".to_owned(),
        about: "a server nobody uses".to_owned(),
        settings: DEFAULTS,
        peer: true,
        plan: Plan::Load { before: vec![], load: format!("idle --seconds {seconds}") },
        metrics: FOOTPRINT,
        goals: vec![goal(Metric::Rss, Bound::AtMost(IDLE_RSS_MIB))],
    });
    cases.push(Case {
        name: "idle-10000p".to_owned(),
        about: "10,000 partitions with messages in each, nobody uses them any more".to_owned(),
        settings: DEFAULTS,
        peer: true,
        plan: Plan::Load {
            before: vec![create(10_000), "round-robin --partitions 10000 --seconds 2 --warm-up 0".to_owned()],
            load: format!("idle --seconds {seconds}"),
        },
        metrics: FOOTPRINT,
        goals: vec![goal(Metric::Rss, Bound::AtMost(LOADED_RSS_MIB)), goal(Metric::OpenFiles, Bound::AtMost(OPEN_FILES))],
    });
}

fn start(cases: &mut Vec<Case>, scale: &Scale) {
    cases.push(Case {
        name: "start-empty".to_owned(),
        about: "start of a new server to its first answer".to_owned(),
        settings: DEFAULTS,
        peer: true,
        plan: Plan::Start,
        metrics: TIME,
        goals: vec![goal(Metric::Seconds, Bound::AtMost(0.1))],
    });
    cases.push(Case {
        name: "create-10000p".to_owned(),
        about: "10,000 partitions asked for until all have a leader".to_owned(),
        settings: DEFAULTS,
        peer: true,
        plan: Plan::Load { before: vec![], load: create(10_000) },
        metrics: TIME,
        goals: vec![goal(Metric::Seconds, Bound::AtMost(2.0))],
    });
    let messages = scale.file_bytes / 1200;
    cases.push(Case {
        name: "restart-10000p".to_owned(),
        about: format!("10,000 partitions, {} MiB written, kill -9, start until all have a leader", scale.file_bytes >> 20),
        settings: DEFAULTS,
        peer: true,
        plan: Plan::Restart {
            before: vec![
                create(10_000),
                "round-robin --partitions 10000 --seconds 1 --warm-up 0".to_owned(),
                "create --topic bulk".to_owned(),
                format!("produce --topic bulk --messages {messages} --seconds 300"),
            ],
            topic: "bench",
            partitions: 10_000,
        },
        metrics: TIME,
        goals: vec![goal(Metric::Seconds, Bound::AtMost(2.0))],
    });
}

/// Kafka's own share consumer, and its tool that measures one.
fn share(cases: &mut Vec<Case>, scale: &Scale) {
    let (jvm, messages) = (format!("program -- java -cp {}", tool::KAFKA_TOOLS), scale.messages / 3);
    let reset = format!(
        "{jvm} kafka.admin.ConfigCommand --bootstrap-server {} --alter --entity-type groups --entity-name bench --add-config share.auto.offset.reset=earliest",
        tool::BOOTSTRAP
    );
    let consume = format!(
        "program --column data.consumed.in.nMsg -- java -cp {} org.apache.kafka.tools.ShareConsumerPerformance --bootstrap-server {} --topic bench --group bench --messages {messages}",
        tool::KAFKA_TOOLS,
        tool::BOOTSTRAP
    );
    for partitions in [1, 8] {
        let produce = format!("produce --topic bench --partitions {partitions} --messages {messages} --seconds 300");
        cases.push(Case {
            name: format!("share-1kb-{partitions}p"),
            about: format!("Kafka's kafka-share-consumer-perf-test: {messages} messages of 1 KiB from {partitions} partitions, its start included"),
            settings: DEFAULTS,
            peer: true,
            plan: Plan::Load { before: vec![create(partitions), produce, reset.clone()], load: consume.clone() },
            metrics: THROUGHPUT,
            goals: vec![goal(Metric::CpuPerMillion, Bound::OfPeerAtMost(0.5)), goal(Metric::Rate, Bound::OfPeerAtLeast(1.0))],
        });
    }
}

/// Three nodes, three replicas, acks=all: ours on three disks (of one machine) before it is acknowledged, Kafka's in three page caches.
fn cluster(cases: &mut Vec<Case>, scale: &Scale) {
    let Scale { seconds, warm_up, .. } = scale;
    let create = |partitions: u32| format!("create --topic bench --partitions {partitions} --replicas 3");
    for partitions in [30, 3000] {
        let base = "cluster-round-robin-30p";
        let goals = match partitions {
            3000 => vec![
                goal(Metric::Rate, Bound::OfCaseAtLeast(base, 0.9)),
                goal(Metric::CpuPerMillion, Bound::OfCaseAtMost(base, 1.0 / 0.9)),
            ],
            _ => vec![],
        };
        let target = format!("--topic bench --partitions {partitions} --size 1024 --batches 10 --in-flight 32");
        cases.push(Case {
            name: format!("cluster-round-robin-{partitions}p"),
            about: format!(
                "three nodes, three replicas: full speed, batches of one 1 KiB message, 10 in a request, over {partitions} partitions, acks=all"
            ),
            settings: DEFAULTS,
            peer: true,
            plan: Plan::ClusterLoad {
                before: vec![create(partitions)],
                load: format!("round-robin {target} --seconds {seconds} --warm-up {warm_up}"),
            },
            metrics: THROUGHPUT,
            goals,
        });
    }
    for (kind, about, option) in [("produce", "in turn", ""), ("keyless", "as the library chooses", " --keyless")] {
        for partitions in [30, 3000] {
            let mut goals = vec![goal(Metric::CpuPerMillion, Bound::OfPeerAtMost(0.5))];
            if partitions == 3000 {
                let base = if option.is_empty() { "cluster-produce-30p" } else { "cluster-keyless-30p" };
                goals.push(goal(Metric::Rate, Bound::OfCaseAtLeast(base, 0.9)));
            }
            let target = format!("--topic bench --partitions {partitions}{option}");
            cases.push(Case {
                name: format!("cluster-{kind}-{partitions}p"),
                about: format!(
                    "three nodes, three replicas: produce 1 KiB at full speed, {partitions} partitions {about}, acks=all"
                ),
                settings: DEFAULTS,
                peer: true,
                plan: Plan::ClusterLoad {
                    before: vec![create(partitions)],
                    load: format!("produce {target} --seconds {seconds} --warm-up {warm_up}"),
                },
                metrics: THROUGHPUT,
                goals,
            });
        }
    }
    let after_seconds = 3.0;
    for (name, about, killed, most_ms) in [
        ("cluster-kill", "a node is killed with `kill -9`", true, 3_000.0),
        ("cluster-restart", "a node is asked to end", false, 500.0),
    ] {
        cases.push(Case {
            name: name.to_owned(),
            about: format!("three nodes, three replicas: 2,000 msg/s of 1 KiB to 30 partitions, acks=all, while {about}"),
            settings: DEFAULTS,
            peer: true,
            plan: Plan::LoseNode {
                before: vec![create(30)],
                load: format!("produce --topic bench --partitions 30 --rate 2000 --seconds 20 --warm-up {warm_up}"),
                after_seconds,
                killed,
            },
            metrics: GAP,
            goals: vec![goal(Metric::Longest, Bound::AtMost(most_ms)), goal(Metric::Longest, Bound::OfPeerAtMost(1.0))],
        });
    }
    cases.push(Case {
        name: "cluster-move-3000p".to_owned(),
        about: "three nodes, 3,000 partitions of three replicas: `kill -9` of a node until others lead all partitions".to_owned(),
        settings: DEFAULTS,
        peer: true,
        plan: Plan::MoveLeaders { before: vec![create(3000)], topic: "bench", partitions: 3000 },
        metrics: TIME,
        goals: vec![goal(Metric::Seconds, Bound::AtMost(2.0))],
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn names_are_different_and_goals_refer_to_cases() {
        let cases: Vec<Case> = Peer::ALL.into_iter().flat_map(|peer| all(peer, &Scale::FULL)).collect();
        let names: HashSet<&str> = cases.iter().map(|case| case.name.as_str()).collect();
        assert_eq!(names.len(), cases.len());
        for goal in cases.iter().flat_map(|case| &case.goals) {
            if let Bound::OfCaseAtLeast(other, _) | Bound::OfCaseAtMost(other, _) = goal.bound {
                assert!(names.contains(other), "{other}");
            }
        }
    }

    #[test]
    fn a_star_stands_for_the_rest_of_a_name() {
        let cases = all(Peer::Kafka, &Scale::QUICK);
        let count = |name| cases.iter().filter(|case| case.matches(name)).count();
        assert_eq!((count("idle"), count("idle*"), count("produce-*"), count("*")), (1, 2, 8, cases.len()));
    }
}
