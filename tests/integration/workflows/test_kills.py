"""Workers are killed amid chains: no step is lost, none is there twice."""

from __future__ import annotations

import os
import random
import signal
from collections import Counter
from contextlib import suppress

import pytest

from celeriac.canvas import group
from integration.worker.conftest import children_of, eventually, lines

CHAINS = 200
STEPS = 5
KILLS = 8
STEP_S = 0.005
IN_FLIGHT_MAX = 64
"""Of one child: steps that had run and whose ends were not committed yet when it was killed."""


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_chains_whose_workers_are_killed_complete_with_each_step_once(flows, start, folder):
    workers = [start("-c", "2"), start("-c", "2")]
    chance = random.Random(5)
    walks = []
    with flows.app.batch():
        for number in range(CHAINS):
            walk = flows.step.s([number], 1, STEP_S)
            for step in range(2, STEPS):
                walk |= flows.step.s(step, STEP_S)
            walk |= group(flows.step.s(STEPS, STEP_S), flows.step.s(-STEPS, STEP_S))
            walks.append(walk.delay())
    part = CHAINS * (STEPS + 1) // (KILLS + 1)
    for kill in range(1, KILLS + 1):
        eventually(lambda kill=kill: len(lines(folder / "steps")) >= kill * part, 60)
        worker = workers[kill % 2]
        pids = children_of(worker.process.pid)
        if kill % 4 == 0:  # all of a worker at once, and another in its place
            worker.kill_all()
            workers[kill % 2] = start("-c", "2")
        elif pids:  # its node, or one of its children
            with suppress(ProcessLookupError):
                os.kill(chance.choice(pids), signal.SIGKILL)

    for number, result in enumerate(walks):
        path = [number, *range(1, STEPS)]
        assert result.get(timeout=60) == [[*path, STEPS], [*path, -STEPS]]
        step = result.parent
        while step is not None:  # each step on the way has its own result, once
            assert step.get(timeout=10) == path
            path = path[:-1]
            step = step.parent
        assert path == [number]
    assert [worker.stop() for worker in workers] == [0, 0]

    runs = Counter(tuple(line.split()[:2]) for line in lines(folder / "steps"))
    expected = {(str(n), str(s)) for n in range(CHAINS) for s in (*range(1, STEPS + 1), -STEPS)}
    assert runs.keys() == expected
    # What was killed before its end was committed has run again; nothing else has.
    assert sum(runs.values()) - len(runs) <= KILLS * 2 * IN_FLIGHT_MAX
    depths = flows.app.sender.broker().depth(["celery"])
    assert all((depth.ready, depth.delayed, depth.claimed, depth.dead) == (0, 0, 0, 0) for depth in depths)
