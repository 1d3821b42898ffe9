"""What the Python suites share: the address of the server under test and names nobody else has."""

import os
import time
import uuid

import pytest

BOOTSTRAP = os.environ["BOOTSTRAP"]
# Longer than a session timeout.
DEADLINE_SECONDS = 30


@pytest.fixture
def bootstrap():
    return BOOTSTRAP


@pytest.fixture
def name():
    """A function that makes a name."""
    return lambda kind="python": f"{kind}-{uuid.uuid4()}"


@pytest.fixture
def eventually():
    """A function that repeats an attempt, which must itself take a moment, until it gives something true."""

    def wait(what, attempt):
        deadline = time.monotonic() + DEADLINE_SECONDS
        while not (found := attempt()):
            assert time.monotonic() < deadline, f"not within {DEADLINE_SECONDS} s: {what}"
            time.sleep(0.005)
        return found

    return wait
