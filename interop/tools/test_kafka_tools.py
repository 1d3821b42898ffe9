"""Kafka's own command-line tools, each with an assertion on what it prints."""

import json
import re

from conftest import BOOTSTRAP, run, tool, topics

PACKAGE = "org.apache.kafka.tools."


def configs(*arguments):
    return tool("kafka.admin.ConfigCommand", *arguments)


def groups(*arguments):
    return tool(PACKAGE + "consumer.group.ConsumerGroupCommand", *arguments)


def console_consumer(*arguments):
    return tool(PACKAGE + "consumer.ConsoleConsumer", "--timeout-ms", "20000", *arguments)


def test_kafka_topics_creates_describes_alters_and_deletes(name):
    topic = name()
    assert f"Created topic {topic}." in topics("--create", "--topic", topic, "--partitions", "2", "--config", "retention.ms=1234567")
    described = topics("--describe", "--topic", topic)
    assert re.search(r"PartitionCount: 2\s+ReplicationFactor: \d+\s+Configs: .*retention\.ms=1234567", described)
    assert len(re.findall(r"Partition: \d+\s+Leader: \d+\s+Replicas: [\d,]+\s+Isr: [\d,]+", described)) == 2
    topics("--alter", "--topic", topic, "--partitions", "5")
    assert "PartitionCount: 5" in topics("--describe", "--topic", topic)
    assert topic in topics("--list").splitlines()
    topics("--delete", "--topic", topic)
    assert topic not in topics("--list").splitlines()


def test_kafka_configs_sets_shows_and_deletes(make_topic):
    entity = ["--entity-type", "topics", "--entity-name", make_topic()]
    assert "Completed updating config" in configs("--alter", *entity, "--add-config", "max.message.bytes=5555")
    assert re.search(r"max\.message\.bytes=5555 sensitive=false synonyms=\{DYNAMIC_TOPIC_CONFIG", configs("--describe", *entity))
    configs("--alter", *entity, "--delete-config", "max.message.bytes")
    assert "max.message.bytes" not in configs("--describe", *entity)
    everything = configs("--describe", "--all", *entity)
    assert "max.message.bytes=1048588" in everything and "cleanup.policy=delete" in everything


def test_the_console_tools_produce_and_consume(make_topic):
    topic = make_topic()
    lines = "one:1\ntwo:2\nthree:\u6f22\n"
    keys = ["--reader-property", "parse.key=true", "--reader-property", "key.separator=:"]
    tool(PACKAGE + "ConsoleProducer", "--topic", topic, *keys, stdin=lines)
    read = console_consumer("--topic", topic, "--from-beginning", "--max-messages", "3", "--formatter-property", "print.key=true")
    assert read.splitlines() == ["one\t1", "two\t2", "three\t\u6f22"]


def test_the_console_consumer_reads_on_where_its_group_stopped(make_topic):
    topic = make_topic(["a", "b", "c", "d"])
    group = ["--topic", topic, "--group", f"{topic}-group"]
    assert console_consumer(*group, "--from-beginning", "--max-messages", "2").split() == ["a", "b"]
    assert console_consumer(*group, "--max-messages", "2").split() == ["c", "d"]


def test_kafka_consumer_groups_lists_describes_resets_and_deletes(make_topic):
    topic = make_topic(["a", "b", "c", "d"])
    group = f"{topic}-group"
    console_consumer("--topic", topic, "--group", group, "--from-beginning", "--max-messages", "3")
    assert group in groups("--list").splitlines()
    described = groups("--describe", "--group", group)
    assert re.search(rf"{group}\s+{topic}\s+0\s+(-\s+)?3\s+4\s+1\s", described), described
    assert re.search(rf"{group}\s.*Empty\s+0", groups("--describe", "--group", group, "--state"))
    reset = groups("--reset-offsets", "--group", group, "--topic", topic, "--to-earliest", "--execute")
    assert re.search(rf"{group}\s+{topic}\s+0\s+0", reset), reset
    shifted = groups("--reset-offsets", "--group", group, "--topic", topic, "--shift-by", "2", "--execute")
    assert re.search(rf"{group}\s+{topic}\s+0\s+2", shifted), shifted
    deleted = groups("--delete-offsets", "--group", group, "--topic", topic)
    assert re.search(rf"{topic}\s+0\s+Successful", deleted), deleted
    assert "successful" in groups("--delete", "--group", group)
    assert group not in groups("--list").splitlines()


def test_kafka_get_offsets_and_delete_records(make_topic, tmp_path):
    topic = make_topic(str(number) for number in range(10))

    def offsets(when):
        return tool(PACKAGE + "GetOffsetShell", "--topic", topic, "--time", when).strip()

    assert offsets("latest") == f"{topic}:0:10"
    partitions = [{"topic": topic, "partition": 0, "offset": 6}]
    wanted = tmp_path / "delete.json"
    wanted.write_text(json.dumps({"version": 1, "partitions": partitions}))
    assert re.search(r"low_watermark: 6", tool(PACKAGE + "DeleteRecordsCommand", "--offset-json-file", str(wanted)))
    assert offsets("earliest") == f"{topic}:0:6"
    assert offsets("max-timestamp").startswith(f"{topic}:0:")


def test_kafka_log_dirs_knows_a_partitions_size(make_topic):
    topic = make_topic(["x" * 100] * 10)
    printed = tool(PACKAGE + "LogDirsCommand", "--describe", "--topic-list", topic)
    described = json.loads(printed[printed.index("{") :])
    [partition] = [part for broker in described["brokers"] for place in broker["logDirs"] for part in place["partitions"]]
    assert partition["partition"] == f"{topic}-0" and partition["size"] > 0 and partition["offsetLag"] == 0


def test_the_perf_tools_produce_and_consume(make_topic):
    topic = make_topic()
    load = ["--topic", topic, "--num-records", "20000", "--record-size", "200", "--throughput", "-1"]
    produced = tool(PACKAGE + "ProducerPerformance", *load)
    assert re.search(r"^20000 records sent, [\d.,]+ records/sec", produced, re.MULTILINE), produced
    consumed = tool(PACKAGE + "ConsumerPerformance", "--topic", topic, "--messages", "20000", "--timeout", "20000")
    columns = dict(zip(*[re.split(r",\s+", line.strip()) for line in consumed.strip().splitlines()[-2:]], strict=True))
    assert int(columns["data.consumed.in.nMsg"]) >= 20000, consumed


def test_kafka_broker_api_versions_knows_every_api_it_is_told():
    printed = tool(PACKAGE + "BrokerApiVersionsCommand")
    assert re.match(r"127\.0\.0\.1:\d+ \(id: \d+ rack: \S+", printed), printed
    for api in ["Produce(0)", "Fetch(1)", "Metadata(3)", "JoinGroup(11)", "ApiVersions(18)", "CreateTopics(19)"]:
        assert re.search(rf"{re.escape(api)}: \d+( to \d+)? \[usable: \d+\]", printed), api


def test_kafka_metadata_quorum_names_a_leader():
    printed = tool(PACKAGE + "MetadataQuorumCommand", "describe", "--status")
    assert re.search(r"LeaderId:\s+\d+", printed) and re.search(r"HighWatermark:\s+\d+", printed), printed
    assert re.search(r"\d+\s.*Leader", tool(PACKAGE + "MetadataQuorumCommand", "describe", "--replication"))


def reassign(*arguments):
    return tool(PACKAGE + "reassign.ReassignPartitionsCommand", *arguments)


def reassignment(topic, tmp_path):
    """The only replica of a topic, and a plan that leaves it where it is, as arguments."""
    [replica] = re.findall(r"Replicas: (\d+)", topics("--describe", "--topic", topic))
    partitions = [{"topic": topic, "partition": 0, "replicas": [int(replica)]}]
    wanted = tmp_path / "reassign.json"
    wanted.write_text(json.dumps({"version": 1, "partitions": partitions}))
    return replica, ["--reassignment-json-file", str(wanted)]


def test_kafka_reassign_partitions_executes_verifies_lists_and_cancels(make_topic, tmp_path):
    topic = make_topic()
    _, file = reassignment(topic, tmp_path)
    assert f"Successfully started partition reassignment for {topic}-0" in reassign("--execute", *file)
    verified = reassign("--verify", *file)
    assert f"Reassignment of partition {topic}-0 is completed." in verified
    assert f"Clearing topic-level throttles on topic {topic}" in verified
    assert "No partition reassignments found." in reassign("--list")
    assert "None of the specified partition reassignments are active." in reassign("--cancel", *file)


def test_kafka_reassign_partitions_sets_a_throttle_and_takes_it_back(make_topic, tmp_path):
    topic = make_topic()
    replica, file = reassignment(topic, tmp_path)

    def described(kind, name):
        return configs("--describe", "--entity-type", kind, "--entity-name", name)

    executed = reassign("--execute", *file, "--throttle", "7654321")
    assert f"Successfully started partition reassignment for {topic}-0" in executed
    assert "The inter-broker throttle limit was set to 7654321 B/s" in executed
    for side in ["leader", "follower"]:
        throttle = rf"{side}\.replication\.throttled\.rate=7654321 .*DYNAMIC_BROKER_CONFIG"
        assert re.search(throttle, described("brokers", replica))
    assert f"leader.replication.throttled.replicas=0:{replica} " in described("topics", topic)
    verified = reassign("--verify", *file)
    assert "Clearing broker-level throttles on broker" in verified
    assert "throttled.rate" not in described("brokers", replica)
    assert "throttled.replicas" not in described("topics", topic)


def test_kafka_leader_election_finds_the_preferred_leader_in_place(make_topic):
    topic = make_topic()
    command = PACKAGE + "LeaderElectionCommand"
    elected = tool(command, "--election-type", "preferred", "--topic", topic, "--partition", "0")
    assert f"Valid replica already elected for partitions {topic}-0" in elected
    assert topic not in tool(command, "--election-type", "unclean", "--all-topic-partitions")


def test_kafka_features_describes():
    printed = tool(PACKAGE + "FeatureCommand", "describe")
    features = [line for line in printed.splitlines() if line.strip()]
    assert all(re.match(r"Feature: \S+\s+SupportedMinVersion: ", line) for line in features), printed


def test_kcat_knows_the_topics_of_the_tools(make_topic):
    topic = make_topic()
    metadata = json.loads(run(["kcat", "-b", BOOTSTRAP, "-L", "-J", "-t", topic]))
    assert [(one["topic"], len(one["partitions"])) for one in metadata["topics"]] == [(topic, 1)]
