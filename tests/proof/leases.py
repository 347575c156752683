"""Leases: who holds a task keeps it while it lives, and nobody's late word counts."""

from __future__ import annotations

import os
import random
import signal
import time

from integration.worker.conftest import SCALE, eventually, name_of

from .stage import Stage, noted


def long_tasks_run_once(stage: Stage, *, lease_s: float, task_s: float) -> None:
    """Two workers, a lease much shorter than the tasks: started at once, started from the future, and prefetched
    behind another one. Each runs exactly once while its worker lives."""
    stage.jobs.noop.delay()
    stage.open_book()
    settings = [f"worker_lease_s={lease_s}", "worker_prefetch_multiplier=2"]
    for _ in range(2):
        stage.start("-c", "2", settings=settings)
    with stage.jobs.app.batch():
        # Six on four slots, two reserved per slot: some wait in a worker for longer than the lease.
        sent = [stage.jobs.trace.delay(task_s) for _ in range(6)]
        sent += [stage.jobs.trace.apply_async((0.05,), countdown=task_s) for _ in range(4)]
    stage.await_final([each.id for each in sent], 3 * task_s + 20)
    runs = stage.runs()
    assert {task_id: len(of_one) for task_id, of_one in runs.items()} == {each.id: 1 for each in sent}
    assert all(len(entries) == 1 for entries in stage.finals().values())


def late_words_of_a_stopped_node_count_for_nothing(stage: Stage, *, rounds: int, lease_s: float, seed: int) -> None:
    """A node is stopped between the end of its tasks and their acknowledgement, others take over, the node goes on:
    each completion is recorded once, by one of the two."""
    stage.jobs.noop.delay()
    stage.open_book()
    settings = [f"worker_lease_s={lease_s}"]
    chance = random.Random(seed)
    ids: list[str] = []
    first = stage.start("-c", "2", settings=settings)
    second = stage.start("-c", "2", settings=settings)
    for _ in range(rounds):
        victim = chance.choice([first, second])
        eventually(lambda worker=victim: worker.node)
        node = victim.node
        with stage.jobs.app.batch():
            mine = [stage.jobs.trace.delay(0.1) for _ in range(8)]
        ids += [each.id for each in mine]
        count = len(noted(stage.folder / "runs"))
        eventually(lambda before=count: len(noted(stage.folder / "runs")) >= before + 2)
        # Its children finish what they run; the node cannot hear them.
        os.kill(node, signal.SIGSTOP)
        wakes_at = time.monotonic() + (lease_s * 2.5 + 1) * SCALE
        stage.await_final([each.id for each in mine], lease_s + 10)
        eventually(lambda at=wakes_at: time.monotonic() >= at, 60)
        os.kill(node, signal.SIGCONT)
    stage.await_final(ids, 20)
    probe = [stage.jobs.trace.delay(0.0) for _ in range(20)]
    stage.await_final([each.id for each in probe], 20)
    finals = stage.finals()
    assert {len(finals[task_id]) for task_id in ids} == {1}
    assert any(len(of_one) > 1 for of_one in stage.runs().values()), "no run was ever cut from its acknowledgement"
    assert name_of(first.process.pid)
    stage.assert_sound()
