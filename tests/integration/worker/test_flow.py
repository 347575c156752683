"""Prefetch, fairness and shutdown."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

from .conftest import SCALE, Worker, eventually, lines

Start = Callable[..., Worker]


def test_short_tasks_do_not_wait_behind_a_long_one(jobs: ModuleType, start: Start, folder: Path) -> None:
    """1,000 no-ops queued behind one long sleep on two slots are done at once."""
    start("-c", "2")
    for _ in range(3):
        jobs.add.delay(0, 0).get(timeout=10)
    with jobs.app.batch():
        jobs.sleep.delay(60, "long")
        results = [jobs.add.delay(n, 0) for n in range(1000)]
    eventually(lambda: lines(folder / "long"))
    began = time.monotonic()
    assert [result.get(timeout=10) for result in results] == list(range(1000))
    assert time.monotonic() - began < 1.0 * SCALE + 1.0


def test_a_busy_worker_hands_back_what_it_cannot_begin(jobs: ModuleType, start: Start, folder: Path) -> None:
    """All slots of the first worker are taken by long tasks; what it had reserved runs elsewhere."""
    first = start("-c", "1")
    for _ in range(50):
        jobs.add.delay(0, 0)
    jobs.add.delay(0, 0).get(timeout=10)
    with jobs.app.batch():
        jobs.sleep.delay(60, "long")
        results = [jobs.add.delay(n, 0) for n in range(20)]
    eventually(lambda: lines(folder / "long"))
    start("-c", "1")
    assert [result.get(timeout=10) for result in results] == list(range(20))
    assert first.process.poll() is None


def test_term_finishes_what_runs_and_hands_back_the_rest(jobs: ModuleType, start: Start, folder: Path) -> None:
    worker = start("-c", "2")
    results = [jobs.sleep.delay(0.7, f"trace-{n}") for n in range(6)]
    eventually(lambda: lines(folder / "trace-0") and lines(folder / "trace-1"))
    assert worker.stop() == 0
    states = [result.state for result in results]
    assert states.count("SUCCESS") == 2
    traces = [lines(folder / f"trace-{n}") for n in range(6)]
    assert all(trace in ([], ["begin", "end"]) for trace in traces)
    start("-c", "4")
    for result in results:
        result.get(timeout=15)
    assert all(lines(folder / f"trace-{n}") == ["begin", "end"] for n in range(6))


def test_tasks_that_outlast_the_grace_period_are_handed_back_unpenalised(
    jobs: ModuleType, start: Start, folder: Path
) -> None:
    result = jobs.sleep.delay(2.5, "trace")
    for _ in range(4):
        (folder / "trace").unlink(missing_ok=True)
        worker = start("-c", "1", "--grace", "0.2")
        eventually(lambda: lines(folder / "trace"))
        assert worker.stop() == 0
    start("-c", "1")
    assert result.get(timeout=15) == 2.5


def test_a_second_signal_hastens_the_end(jobs: ModuleType, start: Start, folder: Path) -> None:
    worker = start("-c", "1")
    result = jobs.sleep.delay(60, "trace")
    eventually(lambda: lines(folder / "trace"))
    worker.process.send_signal(signal.SIGTERM)
    eventually(lambda: "shutdown" in worker.output())
    assert worker.process.poll() is None
    worker.stop(within_s=5)
    assert result.state == "PENDING"


def test_a_signal_to_the_whole_process_group_ends_the_worker_as_warmly(
    jobs: ModuleType, start: Start, folder: Path
) -> None:
    worker = start("-c", "1")
    result = jobs.sleep.delay(1.5, "trace")
    eventually(lambda: lines(folder / "trace"))
    os.killpg(worker.process.pid, signal.SIGTERM)
    assert worker.process.wait(10 * SCALE) == 0
    assert result.state == "SUCCESS"
    assert lines(folder / "trace") == ["begin", "end"]


def test_repeated_signals_do_not_postpone_the_end_of_a_stuck_node(jobs: ModuleType, start: Start) -> None:
    worker = start("-c", "1", "--grace", "1")
    os.kill(worker.node, signal.SIGSTOP)
    began = time.monotonic()
    while worker.process.poll() is None:
        worker.process.send_signal(signal.SIGTERM)
        time.sleep(0.5)
        assert time.monotonic() - began < 15 * SCALE
    assert worker.process.returncode != 0


def test_no_process_of_a_stopped_worker_stays(jobs: ModuleType, start: Start) -> None:
    worker = start("-c", "3")
    eventually(lambda: len(worker.tree()) == 5)
    tree = worker.tree()
    assert worker.stop() == 0
    assert not any(Path(f"/proc/{pid}").exists() for pid in tree)


def test_children_die_with_a_killed_main_process(jobs: ModuleType, start: Start, folder: Path) -> None:
    worker = start("-c", "1")
    jobs.busy.delay(60, "trace")
    eventually(lambda: lines(folder / "trace"))
    tree = worker.tree()
    os.kill(worker.process.pid, signal.SIGKILL)
    worker.process.wait(5)
    eventually(lambda: not any(Path(f"/proc/{pid}").exists() for pid in tree), 2)


def test_children_are_replaced_after_their_share_of_tasks(jobs: ModuleType, start: Start) -> None:
    start("-c", "1", "--max-tasks-per-child", "5")
    pids = [jobs.pid.delay().get(timeout=10) for _ in range(15)]
    assert len(set(pids)) == 3


def test_delayed_tasks_stay_in_the_store_and_survive_restarts(jobs: ModuleType, start: Start, folder: Path) -> None:
    with jobs.app.batch():
        results = [jobs.record.apply_async(("trace", str(n)), countdown=3) for n in range(50)]
    for _ in range(4):
        start("-c", "1").kill_all()
    start("-c", "2")
    for result in results:
        result.get(timeout=15)
    assert sorted(lines(folder / "trace"), key=int) == [str(n) for n in range(50)]


def test_pause_survives_restarts_and_resume_acts_at_once(jobs: ModuleType, start: Start, folder: Path) -> None:
    broker = jobs.app.make_broker()
    broker.open()
    broker.pause("celery", True)
    result = jobs.record.delay("trace", "ran")
    start("-c", "1").kill_all()
    start("-c", "1")
    time.sleep(0.3)
    assert lines(folder / "trace") == []
    broker.pause("celery", False)
    assert result.get(timeout=2 * SCALE) == "ran"
    broker.close()
