"""Workers that are asked to end."""

from __future__ import annotations

import random
import signal
import time

from integration.worker.conftest import SCALE, Worker, eventually

from .stage import Stage, noted


def stop_storm_repeats_nothing(stage: Stage, *, tasks: int, stops: int, run_s: float, seed: int) -> None:
    """Workers are started and stopped all the time while there is load: what was started was finished, once."""
    jobs = stage.jobs
    jobs.noop.delay()
    stage.open_book()
    chance = random.Random(seed)
    ids: list[str] = []
    started_at = time.monotonic()
    stage.start("-c", "2")
    for number in range(stops):
        with jobs.app.batch():
            ids += [jobs.trace.delay(chance.uniform(0, 2 * run_s)).id for _ in range(tasks // stops)]
        following = stage.begin("-c", "2")
        current = stage.workers[-2]
        if number % 3:
            # Otherwise the old one goes while the new one is still on its way.
            stage.await_ready(following)
        current.process.send_signal(signal.SIGTERM)
        if number % 2:
            _assert_ended_well(current)
    stage.await_final(ids, tasks * run_s + 30)
    for worker in stage.workers[:-1]:
        _assert_ended_well(worker)
    runs = stage.runs()
    assert set(runs) == set(ids)
    assert {len(of_one) for of_one in runs.values()} == {1}
    assert all(of_one[0].ended_at for of_one in runs.values())
    finals = stage.finals()
    assert all([entry.state for entry in finals[task_id]] == ["SUCCESS"] for task_id in ids)
    assert time.monotonic() > started_at


def _assert_ended_well(worker: Worker) -> None:
    """Exit code 0; or dead by the signal, if it came while the interpreter was still importing and had no task."""
    code = worker.process.wait(30 * SCALE)
    assert code == 0 or (code == -signal.SIGTERM and " ready" not in worker.output()), (code, worker.output())


def stopping_finishes_what_fits(stage: Stage, *, grace_s: float, rounds: int) -> None:
    """At TERM short tasks finish, long ones and what has not begun are handed back un-penalised, in time, exit 0."""
    jobs = stage.jobs
    long = jobs.trace.delay(grace_s * 20, "long")
    short: list[str] = []
    for number in range(rounds):
        worker = stage.start("-c", "2", "--grace", str(grace_s))
        eventually(lambda count=number: len(noted(stage.folder / "long")) == count + 1)
        with jobs.app.batch():
            # Before what earlier rounds have left over.
            call = {"args": (grace_s / 4, f"short-{number}"), "priority": min(number, 9)}
            mine = [jobs.trace.apply_async(**call).id for _ in range(8)]
        short += mine
        eventually(lambda name=f"short-{number}": noted(stage.folder / name))
        asked_at = time.monotonic()
        worker.process.send_signal(signal.SIGTERM)
        assert worker.process.wait((grace_s + 5) * SCALE) == 0, worker.output()
        assert time.monotonic() - asked_at < grace_s + 2 * SCALE
        begun = [line.split()[1] for line in noted(stage.folder / f"short-{number}") if line.startswith("begin")]
        ended = [line.split()[1] for line in noted(stage.folder / f"short-{number}") if line.startswith("end")]
        assert begun == ended, "what had begun and would fit was not finished"
        with stage.look() as connection:
            rows = connection.execute("select crashes from ready union all select crashes from due").fetchall()
            assert all(crashes == 0 for (crashes,) in rows)
        assert stage.count("claimed") == 0
    assert len(noted(stage.folder / "long")) == rounds
    assert stage.count("dead") == 0
    assert jobs.app.AsyncResult(long.id).state == "PENDING"
    stage.jobs.app.AsyncResult(long.id).revoke()
    stage.start("-c", "2")
    stage.await_final(short, 20 + len(short) * grace_s / 4)
    runs = {task_id for number in range(rounds) for task_id in stage.runs(f"short-{number}")}
    assert runs == set(short)
