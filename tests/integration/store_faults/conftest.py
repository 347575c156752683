"""A fresh SQLite store for each test, and other processes that use it."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from celeriac.backends.sqlite import SqliteBackend
from celeriac.brokers.sqlite import SqliteBroker
from celeriac.model.message import Message

PRELUDE = """
import os, sys, time
from celeriac.backends.sqlite import SqliteBackend
from celeriac.brokers.sqlite import SqliteBroker
from celeriac.model.errors import *
from celeriac.model.message import *

url = sys.argv[1]

def message(task_id, **fields):
    return Message(task_id, fields.pop("task", "t"), fields.pop("queue", "q"), b"{}", b"[]", **fields)

def opened(**options):
    broker = SqliteBroker(url, options)
    broker.open()
    return broker

def say(*words):
    # One write, so that the lines of several processes never mix.
    os.write(1, (" ".join(map(str, words)) + "\\n").encode())
"""

Program = Callable[..., "subprocess.Popen[str]"]


def message(task_id: str, **fields: object) -> Message:
    queue = str(fields.pop("queue", "q"))
    return Message(id=task_id, task="t", queue=queue, headers=b"{}", body=b"[]", **fields)  # type: ignore[arg-type]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.db"


@pytest.fixture
def url(path: Path) -> str:
    return f"sqlite:///{path}"


@pytest.fixture
def make(url: str) -> Iterator[Callable[..., SqliteBroker]]:
    """Open brokers, closed after the test."""
    made: list[SqliteBroker] = []

    def make(**options: object) -> SqliteBroker:
        broker = SqliteBroker(url, {"connect_timeout_s": 1.0, **options})
        made.append(broker)
        broker.open()
        return broker

    yield make
    for broker in made:
        broker.close()


@pytest.fixture
def broker(make: Callable[..., SqliteBroker]) -> SqliteBroker:
    return make()


@pytest.fixture
def backend(url: str) -> Iterator[SqliteBackend]:
    backend = SqliteBackend(url, {"connect_timeout_s": 1.0})
    backend.open()
    yield backend
    backend.close()


@pytest.fixture
def program(url: str) -> Iterator[Program]:
    """Start another process that runs `source` after PRELUDE; killed after the test."""
    running: list[subprocess.Popen[str]] = []

    def start(source: str, *args: object, **environment: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-W", "error", "-c", PRELUDE + textwrap.dedent(source), url, *map(str, args)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **environment},
        )
        running.append(process)
        return process

    yield start
    for process in running:
        process.kill()
        process.communicate()


@pytest.fixture
def output(program: Program) -> Callable[..., str]:
    """Run another process to its end, which must be a good one, and return what it said."""

    def run(source: str, *args: object, **environment: str) -> str:
        process = program(source, *args, **environment)
        out, err = process.communicate(timeout=30)
        assert process.returncode == 0, err
        return out

    return run
