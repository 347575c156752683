"""Deaths by SIGKILL, in every place and at any moment."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from integration.worker.conftest import SCALE, eventually

from .stage import Background, Run, Stage, noted

_LEASE_S = 6.0
_SLACK_S = 5.0
_CRASHES_MAX = 3


def random_kills_lose_nothing(stage: Stage, *, tasks: int, kills: int, run_s: float, seed: int) -> None:
    """Children, nodes, main processes and whole workers are killed while they work, and started again: every task
    is final, an interrupted one goes on within the lease and a slack, no completion is recorded twice."""
    jobs = stage.jobs
    jobs.noop.delay()
    stage.open_book()
    chance = random.Random(seed)
    for _ in range(2):
        stage.start("-c", "2")
    with jobs.app.batch():
        # Every fortieth is long enough to be seen if it went on beside its repetition.
        ids = [jobs.trace.delay(run_s if number % 40 else run_s * 40).id for number in range(tasks)]

    def storm() -> None:
        before = sum(worker.process.poll() is None for worker in stage.workers)
        stage.kill_one(chance, ["child", "child", "node", "main", "tree"])
        if sum(worker.process.poll() is None for worker in stage.workers) < before:
            stage.start("-c", "2")

    work_s = tasks * run_s * 2 / 4
    background = Background(storm, lambda: chance.uniform(0.2, 1.8) * work_s / kills)
    try:
        eventually(lambda: len(stage.kills) >= kills or stage.waiting() == 0, work_s * 4 + kills * 3 + 60)
    finally:
        background.stop()
    assert len(stage.kills) >= kills * 0.8, f"only {len(stage.kills)} kills before the work was done"
    stage.await_final(ids, work_s * 2 + _LEASE_S + _SLACK_S + 20)
    _judge(stage, ids)
    stage.assert_never_two_at_a_time()
    stage.assert_sound()


def _judge(stage: Stage, ids: Sequence[str]) -> None:
    finals, runs = stage.finals(), stage.runs()
    assert set(finals) >= set(ids)
    assert set(runs) == set(ids)
    for task_id in ids:
        (final,) = finals[task_id]
        of_one = runs[task_id]
        assert final.state == "SUCCESS" or len(of_one) == _CRASHES_MAX, (final, of_one)
        for run, following in pairwise(of_one):
            _assert_prompt(stage, run, following.at)
        assert final.at - of_one[-1].at < (_LEASE_S + _SLACK_S) * SCALE, (final, of_one)


def _assert_prompt(stage: Stage, run: Run, again_at: float) -> None:
    """Something was killed after `run` began, and the next run began soon after the last such kill."""
    causes = [at for at in stage.kills if run.at - 0.5 <= at <= again_at]
    assert causes, f"{run} was repeated at {again_at} though nobody was killed"
    assert again_at - max(causes) < (_LEASE_S + _SLACK_S) * SCALE, (run, again_at, max(causes))


def unstarted_tasks_of_the_dead_start_elsewhere(stage: Stage, *, tasks: int, within_s: float, victim: str) -> None:
    """A worker has reserved tasks behind a long one and dies; they start on the other one."""
    jobs = stage.jobs
    first = stage.start("-c", "1", settings=["worker_prefetch_multiplier=64"])
    with jobs.app.batch():
        sent = [jobs.trace.delay(60.0, "long")]
        sent += [jobs.trace.delay() for _ in range(tasks)]
    eventually(lambda: noted(stage.folder / "long"))
    eventually(lambda: stage.count("claimed") > min(tasks, 60) * 0.9)
    assert not noted(stage.folder / "runs")
    stage.start("-c", "1", settings=["worker_prefetch_multiplier=1"])
    reserved = stage.count("claimed")
    died_at = time.time()
    if victim == "tree":
        first.kill_all()
    elif victim == "main":
        stage.kill(first.process.pid)
    else:
        stage.kill(first.node)
    # The long one may now hold the only slot of the second worker; a third one has slots to spare.
    stage.start("-c", "2", settings=["worker_prefetch_multiplier=1"])
    eventually(lambda: len(stage.runs()) >= tasks, within_s)
    assert reserved > 1
    late = [run for of_one in stage.runs().values() for run in of_one if run.at - died_at > within_s * SCALE]
    assert not late


def future_tasks_fire_once(stage: Stage, *, tasks: int, kills: int, due_in_s: float, seed: int) -> None:
    """Tasks wait for their time while workers are killed one after the other: each fires once, none early."""
    jobs = stage.jobs
    jobs.noop.delay()
    stage.open_book()
    chance = random.Random(seed)
    ids: dict[str, float] = {}
    due_at = time.time() + due_in_s * SCALE
    for start in range(0, tasks, 1000):
        with jobs.app.batch():
            for number in range(start, min(start + 1000, tasks)):
                eta = due_at + number / tasks
                ids[jobs.trace.apply_async(countdown=eta - time.time()).id] = eta
    stage.start("-c", "2")
    for _ in range(kills):
        # Rolling: the next one is there before the last one goes.
        stage.start("-c", "2")
        old = next(worker for worker in stage.workers if worker.process.poll() is None)
        stage.kills.append(time.time())
        old.kill_all()
    left_s = max(0.0, due_at - time.time())
    stage.await_final(ids, left_s + tasks / 300 + 30)
    runs, finals = stage.runs(), stage.finals()
    assert set(runs) == set(ids)
    assert all(len(finals[task_id]) == 1 for task_id in ids)
    for task_id, of_one in runs.items():
        assert of_one[0].at >= ids[task_id] - 0.002, (of_one, ids[task_id])
        if len(of_one) > 1:
            assert any(of_one[0].at - 0.5 <= at <= of_one[1].at for at in stage.kills), of_one
    assert chance.random() >= 0


def no_child_idles_while_work_waits(
    stage: Stage, *, tasks: int, kills: int, import_s: float, idle_max_s: float, seed: int
) -> None:
    """Children die at random and their imports take their time: work goes on on every slot."""
    jobs = stage.jobs
    chance = random.Random(seed)
    for start in range(0, tasks, 10_000):
        with jobs.app.batch():
            for _ in range(start, min(start + 10_000, tasks)):
                jobs.tick.delay()
    # Started by exec, each child imports the app by itself.
    worker = stage.start(
        "-c",
        "2",
        settings=["worker_start=exec"],
        ready_in_s=20 + import_s,
        environment={"JOBS_IMPORT_S": str(import_s)},
    )
    busy_at: dict[int, tuple[int, float]] = {}
    last_left, moved_at = -1, time.monotonic()
    deadline = time.monotonic() + (tasks / 300 + kills * import_s + 60) * SCALE
    while left := stage.waiting():
        now = time.monotonic()
        assert now < deadline, stage.logs()
        if left != last_left:
            last_left, moved_at = left, now
        assert now - moved_at < idle_max_s * SCALE, f"nothing moved while {left} waited\n{stage.logs()}"
        _watch_children(worker.children, busy_at, now)
        for pid, (_, since) in busy_at.items():
            # So much that there is some for everybody.
            idles = left > 500 and now - since > idle_max_s * SCALE
            assert not idles, f"child {pid} idles while {left} wait\n{stage.logs()}"
        if tasks - left >= (len(stage.kills) + 1) * tasks / (kills + 1):
            stage.kill_one(chance, ["child"])
        eventually(lambda at=now: time.monotonic() - at > 0.02)
    assert len(stage.kills) >= kills * 0.8, f"only {len(stage.kills)} kills before the work was done"
    assert stage.count("dead") == 0


def _watch_children(pids: Sequence[int], seen: dict[int, tuple[int, float]], now: float) -> None:
    """Keep, for each child that lives, its processor time and since when that has not grown."""
    for pid in list(seen):
        if pid not in pids:
            del seen[pid]
    for pid in pids:
        ticks = _ticks(pid)
        if pid not in seen or seen[pid][0] != ticks:
            seen[pid] = (ticks, now)


def _ticks(pid: int) -> int:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return -1
    return int(fields[11]) + int(fields[12])
