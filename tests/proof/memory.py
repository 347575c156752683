"""What millions of tasks leave behind in the memory of a worker: nothing."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

from integration.worker.conftest import SCALE, eventually

from .stage import Stage

_BATCH = 2_000
_BACKLOG = 10_000
"""So many wait at most: the store stays small, and what it costs stays the same."""
_FAILING_EACH = 10
_SAMPLES = 60
_LEAK = """
from celeriac.stores.sqlite import SqliteStore

kept = []
whole = SqliteStore.settle


def settle(self, holder, settlements, then_take):
    kept.extend(bytes({leak_bytes}) for one in settlements if one.receipt is not None)
    return whole(self, holder, settlements, then_take)


SqliteStore.settle = settle
"""

Sample = tuple[float, float]
"""Millions of tasks done, megabytes."""


def the_node_stays_as_it_is(
    stage: Stage, *, tasks: int, warm_up: int, slope_mb_max: float, leak_bytes: int = 0
) -> float:
    """Many tasks, a tenth failing: after the warm-up the node's own memory grows by less than `slope_mb_max` MB per
    million. Returns the slope.

    :param leak_bytes: planted: the node keeps so much of every task
    """
    options = ["-c", "1", "-l", "critical"]
    if leak_bytes:
        (stage.folder / "leaking.py").write_text(_LEAK.format(leak_bytes=leak_bytes))
        options += ["-I", "leaking"]
    worker = stage.start(*options)
    jobs = stage.jobs
    jobs.noop.delay()
    node, main = worker.node, worker.process.pid
    (child,) = eventually(lambda: worker.children)
    seen: dict[str, list[Sample]] = {"node": [], "main": [], "child": []}
    sent = 0
    sample_each = max(_BATCH, (tasks - warm_up) // _SAMPLES)
    sample_at = warm_up
    while sent < tasks:
        with jobs.app.batch():
            for number in range(_BATCH):
                if number % _FAILING_EACH:
                    jobs.noop.delay()
                else:
                    jobs.fail.apply_async(("planned",), ignore_result=True)
        sent += _BATCH
        eventually(lambda: stage.waiting() < _BACKLOG, 60)
        if sent >= sample_at:
            sample_at = sent + sample_each
            for name, pid in (("node", node), ("main", main), ("child", child)):
                seen[name].append((sent / 1e6, anonymous_mb(pid)))
    eventually(lambda: stage.waiting() == 0, 60)
    slopes = {name: slope(samples) for name, samples in seen.items()}
    for name, samples in seen.items():
        print(f"{name}, MB:", " ".join(f"{megabytes:.1f}" for _, megabytes in samples))
        print(f"{name}: {samples[0][1]:.1f} MB, then {samples[-1][1]:.1f} MB: {slopes[name]:+.2f} MB per million tasks")
    # The same processes from the beginning to the end, or the samples tell nothing.
    assert (worker.node, worker.children) == (node, [child]), stage.logs()
    assert stage.count("dead") == 0
    assert slopes["node"] < slope_mb_max, f"the node grows by {slopes['node']:.2f} MB per million tasks"
    return slopes["node"]


def anonymous_mb(pid: int) -> float:
    """Memory of a process that is no file's: what its own data take. To the page, not in batches per thread as in
    ``status``."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Anonymous:"):
            return int(line.split()[1]) / 1024
    raise AssertionError("the kernel does not tell Anonymous")


def slope(samples: Sequence[Sample]) -> float:
    """Theil and Sen's: the median of the slopes between all pairs, which no single jump can move."""
    assert len(samples) > 5, "too few samples for a slope"
    return statistics.median((y2 - y1) / (x2 - x1) for (x1, y1), (x2, y2) in combinations(samples, 2))


def slope_mb_max(tasks: int, warm_up: int) -> float:
    """1 MB per million; over a short way, what a few pages of chance come to, well below 100 bytes per task (100 MB)."""
    return max(1.0, 2.0 * SCALE / ((tasks - warm_up) / 1e6))
