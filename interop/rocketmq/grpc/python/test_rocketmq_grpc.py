"""Scenarios for RocketMQ's Python client of the gRPC protocol. A Kafka client looks at the values, unless the server has no Kafka."""

import threading
import uuid

import pytest
from confluent_kafka import Consumer, TopicPartition
from conftest import BOOTSTRAP, ENDPOINTS
from rocketmq import (
    ClientConfiguration,
    ConsumeResult,
    Credentials,
    FilterExpression,
    Message,
    MessageListener,
    Producer,
    PushConsumer,
    SimpleConsumer,
)
from rocketmq.v5.exception import InternalErrorException

# The shortest that Apache's proxy allows.
INVISIBLE_SECONDS = 10


def configuration():
    return ClientConfiguration(ENDPOINTS, Credentials(), request_timeout=10)


@pytest.fixture
def opened():
    """A list of clients to shut down."""
    clients = []
    yield clients
    for client in reversed(clients):
        client.shutdown()


@pytest.fixture
def producer(opened):
    def make(topic):
        made = Producer(configuration(), (topic,))
        made.startup()
        opened.append(made)
        return made

    return make


@pytest.fixture
def simple(opened, make_group):
    def make(topic, expression=None):
        made = SimpleConsumer(configuration(), make_group(), {topic: expression or FilterExpression()}, 2)
        made.startup()
        opened.append(made)
        return made

    return make


def message(topic, body, tag=None, keys=(), **properties):
    made = Message()
    made.topic = topic
    made.body = body.encode()
    if tag:
        made.tag = tag
    for key in keys:
        # Assigning adds.
        made.keys = key
    for key, value in properties.items():
        made.add_property(key, value)
    return made


def take(consumer, count, eventually):
    """Receives and acknowledges so many, and no more."""
    taken = []

    def attempt():
        try:
            received = consumer.receive(16, INVISIBLE_SECONDS) or []
        except InternalErrorException:
            # Apache's proxy fails a request that overtakes the client's settings.
            return False
        for one in received:
            consumer.ack(one)
            taken.append(one)
        return len(taken) >= count

    eventually(f"{count} messages", attempt)
    assert len(taken) == count
    return taken


def values(topic, eventually):
    """What a Kafka consumer reads of a topic, sorted."""
    consumer = Consumer({"bootstrap.servers": BOOTSTRAP, "group.id": str(uuid.uuid4()), "auto.offset.reset": "earliest"})
    partitions = consumer.list_topics(topic, 10).topics[topic].partitions
    consumer.assign([TopicPartition(topic, partition, 0) for partition in partitions])
    left = sum(consumer.get_watermark_offsets(TopicPartition(topic, partition))[1] for partition in partitions)
    read = []

    def attempt():
        read.extend(record.value().decode() for record in consumer.consume(100, 0.2) if not record.error())
        return len(read) >= left

    eventually("all records", attempt)
    consumer.close()
    return sorted(read)


def test_sent_messages_are_received_once(make_topic, producer, simple, eventually):
    topic = make_topic()
    sender = producer(topic)
    receipts = [sender.send(message(topic, str(number))) for number in range(10)]
    receipts += [future.result(30) for future in [sender.send_async(message(topic, str(number))) for number in range(10, 20)]]
    consumer = simple(topic)
    taken = take(consumer, 20, eventually)
    bodies = sorted(str(number) for number in range(20))
    assert sorted(one.body.decode() for one in taken) == bodies
    assert {one.message_id for one in taken} == {receipt.message_id for receipt in receipts}
    assert not consumer.receive(16, INVISIBLE_SECONDS)
    if BOOTSTRAP:
        assert values(topic, eventually) == bodies


def test_everything_a_message_carries_arrives(make_topic, producer, simple, eventually):
    topic = make_topic()
    producer(topic).send(message(topic, "\u6f22 body", tag="tag", keys=("one", "two"), colour="gr\u00fcn"))
    [one] = take(simple(topic), 1, eventually)
    assert (one.body.decode(), one.tag, one.topic) == ("\u6f22 body", "tag", topic)
    assert sorted(one.keys) == ["one", "two"]
    assert one.properties["colour"] == "gr\u00fcn"


def test_tags_filter(make_topic, producer, simple, eventually):
    topic = make_topic()
    sender = producer(topic)
    for number in range(9):
        tag = ["red", "green", "blue"][number % 3]
        sender.send(message(topic, f"{tag}{number}", tag=tag))
    taken = take(simple(topic, FilterExpression("red || blue")), 6, eventually)
    assert {one.tag for one in taken} == {"red", "blue"}


def test_what_is_not_acknowledged_comes_again(make_topic, producer, simple, eventually):
    topic = make_topic(1)
    producer(topic).send(message(topic, "again"))
    consumer = simple(topic)
    attempts = []

    def twice():
        for one in consumer.receive(16, INVISIBLE_SECONDS) or []:
            attempts.append(one.delivery_attempt)
            if len(attempts) == 2:
                consumer.ack(one)
        return len(attempts) >= 2

    eventually("it comes twice", twice)
    assert attempts == [1, 2]


def test_a_push_consumer_receives(make_topic, producer, opened, make_group, eventually):
    topic = make_topic()
    bodies = set()
    lock = threading.Lock()

    class Listener(MessageListener):
        def consume(self, one):
            with lock:
                bodies.add(one.body.decode())
            return ConsumeResult.SUCCESS

    consumer = PushConsumer(configuration(), make_group(), Listener(), {topic: FilterExpression()})
    consumer.startup()
    opened.append(consumer)
    sender = producer(topic)
    expected = {str(number) for number in range(20)}
    for body in expected:
        sender.send(message(topic, body))
    eventually("all messages", lambda: bodies == expected)
