//! The table of keys. One entry is all it takes to add a setting.
//!
//! Names are Kafka's where Kafka has the setting. Keys of Kafka that concern files a topic would have of its own are
//! kept for topics, because ordinary tools set them, and marked as stored only.

use super::key::{Effect, Key, Kind, Scope, Synonym};
use super::topic::LAYOUT;

const ANY_LONG: i64 = i64::MAX;
const POSITIVE_INT: Kind = Kind::Int { min: 1, max: i32::MAX };
const NOT_NEGATIVE_INT: Kind = Kind::Int { min: 0, max: i32::MAX };
const NOT_NEGATIVE_LONG: Kind = Kind::Long { min: 0, max: ANY_LONG };
const POSITIVE_LONG: Kind = Kind::Long { min: 1, max: ANY_LONG };
/// -1 is "no limit".
const LIMIT_OR_NONE: Kind = Kind::Long { min: -1, max: ANY_LONG };
const FLUSH_MODES: Kind = Kind::Choice(&["sync", "async"]);
const TIMESTAMP_TYPES: Kind = Kind::Choice(&["CreateTime", "LogAppendTime"]);
const COMPRESSION_TYPES: Kind = Kind::Choice(&["uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"]);
const LAYOUTS: Kind = Kind::Choice(&["shared", "dedicated"]);
/// The second is what Kafka calls the first.
const REPLICA_SELECTORS: Kind = Kind::Choice(&["rack-aware", "org.apache.kafka.common.replica.RackAwareReplicaSelector"]);
const CLEANUP_POLICIES: Kind = Kind::List(&["compact", "delete"]);

/// What becomes of half messages of which nobody knows anything.
const UNRESOLVED: Kind = Kind::Choice(&["keep", "drop"]);

const NO_SEGMENTS: Effect = Effect::Stored("files are made and removed as the server sees fit");
const NO_FLUSH_COUNT: Effect = Effect::Stored("what is on disk when is decided by `flush`, for all topics with one sync");
const NO_ELECTION: Effect = Effect::Stored("a partition has one replica, so nobody else can be elected");

const fn broker(name: &'static str, kind: Kind, default: &'static str, dynamic: bool, doc: &'static str) -> Key {
    Key {
        name,
        scope: Scope::Broker,
        kind,
        default: Some(default),
        broker_default: None,
        synonyms: &[],
        dynamic,
        effect: Effect::Honoured,
        doc,
    }
}

const fn unset(key: Key) -> Key {
    Key { default: None, ..key }
}

const fn also(key: Key, synonyms: &'static [Synonym]) -> Key {
    Key { synonyms, ..key }
}

/// A topic's key whose default is a broker's.
const fn topic(name: &'static str, kind: Kind, broker_default: &'static str, doc: &'static str) -> Key {
    Key {
        name,
        scope: Scope::Topic,
        kind,
        default: None,
        broker_default: Some(broker_default),
        synonyms: &[],
        dynamic: true,
        effect: Effect::Honoured,
        doc,
    }
}

/// A topic's key that is kept and shown, and does nothing else.
const fn stored(name: &'static str, kind: Kind, default: &'static str, effect: Effect, doc: &'static str) -> Key {
    Key {
        name,
        scope: Scope::Topic,
        kind,
        default: Some(default),
        broker_default: None,
        synonyms: &[],
        dynamic: true,
        effect,
        doc,
    }
}

/// A topic's key that has no broker's for a default.
const fn own(name: &'static str, kind: Kind, default: &'static str, doc: &'static str) -> Key {
    Key { effect: Effect::Honoured, ..stored(name, kind, default, NO_SEGMENTS, doc) }
}

const fn group(name: &'static str, kind: Kind, default: &'static str, doc: &'static str) -> Key {
    Key { scope: Scope::Group, ..own(name, kind, default, doc) }
}

/// Every key there is, by scope and then by theme.
pub const KEYS: &[Key] = &[
    broker("node.id", NOT_NEGATIVE_INT, "1", false, "Number of this node in the cluster."),
    unset(broker("broker.rack", Kind::Text, "", false, "Rack or zone the node stands in, shown to clients.")),
    broker(
        "data.dir",
        Kind::List(&[]),
        "./duolog-data",
        false,
        "Directories that hold what the node stores, separated by commas, each with a log of its own, so one a disk. Partitions are spread over them; the metadata is in the first.",
    ),
    broker(
        "listeners",
        Kind::List(&[]),
        "kafka://127.0.0.1:9092,namesrv://127.0.0.1:9876,rocketmq://127.0.0.1:10911,rocketmq://127.0.0.1:10909,grpc://127.0.0.1:8081",
        false,
        "Addresses to listen on, as `protocol://host:port`, separated by commas; port 0 takes a free one. RocketMQ's name \
         server (`namesrv`) and broker (`rocketmq`) answer the same requests; routes name the first `rocketmq` listener. RocketMQ 5's \
         `grpc` is served in plain text and within TLS, as the client begins. With a `peer` listener, for other nodes, the node is \
         part of a cluster.",
    ),
    unset(broker(
        "advertised.listeners",
        Kind::List(&[]),
        "",
        false,
        "Addresses to tell clients instead of the ones they dialled, as `protocol://host:port`, separated by commas.",
    )),
    broker("rocketmq.cluster.name", Kind::Text, "DefaultCluster", false, "What RocketMQ's clients know the cluster by."),
    broker(
        "rocketmq.broker.name",
        Kind::Text,
        "duolog",
        false,
        "What RocketMQ's clients know the broker by. Their offsets and locks belong to it: it must not change.",
    ),
    broker(
        "rocketmq.max.message.bytes",
        Kind::Int { min: 1024, max: 16 << 20 },
        "4194304",
        false,
        "Largest body that RocketMQ clients may send, in bytes; the topic's `max.message.bytes` holds, too.",
    ),
    broker(
        "rocketmq.delay.levels",
        Kind::Text,
        "1s 5s 10s 30s 1m 2m 3m 4m 5m 6m 7m 8m 9m 10m 20m 30m 1h 2h",
        false,
        "How long messages of RocketMQ's delay levels wait, the first level first; each a number and `s`, `m`, `h` or `d`. Retries begin at \
         the third. The same on all nodes.",
    ),
    broker(
        "rocketmq.transaction.timeout.ms",
        NOT_NEGATIVE_LONG,
        "6000",
        true,
        "Age of a half message at which its producers are first asked what became of the transaction; a message's own \
         `CHECK_IMMUNITY_TIME_IN_SECONDS` goes before.",
    ),
    broker(
        "rocketmq.transaction.check.interval.ms",
        POSITIVE_LONG,
        "30000",
        true,
        "Time between two questions about a half message.",
    ),
    broker("rocketmq.transaction.check.max", NOT_NEGATIVE_INT, "15", true, "How often is asked about a half message."),
    broker(
        "rocketmq.transaction.unresolved",
        UNRESOLVED,
        "keep",
        true,
        "What becomes of a half message after the last question: it is put into `TRANS_CHECK_MAX_TIME_TOPIC`, or dropped.",
    ),
    // The cluster.
    unset(broker(
        "cluster.join",
        Kind::List(&[]),
        "",
        false,
        "Addresses of `peer` listeners, as `host:port`, separated by commas, one of which belongs to the cluster that a new node \
         joins. A new node with a `peer` listener and nobody to join but itself founds a cluster.",
    )),
    unset(broker(
        "cluster.secret",
        Kind::Secret,
        "",
        false,
        "What the nodes of a cluster prove to each other that they know, the same on all of them, at least 8 bytes.",
    )),
    unset(broker(
        "cluster.secret.file",
        Kind::Text,
        "",
        false,
        "File that holds `cluster.secret`; white space around it does not count.",
    )),
    broker(
        "cluster.voters",
        Kind::Int { min: 1, max: 9 },
        "3",
        false,
        "Nodes that keep the metadata and elect the controller, if there are as many; others follow it. An odd number.",
    ),
    broker(
        "broker.session.timeout.ms",
        Kind::Int { min: 100, max: i32::MAX },
        "2500",
        false,
        "How long a node of a cluster may be silent before others take over what it leads, in milliseconds. That of the controller counts.",
    ),
    broker(
        "broker.heartbeat.interval.ms",
        Kind::Int { min: 10, max: i32::MAX },
        "400",
        false,
        "How often a node of a cluster tells the controller that it lives, in milliseconds.",
    ),
    broker(
        "replica.lag.time.max.ms",
        Kind::Int { min: 100, max: i32::MAX },
        "30000",
        false,
        "How long a replica may lack something before it counts as out of sync, in milliseconds.",
    ),
    broker(
        "controlled.shutdown.timeout.ms",
        NOT_NEGATIVE_INT,
        "10000",
        false,
        "How long a node that is told to stop waits until other nodes lead what it leads, in milliseconds.",
    ),
    unset(broker(
        "leader.replication.throttled.rate",
        NOT_NEGATIVE_LONG,
        "",
        true,
        "Most bytes a second that this node sends to replicas that are not in sync, of those that topics name in \
         `leader.replication.throttled.replicas`; no limit if unset.",
    )),
    unset(broker(
        "follower.replication.throttled.rate",
        NOT_NEGATIVE_LONG,
        "",
        true,
        "Most bytes a second that this node fetches for replicas that are not in sync, of those that topics name in \
         `follower.replication.throttled.replicas`; no limit if unset.",
    )),
    broker(
        "auto.leader.rebalance.enable",
        Kind::Boolean,
        "true",
        true,
        "Whether leaders are kept even: preferred leaders that are in sync lead, and nodes are preferred equally often.",
    ),
    broker(
        "cluster.balancer.enable",
        Kind::Boolean,
        "true",
        true,
        "Whether replicas are moved so that nodes hold equally many, and as many bytes, and away from drained nodes, and internal topics get the replicas that they would be made with today.",
    ),
    broker(
        "cluster.balancer.tolerance.bytes",
        NOT_NEGATIVE_LONG,
        "1073741824",
        true,
        "Nodes that hold equally many replicas, and whose bytes differ by no more than this or a tenth of what a node holds on average, are even.",
    ),
    broker(
        "cluster.drained.nodes",
        Kind::List(&[]),
        "",
        true,
        "Ids of nodes that are to hold no replicas: what they hold goes to others, and new partitions are not placed there.",
    ),
    broker(
        "leader.imbalance.check.interval.seconds",
        POSITIVE_INT,
        "10",
        true,
        "How often the controller looks whether leaders and replicas are even.",
    ),
    broker("http.listen", Kind::Text, "127.0.0.1:9644", false, "Address for metrics and health checks; port 0 takes a free one."),
    // Durability and storage.
    broker(
        "flush",
        FLUSH_MODES,
        "sync",
        true,
        "When `acks=all` is answered: `sync` after the records are on disk, `async` after they are in the page cache.",
    ),
    broker(
        "log.file.bytes",
        Kind::Long { min: 4 << 20, max: 64 << 30 },
        "1073741824",
        false,
        "Size of one commit log file, in bytes. Space is given back file by file.",
    ),
    broker(
        "log.tail.cache.bytes",
        NOT_NEGATIVE_LONG,
        "67108864",
        false,
        "Memory for the newest batches of each layout, in bytes, from which consumers that keep up are served without the disk.",
    ),
    broker(
        "log.disk.reserve.bytes",
        NOT_NEGATIVE_LONG,
        "268435456",
        false,
        "Free disk space below which producers are refused, in bytes. Reading goes on, and so does producing once there is space.",
    ),
    // Dead letters of share groups (KIP-1191).
    broker(
        "errors.deadletterqueue.topic.name.prefix",
        Kind::Text,
        "dlq.",
        false,
        "How names of topics for dead letters of share groups begin.",
    ),
    broker(
        "errors.deadletterqueue.auto.create.topics.enable",
        Kind::Boolean,
        "false",
        false,
        "Whether a share group's topic for dead letters is created with its first one.",
    ),
    // Topics.
    broker(
        "auto.create.topics.enable",
        Kind::Boolean,
        "true",
        false,
        "Whether a topic is created when a client that allows it asks for one that does not exist.",
    ),
    broker("delete.topic.enable", Kind::Boolean, "true", false, "Whether topics can be deleted."),
    broker("num.partitions", POSITIVE_INT, "1", false, "Partitions of a topic that is created without saying how many."),
    broker(
        "default.replication.factor",
        Kind::Short { min: 1, max: i16::MAX },
        "1",
        false,
        "Replicas of a topic that is created without saying how many. Unless it is set: 3 in a cluster of three or more live nodes, else 1.",
    ),
    unset(broker(
        "replica.selector.class",
        REPLICA_SELECTORS,
        "",
        false,
        "`rack-aware` sends consumers that say which rack they are in to an in-sync replica there; unset, all read from the leader.",
    )),
    // Defaults of topics.
    also(
        broker(
            "log.retention.ms",
            LIMIT_OR_NONE,
            "604800000",
            true,
            "How long records are kept, in milliseconds; -1 for ever. Default of `retention.ms`.",
        ),
        &[Synonym { name: "log.retention.minutes", factor: 60_000 }, Synonym { name: "log.retention.hours", factor: 3_600_000 }],
    ),
    broker(
        "log.retention.bytes",
        LIMIT_OR_NONE,
        "-1",
        true,
        "How much of a partition is kept, in bytes; -1 for no limit. Default of `retention.bytes`.",
    ),
    broker(
        "log.retention.check.interval.ms",
        POSITIVE_LONG,
        "300000",
        false,
        "How often records past their retention are looked for, in milliseconds.",
    ),
    broker("log.cleanup.policy", CLEANUP_POLICIES, "delete", true, "Default of `cleanup.policy`."),
    broker(
        "message.max.bytes",
        NOT_NEGATIVE_INT,
        "1048588",
        true,
        "Largest batch taken from a producer, in bytes as sent. Default of `max.message.bytes`.",
    ),
    broker(
        "log.message.timestamp.type",
        TIMESTAMP_TYPES,
        "CreateTime",
        true,
        "Whether records carry the producer's or the broker's time. Default of `message.timestamp.type`.",
    ),
    broker(
        "log.message.timestamp.before.max.ms",
        NOT_NEGATIVE_LONG,
        "9223372036854775807",
        true,
        "How far before the broker's clock a producer's timestamp may lie, in milliseconds. Default of `message.timestamp.before.max.ms`.",
    ),
    broker(
        "log.message.timestamp.after.max.ms",
        NOT_NEGATIVE_LONG,
        "3600000",
        true,
        "How far after the broker's clock a producer's timestamp may lie, in milliseconds. Default of `message.timestamp.after.max.ms`.",
    ),
    broker(
        "compression.type",
        COMPRESSION_TYPES,
        "producer",
        true,
        "How batches are stored: `producer` as they were sent, else recompressed. Default of the topic's key of the same name.",
    ),
    broker(
        "min.insync.replicas",
        POSITIVE_INT,
        "1",
        true,
        "In-sync replicas that `acks=all` needs. Default of the topic's key of the same name. Unless it is set, topics that are created with \
         three replicas or more get 2.",
    ),
    // Groups.
    broker(
        "offsets.topic.num.partitions",
        POSITIVE_INT,
        "50",
        false,
        "Partitions of `__consumer_offsets`; fixed once the topic exists.",
    ),
    unset(broker(
        "offsets.topic.replication.factor",
        Kind::Short { min: 1, max: i16::MAX },
        "",
        false,
        "Replicas of `__consumer_offsets` when it is created; unset, as many as of other topics.",
    )),
    broker(
        "share.coordinator.state.topic.num.partitions",
        POSITIVE_INT,
        "50",
        false,
        "Partitions of `__share_group_state`; fixed once the topic exists.",
    ),
    unset(broker(
        "share.coordinator.state.topic.replication.factor",
        Kind::Short { min: 1, max: i16::MAX },
        "",
        false,
        "Replicas of `__share_group_state` when it is created; unset, as many as of other topics.",
    )),
    broker(
        "offsets.retention.minutes",
        POSITIVE_INT,
        "10080",
        false,
        "How long offsets of a group without members are kept, in minutes.",
    ),
    broker(
        "offsets.retention.check.interval.ms",
        POSITIVE_LONG,
        "600000",
        false,
        "How often expired offsets are looked for, in milliseconds.",
    ),
    broker(
        "offset.metadata.max.bytes",
        NOT_NEGATIVE_INT,
        "4096",
        false,
        "Longest note a client may commit beside an offset, in bytes.",
    ),
    broker(
        "group.initial.rebalance.delay.ms",
        NOT_NEGATIVE_INT,
        "3000",
        false,
        "How long the first rebalance of an empty group waits for more members, in milliseconds.",
    ),
    broker(
        "group.min.session.timeout.ms",
        NOT_NEGATIVE_INT,
        "6000",
        false,
        "Shortest session time-out a member may ask for, in milliseconds.",
    ),
    broker(
        "group.max.session.timeout.ms",
        NOT_NEGATIVE_INT,
        "1800000",
        false,
        "Longest session time-out a member may ask for, in milliseconds.",
    ),
    broker("group.max.size", POSITIVE_INT, "2147483647", false, "Most members a group may have."),
    // Connections.
    broker(
        "max.connections",
        POSITIVE_INT,
        "10000",
        false,
        "Most connections open at once; further ones wait until one is closed.",
    ),
    broker(
        "max.connections.per.ip",
        POSITIVE_INT,
        "2147483647",
        false,
        "Most connections open at once from one address; further ones are closed at once.",
    ),
    broker(
        "connections.max.idle.ms",
        POSITIVE_LONG,
        "600000",
        false,
        "How long a connection may be silent before it is closed, in milliseconds.",
    ),
    broker(
        "socket.request.max.bytes",
        POSITIVE_INT,
        "104857600",
        false,
        "Largest request taken, in bytes; a larger one closes its connection.",
    ),
    broker(
        "fetch.max.bytes",
        Kind::Int { min: 1024, max: i32::MAX },
        "57671680",
        false,
        "Most bytes of records in one answer to a consumer; a single larger batch is still sent whole.",
    ),
    broker(
        "max.incremental.fetch.session.cache.slots",
        NOT_NEGATIVE_INT,
        "1000",
        false,
        "Most incremental fetch sessions kept at once.",
    ),
    // Producers.
    broker(
        "producer.id.expiration.ms",
        POSITIVE_INT,
        "86400000",
        false,
        "How long the sequence numbers of a silent idempotent producer are remembered, in milliseconds.",
    ),
    // Topics' own keys.
    topic("flush", FLUSH_MODES, "flush", "When `acks=all` is answered: after the disk (`sync`) or the page cache (`async`)."),
    topic(
        "cleanup.policy",
        CLEANUP_POLICIES,
        "log.cleanup.policy",
        "`delete` drops records past their retention. `compact` keeps at least the newest record of each key and drops older ones.",
    ),
    topic("retention.ms", LIMIT_OR_NONE, "log.retention.ms", "How long records are kept, in milliseconds; -1 for ever."),
    topic("retention.bytes", LIMIT_OR_NONE, "log.retention.bytes", "How much of a partition is kept, in bytes; -1 for no limit."),
    topic("max.message.bytes", NOT_NEGATIVE_INT, "message.max.bytes", "Largest batch taken from a producer, in bytes as sent."),
    topic(
        "message.timestamp.type",
        TIMESTAMP_TYPES,
        "log.message.timestamp.type",
        "Whether records carry the producer's time (`CreateTime`) or the broker's (`LogAppendTime`).",
    ),
    topic(
        "message.timestamp.before.max.ms",
        NOT_NEGATIVE_LONG,
        "log.message.timestamp.before.max.ms",
        "How far before the broker's clock a producer's timestamp may lie, in milliseconds.",
    ),
    topic(
        "message.timestamp.after.max.ms",
        NOT_NEGATIVE_LONG,
        "log.message.timestamp.after.max.ms",
        "How far after the broker's clock a producer's timestamp may lie, in milliseconds.",
    ),
    topic(
        "compression.type",
        COMPRESSION_TYPES,
        "compression.type",
        "How batches are stored: `producer` as they were sent, else recompressed.",
    ),
    topic("min.insync.replicas", POSITIVE_INT, "min.insync.replicas", "In-sync replicas that `acks=all` needs."),
    Key {
        dynamic: false,
        ..own(
            LAYOUT,
            LAYOUTS,
            "shared",
            "How the topic lies on disk, chosen when it is created and fixed from then on: `shared`, in the commit log of its data directory together with other topics, or `dedicated`, in segment files of its own as Apache Kafka writes them.",
        )
    },
    own("errors.deadletterqueue.group.enable", Kind::Boolean, "false", "Whether share groups may put their dead letters here."),
    own(
        "duolog.delay.enable",
        Kind::Boolean,
        "false",
        "Whether records that Kafka's producers send with a header `duolog-deliver-at` or `duolog-deliver-after-ms` are delivered at that time. Where it is off, such a header means nothing.",
    ),
    own("delete.retention.ms", NOT_NEGATIVE_LONG, "86400000", "How long a compaction keeps tombstones, in milliseconds."),
    own("min.compaction.lag.ms", NOT_NEGATIVE_LONG, "0", "Age below which a record is not compacted, in milliseconds."),
    own(
        "max.compaction.lag.ms",
        POSITIVE_LONG,
        "9223372036854775807",
        "Age above which a record must be compacted, in milliseconds.",
    ),
    own(
        "min.cleanable.dirty.ratio",
        Kind::Double { min: 0.0, max: 1.0 },
        "0.5",
        "Share of uncompacted records that starts a compaction.",
    ),
    // Replicas that move.
    own(
        "leader.replication.throttled.replicas",
        Kind::List(&[]),
        "",
        "Replicas whose leaders send at their `leader.replication.throttled.rate` to those that are not in sync: \
         `partition:broker` with the leader's id, separated by commas, or `*` for all.",
    ),
    own(
        "follower.replication.throttled.replicas",
        Kind::List(&[]),
        "",
        "Replicas that, while they are not in sync, fetch at their broker's `follower.replication.throttled.rate`: \
         `partition:broker`, separated by commas, or `*` for all.",
    ),
    // Of topics with the dedicated layout.
    own(
        "segment.bytes",
        Kind::Int { min: 14, max: i32::MAX },
        "1073741824",
        "Size of a segment file, in bytes. Of topics with `duolog.layout=dedicated`.",
    ),
    own(
        "segment.ms",
        POSITIVE_LONG,
        "604800000",
        "Longest time before a segment is rolled, in milliseconds. Of topics with `duolog.layout=dedicated`.",
    ),
    own(
        "segment.jitter.ms",
        NOT_NEGATIVE_LONG,
        "0",
        "Random share taken off `segment.ms`, in milliseconds. Of topics with `duolog.layout=dedicated`.",
    ),
    own(
        "segment.index.bytes",
        Kind::Int { min: 4, max: i32::MAX },
        "10485760",
        "Size of an index file, in bytes. Of topics with `duolog.layout=dedicated`.",
    ),
    own(
        "index.interval.bytes",
        NOT_NEGATIVE_INT,
        "4096",
        "Bytes of records between two index entries. Of topics with `duolog.layout=dedicated`.",
    ),
    // Of topics as RocketMQ's clients see them.
    own(
        "rocketmq.perm",
        Kind::Int { min: 0, max: 7 },
        "6",
        "What RocketMQ clients may do: the sum of 4 (read), 2 (write) and 1 (inherit). Kafka clients are not affected.",
    ),
    own(
        "rocketmq.message.type",
        Kind::Choice(&["MIXED", "NORMAL", "FIFO", "DELAY", "TRANSACTION", "PRIORITY", "LITE", "UNSPECIFIED"]),
        "MIXED",
        "The kind of messages that RocketMQ 5 clients may send; MIXED takes all.",
    ),
    own("rocketmq.order", Kind::Boolean, "false", "Whether RocketMQ's tools show the topic as ordered."),
    // Of groups as RocketMQ's clients see them.
    group("rocketmq.consume.enable", Kind::Boolean, "true", "Whether RocketMQ members of the group are given messages."),
    group(
        "rocketmq.consume.from.min.enable",
        Kind::Boolean,
        "true",
        "Whether the group may consume from the beginning; kept for RocketMQ's tools.",
    ),
    group("rocketmq.consume.broadcast.enable", Kind::Boolean, "true", "Whether broadcasting members are given messages."),
    group(
        "rocketmq.consume.orderly",
        Kind::Boolean,
        "false",
        "Whether gRPC members get the messages of a message group one after the other.",
    ),
    group("rocketmq.notify.changes.enable", Kind::Boolean, "true", "Whether members are told at once when others come or go."),
    group("rocketmq.retry.queues", Kind::Int { min: 0, max: 1024 }, "1", "Partitions of the group's `%RETRY%` topic."),
    group(
        "rocketmq.retry.max.times",
        Kind::Int { min: -1, max: i32::MAX },
        "16",
        "Deliveries after the first before a message is a dead letter.",
    ),
    group(
        "rocketmq.consume.timeout.minutes",
        Kind::Int { min: 1, max: 1440 },
        "15",
        "How long a RocketMQ member may work on a message.",
    ),
    group(
        "rocketmq.pop.topics",
        Kind::Text,
        "",
        "Topics that RocketMQ members of the group consume by POP, each as `TOPIC:N` with commas between them: a queue is shared by N \
         more members than its own, and by all if N is 0.",
    ),
    group("rocketmq.attributes", Kind::Text, "", "Further properties that RocketMQ's tools set, as JSON."),
    // Of share groups (KIP-932).
    group(
        "share.session.timeout.ms",
        Kind::Int { min: 1_000, max: 3_600_000 },
        "45000",
        "How long a member of a share group may be silent, in milliseconds.",
    ),
    group(
        "share.heartbeat.interval.ms",
        Kind::Int { min: 100, max: 60_000 },
        "5000",
        "How often members of a share group are told to send heartbeats, in milliseconds.",
    ),
    group(
        "share.record.lock.duration.ms",
        Kind::Int { min: 1_000, max: 3_600_000 },
        "30000",
        "How long a member of a share group has a record to itself, in milliseconds.",
    ),
    group(
        "share.delivery.count.limit",
        Kind::Int { min: 1, max: 100 },
        "5",
        "Deliveries of a record within a share group before it is given up.",
    ),
    group(
        "share.partition.max.record.locks",
        Kind::Int { min: 10, max: 100_000 },
        "2000",
        "Records of a partition that a share group may work on at a time.",
    ),
    group(
        "share.auto.offset.reset",
        Kind::StartOffset,
        "latest",
        "Where a share group begins: `earliest`, `latest` or `by_duration:` with an ISO 8601 duration before now.",
    ),
    group(
        "share.isolation.level",
        Kind::Choice(&["read_uncommitted", "read_committed"]),
        "read_uncommitted",
        "Whether a share group is given records of transactions that were aborted.",
    ),
    group(
        "share.renew.acknowledge.enable",
        Kind::Boolean,
        "true",
        "Whether members of a share group may renew their locks on records.",
    ),
    group(
        "share.ordering",
        Kind::Choice(&["none", "key"]),
        "none",
        "With `key`, a share group is given a record only once it is done with those before it that have the same key.",
    ),
    group(
        "errors.deadletterqueue.topic.name",
        Kind::Text,
        "",
        "Topic for records that a share group rejects, or was given too often; empty for none.",
    ),
    group(
        "errors.deadletterqueue.copy.record.enable",
        Kind::Boolean,
        "true",
        "Whether a dead letter has key, value and headers of its record. (Kafka's default is `false`.)",
    ),
    // Kafka's topic keys that do nothing here.
    stored(
        "file.delete.delay.ms",
        NOT_NEGATIVE_LONG,
        "60000",
        NO_SEGMENTS,
        "Wait before a deleted file is removed, in milliseconds.",
    ),
    stored("preallocate", Kind::Boolean, "false", NO_SEGMENTS, "Whether segment files are allocated ahead."),
    stored("flush.messages", POSITIVE_LONG, "9223372036854775807", NO_FLUSH_COUNT, "Records between two syncs."),
    stored("flush.ms", NOT_NEGATIVE_LONG, "9223372036854775807", NO_FLUSH_COUNT, "Milliseconds between two syncs."),
    stored(
        "unclean.leader.election.enable",
        Kind::Boolean,
        "false",
        NO_ELECTION,
        "Whether a replica that is not in sync may become the leader.",
    ),
];

/// The key of this name in this scope; synonyms count as their key's.
pub fn find(scope: Scope, name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.scope == scope && key.answers_to(name))
}

impl Key {
    fn answers_to(&self, name: &str) -> bool {
        self.name == name || self.synonyms.iter().any(|synonym| synonym.name == name)
    }
}

#[cfg(test)]
mod tests {
    use super::{KEYS, find};
    use crate::config::Scope;
    use crate::config::value::check;

    #[test]
    fn every_default_is_a_valid_value_of_its_key() {
        for key in KEYS {
            if let Some(default) = key.default {
                check(key, default).unwrap_or_else(|error| panic!("{}: {error}", key.name));
            }
        }
    }

    #[test]
    fn every_topic_key_finds_its_default() {
        for key in KEYS.iter().filter(|key| key.scope == Scope::Topic) {
            match key.broker_default {
                None => assert!(key.default.is_some(), "{} has no default", key.name),
                Some(name) => {
                    let broker = find(Scope::Broker, name).unwrap_or_else(|| panic!("{}: no broker key {name}", key.name));
                    assert_eq!(broker.kind, key.kind, "{} and {name} differ in type", key.name);
                    assert!(broker.dynamic, "{name} is a default of topics and must be dynamic");
                }
            }
        }
    }

    #[test]
    fn no_name_is_used_twice_in_a_scope() {
        let mut seen = std::collections::BTreeSet::new();
        for key in KEYS {
            for name in std::iter::once(key.name).chain(key.synonyms.iter().map(|synonym| synonym.name)) {
                assert!(seen.insert((key.scope as u8, name)), "{name} stands twice");
            }
        }
    }
}
