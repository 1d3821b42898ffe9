"""kafka-python, with the request versions of today and of older brokers."""

import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from kafka import KafkaConsumer, KafkaProducer, OffsetAndMetadata, TopicPartition
from kafka import errors as error
from kafka.admin import ConfigResource, ConfigResourceType, KafkaAdminClient, OffsetSpec
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor
from kafka.coordinator.assignors.range import RangePartitionAssignor
from kafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from kafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor

CODECS = [None, "gzip", "snappy", "lz4", "zstd"]
ASSIGNORS = [RangePartitionAssignor, RoundRobinPartitionAssignor, StickyPartitionAssignor, CooperativeStickyAssignor]
# A broker release: the client then sends the requests that release understood.
RELEASES = [(2, 1), (2, 5), (3, 0)]
# Returns at once when there are records. A poll whose time runs out while the client joins a group can leave this client
# without a generation for good, so it is as long as a join takes.
POLL_MS = 1000


@pytest.fixture
def admin(bootstrap):
    client = KafkaAdminClient(bootstrap_servers=bootstrap)
    yield client
    client.close()


@pytest.fixture
def make_topic(admin, name, eventually):
    def make(partitions=1, **configs):
        topic = name()
        configs = {key.replace("_", "."): value for key, value in configs.items()}
        admin.create_topics({topic: {"num_partitions": partitions, "replication_factor": 1, "configs": configs}})

        def online():
            try:
                return admin.list_partition_offsets({TopicPartition(topic, at): OffsetSpec.LATEST for at in range(partitions)})
            except error.UnknownTopicOrPartitionError:
                return None

        eventually("the topic is online", online)
        return topic

    return make


@pytest.fixture
def make_consumer(bootstrap):
    made = []

    def make(topic=None, **overrides):
        config = {
            "bootstrap_servers": bootstrap,
            "auto_offset_reset": "earliest",
            "enable_auto_commit": False,
            "session_timeout_ms": 6000,
            "heartbeat_interval_ms": 500,
            "metadata_max_age_ms": 1000,
            "fetch_max_wait_ms": 100,
        }
        config.update(overrides)
        consumer = KafkaConsumer(**config)
        if topic is not None:
            consumer.subscribe([topic]) if "group_id" in overrides else consumer.assign([TopicPartition(topic, 0)])
        made.append(consumer)
        return consumer

    yield make
    for consumer in made:
        consumer.close()


def produce(bootstrap, topic, messages, **overrides):
    """Produces dictionaries of arguments or plain values and gives what the broker said about each."""
    producer = KafkaProducer(bootstrap_servers=bootstrap, linger_ms=5, **overrides)
    try:
        futures = [
            producer.send(topic, **(message if isinstance(message, dict) else {"value": message})) for message in messages
        ]
        return [future.get(30) for future in futures]
    finally:
        producer.close()


def take(consumer, count, eventually):
    records = []

    def poll():
        for some in consumer.poll(POLL_MS, max_records=count - len(records)).values():
            records.extend(some)
        return len(records) >= count

    eventually(f"{count} records", poll)
    return records


def values(records):
    return [record.value for record in records]


@pytest.mark.parametrize("codec", CODECS)
def test_each_codec_is_read_as_it_was_written(bootstrap, make_topic, make_consumer, eventually, codec):
    topic = make_topic()
    sent = [b"%d " % number + b"word " * (number % 40) for number in range(500)]
    produce(bootstrap, topic, sent, compression_type=codec)
    assert values(take(make_consumer(topic), 500, eventually)) == sent


@pytest.mark.parametrize("acks", [0, 1, "all"])
def test_everything_arrives_with_acks(bootstrap, make_topic, make_consumer, eventually, acks):
    topic = make_topic()
    sent = [b"%d" % number for number in range(200)]
    produce(bootstrap, topic, sent, acks=acks, enable_idempotence=False)
    assert values(take(make_consumer(topic), 200, eventually)) == sent


@pytest.mark.parametrize("release", RELEASES, ids=str)
def test_requests_of_an_older_release_are_served(bootstrap, make_topic, make_consumer, name, eventually, release):
    topic, group = make_topic(), name("group")
    sent = [b"%d" % number for number in range(50)]
    produce(bootstrap, topic, sent, api_version=release)
    first = make_consumer(topic, group_id=group, api_version=release)
    assert values(take(first, 20, eventually)) == sent[:20]
    first.commit()
    first.close()
    second = make_consumer(topic, group_id=group, api_version=release)
    assert values(take(second, 30, eventually)) == sent[20:]


def test_keys_headers_and_nulls_survive(bootstrap, make_topic, make_consumer, eventually):
    topic = make_topic()
    headers = [("trace", b"1"), ("trace", b"2"), ("empty", b"")]
    messages = [
        {"key": b"key", "value": b"\x00\xff", "headers": headers},
        {"value": b"no key"},
        {"key": b"tombstone", "value": None},
        {"key": b"", "value": b""},
    ]
    produce(bootstrap, topic, messages)
    records = take(make_consumer(topic), 4, eventually)
    expected = [(b"key", b"\x00\xff"), (None, b"no key"), (b"tombstone", None), (b"", b"")]
    assert [(record.key, record.value) for record in records] == expected
    assert list(records[0].headers) == headers


def test_an_idempotent_producer_writes_each_record_once_and_in_order(bootstrap, make_topic, make_consumer, eventually):
    topic = make_topic()
    sent = [b"%d" % number for number in range(1000)]
    answers = produce(bootstrap, topic, sent, enable_idempotence=True, batch_size=200)
    assert [answer.offset for answer in answers] == list(range(1000))
    assert values(take(make_consumer(topic), 1000, eventually)) == sent


def test_a_record_that_is_too_large_is_refused(bootstrap, make_topic, make_consumer, eventually):
    topic = make_topic(max_message_bytes="10000")
    with pytest.raises(error.MessageSizeTooLargeError):
        produce(bootstrap, topic, [b"x" * 2_000_000])
    with pytest.raises(error.MessageSizeTooLargeError):
        produce(bootstrap, topic, [b"x" * 20_000])
    produce(bootstrap, topic, [b"fits"])
    assert values(take(make_consumer(topic), 1, eventually)) == [b"fits"]


def test_a_large_record_passes_where_the_topic_allows_it(bootstrap, make_topic, make_consumer, eventually):
    topic = make_topic(max_message_bytes="4000000")
    value = bytes(range(256)) * 12_000
    produce(bootstrap, topic, [value], max_request_size=4_000_000)
    assert take(make_consumer(topic), 1, eventually)[0].value == value


def test_timestamps_are_the_producers_or_the_logs(bootstrap, make_topic, make_consumer, eventually):
    own = int(time.time() * 1000) - 60_000
    created, appended = make_topic(), make_topic(message_timestamp_type="LogAppendTime")
    for topic in (created, appended):
        produce(bootstrap, topic, [{"value": b"x", "timestamp_ms": own}])
    record = take(make_consumer(created), 1, eventually)[0]
    assert (record.timestamp_type, record.timestamp) == (0, own)
    record = take(make_consumer(appended), 1, eventually)[0]
    assert record.timestamp_type == 1 and record.timestamp > own + 50_000


def test_positions_ends_and_times_are_found(bootstrap, make_topic, make_consumer, eventually):
    topic = make_topic()
    partition = TopicPartition(topic, 0)
    start = int(time.time() * 1000) - 60_000
    produce(bootstrap, topic, [{"value": b"%d" % at, "timestamp_ms": start + at * 1000} for at in range(10)])
    consumer = make_consumer(topic)
    consumer.seek(partition, 4)
    assert take(consumer, 1, eventually)[0].value == b"4"
    consumer.seek_to_beginning(partition)
    assert consumer.position(partition) == 0
    consumer.seek_to_end(partition)
    assert consumer.position(partition) == 10
    assert consumer.beginning_offsets([partition]) == {partition: 0}
    assert consumer.end_offsets([partition]) == {partition: 10}
    assert consumer.offsets_for_times({partition: start + 2500})[partition].offset == 3
    assert consumer.offsets_for_times({partition: start + 9001})[partition] is None


def test_an_offset_out_of_range_is_an_error_or_a_reset(bootstrap, make_topic, make_consumer, eventually):
    topic = make_topic()
    produce(bootstrap, topic, [b"0"])
    strict = make_consumer(topic, auto_offset_reset="none")
    strict.seek(TopicPartition(topic, 0), 1000)
    with pytest.raises(error.OffsetOutOfRangeError):
        take(strict, 1, eventually)
    lenient = make_consumer(topic)
    lenient.seek(TopicPartition(topic, 0), 1000)
    assert take(lenient, 1, eventually)[0].offset == 0


def settle(consumers, each, eventually):
    """Polls the members at the same time until each has so many partitions and none is with two."""

    def settled():
        with ThreadPoolExecutor() as threads:
            list(threads.map(lambda consumer: consumer.poll(POLL_MS), consumers))
        had = [{part.partition for part in consumer.assignment()} for consumer in consumers]
        return all(len(one) == each for one in had) and len(set().union(*had)) == each * len(consumers)

    eventually(f"{each} partitions for each of {len(consumers)} members", settled)


@pytest.mark.parametrize("assignor", ASSIGNORS, ids=lambda assignor: assignor.name)
def test_members_share_the_partitions_and_hand_them_over(bootstrap, make_topic, make_consumer, name, eventually, assignor):
    topic, group = make_topic(6), name("group")
    members = [make_consumer(topic, group_id=group, partition_assignment_strategy=[assignor]) for _ in range(3)]
    settle(members, 2, eventually)
    members[0].close()
    settle(members[1:], 3, eventually)
    produce(bootstrap, topic, [{"value": b"x", "partition": at % 6} for at in range(60)])
    seen = []

    def all_seen():
        for member in members[1:]:
            for records in member.poll(POLL_MS // 10).values():
                seen.extend((record.partition, record.offset) for record in records)
        return len(seen) >= 60

    eventually("every record at one of the two", all_seen)
    assert sorted(seen) == [(partition, offset) for partition in range(6) for offset in range(10)]


def test_a_static_member_comes_back_without_a_rebalance(make_topic, make_consumer, name, eventually):
    topic, group = make_topic(4), name("group")

    def member(instance):
        return make_consumer(topic, group_id=group, group_instance_id=instance, session_timeout_ms=20_000)

    stays, leaves = member("stays"), member("leaves")
    settle([stays, leaves], 2, eventually)
    had, before = leaves.assignment(), stays.group_metadata().generation_id
    leaves.close()
    returns = member("leaves")
    settle([stays, returns], 2, eventually)
    assert returns.assignment() == had
    assert stays.group_metadata().generation_id == before


def test_a_member_that_dies_loses_its_partitions(make_topic, make_consumer, name, eventually):
    topic, group = make_topic(4), name("group")
    stays = make_consumer(topic, group_id=group)
    dies = make_consumer(topic, group_id=group, max_poll_interval_ms=3000)
    settle([stays, dies], 2, eventually)
    settle([stays], 4, eventually)


def test_committed_offsets_are_where_the_next_member_begins(bootstrap, make_topic, make_consumer, name, eventually):
    topic, group = make_topic(), name("group")
    partition = TopicPartition(topic, 0)
    produce(bootstrap, topic, [b"%d" % at for at in range(20)])
    first = make_consumer(topic, group_id=group)
    take(first, 5, eventually)
    first.commit({partition: OffsetAndMetadata(7, "note", -1)})
    assert first.committed(partition, metadata=True).metadata == "note"
    done = []
    first.commit_async({partition: OffsetAndMetadata(8, "", -1)}, callback=lambda _offsets, outcome: done.append(outcome))

    def polled():
        first.poll(20)
        return done

    eventually("the callback", polled)
    first.close()
    second = make_consumer(topic, group_id=group)
    assert take(second, 1, eventually)[0].value == b"8"


def test_a_pattern_sees_a_topic_that_is_created_later(bootstrap, admin, make_consumer, name, eventually):
    prefix = name("pattern")
    consumer = make_consumer(group_id=name("group"))
    consumer.subscribe(pattern=f"^{prefix}-.*")
    seen = set()

    def sees(value):
        for records in consumer.poll(POLL_MS).values():
            seen.update(values(records))
        return value in seen

    for ending in (b"one", b"two"):
        topic = f"{prefix}-{ending.decode()}"
        admin.create_topics({topic: {"num_partitions": 1, "replication_factor": 1}}, wait_for_metadata=True)
        produce(bootstrap, topic, [ending])
        eventually(f"the record of {topic}", lambda ending=ending: sees(ending))


def test_topics_are_created_described_grown_and_deleted(admin, make_topic, eventually):
    topic = make_topic(2)
    assert topic in admin.list_topics()
    assert len(admin.describe_topics([topic])[0]["partitions"]) == 2
    admin.create_partitions({topic: 5})
    eventually("five partitions", lambda: len(admin.describe_topics([topic])[0]["partitions"]) == 5)
    admin.delete_topics([topic])
    eventually("the topic is gone", lambda: topic not in admin.list_topics())


def test_what_cannot_be_done_to_a_topic_is_refused(admin, make_topic, name):
    def create(topic, partitions=1, replicas=1, **configs):
        configs = {key.replace("_", "."): value for key, value in configs.items()}
        admin.create_topics({topic: {"num_partitions": partitions, "replication_factor": replicas, "configs": configs}})

    for refused, attempt in [
        (error.TopicAlreadyExistsError, lambda: create(make_topic())),
        (error.InvalidTopicError, lambda: create("not a name!")),
        (error.InvalidPartitionsError, lambda: create(name(), partitions=0)),
        (error.InvalidReplicationFactorError, lambda: create(name(), replicas=4)),
        (error.InvalidConfigurationError, lambda: create(name(), retention_ms="soon")),
        (error.InvalidConfigurationError, lambda: create(name(), no_such_key="1")),
        (error.UnknownTopicOrPartitionError, lambda: admin.delete_topics([name("nobody")])),
        (error.InvalidPartitionsError, lambda: admin.create_partitions({make_topic(3): 2})),
    ]:
        with pytest.raises(refused):
            attempt()


@pytest.mark.parametrize("incremental", [True, False], ids=["incremental", "legacy"])
def test_a_config_is_changed_and_seen(admin, make_topic, incremental):
    topic = make_topic()

    def value(key):
        found = admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)], config_filter="all")
        return found["topic"][topic][key]["value"]

    change = ConfigResource(ConfigResourceType.TOPIC, topic, configs={"max.message.bytes": "5555"})
    admin.alter_configs([change], incremental=incremental)
    assert value("max.message.bytes") == "5555"
    assert value("retention.ms") == "604800000"


def test_offsets_are_listed_and_records_deleted(bootstrap, admin, make_topic, make_consumer, eventually):
    topic = make_topic()
    partition = TopicPartition(topic, 0)
    start = int(time.time() * 1000) - 60_000
    produce(bootstrap, topic, [{"value": b"x", "timestamp_ms": start + at * 1000} for at in range(10)])
    wanted = [OffsetSpec.EARLIEST, OffsetSpec.LATEST, OffsetSpec.MAX_TIMESTAMP, start + 3500]
    assert [admin.list_partition_offsets({partition: spec})[partition].offset for spec in wanted] == [0, 10, 9, 4]
    assert admin.delete_records({partition: 6})[partition]["low_watermark"] == 6
    assert take(make_consumer(topic), 1, eventually)[0].offset == 6


def test_a_group_is_listed_described_moved_and_deleted(bootstrap, admin, make_topic, make_consumer, name, eventually):
    topic, group = make_topic(), name("group")
    partition = TopicPartition(topic, 0)
    produce(bootstrap, topic, [b"x"] * 10)
    consumer = make_consumer(topic, group_id=group)
    take(consumer, 10, eventually)
    assert group in [one["group_id"] for one in admin.list_groups()]
    described = admin.describe_groups([group])[group]
    assert described["group_state"] == "Stable" and len(described["members"]) == 1
    consumer.close()
    admin.alter_group_offsets(group, {partition: OffsetAndMetadata(5, "", -1)})
    assert admin.list_group_offsets(group)[group][partition].offset == 5
    admin.delete_group_offsets(group, [partition])
    assert partition not in admin.list_group_offsets(group)[group]
    admin.delete_groups([group])
    assert group not in [one["group_id"] for one in admin.list_groups()]


def test_the_cluster_describes_itself(bootstrap, admin, make_topic):
    topic = make_topic()
    partition = TopicPartition(topic, 0)
    produce(bootstrap, topic, [b"x" * 100], enable_idempotence=True)
    cluster = admin.describe_cluster()
    assert cluster["cluster_id"] and sorted(f'{broker["host"]}:{broker["port"]}' for broker in cluster["brokers"]) == sorted(bootstrap.split(","))
    assert topic in str(admin.describe_log_dirs([topic]))
    assert len(admin.describe_producers([partition])[partition].active_producers) == 1
    assert "leader_epoch" in str(admin.describe_metadata_quorum())
    for feature in admin.describe_features().values():
        assert "finalized" not in feature or feature["finalized"][1] <= feature["supported"][1]
