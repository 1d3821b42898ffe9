"""Produces the corpus with librdkafka: each line of the file to the partition that its first digit names.

produce.py BOOTSTRAP TOPIC FILE PARTITIONS; creates the topic, ends with 0 when every line is acknowledged.
"""

import sys
import time

from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

bootstrap, topic, path, partitions = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])

admin = AdminClient({"bootstrap.servers": bootstrap})
for future in admin.create_topics([NewTopic(topic, partitions, 1)]).values():
    future.result(30)

# Slow enough that deaths come in the middle of the work, however fast the server is.
BYTES_PER_SECOND = 6_000_000

acknowledged = 0
errors = []


def delivered(error, message):
    global acknowledged
    if error is None:
        acknowledged += 1
        if acknowledged % 100_000 == 0:
            print(acknowledged, "acknowledged", flush=True)
    elif len(errors) < 10:
        errors.append(str(error))


producer = Producer(
    {
        "bootstrap.servers": bootstrap,
        "enable.idempotence": True,
        "compression.type": "lz4",
        "linger.ms": 20,
        "message.timeout.ms": 240_000,
        "queue.buffering.max.messages": 20_000,
    }
)

lines = 0
sent_bytes = 0
start = time.monotonic()
with open(path, "rb") as corpus:
    for line in corpus:
        lines += 1
        sent_bytes += len(line)
        while sent_bytes > (time.monotonic() - start) * BYTES_PER_SECOND:
            producer.poll(0.01)
        while True:
            try:
                producer.produce(topic, line[:-1], partition=line[0] - ord("0"), on_delivery=delivered)
                break
            except BufferError:
                producer.poll(0.5)
        producer.poll(0)
        if errors:
            break

producer.flush(240)
print(acknowledged, "of", lines, "acknowledged;", errors, flush=True)
sys.exit(0 if acknowledged == lines and not errors else 1)
