"""A task that waits for another one holds no slot: pools of one slot do not lock themselves up."""

from __future__ import annotations

import pytest

from .conftest import SCALE, Stage, eventually

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


def test_solo_refuses_to_wait_and_says_what_to_do(stage: Stage) -> None:
    stage.start("-P", "solo")
    said = stage.send("waits_wrongly", "solo").get(timeout=WAIT_S)
    assert "-P threads" in said
    assert stage.send("add", 1, 1).get(timeout=WAIT_S) == 2
