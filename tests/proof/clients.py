"""Clients: what they were told is sent is sent; what they wait for comes, or they are told in time."""

from __future__ import annotations

import random
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from celeriac.exceptions import CeleriacError
from celeriac.exceptions import TimeoutError as ResultTimeout
from integration.worker.conftest import SCALE, eventually

from .stage import Background, Stage, noted

_SENDER = """
import os, sys, jobs
number = 0
while True:
    if sys.argv[1] == "batch":
        with jobs.app.batch():
            sent = [jobs.noop.delay() for _ in range(7)]
    else:
        sent = [jobs.noop.delay()]
    os.write(1, "".join(f"{each.id}\\n" for each in sent).encode())
"""


def confirmed_is_stored(stage: Stage, *, clients: int, chance: random.Random) -> None:
    """Clients are killed in mid-burst: whatever id they printed after `delay` is in the store."""
    stage.jobs.noop.delay()
    confirmed: set[str] = set()
    for number in range(clients):
        path = stage.folder / f"ids-{number}"
        with path.open("wb") as out:
            form = "batch" if number % 3 == 2 else "single"
            client = subprocess.Popen([sys.executable, "-c", _SENDER, form], cwd=stage.folder, stdout=out)
        try:
            eventually(lambda path=path: len(noted(path)) > 3)
            threading.Event().wait(chance.uniform(0, 0.15))
        finally:
            client.kill()
            client.wait()
        # The last line may be cut: then the client was not told by us, either.
        confirmed.update(line for line in path.read_text().split("\n")[:-1])
    stored = set(_stored(stage))
    assert confirmed <= stored, f"{len(confirmed - stored)} of {len(confirmed)} confirmed tasks are not stored"
    assert len(confirmed) > clients * 3
    stage.start("-c", "2")
    eventually(lambda: stage.waiting() == 0, len(stored) / 300 + 20)
    assert stage.count("dead") == 0


def _stored(stage: Stage) -> list[str]:
    broker = stage.jobs.app.make_broker()
    broker.open()
    try:
        return [waiting.message.id for waiting in broker.peek("celery", 1_000_000)]
    finally:
        broker.close()


class Locker:
    """Another program that keeps the database locked."""

    def __init__(self, database: Path) -> None:
        self._database = database
        self._connection: sqlite3.Connection | None = None

    def take(self) -> None:
        """Lock it against writers."""
        connection = sqlite3.connect(self._database, timeout=30, isolation_level=None, check_same_thread=False)
        connection.execute("begin immediate")
        self._connection = connection

    def drop(self) -> None:
        """Unlock it. Idempotent."""
        if self._connection is not None:
            self._connection.rollback()
            self._connection.close()
            self._connection = None


class Mover:
    """An operator who takes the directory of the database away."""

    def __init__(self, database: Path) -> None:
        self._here = database.parent
        self._away = database.parent.with_name("moved-away")

    def take(self) -> None:
        """Away."""
        self._here.rename(self._away)

    def drop(self) -> None:
        """Back again. Idempotent."""
        if self._away.exists():
            self._here.rmdir() if self._here.exists() else None
            self._away.rename(self._here)


FAULTS = {"locked": Locker, "moved": Mover}


def sending_without_a_store_fails_in_time(stage: Stage, *, fault: str, calls: int, absent_s: float) -> None:
    """With `broker_connection_timeout=1` the first and every later call raises a typed error within 1.2 s; when the
    store is back, all is well again. A worker survives the same, and resumes within 5 s."""
    database = stage.folder / "store" / "celeriac.db"
    database.parent.mkdir()
    stage.database = database
    url = f"sqlite:///{database}"
    jobs = stage.jobs
    jobs.app.conf.update(broker_url=url, result_backend=url, broker_connection_timeout=1)
    worker = stage.start("-c", "1", environment={"CELERY_BROKER_URL": url, "CELERY_RESULT_BACKEND": url})
    before = jobs.trace.delay(0.0)
    assert before.get(timeout=10 * SCALE)
    node = worker.node
    during = jobs.trace.delay(0.3)
    eventually(lambda: len(noted(stage.folder / "runs")) == 3)
    absence = FAULTS[fault](database)
    absence.take()
    # A store looks each 50 ms whether its file is still there; what it accepts before, it accepts into the old one.
    time.sleep(0.06)
    began_at = time.monotonic()
    try:
        number = 0
        while number < calls or time.monotonic() - began_at < absent_s:
            number += 1
            call_at = time.monotonic()
            with pytest.raises(CeleriacError):
                jobs.trace.delay(0.0)
            assert time.monotonic() - call_at < 1.2 * SCALE + 0.3, f"call {number}"
            eventually(lambda at=call_at: time.monotonic() - at > 0.05)
    finally:
        absence.drop()
    back_at = time.monotonic()
    again = jobs.trace.delay(0.0)
    stage.await_final([before.id, during.id, again.id], 5)
    assert time.monotonic() - back_at < 5 * SCALE
    assert worker.process.poll() is None
    assert worker.node == node, f"the node did not survive\n{stage.logs()}"
    assert len(stage.runs()[again.id]) == 1
    assert "Traceback" not in worker.output(), stage.logs()


def every_wait_ends(stage: Stage, *, waits: int, threads: int, seed: int) -> None:
    """While the database is locked at random, each `get` returns its result or raises TimeoutError when asked to."""
    jobs = stage.jobs
    chance = random.Random(seed)
    stage.start("-c", "2")
    assert jobs.add.delay(1, 1).get(timeout=10 * SCALE) == 2
    locker = Locker(stage.database)

    def lock_for_a_while() -> None:
        locker.take()
        try:
            threading.Event().wait(chance.uniform(0.01, 0.6))
        finally:
            locker.drop()

    trouble: list[str] = []
    done: list[str] = []
    numbers = iter(range(waits))

    def wait_for_some() -> None:
        for number in numbers:
            never = number % 10 == 9
            timeout_s = 0.3 if never else 20 * SCALE
            began_at = time.monotonic()
            try:
                if never:
                    value: object = jobs.app.AsyncResult(f"never-sent-{number}").get(timeout=timeout_s)
                else:
                    value = jobs.add.delay(number, 1).get(timeout=timeout_s)
            except ResultTimeout:
                took_s = time.monotonic() - began_at
                if not never or not 0.25 <= took_s < 0.3 + 1.0 * SCALE:
                    trouble.append(f"{number}: timed out after {took_s:.2f} s")
            except BaseException as exc:
                trouble.append(f"{number}: {exc!r}")
            else:
                if value != number + 1:
                    trouble.append(f"{number}: {value!r}")
            done.append("")

    background = Background(lock_for_a_while, lambda: chance.uniform(0.05, 0.5))
    crowd = [threading.Thread(target=wait_for_some, daemon=True) for _ in range(threads)]
    try:
        for thread in crowd:
            thread.start()
        for thread in crowd:
            thread.join((waits / 20 + 60) * SCALE)
        hung = [thread for thread in crowd if thread.is_alive()]
    finally:
        background.stop()
    assert not hung, f"{len(hung)} waits hang; {len(done)} of {waits} are done\n{stage.logs()}"
    assert not trouble, trouble[:10]
    assert len(done) == waits


_WAITER = """
import os, jobs
jobs.add.delay(1, 1).get(timeout=60)
os.write(1, b"x")
while True:
    jobs.trace.delay(0.01).get(timeout=60)
"""


def clients_die_anywhere(stage: Stage, *, rounds: int, chance: random.Random) -> None:
    """Clients are killed while they send and wait: what they had sent is done, others send and wait as before."""
    stage.start("-c", "2")
    for _ in range(rounds):
        crowd = [
            subprocess.Popen([sys.executable, "-c", _WAITER], cwd=stage.folder, stdout=subprocess.PIPE)
            for _ in range(2)
        ]
        for client in crowd:
            assert client.stdout is not None
            try:
                assert client.stdout.read(1) == b"x"
                threading.Event().wait(chance.uniform(0, 0.1))
            finally:
                client.kill()
                client.wait()
                client.stdout.close()
        assert stage.jobs.add.delay(2, 2).get(timeout=10 * SCALE) == 4
    eventually(lambda: stage.waiting() == 0)
    runs = stage.runs()
    stage.await_final(runs, 5)
    assert {len(of_one) for of_one in runs.values()} == {1}
