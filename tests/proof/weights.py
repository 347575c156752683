"""What much to do, or a slow start, costs a worker."""

from __future__ import annotations

import time
from pathlib import Path

from integration.worker.conftest import SCALE, eventually

from .stage import Stage

_WEEK_S = 7 * 86400.0


def future_tasks_weigh_nothing(stage: Stage, *, tasks: int, watched_s: float, growth_kib_max: int) -> None:
    """Many tasks are due next week: the worker's memory stays flat, its start is not slower, none leaves the store."""
    jobs = stage.jobs
    before_s = _start_s(stage)
    for start in range(0, tasks, 20_000):
        with jobs.app.batch():
            for number in range(start, min(start + 20_000, tasks)):
                jobs.noop.apply_async(countdown=_WEEK_S + number / 100)
    assert stage.count("due") == tasks
    after_s = _start_s(stage)
    assert after_s < before_s * 2 + 1.0 * SCALE, f"start took {before_s:.2f} s, then {after_s:.2f} s"
    worker = stage.start("-c", "1")
    assert [jobs.add.delay(number, 1).get(timeout=10 * SCALE) for number in range(50)] == list(range(1, 51))
    settled_kib = _anonymous_kib(worker.node)
    ends_at = time.monotonic() + watched_s
    number = 0
    while time.monotonic() < ends_at:
        number += 1
        assert jobs.add.delay(number, 1).get(timeout=10 * SCALE) == number + 1
    grown_kib = _anonymous_kib(worker.node) - settled_kib
    assert grown_kib < growth_kib_max, f"the node grew by {grown_kib} KiB"
    assert stage.count("due") == tasks
    assert stage.count("claimed") == 0
    assert worker.stop() == 0
    assert stage.count("due") == tasks


def _start_s(stage: Stage) -> float:
    """The shorter of two starts: from the command to a worker that takes work."""
    took: list[float] = []
    for _ in range(2):
        began_at = time.monotonic()
        worker = stage.start("-c", "1")
        took.append(time.monotonic() - began_at)
        worker.stop()
    return min(took)


def _anonymous_kib(pid: int) -> int:
    """Memory of a process that is no file's: what its own data take."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1])
    raise AssertionError("the kernel does not tell RssAnon")


def slow_imports_start_fine(stage: Stage, *, import_s: float) -> None:
    """An app that takes its time to import is waited for, by main process and children, with no setting."""
    jobs = stage.jobs
    for start in ("fork", "exec"):
        worker = stage.begin(
            "-c", "1", settings=[f"worker_start={start}"], environment={"JOBS_IMPORT_S": str(import_s)}
        )
        began_at = time.monotonic()
        result = jobs.trace.delay()
        stage.await_ready(worker, import_s + 20)
        pids = eventually(lambda worker=worker: worker.children, 5)
        assert result.get(timeout=import_s * 2 + 20 * SCALE)
        assert time.monotonic() - began_at >= import_s
        assert worker.children == pids, "a child was replaced while it imported"
        assert worker.stop() == 0
