"""Where a scenario plays: a directory with a database, real workers on it, and a book of what was recorded."""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import pytest

from integration.worker.conftest import SCALE, Worker, children_of, eventually, name_of

FINAL = ("SUCCESS", "FAILURE", "REVOKED")
_BOOK = """
create table if not exists book(what text not null, id text not null, state text not null, at real not null);
create trigger if not exists book_insert after insert on result begin
  insert into book values('record', new.id, new.state, (julianday('now') - 2440587.5) * 86400); end;
create trigger if not exists book_update after update on result begin
  insert into book values('record', new.id, new.state, (julianday('now') - 2440587.5) * 86400); end;
"""
_LOOK_S = 0.05


class Entry(NamedTuple):
    """A record as it was written: whose, which state, when (wall clock)."""

    id: str
    state: str
    at: float


class Run(NamedTuple):
    """One begun run of a task, as the task noted it itself."""

    id: str
    at: float
    pid: int
    ended_at: float | None = None


class Stage:
    """Starts workers, sends tasks, reads the book.

    :param jobs: the module of tasks
    :param folder: the working directory
    """

    def __init__(self, jobs: ModuleType, folder: Path) -> None:
        self.jobs: Any = jobs
        self.folder = folder
        self.database = folder / "celeriac.db"
        self.workers: list[Worker] = []
        self.kills: list[float] = []
        """Wall clock of every kill."""

    def close(self) -> None:
        """End all workers."""
        for worker in self.workers:
            if worker.process.poll() is None:
                worker.kill_all()

    def start(
        self,
        *options: str,
        settings: Sequence[str] = (),
        ready_in_s: float = 20,
        environment: dict[str, str] | None = None,
    ) -> Worker:
        """One more worker, that takes work when this returns."""
        worker = self.begin(*options, settings=settings, environment=environment)
        self.await_ready(worker, ready_in_s)
        return worker

    def begin(self, *options: str, settings: Sequence[str] = (), environment: dict[str, str] | None = None) -> Worker:
        """One more worker; does not wait for it."""
        worker = Worker(self.folder, *options, *(("--", *settings) if settings else ()), environment=environment)
        self.workers.append(worker)
        return worker

    def await_ready(self, worker: Worker, within_s: float = 20) -> None:
        """Wait until the worker takes work."""
        eventually(lambda: " ready" in worker.output() or worker.process.poll() is not None, within_s)
        assert worker.process.poll() is None, worker.output()

    def logs(self) -> str:
        """What all workers have said, for people."""
        return "\n".join(f"--- {worker.log.name}\n{worker.output()[-3000:]}" for worker in self.workers)

    # The database, seen from outside.

    @contextmanager
    def look(self) -> Iterator[sqlite3.Connection]:
        """A connection of our own."""
        with closing(sqlite3.connect(self.database, timeout=20, isolation_level=None)) as connection:
            yield connection

    def open_book(self) -> None:
        """From now on every record that is written leaves an entry; the database must be there."""
        with self.look() as connection:
            connection.executescript(_BOOK)

    def book(self) -> list[Entry]:
        """All entries, in order."""
        with self.look() as connection:
            rows = connection.execute("select id, state, at from book where what='record' order by rowid")
            return [Entry(*row) for row in rows]

    def finals(self) -> dict[str, list[Entry]]:
        """The final entries of each task."""
        found: dict[str, list[Entry]] = defaultdict(list)
        for entry in self.book():
            if entry.state in FINAL:
                found[entry.id].append(entry)
        return found

    def count(self, table: str) -> int:
        """Rows of a table."""
        with self.look() as connection:
            return int(connection.execute(f"select count(*) from {table}").fetchone()[0])

    def states(self) -> Counter[str]:
        """How many results are in which state."""
        with self.look() as connection:
            return Counter(dict(connection.execute("select state, count(*) from result group by state").fetchall()))

    def waiting(self) -> int:
        """Messages that are not done with, dead ones apart."""
        with self.look() as connection:
            (count,) = connection.execute(
                "select (select count(*) from ready) + (select count(*) from due) + (select count(*) from claimed)"
            ).fetchone()
            return int(count)

    def runs(self, name: str = "runs") -> dict[str, list[Run]]:
        """What the tasks `trace` noted: the runs of each, in order."""
        found: dict[str, list[Run]] = defaultdict(list)
        for line in noted(self.folder / name):
            word, task_id, at, pid = line.split()
            if word == "begin":
                found[task_id].append(Run(task_id, float(at), int(pid)))
                continue
            index = next(index for index, run in enumerate(found[task_id]) if run.pid == int(pid) and not run.ended_at)
            found[task_id][index] = found[task_id][index]._replace(ended_at=float(at))
        return found

    def await_final(self, ids: Iterable[str], within_s: float) -> None:
        """Wait until each of `ids` has a final record and no message is left."""
        wanted = set(ids)
        deadline = time.monotonic() + within_s * SCALE
        missing = wanted
        while True:
            if self.waiting() == 0:
                with self.look() as connection:
                    rows = connection.execute("select id from result where state in (?,?,?)", FINAL)
                    missing = wanted - {task_id for (task_id,) in rows}
                if not missing:
                    return
            if time.monotonic() > deadline:
                break
            time.sleep(_LOOK_S)
        raise AssertionError(
            f"after {within_s * SCALE:.1f} s {len(missing)} of {len(wanted)} tasks are not final, "
            f"{self.waiting()} messages wait, {self.count('dead')} are dead: {sorted(missing)[:5]}\n{self.logs()}"
        )

    def assert_sound(self) -> None:
        """The database is whole."""
        with self.look() as connection:
            assert connection.execute("pragma integrity_check").fetchone() == ("ok",)

    def assert_never_two_at_a_time(self) -> None:
        """No run of a task began while another one of the same task went on."""
        for of_one in self.runs().values():
            for run, following in pairwise(of_one):
                assert run.ended_at is None or run.ended_at <= following.at, (run, following)

    # The command line.

    def command(self, *words: str) -> str:
        """What ``celeriac -A jobs ...`` prints; it must succeed."""
        done = subprocess.run(
            [sys.executable, "-m", "celeriac", "-A", "jobs", *words],
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=30 * SCALE,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def command_json(self, *words: str) -> Any:
        """The same, as data."""
        return json.loads(self.command(*words, "--json"))

    # Deaths.

    def kill(self, pid: int) -> bool:
        """SIGKILL; False if there is no such process."""
        with suppress(ProcessLookupError):
            self.kills.append(time.time())
            os.kill(pid, signal.SIGKILL)
            return True
        return False

    def kill_one(self, chance: random.Random, kinds: Sequence[str]) -> str:
        """Kill a process of a random kind of a random worker; which kind it was."""
        worker = chance.choice([each for each in self.workers if each.process.poll() is None])
        kind = chance.choice(kinds)
        if kind == "main":
            self.kill(worker.process.pid)
            worker.process.wait(10 * SCALE)
        elif kind == "tree":
            self.kills.append(time.time())
            worker.kill_all()
        else:
            pids = [
                pid for pid in children_of(worker.process.pid) if (name_of(pid) == "celeriac-node") == (kind == "node")
            ]
            if not pids:
                return ""
            self.kill(chance.choice(pids))
        return kind


@pytest.fixture(name="stage")
def empty_stage(jobs: ModuleType, folder: Path) -> Iterator[Stage]:
    """A stage without workers; all that it started are ended after the test."""
    stage = Stage(jobs, folder)
    yield stage
    stage.close()
    # Shown when the test has failed.
    print(stage.logs())


def noted(path: Path) -> list[str]:
    """The lines that tasks have noted."""
    return path.read_text().splitlines() if path.exists() else []


class Background(threading.Thread):
    """Does `act` again and again until told to stop; what it raised comes up there."""

    def __init__(self, act: Callable[[], object], each_s: Callable[[], float]) -> None:
        super().__init__(daemon=True)
        self._act = act
        self._each_s = each_s
        self._stopping = threading.Event()
        self._error: BaseException | None = None
        self.start()

    def run(self) -> None:
        """Until stopped."""
        try:
            while not self._stopping.wait(self._each_s()):
                self._act()
        except BaseException as exc:
            self._error = exc

    def stop(self) -> None:
        """End, and raise what was raised."""
        self._stopping.set()
        self.join(60 * SCALE)
        assert not self.is_alive(), "the background thread did not end"
        if self._error is not None:
            raise self._error
