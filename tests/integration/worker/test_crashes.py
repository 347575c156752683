"""Processes die; no task is lost, and none but the one that ran pays for it."""

from __future__ import annotations

import os
import signal
import sqlite3
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from celeriac.exceptions import WorkerLostError

from .conftest import SCALE, Worker, eventually, is_alive, lines

Start = Callable[..., Worker]


def test_a_task_whose_process_was_killed_runs_again(jobs: ModuleType, start: Start, folder: Path) -> None:
    start()
    assert jobs.kill_self_once.delay("trace").get(timeout=10) == "survived"
    assert lines(folder / "trace") == ["begin", "begin"]


def test_a_task_that_always_kills_its_process_is_a_dead_letter_after_three_crashes(
    jobs: ModuleType, start: Start, folder: Path
) -> None:
    start()
    doomed = jobs.kill_self.delay("trace")
    innocent = [jobs.add.delay(n, 0) for n in range(100)]
    with pytest.raises(WorkerLostError, match="SIGKILL"):
        doomed.get(timeout=15)
    assert len(lines(folder / "trace")) == 3
    assert [result.get(timeout=10) for result in innocent] == list(range(100))
    broker = jobs.app.make_broker()
    broker.open()
    (letter,) = broker.dead(None, 10)
    assert letter.message.id == doomed.id
    assert "SIGKILL" in letter.reason
    assert letter.crashes == 3
    broker.close()


def test_killed_child_repeats_one_task_of_its_batch(jobs: ModuleType, start: Start, folder: Path) -> None:
    """A batch is under way to one child; when it is killed, only the task it was in runs twice."""
    with jobs.app.batch():
        quick = [jobs.record.delay("trace", str(n)) for n in range(40)]
        quick.append(jobs.kill_self_once.delay("killed"))
        quick += [jobs.record.delay("trace", str(n)) for n in range(41, 64)]
    start("-c", "1")
    for result in quick:
        result.get(timeout=15)
    counts = Counter(lines(folder / "trace"))
    assert set(counts.values()) == {1}
    assert len(counts) == 63
    assert lines(folder / "killed") == ["begin", "begin"]


def test_killed_node_loses_nothing_and_its_children_die_with_it(jobs: ModuleType, start: Start, folder: Path) -> None:
    worker = start("-c", "2")
    results = [jobs.busy.delay(1.0, f"busy-{n}") for n in range(2)]
    eventually(lambda: all(lines(folder / f"busy-{n}") for n in range(2)))
    children = worker.children
    os.kill(worker.node, signal.SIGKILL)
    eventually(lambda: not any(is_alive(pid) for pid in children), 2)
    for result in results:
        result.get(timeout=15)
    assert worker.process.poll() is None


def test_killing_everything_loses_nothing(jobs: ModuleType, start: Start, folder: Path) -> None:
    """Main process, node and children die at once; another worker finishes all within seconds."""
    with jobs.app.batch():
        results = [jobs.sleep.delay(0.3, f"trace-{n}") for n in range(12)]
    first = start("-c", "2")
    eventually(lambda: lines(folder / "trace-0"))
    first.kill_all()
    started = time.monotonic()
    start("-c", "4")
    for result in results:
        result.get(timeout=20)
    assert time.monotonic() - started < 10 * SCALE


def test_only_the_running_task_of_a_killed_tree_counts_a_crash(jobs: ModuleType, start: Start, folder: Path) -> None:
    """Three times the whole worker dies in the same task: it is buried, what waited behind it is not."""
    doomed = jobs.sleep.delay(30, "trace")
    waiting = [jobs.add.delay(n, 1) for n in range(20)]
    for _ in range(3):
        (folder / "trace").unlink(missing_ok=True)
        worker = start("-c", "1")
        eventually(lambda: lines(folder / "trace"))
        worker.kill_all()
    start("-c", "1")
    with pytest.raises(WorkerLostError):
        doomed.get(timeout=15)
    assert [result.get(timeout=10) for result in waiting] == [n + 1 for n in range(20)]


def test_a_hung_node_gives_its_work_to_others(jobs: ModuleType, start: Start, folder: Path) -> None:
    """A stopped process holds its kernel lock; its lease ends all the same."""
    result = jobs.sleep.delay(0.5, "trace")
    first = start("-c", "1", "--", "worker_lease_s=1.5")
    eventually(lambda: lines(folder / "trace"))
    for pid in first.tree():
        os.kill(pid, signal.SIGSTOP)
    second = start("-c", "1", "--", "worker_lease_s=1.5")
    assert result.get(timeout=10) == 0.5
    for pid in first.tree():
        os.kill(pid, signal.SIGCONT)
    assert jobs.add.delay(1, 1).get(timeout=10) == 2
    assert second.process.poll() is None
    assert result.state == "SUCCESS"


def test_a_node_that_others_cannot_see_live_makes_room_for_one_they_can(
    jobs: ModuleType, start: Start, folder: Path
) -> None:
    """Somebody tidies up and removes the file with the nodes' locks under a running worker."""
    worker = start("-c", "1")
    assert jobs.add.delay(1, 1).get(timeout=10) == 2
    node = worker.node
    (folder / "celeriac.db-nodes").unlink()
    eventually(lambda: worker.node not in (0, node))
    assert jobs.sleep.delay(2.5, "trace").get(timeout=15) == 2.5
    assert lines(folder / "trace") == ["begin", "end"]


def test_at_most_once_is_acknowledged_at_its_start(jobs: ModuleType, start: Start, folder: Path) -> None:
    start()
    result = jobs.at_most_once.delay("trace")
    with pytest.raises(WorkerLostError):
        result.get(timeout=15)
    assert lines(folder / "trace") == ["begin"]


def test_completions_are_recorded_once_while_children_are_killed(jobs: ModuleType, start: Start, folder: Path) -> None:
    worker = start("-c", "2")
    with jobs.app.batch():
        results = [jobs.sleep.delay(0.005) for _ in range(600)]
    for _ in range(6):
        time.sleep(0.15)
        children = worker.children
        if children:
            os.kill(children[0], signal.SIGKILL)
    assert [result.get(timeout=30) for result in results] == [0.005] * 600
    with sqlite3.connect(folder / "celeriac.db") as connection:
        assert connection.execute("pragma integrity_check").fetchone() == ("ok",)


def test_a_client_killed_right_after_sending_has_sent(jobs: ModuleType, start: Start, folder: Path) -> None:
    pid = os.fork()
    if pid == 0:
        try:
            jobs.record.delay("trace", "from the dead")
        finally:
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(pid, 0)
    start("-c", "1")
    eventually(lambda: lines(folder / "trace") == ["from the dead"])
