"""Kafka's tools for share groups."""

import re

from conftest import tool

PACKAGE = "org.apache.kafka.tools."


def share_groups(*arguments):
    return tool(PACKAGE + "consumer.group.ShareGroupCommand", *arguments)


def console_share_consumer(*arguments):
    return tool(PACKAGE + "consumer.ConsoleShareConsumer", "--timeout-ms", "30000", *arguments)


def make_group(name):
    """A group that begins at the start of its topics."""
    group = name("share")
    entity = ["--entity-type", "groups", "--entity-name", group]
    tool("kafka.admin.ConfigCommand", "--alter", *entity, "--add-config", "share.auto.offset.reset=earliest")
    described = tool("kafka.admin.ConfigCommand", "--describe", *entity)
    assert "share.auto.offset.reset=earliest" in described, described
    return group


def test_the_console_share_consumer_reads_on_where_its_group_stopped(make_topic, name):
    topic, group = make_topic(["a", "b", "c"]), make_group(name)
    assert console_share_consumer("--topic", topic, "--group", group, "--max-messages", "3").split() == ["a", "b", "c"]
    tool(PACKAGE + "ConsoleProducer", "--topic", topic, stdin="d\n")
    assert console_share_consumer("--topic", topic, "--group", group, "--max-messages", "1").split() == ["d"]


def test_kafka_share_groups_lists_describes_resets_and_deletes(make_topic, name, eventually):
    topic, group = make_topic(["a", "b", "c", "d"]), make_group(name)
    console_share_consumer("--topic", topic, "--group", group, "--max-messages", "4")
    assert group in share_groups("--list").splitlines()
    assert re.search(rf"{group}\s+Empty", share_groups("--list", "--state"))

    def start():
        found = re.search(rf"{group}\s+{topic}\s+0\s+(\d+)", share_groups("--describe", "--group", group, "--offsets"))
        return found and found[1]

    eventually("all is read", lambda: start() == "4")
    assert re.search(rf"{group}\s.*Empty\s+0", share_groups("--describe", "--group", group, "--state"))
    share_groups("--reset-offsets", "--group", group, "--topic", topic, "--to-earliest", "--execute")
    assert start() == "0"
    assert console_share_consumer("--topic", topic, "--group", group, "--max-messages", "4").split() == ["a", "b", "c", "d"]
    deleted = share_groups("--delete-offsets", "--group", group, "--topic", topic)
    assert re.search(rf"{topic}\s+Successful", deleted), deleted
    assert "successful" in share_groups("--delete", "--group", group)
    assert group not in share_groups("--list").splitlines()
