"""librdkafka as a client of a chaos run: `client.py produce|consume CLIENT ADDRESSES TOPIC PARTITIONS`.

What it does and sees goes to standard output, a line of JSON an event, each written at once: all clients of a run share one pipe,
and lines shorter than the pipe's atomic size keep their order. It stops when standard input ends.
"""

import json
import os
import sys
import threading
import time

from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition

VALUE_BYTES = 200
IN_FLIGHT = 500
LONGEST_LINE = 4000
POLL_SECONDS = 0.2
# Some 400 records a second: the run is about faults, and its checker remembers every record.
AT_ONCE = 4
PAUSE_SECONDS = 0.01
LEADER_SECONDS = 30

mode, client, addresses, topic, partitions = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4], int(sys.argv[5])
stop = threading.Event()


def wait_for_the_end_of_input():
    while os.read(0, 4096):
        pass
    stop.set()


def write(event, partition, **rest):
    line = json.dumps({"event": event, "client": client, "partition": partition, **rest}, separators=(",", ":"))
    os.write(1, line.encode("ascii") + b"\n")


def padded(value):
    return value + "." * (VALUE_BYTES - len(value))


def unpadded(text):
    """The value that was padded; anything else stays as it is, and nobody sent it."""
    value = text.split(".", 1)[0]
    return value if len(value) < VALUE_BYTES and padded(value) == text else text[:VALUE_BYTES]


def produce():
    settings = {"bootstrap.servers": addresses, "enable.idempotence": True}
    producer = Producer(settings)
    number = 0
    while not stop.is_set():
        producer.poll(0)
        if len(producer) >= IN_FLIGHT or number % AT_ONCE == 0:
            time.sleep(PAUSE_SECONDS)
        if len(producer) >= IN_FLIGHT:
            continue
        try:
            send(producer, number)
        except KafkaException as error:
            # It gives up for good when the log has forgotten what it was told; what it was given is answered first.
            write("unknown", number % partitions, value=f"{client}-{number}", why=str(error)[:200])
            producer.flush()
            producer = Producer(settings)
        number += 1
    while len(producer):
        producer.flush(POLL_SECONDS)


def send(producer, number):
    value, partition = f"{client}-{number}", number % partitions

    def delivered(error, message):
        if error is None:
            write("acked", partition, value=value, offset=message.offset())
        else:
            write("unknown", partition, value=value, why=str(error)[:200])

    write("sent", partition, value=value, sequence=number)
    producer.produce(topic, padded(value), partition=partition, on_delivery=delivered)


def consume():
    settings = {"bootstrap.servers": addresses, "group.id": f"chaos-{client}", "enable.auto.commit": False}
    consumer = Consumer({**settings, "auto.offset.reset": "earliest"})
    for partition in range(partitions):
        write("sought", partition, offset=0)
    consumer.assign([TopicPartition(topic, partition, 0) for partition in range(partitions)])
    positions = [0] * partitions
    while not stop.is_set():
        advance(consumer, positions)
    ends = [end_of(consumer, partition) for partition in range(partitions)]
    while any(position < end for position, end in zip(positions, ends)):
        advance(consumer, positions)
    for partition, end in enumerate(ends):
        write("end", partition, offset=end)
    consumer.close()


def end_of(consumer, partition):
    """While another node takes the lead, librdkafka leaves it to its user to ask again."""
    deadline = time.monotonic() + LEADER_SECONDS
    while True:
        try:
            return consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=30)[1]
        except KafkaException as error:
            if time.monotonic() > deadline:
                raise
            time.sleep(PAUSE_SECONDS)


def advance(consumer, positions):
    polled = {}
    for message in consumer.consume(500, POLL_SECONDS):
        # An error is told as a message; the client goes on by itself.
        if message.error() is None:
            record = [message.offset(), unpadded(message.value().decode("latin-1"))]
            polled.setdefault(message.partition(), []).append(record)
            positions[message.partition()] = message.offset() + 1
    for partition, records in polled.items():
        report(partition, records)


def report(partition, records):
    """In lines that are short enough."""
    most = max(1, LONGEST_LINE // (30 + max(len(value) for _, value in records)))
    for start in range(0, len(records), most):
        write("polled", partition, records=records[start : start + most])


threading.Thread(target=wait_for_the_end_of_input, daemon=True).start()
{"produce": produce, "consume": consume}[mode]()
