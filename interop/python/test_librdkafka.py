"""librdkafka, through confluent-kafka."""

import os
import time

import pytest
from confluent_kafka import (
    OFFSET_BEGINNING,
    OFFSET_END,
    TIMESTAMP_CREATE_TIME,
    TIMESTAMP_LOG_APPEND_TIME,
    Consumer,
    ConsumerGroupTopicPartitions,
    KafkaError,
    KafkaException,
    Producer,
    TopicPartition,
)
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ConfigSource,
    NewPartitions,
    NewTopic,
    OffsetSpec,
    ResourceType,
)

CODECS = ["none", "gzip", "snappy", "lz4", "zstd"]


@pytest.fixture
def admin(bootstrap):
    return AdminClient({"bootstrap.servers": bootstrap})


@pytest.fixture
def make_topic(admin, name, eventually):
    def make(partitions=1, **config):
        topic = name()
        config = {key.replace("_", "."): value for key, value in config.items()}
        done(admin.create_topics([NewTopic(topic, partitions, 1, config=config)]))

        def online():
            try:
                offsets(admin, topic, range(partitions), OffsetSpec.latest())
                return True
            except KafkaException:
                return False

        eventually("the topic is online", online)
        return topic

    return make


@pytest.fixture
def make_consumer(bootstrap, name):
    made = []

    def make(group=None, **overrides):
        config = {
            "bootstrap.servers": bootstrap,
            "group.id": group or name("group"),
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            "session.timeout.ms": 6000,
            "heartbeat.interval.ms": 500,
            "topic.metadata.refresh.interval.ms": 1000,
            "fetch.wait.max.ms": 100,
        }
        config.update({key.replace("_", "."): value for key, value in overrides.items()})
        made.append(Consumer(config))
        return made[-1]

    yield make
    for consumer in made:
        consumer.close()


def done(futures):
    """The results of an administrator's call, by what was asked for."""
    return {key: future.result(30) for key, future in futures.items()}


def offsets(admin, topic, partitions, spec):
    found = done(admin.list_offsets({TopicPartition(topic, partition): spec for partition in partitions}))
    return {key.partition: result.offset for key, result in found.items()}


def produce(bootstrap, topic, messages, **overrides):
    """Produces dictionaries of arguments or plain values; gives the delivered messages in the order of delivery."""
    config = {"bootstrap.servers": bootstrap, "linger.ms": 5}
    config.update({key.replace("_", "."): value for key, value in overrides.items()})
    producer = Producer(config)
    delivered, errors = [], []

    def report(error, message):
        delivered.append(message) if error is None else errors.append(error)

    for message in messages:
        arguments = message if isinstance(message, dict) else {"value": message}
        producer.produce(topic, on_delivery=report, **arguments)
    assert producer.flush(30) == 0
    if errors:
        raise KafkaException(errors[0])
    return delivered


def take(consumer, count, eventually):
    messages = []

    def poll():
        for message in consumer.consume(count - len(messages), 0.1):
            if message.error():
                raise KafkaException(message.error())
            messages.append(message)
        return len(messages) >= count

    eventually(f"{count} messages", poll)
    return messages


def read(make_consumer, topic, count, eventually, partition=0):
    consumer = make_consumer()
    consumer.assign([TopicPartition(topic, partition, OFFSET_BEGINNING)])
    return take(consumer, count, eventually)


def code(failure):
    return failure.value.args[0].code()


@pytest.mark.parametrize("codec", CODECS)
def test_each_codec_is_read_as_it_was_written(bootstrap, make_topic, make_consumer, eventually, codec):
    topic = make_topic()
    sent = [b"%d " % number + b"word " * (number % 40) for number in range(500)]
    produce(bootstrap, topic, sent, compression_type=codec)
    assert [message.value() for message in read(make_consumer, topic, 500, eventually)] == sent


@pytest.mark.parametrize("acks", ["0", "1", "all"])
def test_everything_arrives_with_acks(bootstrap, make_topic, make_consumer, eventually, acks):
    topic = make_topic()
    sent = [b"%d" % number for number in range(200)]
    produce(bootstrap, topic, sent, acks=acks)
    assert [message.value() for message in read(make_consumer, topic, 200, eventually)] == sent


def test_keys_headers_and_nulls_survive(bootstrap, make_topic, make_consumer, eventually):
    topic = make_topic()
    headers = [("trace", b"1"), ("trace", b"2"), ("empty", b""), ("none", None)]
    produce(
        bootstrap,
        topic,
        [
            {"key": "k\u00e9y", "value": b"\x00\xff", "headers": headers},
            {"value": b"no key"},
            {"key": b"tombstone"},
            {"key": b"", "value": b""},
        ],
    )
    messages = read(make_consumer, topic, 4, eventually)
    assert [(message.key(), message.value()) for message in messages] == [
        ("k\u00e9y".encode(), b"\x00\xff"),
        (None, b"no key"),
        (b"tombstone", None),
        (b"", b""),
    ]
    assert messages[0].headers() == headers
    assert messages[1].headers() is None


def test_an_idempotent_producer_writes_each_message_once_and_in_order(bootstrap, make_topic, make_consumer, eventually):
    topic = make_topic()
    sent = [b"%d" % number for number in range(3000)]
    produce(bootstrap, topic, sent, enable_idempotence=True, batch_num_messages=20, linger_ms=0)
    messages = read(make_consumer, topic, 3000, eventually)
    assert [message.value() for message in messages] == sent
    assert messages[-1].offset() == 2999


def test_a_message_above_the_clients_limit_is_refused_by_the_client(bootstrap, make_topic):
    topic = make_topic()
    with pytest.raises(KafkaException) as failure:
        produce(bootstrap, topic, [b"x" * 2_000_000])
    assert code(failure) == KafkaError.MSG_SIZE_TOO_LARGE


def test_a_message_above_the_topics_limit_is_refused_by_the_broker(bootstrap, make_topic, make_consumer, eventually):
    topic = make_topic(max_message_bytes="10000")
    with pytest.raises(KafkaException) as failure:
        produce(bootstrap, topic, [b"x" * 20_000])
    assert code(failure) == KafkaError.MSG_SIZE_TOO_LARGE
    produce(bootstrap, topic, [b"fits"])
    assert read(make_consumer, topic, 1, eventually)[0].value() == b"fits"


def test_a_large_message_passes_where_the_topic_allows_it(bootstrap, make_topic, make_consumer, eventually):
    topic = make_topic(max_message_bytes="4000000")
    value = bytes(range(256)) * 12_000
    produce(bootstrap, topic, [value], message_max_bytes=4_000_000)
    assert read(make_consumer, topic, 1, eventually)[0].value() == value


def test_timestamps_are_the_producers_or_the_logs(bootstrap, make_topic, make_consumer, eventually):
    own = int(time.time() * 1000) - 60_000
    created, appended = make_topic(), make_topic(message_timestamp_type="LogAppendTime")
    for topic in (created, appended):
        produce(bootstrap, topic, [{"value": b"x", "timestamp": own}])
    assert read(make_consumer, created, 1, eventually)[0].timestamp() == (TIMESTAMP_CREATE_TIME, own)
    kind, when = read(make_consumer, appended, 1, eventually)[0].timestamp()
    assert kind == TIMESTAMP_LOG_APPEND_TIME and when > own + 50_000


def test_a_topic_is_created_by_its_first_use(bootstrap, name, make_consumer, eventually):
    topic = name("automatic")
    produce(bootstrap, topic, [b"first"])
    assert read(make_consumer, topic, 1, eventually)[0].value() == b"first"


def test_a_position_can_be_sought_and_watermarks_are_known(bootstrap, make_topic, make_consumer, eventually):
    topic = make_topic()
    produce(bootstrap, topic, [b"%d" % number for number in range(100)])
    consumer = make_consumer()
    consumer.assign([TopicPartition(topic, 0, 42)])
    assert take(consumer, 1, eventually)[0].value() == b"42"
    consumer.seek(TopicPartition(topic, 0, 7))
    assert take(consumer, 1, eventually)[0].value() == b"7"
    assert consumer.get_watermark_offsets(TopicPartition(topic, 0), timeout=10) == (0, 100)
    consumer.assign([TopicPartition(topic, 0, OFFSET_END)])
    assert consumer.consume(1, 0.5) == []


def test_a_time_finds_the_first_message_at_or_after_it(bootstrap, make_topic, make_consumer):
    topic = make_topic()
    start = int(time.time() * 1000) - 60_000
    produce(bootstrap, topic, [{"value": b"x", "timestamp": start + number * 1000} for number in range(10)])
    consumer = make_consumer()

    def at(when):
        return consumer.offsets_for_times([TopicPartition(topic, 0, when)], timeout=10)[0].offset

    assert [at(start + 2500), at(start + 3000), at(1), at(start + 9001)] == [3, 3, 0, OFFSET_END]


def test_an_offset_out_of_range_is_an_error_or_a_reset(bootstrap, make_topic, make_consumer, eventually):
    topic = make_topic()
    produce(bootstrap, topic, [b"0"])
    strict = make_consumer(auto_offset_reset="error")
    strict.assign([TopicPartition(topic, 0, 1000)])
    with pytest.raises(KafkaException) as failure:
        take(strict, 1, eventually)
    assert code(failure) in (KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE)
    lenient = make_consumer()
    lenient.assign([TopicPartition(topic, 0, 1000)])
    assert take(lenient, 1, eventually)[0].offset() == 0


def test_a_paused_partition_is_silent_until_it_is_resumed(bootstrap, make_topic, make_consumer, eventually):
    topic = make_topic(2)
    produce(bootstrap, topic, [{"value": b"x", "partition": number % 2} for number in range(20)])
    consumer = make_consumer()
    consumer.assign([TopicPartition(topic, partition, OFFSET_BEGINNING) for partition in (0, 1)])
    consumer.pause([TopicPartition(topic, 0)])
    assert {message.partition() for message in take(consumer, 10, eventually)} == {1}
    consumer.resume([TopicPartition(topic, 0)])
    assert {message.partition() for message in take(consumer, 10, eventually)} == {0}


def settle(consumers, each, eventually):
    """Polls the members in turn until each has so many partitions and none is with two; gives what came on the way."""
    messages = []

    def settled():
        for consumer in consumers:
            if (message := consumer.poll(0.02)) is not None and not message.error():
                messages.append(message)
        had = [{part.partition for part in consumer.assignment()} for consumer in consumers]
        return all(len(one) == each for one in had) and len(set().union(*had)) == each * len(consumers)

    eventually(f"{each} partitions for each of {len(consumers)} members", settled)
    return messages


@pytest.mark.parametrize("strategy", ["range", "roundrobin", "cooperative-sticky"])
def test_members_share_the_partitions_and_hand_them_over(bootstrap, make_topic, make_consumer, name, eventually, strategy):
    topic, group = make_topic(6), name("group")
    members = [make_consumer(group, partition_assignment_strategy=strategy) for _ in range(3)]
    for member in members:
        member.subscribe([topic])
    settle(members, 2, eventually)
    members[0].unsubscribe()
    settle(members[1:], 3, eventually)
    produce(bootstrap, topic, [{"value": b"x", "partition": number % 6} for number in range(60)])
    seen = []

    def all_seen():
        for member in members[1:]:
            seen.extend((message.partition(), message.offset()) for message in member.consume(60, 0.05))
        return len(seen) >= 60

    eventually("every message at one of the two", all_seen)
    assert sorted(seen) == sorted((partition, offset) for partition in range(6) for offset in range(10))


def test_a_static_member_comes_back_without_a_rebalance(make_topic, make_consumer, name, eventually):
    topic, group = make_topic(4), name("group")
    rebalances = []
    stays = make_consumer(group, group_instance_id="stays", session_timeout_ms=20_000)
    stays.subscribe([topic], on_assign=lambda _consumer, parts: rebalances.append(len(parts)))
    leaves = make_consumer(group, group_instance_id="leaves", session_timeout_ms=20_000)
    leaves.subscribe([topic])
    settle([stays, leaves], 2, eventually)
    had, before = leaves.assignment(), len(rebalances)
    leaves.close()
    returns = make_consumer(group, group_instance_id="leaves", session_timeout_ms=20_000)
    returns.subscribe([topic])
    settle([stays, returns], 2, eventually)
    assert sorted(part.partition for part in returns.assignment()) == sorted(part.partition for part in had)
    assert len(rebalances) == before


def test_a_member_that_dies_loses_its_partitions(make_topic, make_consumer, name, eventually):
    topic, group = make_topic(4), name("group")
    stays = make_consumer(group)
    # A static member does not say that it leaves: for the group it just falls silent.
    dies = make_consumer(group, group_instance_id="dies")
    for member in (stays, dies):
        member.subscribe([topic])
    settle([stays, dies], 2, eventually)
    dies.close()
    settle([stays], 4, eventually)


def test_committed_offsets_are_where_the_next_member_begins(bootstrap, make_topic, make_consumer, name, eventually):
    topic, group = make_topic(), name("group")
    produce(bootstrap, topic, [b"%d" % number for number in range(20)])
    first = make_consumer(group)
    first.subscribe([topic])
    message = take(first, 7, eventually)[-1]
    assert first.commit(message, asynchronous=False)[0].offset == 7
    assert first.committed([TopicPartition(topic, 0)], timeout=10)[0].offset == 7
    first.close()
    second = make_consumer(group)
    second.subscribe([topic])
    assert take(second, 1, eventually)[0].value() == b"7"


def test_a_pattern_sees_a_topic_that_is_created_later(bootstrap, admin, make_consumer, name, eventually):
    prefix = name("pattern")
    consumer = make_consumer()
    consumer.subscribe([f"^{prefix}-.*"])
    for ending in ("one", "two"):
        done(admin.create_topics([NewTopic(f"{prefix}-{ending}", 1, 1)]))
        produce(bootstrap, f"{prefix}-{ending}", [ending.encode()])

    seen = set()

    def both():
        if (message := consumer.poll(0.1)) is not None and not message.error():
            seen.add(message.value())
        return seen == {b"one", b"two"}

    eventually("messages of both topics", both)


def test_topics_are_created_described_grown_and_deleted(admin, make_topic, eventually):
    topic = make_topic(2)
    metadata = admin.list_topics(topic, timeout=10).topics[topic]
    assert len(metadata.partitions) == 2 and all(part.isrs == [part.leader] for part in metadata.partitions.values())
    done(admin.create_partitions([NewPartitions(topic, 5)]))
    eventually("five partitions", lambda: len(admin.list_topics(topic, timeout=10).topics[topic].partitions) == 5)
    done(admin.delete_topics([topic]))
    eventually("the topic is gone", lambda: topic not in admin.list_topics(timeout=10).topics)


@pytest.mark.parametrize(
    ("partitions", "replicas", "config", "expected"),
    [
        (1, 5, {}, KafkaError.INVALID_REPLICATION_FACTOR),
        (1, 1, {"no.such.key": "1"}, KafkaError.INVALID_CONFIG),
        (1, 1, {"retention.ms": "soon"}, KafkaError.INVALID_CONFIG),
    ],
)
def test_a_topic_that_cannot_be_is_refused(admin, name, partitions, replicas, config, expected):
    with pytest.raises(KafkaException) as failure:
        done(admin.create_topics([NewTopic(name(), partitions, replicas, config=config)]))
    assert code(failure) == expected


def test_a_topic_that_exists_or_does_not_is_refused(admin, make_topic, name):
    with pytest.raises(KafkaException) as failure:
        done(admin.create_topics([NewTopic(make_topic(), 1, 1)]))
    assert code(failure) == KafkaError.TOPIC_ALREADY_EXISTS
    with pytest.raises(KafkaException) as failure:
        done(admin.delete_topics([name("nobody")]))
    assert code(failure) == KafkaError.UNKNOWN_TOPIC_OR_PART
    with pytest.raises(KafkaException) as failure:
        done(admin.create_topics([NewTopic("not a name!", 1, 1)]))
    assert code(failure) == KafkaError.TOPIC_EXCEPTION


def test_a_config_is_changed_and_seen(admin, make_topic, eventually):
    topic = make_topic()

    def entry(key):
        return list(done(admin.describe_configs([ConfigResource(ResourceType.TOPIC, topic)])).values())[0][key]

    assert entry("retention.ms").source == ConfigSource.DEFAULT_CONFIG.value
    change = ConfigEntry("retention.ms", "1234567", incremental_operation=AlterConfigOpType.SET)
    done(admin.incremental_alter_configs([ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[change])]))

    # Whichever node is asked tells what it knows of: on a cluster it learns of a change a moment later.
    def seen():
        found = entry("retention.ms")
        return found.value == "1234567" and found.source == ConfigSource.DYNAMIC_TOPIC_CONFIG.value

    eventually("the change is seen", seen)


def test_offsets_are_listed_and_records_deleted(bootstrap, admin, make_topic, make_consumer, eventually):
    topic = make_topic()
    start = int(time.time() * 1000) - 60_000
    produce(bootstrap, topic, [{"value": b"%d" % number, "timestamp": start + number * 1000} for number in range(10)])
    wanted = [OffsetSpec.earliest(), OffsetSpec.latest(), OffsetSpec.max_timestamp(), OffsetSpec.for_timestamp(start + 3500)]
    assert [offsets(admin, topic, [0], spec)[0] for spec in wanted] == [0, 10, 9, 4]
    deleted = done(admin.delete_records([TopicPartition(topic, 0, 6)]))
    assert [result.low_watermark for result in deleted.values()] == [6]
    assert read(make_consumer, topic, 1, eventually)[0].offset() == 6


def test_a_group_is_listed_described_moved_and_deleted(bootstrap, admin, make_topic, make_consumer, name, eventually):
    topic, group = make_topic(2), name("group")
    consumer = make_consumer(group)
    consumer.subscribe([topic])
    settle([consumer], 2, eventually)
    consumer.commit(offsets=[TopicPartition(topic, 0, 0)], asynchronous=False)
    assert group in [one.group_id for one in admin.list_consumer_groups().result(30).valid]
    described = done(admin.describe_consumer_groups([group]))[group]
    assert described.state.name == "STABLE"
    assert sorted(part.partition for part in described.members[0].assignment.topic_partitions) == [0, 1]
    with pytest.raises(KafkaException) as failure:
        done(admin.delete_consumer_groups([group]))
    assert code(failure) == KafkaError.NON_EMPTY_GROUP
    consumer.close()
    moved = ConsumerGroupTopicPartitions(group, [TopicPartition(topic, 0, 5)])
    done(admin.alter_consumer_group_offsets([moved]))
    listed = done(admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(group)]))[group]
    assert [(part.partition, part.offset) for part in listed.topic_partitions] == [(0, 5)]
    done(admin.delete_consumer_groups([group]))
    assert group not in [one.group_id for one in admin.list_consumer_groups().result(30).valid]
    with pytest.raises(KafkaException) as failure:
        done(admin.delete_consumer_groups([group]))
    assert code(failure) == KafkaError.GROUP_ID_NOT_FOUND


def test_the_cluster_is_described(admin):
    cluster = admin.describe_cluster().result(30)
    assert sorted(f"{node.host}:{node.port}" for node in cluster.nodes) == sorted(os.environ["BOOTSTRAP"].split(","))
    assert cluster.cluster_id and cluster.controller.id in [node.id for node in cluster.nodes]


def test_records_with_a_delay_arrive_at_their_time(admin, bootstrap, make_topic, make_consumer):
    try:
        topic = make_topic(duolog_delay_enable="true")
    except KafkaException as refused:
        assert refused.args[0].code() == KafkaError.INVALID_CONFIG
        pytest.skip("this server does not delay records of Kafka's producers")
    delivered = []
    producer = Producer({"bootstrap.servers": bootstrap, "enable.idempotence": True, "linger.ms": 50})
    before = time.time()
    for number in range(20):
        if number == 1:
            # From now on the producer is quick.
            assert producer.flush(30) == 0
        headers = [("duolog-deliver-after-ms", b"2000"), ("n", str(number))] if number % 2 else [("n", str(number))]
        producer.produce(topic, str(number), headers=headers, on_delivery=lambda error, message: delivered.append((error, message.offset())))
    assert producer.flush(30) == 0
    assert delivered == [(None, offset) for offset in range(20)]
    consumer = make_consumer()
    consumer.assign([TopicPartition(topic, 0, OFFSET_BEGINNING)])
    found, deadline = [], time.monotonic() + 30
    while len(found) < 20 and time.monotonic() < deadline:
        message = consumer.poll(0.1)
        if message is not None and message.error() is None:
            found.append((int(message.value()), time.time(), message.headers()))
    assert [value for value, _, _ in found] == [*range(0, 20, 2), *range(1, 20, 2)]
    assert all(at - before >= 2 for value, at, _ in found if value % 2)
    assert all(headers == [("n", str(value).encode())] for value, _, headers in found)


def test_a_delay_that_is_no_number_is_refused(bootstrap, make_topic):
    try:
        topic = make_topic(duolog_delay_enable="true")
    except KafkaException as refused:
        assert refused.args[0].code() == KafkaError.INVALID_CONFIG
        pytest.skip("this server does not delay records of Kafka's producers")
    errors = []
    producer = Producer({"bootstrap.servers": bootstrap})
    producer.produce(topic, "v", headers=[("duolog-deliver-at", b"soon")], on_delivery=lambda error, _: errors.append(error))
    assert producer.flush(30) == 0
    assert [error.code() for error in errors] == [KafkaError.INVALID_RECORD]
