"""A task that waits for another one holds no slot: pools of one slot do not lock themselves up."""

from __future__ import annotations

import os
import signal

import pytest

from celeriac.exceptions import SoftTimeLimitExceeded, TaskRevokedError, TimeLimitExceeded

from .conftest import SCALE, Stage, eventually, lines

WAIT_S = 40 * SCALE
ONE_SLOT = [("-P", "prefork", "-c", "1"), ("-P", "threads", "-c", "1"), ("-P", "asyncio", "-c", "1")]


@pytest.mark.parametrize("options", ONE_SLOT)
@pytest.mark.parametrize("kind", ["sync", "async"])
def test_parents_three_levels_deep_complete_with_one_slot(stage: Stage, options: tuple[str, ...], kind: str) -> None:
    worker = stage.start(*options)
    assert stage.send(f"tree_{kind}", 3).get(timeout=WAIT_S) == 4
    # The slots that stood in are given back.
    eventually(lambda: len(worker.children) == 1, 20)
    assert stage.send("add", 1, 1).get(timeout=WAIT_S) == 2


@pytest.mark.parametrize("options", ONE_SLOT)
def test_many_parents_wait_at_once(stage: Stage, options: tuple[str, ...]) -> None:
    stage.start(*options)
    with stage.app.batch():
        results = [stage.send("many_children", 5) for _ in range(6)]
    assert [result.get(timeout=WAIT_S) for result in results] == [15] * 6


def test_a_child_of_another_pool_is_waited_for(stage: Stage) -> None:
    stage.start("-c", "1")
    assert stage.send("tree_async", 2).get(timeout=WAIT_S) == 3
    assert stage.send("many_children", 3).get(timeout=WAIT_S) == 6


@pytest.mark.parametrize("options", ONE_SLOT)
@pytest.mark.parametrize("kind", ["sync", "async"])
def test_a_parent_that_waits_for_ever_meets_its_limit(stage: Stage, options: tuple[str, ...], kind: str) -> None:
    stage.start(*options)
    # Nobody ever runs what it waits for.
    parent = stage.send(f"waits_for_{kind}", "nowhere", "waiting", time_limit=1)
    with pytest.raises(TimeLimitExceeded):
        parent.get(timeout=WAIT_S)
    assert stage.send("add", 1, 1).get(timeout=WAIT_S) == 2
    parent = stage.send(f"waits_for_{kind}", "nowhere", "waiting", soft_time_limit=0.5)
    with pytest.raises(SoftTimeLimitExceeded):
        parent.get(timeout=WAIT_S)
    assert stage.send("add", 1, 1).get(timeout=WAIT_S) == 2


@pytest.mark.parametrize("options", ONE_SLOT)
@pytest.mark.parametrize("kind", ["sync", "async"])
def test_a_parent_that_waits_is_terminated(stage: Stage, options: tuple[str, ...], kind: str) -> None:
    stage.start(*options)
    parent = stage.send(f"waits_for_{kind}", "nowhere", "waiting")
    eventually(lambda: lines(stage.folder / "waiting"))
    parent.revoke(terminate=True)
    with pytest.raises(TaskRevokedError):
        parent.get(timeout=WAIT_S)
    assert stage.send("add", 1, 1).get(timeout=WAIT_S) == 2


@pytest.mark.parametrize("options", ONE_SLOT)
@pytest.mark.parametrize("kind", ["sync", "async"])
def test_a_stop_hands_a_waiting_parent_back_unblamed(stage: Stage, options: tuple[str, ...], kind: str) -> None:
    worker = stage.start(*options, "--grace", "0.5", "--", "task_crash_limit=1")
    parent = stage.send(f"waits_for_{kind}", "elsewhere", "waiting")
    eventually(lambda: lines(stage.folder / "waiting"))
    assert worker.stop(signal.SIGTERM) == 0
    stage.start(*options, "-Q", "celery,elsewhere", "--", "task_crash_limit=1")
    assert parent.get(timeout=WAIT_S) == 2
    assert len(lines(stage.folder / "waiting")) == 2


def test_a_waiting_parent_whose_process_is_killed_runs_again(stage: Stage) -> None:
    stage.start("-P", "prefork", "-c", "1")
    parent = stage.send("waits_for_sync", "elsewhere", "waiting")
    (pid,) = eventually(lambda: lines(stage.folder / "waiting"))
    # Its place is taken by another process: the pool works on.
    assert stage.send("add", 1, 1).get(timeout=WAIT_S) == 2
    os.kill(int(pid), signal.SIGKILL)
    eventually(lambda: len(lines(stage.folder / "waiting")) == 2)
    stage.start("-P", "prefork", "-c", "1", "-Q", "elsewhere")
    assert parent.get(timeout=WAIT_S) == 2


def test_more_parents_than_can_be_stood_in_for_are_noted(stage: Stage) -> None:
    worker = stage.start("-P", "threads", "-c", "1")
    with stage.app.batch():
        parents = [stage.send("waits_for_sync", "elsewhere", "waiting") for _ in range(70)]
    eventually(lambda: len(lines(stage.folder / "waiting")) >= 65, 20)
    eventually(lambda: "More tasks wait for the results of others than can be stood in for" in worker.output())
    stage.start("-c", "1", "-Q", "elsewhere")
    assert [parent.get(timeout=WAIT_S) for parent in parents] == [2] * 70


def test_solo_refuses_to_wait_and_says_what_to_do(stage: Stage) -> None:
    stage.start("-P", "solo")
    said = stage.send("waits_wrongly", "solo").get(timeout=WAIT_S)
    assert "-P threads" in said
    assert stage.send("add", 1, 1).get(timeout=WAIT_S) == 2
