"""What the scenarios share: topics and groups made through the remoting protocol, since gRPC clients cannot, and names nobody else has."""

import json
import os
import socket
import struct
import time
import uuid

import pytest

ENDPOINTS = os.environ["GRPC"]
BOOTSTRAP = os.environ["BOOTSTRAP"]
# Where a restart of the server is asked for; empty when the server is not the run's to restart.
CONTROL = os.environ["CONTROL"]
# Longer than two invisible times.
DEADLINE_SECONDS = 60
CREATE_TOPIC = 17
ROUTE = 105
CREATE_GROUP = 200
TOPIC_NOT_EXIST = 17


def ask(address, code, fields, body=b""):
    """One request in the remoting protocol; gives the answer's code and body."""
    host, port = address.rsplit(":", 1)
    header = json.dumps({"code": code, "language": "PYTHON", "version": 513, "opaque": 1, "flag": 0, "extFields": fields}).encode()
    with socket.create_connection((host, int(port)), timeout=DEADLINE_SECONDS) as connection:
        connection.sendall(struct.pack(">II", 4 + len(header) + len(body), len(header)) + header + body)
        reader = connection.makefile("rb")
        length, header_length = struct.unpack(">II", reader.read(8))
        answer = json.loads(reader.read(header_length))
        return answer["code"], reader.read(length - 4 - header_length)


def restart_server(how):
    """Restarts the server on the same data and ports: "stop" lets it end in its own way, "kill" is `kill -9`."""
    host, port = CONTROL.rsplit(":", 1)
    with socket.create_connection((host, int(port)), timeout=DEADLINE_SECONDS) as connection:
        connection.sendall(f"{how}\n".encode())
        assert connection.makefile().readline() == "ok\n"


def route(topic):
    # The first node of several.
    return ask(os.environ["NAMESRV"].split(";")[0], ROUTE, {"topic": topic, "acceptStandardJsonOnly": "true"})


def broker():
    """The broker's address."""
    code, body = route("TBW102")
    assert code == 0
    [data] = json.loads(body)["brokerDatas"]
    return data["brokerAddrs"]["0"]


@pytest.fixture
def name():
    return lambda kind="python": f"{kind}-{uuid.uuid4()}"


@pytest.fixture
def make_group(name):
    """A function that creates a consumer group."""

    def make():
        group = name("group")
        assert ask(broker(), CREATE_GROUP, {}, json.dumps({"groupName": group}).encode())[0] == 0
        return group

    return make


@pytest.fixture
def make_topic(name, eventually):
    """A function that creates a topic of so many queues and waits for its route."""

    def make(queues=2):
        topic = name()
        fields = {
            "topic": topic,
            "defaultTopic": "TBW102",
            "readQueueNums": str(queues),
            "writeQueueNums": str(queues),
            "perm": "6",
            "topicFilterType": "SINGLE_TAG",
            "topicSysFlag": "0",
            "order": "false",
        }
        assert ask(broker(), CREATE_TOPIC, fields)[0] == 0
        eventually("the topic has a route", lambda: route(topic)[0] != TOPIC_NOT_EXIST)
        return topic

    return make


@pytest.fixture
def eventually():
    """A function that repeats an attempt until it gives something true."""

    def wait(what, attempt):
        deadline = time.monotonic() + DEADLINE_SECONDS
        while not (found := attempt()):
            assert time.monotonic() < deadline, f"not within {DEADLINE_SECONDS} s: {what}"
            time.sleep(0.01)
        return found

    return wait
