"""Scenarios for RocketMQ's Python client of the gRPC protocol. A Kafka client looks at the topics, unless the server has no Kafka."""

import threading
import uuid

import pytest
from confluent_kafka import Consumer, TopicPartition
from conftest import BOOTSTRAP, CONTROL, ENDPOINTS, restart_server
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
    TransactionChecker,
    TransactionResolution,
)
from rocketmq.v5.exception import InternalErrorException

# The shortest that Apache's proxy allows.
INVISIBLE_SECONDS = 10
BEYOND_THE_TEST_SECONDS = 3600


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
def push(opened, make_group):
    """A function that starts a push consumer; gives the list in which it collects."""

    def make(topic):
        received = []
        lock = threading.Lock()

        class Listener(MessageListener):
            def consume(self, one):
                with lock:
                    received.append(one)
                return ConsumeResult.SUCCESS

        made = PushConsumer(configuration(), make_group(), Listener(), {topic: FilterExpression()})
        made.startup()
        opened.append(made)
        return received

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


def cross_read(topic, received, receipts, eventually):
    """A Kafka consumer finds what was received with the same value, and what was sent at the offset that the receipt names."""
    if not BOOTSTRAP:
        return
    consumer = Consumer({"bootstrap.servers": BOOTSTRAP, "group.id": str(uuid.uuid4()), "auto.offset.reset": "earliest"})
    partitions = consumer.list_topics(topic, 10).topics[topic].partitions
    consumer.assign([TopicPartition(topic, partition, 0) for partition in partitions])
    count = sum(consumer.get_watermark_offsets(TopicPartition(topic, partition))[1] for partition in partitions)
    records = []

    def attempt():
        records.extend(record for record in consumer.consume(100, 0.2) if not record.error())
        return len(records) >= count

    eventually("all records", attempt)
    consumer.close()
    keys = [dict(record.headers())["UNIQ_KEY"].decode() for record in records]
    values = {(key, record.value()) for key, record in zip(keys, records, strict=True)}
    places = {(key, record.offset()) for key, record in zip(keys, records, strict=True)}
    assert received and {(one.message_id, one.body) for one in received} <= values
    assert receipts and {(receipt.message_id, receipt.offset) for receipt in receipts} <= places


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
    cross_read(topic, taken, receipts, eventually)


def test_everything_a_message_carries_arrives(make_topic, producer, simple, eventually):
    topic = make_topic()
    receipt = producer(topic).send(message(topic, "\u6f22 body", tag="tag", keys=("one", "two"), colour="gr\u00fcn"))
    [one] = take(simple(topic), 1, eventually)
    assert (one.body.decode(), one.tag, one.topic) == ("\u6f22 body", "tag", topic)
    assert sorted(one.keys) == ["one", "two"]
    assert one.properties["colour"] == "gr\u00fcn"
    cross_read(topic, [one], [receipt], eventually)


def test_a_transaction_is_seen_once_it_is_committed_and_asked_about_otherwise(make_topic, opened, producer, simple, eventually):
    topic = make_topic(1)
    asked = set()

    class Checker(TransactionChecker):
        def check(self, one):
            asked.add(one.body.decode())
            return TransactionResolution.COMMIT if one.body == b"asked" else TransactionResolution.TRANSACTION_RESOLUTION_UNSPECIFIED

    sender = Producer(configuration(), (topic,), Checker())
    sender.startup()
    opened.append(sender)

    def prepare(body):
        transaction = sender.begin_transaction()
        sender.send(message(topic, body, keys=("key",)), transaction)
        return transaction

    lost, kept = prepare("lost"), prepare("kept")
    lost.rollback()
    consumer = simple(topic)
    assert not consumer.receive(16, INVISIBLE_SECONDS)
    kept.commit()
    prepare("asked")
    plain = producer(topic).send(message(topic, "plain"))
    taken = take(consumer, 3, eventually)
    assert sorted(one.body.decode() for one in taken) == ["asked", "kept", "plain"]
    assert "asked" in asked
    cross_read(topic, taken, [plain], eventually)


def test_tags_filter(make_topic, producer, simple, eventually):
    topic = make_topic()
    sender = producer(topic)
    receipts = []
    for number in range(9):
        tag = ["red", "green", "blue"][number % 3]
        receipts.append(sender.send(message(topic, f"{tag}{number}", tag=tag)))
    taken = take(simple(topic, FilterExpression("red || blue")), 6, eventually)
    assert {one.tag for one in taken} == {"red", "blue"}
    cross_read(topic, taken, receipts, eventually)


def test_what_is_not_acknowledged_comes_again(make_topic, producer, simple, eventually):
    topic = make_topic(1)
    receipt = producer(topic).send(message(topic, "again"))
    consumer = simple(topic)
    attempts = []
    received = []

    def twice():
        for one in consumer.receive(16, INVISIBLE_SECONDS) or []:
            attempts.append(one.delivery_attempt)
            received.append(one)
            if len(attempts) == 2:
                consumer.ack(one)
        return len(attempts) >= 2

    eventually("it comes twice", twice)
    assert attempts == [1, 2]
    cross_read(topic, received, [receipt], eventually)


def bodies_of(received):
    return {one.body.decode() for one in list(received)}


def test_a_push_consumer_receives(make_topic, producer, push, eventually):
    topic = make_topic()
    received = push(topic)
    sender = producer(topic)
    expected = {str(number) for number in range(20)}
    receipts = [sender.send(message(topic, body)) for body in expected]
    eventually("all messages", lambda: bodies_of(received) == expected)
    cross_read(topic, received, receipts, eventually)


if CONTROL:

    def test_what_is_acknowledged_does_not_come_again_after_kill(make_topic, producer, simple, eventually):
        topic = make_topic()
        sender = producer(topic)
        for number in range(60):
            sender.send(message(topic, str(number)))
        consumer = simple(topic)
        acknowledged, kept, again = set(), set(), set()

        def every_second():
            for one in consumer.receive(16, BEYOND_THE_TEST_SECONDS) or []:
                if len(kept) > len(acknowledged):
                    consumer.ack(one)
                    acknowledged.add(one.body.decode())
                else:
                    kept.add(one.body.decode())
            return len(acknowledged) + len(kept) >= 60

        eventually("all messages", every_second)
        restart_server("kill")

        def what_was_kept():
            try:
                received = consumer.receive(16, BEYOND_THE_TEST_SECONDS) or []
            except Exception:  # noqa: BLE001 The next attempt tells whether the server is back.
                return False
            again.update(one.body.decode() for one in received)
            return len(again) >= len(kept)

        eventually("what was kept comes again", what_was_kept)
        assert again == kept

    @pytest.mark.parametrize("how", ["stop", "kill"])
    def test_clients_go_on_when_the_server_is_restarted(how, make_topic, producer, push, eventually):
        topic = make_topic()
        received = push(topic)
        sender = producer(topic)
        receipts = {f"before {number}": sender.send(message(topic, f"before {number}")) for number in range(100)}
        restart_server(how)

        def sends_again():
            body = f"after {len(receipts)}"
            try:
                receipts[body] = sender.send(message(topic, body))
            except Exception:  # noqa: BLE001 The next attempt tells whether the server is back.
                return False
            return len(receipts) >= 150

        eventually("sending works again", sends_again)
        eventually("everything arrives", lambda: bodies_of(received) >= set(receipts))
        cross_read(topic, received, receipts.values(), eventually)
