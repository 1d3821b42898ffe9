"""What the suites of tools share: running Kafka's own tools and kcat against the server under test."""

import os
import subprocess
import time
import uuid

import pytest
from confluent_kafka.admin import AdminClient, NewTopic

BOOTSTRAP = os.environ["BOOTSTRAP"]
CLASSPATH = os.environ["TOOLS_CLASSPATH"]
JAVA = ["java", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData", "-cp", CLASSPATH]
# For one run of a tool; a JVM starts slowly on a busy machine.
TOOL_SECONDS = 60


def run(command, stdin=None):
    """What a command prints; its error output is shown when it fails."""
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=TOOL_SECONDS)
    assert done.returncode == 0, f"{command[-12:]} ended with {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def tool(main_class, *arguments, stdin=None, bootstrap="--bootstrap-server"):
    """What one of Kafka's tools prints, given its main class and arguments."""
    return run([*JAVA, main_class, bootstrap, BOOTSTRAP, *arguments], stdin)


def topics(*arguments):
    return tool("org.apache.kafka.tools.TopicCommand", *arguments)


@pytest.fixture
def name():
    return lambda kind="tools": f"{kind}-{uuid.uuid4()}"


@pytest.fixture
def make_topic(name):
    """A function that creates a topic of one partition and fills it with kcat."""

    def make(messages=()):
        topic = name()
        admin = AdminClient({"bootstrap.servers": BOOTSTRAP})
        [created] = admin.create_topics([NewTopic(topic, 1, 1)]).values()
        created.result(30)
        if messages:
            run(["kcat", "-b", BOOTSTRAP, "-P", "-t", topic], "".join(f"{message}\n" for message in messages))
        return topic

    return make


@pytest.fixture
def eventually():
    def wait(what, attempt, seconds=60):
        deadline = time.monotonic() + seconds
        while not (found := attempt()):
            assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
            time.sleep(0.05)
        return found

    return wait
