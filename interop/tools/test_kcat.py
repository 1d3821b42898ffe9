"""kcat: an older librdkafka, and how people look at a broker by hand."""

import json

import pytest
from conftest import BOOTSTRAP, run


def kcat(*arguments, stdin=None):
    return run(["kcat", "-b", BOOTSTRAP, *arguments], stdin)


@pytest.mark.parametrize("codec", ["none", "gzip", "snappy", "lz4", "zstd"])
def test_what_is_produced_is_consumed(make_topic, codec):
    topic = make_topic()
    lines = [f"{number} {'word ' * (number % 20)}" for number in range(200)]
    kcat("-P", "-t", topic, "-z", codec, stdin="\n".join(lines) + "\n")
    assert kcat("-C", "-t", topic, "-o", "beginning", "-e", "-q").splitlines() == lines


def test_keys_headers_and_nulls_are_shown(make_topic):
    topic = make_topic()
    kcat("-P", "-t", topic, "-K", ":", "-H", "trace=1", "-Z", stdin="key:value\ntombstone:\n")
    first, second = map(json.loads, kcat("-C", "-t", topic, "-o", "beginning", "-e", "-q", "-J").splitlines())
    assert (first["key"], first["payload"], first["headers"]) == ("key", "value", ["trace", "1"])
    assert (second["key"], second["payload"], second["offset"]) == ("tombstone", None, 1)


def test_offsets_from_either_end_and_by_time(make_topic):
    topic = make_topic("abcde")
    assert kcat("-C", "-t", topic, "-o", "3", "-e", "-q").split() == ["d", "e"]
    assert kcat("-C", "-t", topic, "-o", "-1", "-e", "-q").split() == ["e"]
    assert kcat("-C", "-t", topic, "-o", "s@0", "-e", "-q").split() == list("abcde")
    assert kcat("-Q", "-t", f"{topic}:0:0").strip() == f"{topic} [0] offset 0"


def test_a_balanced_consumer_reads_on_where_its_group_stopped(make_topic):
    topic = make_topic("abcde")
    group = ["-X", "auto.offset.reset=earliest", "-e", "-q", "-G", f"{topic}-group", topic]
    assert kcat("-c", "3", *group).split() == ["a", "b", "c"]
    assert kcat("-c", "2", *group).split() == ["d", "e"]
