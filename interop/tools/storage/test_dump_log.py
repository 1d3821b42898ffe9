"""The dedicated layout and Apache Kafka's on-disk format: kafka-dump-log reads what we write, and we take over what a broker wrote."""

import os
import re
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

from conftest import JAVA, run

ROOT = Path(__file__).resolve().parents[3]
DUMP = "org.apache.kafka.tools.DumpLogSegments"
# Building the program may take minutes when nothing is built yet.
pytestmark = pytest.mark.timeout(900)
BATCH = re.compile(r"^baseOffset: (\d+) lastOffset: (\d+) count: (\d+) .*partitionLeaderEpoch: (\d+) .* crc: (\d+) isvalid: (\w+)", re.M)


@pytest.fixture(scope="session")
def dedicated():
    """A function that runs the example program of the log's crate."""
    example = ["--quiet", "--package", "duolog-log", "--example", "dedicated"]
    subprocess.run(["cargo", "build", *example], cwd=ROOT, check=True, timeout=800)

    def program(*arguments):
        done = subprocess.run(["cargo", "run", *example, "--", *map(str, arguments)], cwd=ROOT, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        return [line.split() for line in done.stdout.splitlines()]

    return program


def dump_log(directory, *options):
    """What kafka-dump-log prints for all segments, indexes and snapshots of a directory, and its complaints."""
    kinds = (".log", ".index", ".timeindex", ".txnindex", ".snapshot")
    files = sorted(str(path) for path in directory.iterdir() if path.suffix in kinds)
    assert files
    done = subprocess.run([*JAVA, DUMP, "--files", ",".join(files), *options], capture_output=True, text=True, timeout=80)
    assert done.returncode == 0, done.stderr
    # It says so of every segment that does not begin at 0, also of Kafka's own; and what the logging says is none.
    known = re.compile(r"log4j|SLF4J|Non-consecutive offsets in|^\s+-1 is followed by \d+$|^$", re.I)
    complaints = [line for line in done.stderr.splitlines() if not known.search(line)]
    return done.stdout, complaints


def batches(printed):
    """Base offset, last offset, count, leader epoch and checksum of each batch."""
    found = BATCH.findall(printed)
    assert all(valid == "true" for *_, valid in found)
    return [tuple(map(int, fields[:5])) for fields in found]


def ours(lines):
    return [(int(base), int(last), int(count), int(epoch), int(crc)) for base, last, count, epoch, _, _, crc in lines]


def test_kafka_dump_log_prints_what_we_write(dedicated, tmp_path):
    root = tmp_path / "dedicated"
    dedicated("write", root)
    directory = root / "written-0"
    printed, complaints = dump_log(directory, "--deep-iteration", "--print-data-log")
    assert complaints == []
    found = batches(printed)
    assert found == ours(dedicated("dump", directory)) == ours(dedicated("read", root, "written"))
    assert len(found) == 3000 and len(list(directory.glob("*.log"))) > 3
    assert len(re.findall(r"^offset: \d+ position: \d+$", printed, re.M)) > 50
    assert len(re.findall(r"^timestamp: \d+ offset: \d+$", printed, re.M)) > 50
    aborted = re.findall(r"^version: 0 producerId: 7 firstOffset: (\d+) lastOffset: (\d+) lastStableOffset: (\d+)$", printed, re.M)
    assert len(aborted) == 50 and all(int(stable) == int(last) + 1 > int(first) for first, last, stable in aborted)
    assert re.search(r"^producerId: 7 producerEpoch: 0 coordinatorEpoch: 3 currentTxnFirstOffset: \S+ lastTimestamp: \d+", printed, re.M)
    assert "endTxnMarker: ABORT coordinatorEpoch: 3" in printed

    printed, complaints = dump_log(directory, "--index-sanity-check")
    indexes = len(list(directory.glob("*.index"))) + len(list(directory.glob("*.timeindex")))
    assert complaints == [] and printed.count("passed sanity check.") == indexes
    _, complaints = dump_log(directory, "--verify-index-only")
    assert complaints == []


def free_ports(count):
    """Different ports that nobody listens at."""
    probes = [socket.socket() for _ in range(count)]
    for probe in probes:
        probe.bind(("127.0.0.1", 0))
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports


def java(*arguments):
    return ["-Xmx512m" if part == "-Xmx256m" else part for part in JAVA] + list(arguments)


@pytest.fixture
def kafka(tmp_path):
    """An Apache Kafka broker of its own: its address, its log directory, and how to stop it orderly."""
    (port, controller), data = free_ports(2), tmp_path / "kafka"
    properties = tmp_path / "server.properties"
    properties.write_text(
        f"""process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
controller.listener.names=CONTROLLER
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
log.dirs={data}
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.num.partitions=1
transaction.state.log.min.isr=1
"""
    )
    run(java("kafka.tools.StorageTool", "format", "--cluster-id", "ZHVvbG9nLWludGVyb3AtMQ", "--config", str(properties)))
    with open(tmp_path / "kafka.log", "wb") as log:
        broker = subprocess.Popen(java("kafka.Kafka", str(properties)), stdout=log, stderr=log)

    def stop():
        broker.send_signal(signal.SIGTERM)
        broker.wait(60)

    try:
        deadline = time.monotonic() + 90
        while socket.socket().connect_ex(("127.0.0.1", port)) != 0:
            assert time.monotonic() < deadline and broker.poll() is None, (tmp_path / "kafka.log").read_text()[-2000:]
            time.sleep(0.2)
        yield f"127.0.0.1:{port}", data, stop
    finally:
        if broker.poll() is None:
            broker.kill()


def produce(address, topic):
    """Idempotent batches and transactions that end both ways, over several segments."""
    admin = AdminClient({"bootstrap.servers": address})
    [created] = admin.create_topics([NewTopic(topic, 1, 1, config={"segment.bytes": "1048576"})]).values()
    created.result(60)
    plain = Producer({"bootstrap.servers": address, "enable.idempotence": True, "linger.ms": 2})
    transactional = Producer({"bootstrap.servers": address, "transactional.id": topic, "compression.type": "lz4"})
    transactional.init_transactions(60)
    for turn in range(30):
        for number in range(200):
            plain.produce(topic, os.urandom(500), key=f"{turn}-{number}")
        assert plain.flush(60) == 0
        transactional.begin_transaction()
        for _ in range(20):
            transactional.produce(topic, os.urandom(100))
        transactional.abort_transaction(60) if turn % 3 == 0 else transactional.commit_transaction(60)


def test_a_directory_of_apache_kafka_is_taken_over_with_its_offsets(dedicated, kafka, tmp_path):
    address, data, stop = kafka
    topic = "taken"
    produce(address, topic)
    stop()
    source, root = data / f"{topic}-0", tmp_path / "dedicated"
    assert len(list(source.glob("*.log"))) >= 3
    kafkas, _ = dump_log(source)
    expected = batches(kafkas)
    assert ours(dedicated("dump", source)) == expected
    [[start, end, count]] = dedicated("import", source, root)
    assert (int(start), int(end), int(count)) == (0, expected[-1][1] + 1, len(expected))
    assert ours(dedicated("read", root, topic)) == expected

    # What the adoption wrote says the same as what Kafka wrote.
    adopted = root / f"{topic}-0"
    printed, complaints = dump_log(adopted, "--deep-iteration")
    assert complaints == [] and batches(printed) == expected
    for path in source.glob("*.txnindex"):
        assert (adopted / path.name).read_bytes() == path.read_bytes()
    assert (adopted / "leader-epoch-checkpoint").read_text() == (source / "leader-epoch-checkpoint").read_text()
    assert (adopted / "partition.metadata").read_text().split() == (source / "partition.metadata").read_text().split()
    newest = max(path.name for path in source.glob("*.snapshot"))
    producer = re.compile(r"^producerId: (\d+) producerEpoch: (\d+) .*lastSequence: (-?\d+) lastOffset: (-?\d+) offsetDelta: (\d+)", re.M)
    theirs, mine = (
        run([*JAVA, DUMP, "--files", str(directory / newest)]) for directory in (source, adopted)
    )
    assert sorted(producer.findall(mine)) == sorted(producer.findall(theirs)) != []


@pytest.fixture
def duolog(tmp_path):
    """A function that runs a command of the program, and one that serves a data directory and says where."""
    program = ["cargo", "run", "--quiet", "--release", "--package", "duolog", "--"]
    servers = []

    def command(*arguments):
        done = subprocess.run([*program, *map(str, arguments)], cwd=ROOT, capture_output=True, text=True, timeout=800)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def serve(data):
        address = f"127.0.0.1:{free_ports(1)[0]}"
        listen = ["--listen", f"kafka://{address}", "--http", "127.0.0.1:0"]
        with open(tmp_path / "duolog.log", "wb") as log:
            server = subprocess.Popen([*program, "serve", "--data-dir", str(data), *listen], cwd=ROOT, stdout=subprocess.PIPE, stderr=log)
        servers.append(server)
        # The banner comes when connections are accepted.
        assert server.stdout.readline(), (tmp_path / "duolog.log").read_text()[-2000:]
        return address

    try:
        yield command, serve
    finally:
        for server in servers:
            server.kill()
            server.wait(60)


def consumed(address, topic, count):
    """Offset, time and key of the first records, as Kafka's console consumer prints them."""
    wanted = ["print.offset=true", "print.timestamp=true", "print.key=true", "print.value=false"]
    properties = [part for one in wanted for part in ("--formatter-property", one)]
    consumer = [*JAVA, "org.apache.kafka.tools.consumer.ConsoleConsumer", "--bootstrap-server", address, "--topic", topic]
    printed = run([*consumer, "--from-beginning", "--max-messages", str(count), *properties])
    # Without a configuration of its own, what the consumer logs as an error comes among the records.
    return [line for line in printed.splitlines() if line.startswith("CreateTime:")]


def test_duolog_serves_what_apache_kafka_wrote(duolog, kafka, tmp_path):
    command, serve = duolog
    address, kafkas, stop = kafka
    # What is aborted may never have been sent.
    topic, count, data = "moved", 30 * 200 + 20 * 20, tmp_path / "duolog"
    produce(address, topic)
    expected = consumed(address, topic, count)
    stop()
    assert command("log", "verify", kafkas / f"{topic}-0").endswith(": 0 problems\n")
    dump = command("log", "dump", kafkas / f"{topic}-0")
    assert len(re.findall(rf"^\d+ batch {topic}-0 offsets ", dump, re.M)) == len(batches(dump_log(kafkas / f"{topic}-0")[0]))
    command("log", "import", "--data-dir", data, kafkas)
    assert len(expected) == count and consumed(serve(data), topic, count) == expected
