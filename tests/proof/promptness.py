"""Fairness with the default configuration: nobody waits while somebody is free."""

from __future__ import annotations

import random
import threading
import time

from integration.worker.conftest import SCALE

from .stage import Stage

_FREE_WAIT_S = 0.1
_NOISE_S = 0.15
"""What the machine itself may add: notes are written by tasks, on processors that others use too."""


def nobody_waits_while_a_slot_is_free(stage: Stage, *, rounds: int, seed: int) -> None:
    """Two workers of two slots, long and short tasks mixed: at no time does a task wait longer than 100 ms while
    fewer tasks run than there are slots."""
    jobs = stage.jobs
    chance = random.Random(seed)
    for _ in range(2):
        stage.start("-c", "2")
    # The workers learn from short tasks first, as they do in life.
    with jobs.app.batch():
        warm = [jobs.noop.delay() for _ in range(200)]
    assert warm
    jobs.add.delay(0, 0).get(timeout=10 * SCALE)
    sent: dict[str, float] = {}
    for _ in range(rounds):
        mix = [chance.choice((0.0, 0.0, 0.005, 0.02, 0.02, 1.0)) for _ in range(chance.randint(4, 40))]
        mix[0] = 2.0
        with jobs.app.batch():
            ids = [jobs.trace.delay(seconds).id for seconds in mix]
        now = time.time()
        sent.update(dict.fromkeys(ids, now))
        threading.Event().wait(chance.uniform(0, 1.0))
    stage.await_final(sent, rounds * 8 + 30)
    worst_s, worst = _longest_idle_wait(stage, sent, slots=4)
    assert worst_s < (_FREE_WAIT_S + _NOISE_S) * SCALE, f"{worst} waited {worst_s * 1000:.0f} ms beside a free slot"


def _longest_idle_wait(stage: Stage, sent: dict[str, float], slots: int) -> tuple[float, str]:
    """The longest unbroken time in which a task waited and a slot was free, and the time line around it."""
    changes: list[tuple[float, int, int, str]] = [(at, 0, 1, task_id) for task_id, at in sent.items()]
    for line in (stage.folder / "runs").read_text().splitlines():
        word, task_id, at, _ = line.split()
        changes.append((float(at), 1 if word == "begin" else -1, -1 if word == "begin" else 0, task_id))
    changes.sort()
    running = waiting = 0
    free_since: float | None = None
    worst_s, worst = 0.0, ""
    for at, started, queued, task_id in changes:
        # A wait that a start ends counts until that start: something moved then.
        if free_since is not None and (started or queued < 0) and at - free_since > worst_s:
            worst_s, worst = at - free_since, task_id
        running += started
        waiting += queued
        if running < slots and waiting > 0:
            if free_since is None or started > 0:
                free_since = at
        else:
            free_since = None
    print(f"longest wait beside a free slot: {worst_s * 1000:.0f} ms")
    return worst_s, worst
