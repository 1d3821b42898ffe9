"""A Kafka Streams application, at least once: it stops, its successor goes on, and every word is counted."""

import subprocess

import pytest
from conftest import BOOTSTRAP, JAVA, TOOL_SECONDS, run

LINES = ["the log is the truth", "The truth is the log", "a log of truth"]
ONCE = {"the": 4, "log": 3, "is": 2, "truth": 3, "a": 1, "of": 1}


@pytest.fixture
def start(tmp_path):
    started = []

    def start(application, source, target):
        log = open(tmp_path / f"{len(started)}.log", "w+")
        command = [*JAVA, "WordCount", BOOTSTRAP, application, source, target, str(tmp_path / "state")]
        started.append(subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()
    for log in sorted(tmp_path.glob("*.log")):
        print(f"-- {log.name}:\n" + "\n".join(log.read_text().splitlines()[-30:]))


def counts(topic):
    """The last count of each word."""
    printed = run(["kcat", "-b", BOOTSTRAP, "-C", "-t", topic, "-o", "beginning", "-e", "-q", "-f", "%k %s\n"])
    return {word: int(count) for word, count in (line.split() for line in printed.splitlines())}


def test_words_are_counted_across_a_restart(make_topic, name, start, eventually):
    application, source, target = name("word-count"), make_topic(LINES), make_topic()
    first = start(application, source, target)
    eventually("the first lines are counted", lambda: counts(target) == ONCE)
    first.terminate()
    first.wait(TOOL_SECONDS)
    run(["kcat", "-b", BOOTSTRAP, "-P", "-t", source], "".join(f"{line}\n" for line in LINES))
    start(application, source, target)
    eventually("all lines are counted", lambda: counts(target) == {word: 2 * count for word, count in ONCE.items()})
