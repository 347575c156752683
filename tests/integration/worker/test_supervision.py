"""The main process: it starts what dies, and ends when it is told to, whatever state the others are in."""

from __future__ import annotations

import os
import resource
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from types import ModuleType

import pytest

from .conftest import SCALE, Worker, eventually

Start = Callable[..., Worker]


def test_a_stop_is_not_slept_through_between_two_nodes(start: Start) -> None:
    worker = start("-c", "1")

    def deaths() -> int:
        return worker.output().count("died: signal 9")

    while (seen := deaths()) < 6:  # pauses of 0.1, 0.2, 0.4, 0.8, 1.6 and 3.2 s
        os.kill(eventually(lambda: worker.node), signal.SIGKILL)
        eventually(lambda: deaths() == seen + 1)
    told_at = time.monotonic()
    assert worker.stop() == 0
    assert time.monotonic() - told_at < 2.5, "the pause was slept through"


def test_a_worker_whose_node_cannot_connect_ends_when_told_to_however_often(folder: Path, jobs: ModuleType) -> None:
    jobs.add.delay(1, 1)
    jobs.app.close()
    with closing(sqlite3.connect(folder / "celeriac.db")) as other:
        other.execute("begin exclusive")
        command = [sys.executable, "-m", "celeriac", "-A", "jobs", "-q", "worker", "-c", "1"]
        with (folder / "quiet.log").open("wb") as log:
            process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=subprocess.STDOUT)
        try:
            eventually(lambda: Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text())

            def told_again() -> bool:
                process.send_signal(signal.SIGTERM)
                return process.poll() is not None

            eventually(told_again, within_s=4)
            assert process.returncode == 0, (folder / "quiet.log").read_text()
        finally:
            process.kill()
            process.wait(10)


def test_too_few_open_files_are_told_at_start_with_the_limit(folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "celeriac", "-A", "jobs", "worker", "-c", "8"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=20 * SCALE,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (60, 60)),
    )
    assert done.returncode == 78
    assert "RLIMIT_NOFILE" in done.stderr
    assert "-c" in done.stderr


@pytest.mark.skipif(resource.getrlimit(resource.RLIMIT_NOFILE)[1] < 600, reason="the hard limit is too low")
def test_a_node_may_open_what_the_hard_limit_allows_and_tasks_keep_the_soft_one(jobs: ModuleType, start: Start) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (500, hard))
    try:
        worker = start("-c", "1")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert resource.prlimit(worker.node, resource.RLIMIT_NOFILE) == (hard, hard)
    assert resource.prlimit(eventually(lambda: worker.children)[0], resource.RLIMIT_NOFILE) == (500, hard)
    assert jobs.add.delay(1, 1).get(timeout=10) == 2


def test_a_worker_that_starts_while_the_database_is_locked_waits_for_it(
    folder: Path, jobs: ModuleType, start: Start
) -> None:
    result = jobs.add.delay(1, 1)
    jobs.app.close()
    settings = "broker_connection_timeout=0.3"
    with closing(sqlite3.connect(folder / "celeriac.db")) as other:
        other.execute("begin immediate")
        worker = Worker(folder, "-c", "1", "--", settings)
        try:
            eventually(lambda: "trying again" in worker.output())
            other.execute("rollback")
            worker.ready()
            assert result.get(timeout=10) == 2
        finally:
            worker.kill_all()


def test_a_node_that_dies_while_its_store_is_away_is_replaced_when_the_store_is_back(
    folder: Path, jobs: ModuleType, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, away = folder / "place", folder / "away"
    place.mkdir()
    monkeypatch.setenv("CELERY_BROKER_URL", f"sqlite:///{place}/tasks.db")
    worker = start("-c", "1")
    place.rename(away)
    try:
        os.kill(worker.node, signal.SIGKILL)
        eventually(lambda: "gave up" in worker.output())
    finally:
        away.rename(place)
    assert jobs.add.delay(1, 1).get(timeout=15) == 2
    assert worker.stop() == 0


def test_a_worker_that_can_hang_no_bells_says_so_once_and_polls(jobs: ModuleType, start: Start) -> None:
    queues = ",".join(["celery", *(f"queue-{number}" for number in range(120))])
    worker = start("-c", "1", "-Q", queues, environment={"JOBS_FILES_MAX": "90"})
    assert [jobs.add.delay(number, 1).get(timeout=10) for number in range(5)] == [1, 2, 3, 4, 5]
    assert worker.output().count("there is no doorbell") == 1
    assert worker.stop() == 0


def test_a_child_that_the_system_refuses_is_started_when_it_no_longer_does(jobs: ModuleType, start: Start) -> None:
    worker = start("-c", "1")
    assert jobs.add.delay(1, 1).get(timeout=10) == 2
    main = worker.process.pid
    limits = resource.prlimit(main, resource.RLIMIT_NOFILE)
    taken = max(int(path.name) for path in Path(f"/proc/{main}/fd").iterdir()) + 1
    resource.prlimit(main, resource.RLIMIT_NOFILE, (taken + 1, limits[1]))
    os.kill(worker.children[0], signal.SIGKILL)
    eventually(lambda: "cannot start a child" in worker.output())
    assert "RLIMIT_NOFILE" in worker.output()
    resource.prlimit(main, resource.RLIMIT_NOFILE, limits)
    assert jobs.add.delay(2, 2).get(timeout=15) == 4
    assert worker.stop() == 0
