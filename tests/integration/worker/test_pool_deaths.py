"""Children of many slots die: nothing is lost, and who is innocent does not pay."""

from __future__ import annotations

import os
import re
import signal

import pytest

from celeriac.exceptions import WorkerLostError

from .conftest import SCALE, Stage, eventually, is_alive, lines

WAIT_S = 30 * SCALE


def test_what_a_killed_asyncio_child_was_running_completes_elsewhere(stage: Stage) -> None:
    stage.start("-c", "1")
    with stage.app.batch():
        results = [stage.send("gather_async", number, "gathered") for number in range(200)]
    pids = eventually(lambda: len(lines(stage.folder / "gathered")) >= 200 and set(lines(stage.folder / "gathered")))
    assert len(pids) == 1
    (first,) = map(int, pids)
    os.kill(first, signal.SIGKILL)
    (stage.folder / "go").touch()
    values = [result.get(timeout=WAIT_S) for result in results]
    assert [value[0] for value in values] == list(range(200))
    assert first not in {value[1] for value in values}


@pytest.mark.parametrize("options", [("-c", "1"), ("-P", "threads,asyncio", "-c", "4")])
def test_what_ran_when_the_node_was_killed_completes(stage: Stage, options: tuple[str, ...]) -> None:
    worker = stage.start(*options)
    with stage.app.batch():
        results = [stage.send("gather_async", number, "gathered") for number in range(100)]
        others = [stage.send("neighbour_sync", number, 0.2, "others") for number in range(5)]
    eventually(lambda: len(lines(stage.folder / "gathered")) >= 100 and lines(stage.folder / "others"))
    node, old = worker.node, worker.children
    os.kill(node, signal.SIGKILL)
    (stage.folder / "go").touch()
    assert [result.get(timeout=WAIT_S)[0] for result in results] == list(range(100))
    assert [result.get(timeout=WAIT_S)[0] for result in others] == list(range(5))
    eventually(lambda: not any(map(is_alive, old)))


def test_a_killed_worker_leaves_no_child_and_another_completes_its_tasks(stage: Stage) -> None:
    worker = stage.start("-P", "prefork,threads,asyncio", "-c", "2")
    with stage.app.batch():
        results = [stage.send("gather_async", number, "gathered") for number in range(50)]
    eventually(lambda: len(lines(stage.folder / "gathered")) >= 50)
    tree = worker.tree()
    os.kill(worker.process.pid, signal.SIGKILL)
    eventually(lambda: not any(map(is_alive, tree[1:])))
    (stage.folder / "go").touch()
    stage.start("-c", "1")
    assert [result.get(timeout=WAIT_S)[0] for result in results] == list(range(50))


@pytest.mark.parametrize(("options", "kind"), [(("-P", "asyncio"), "async"), (("-P", "threads", "-c", "8"), "sync")])
def test_a_poisonous_task_is_a_dead_letter_and_its_neighbours_complete(
    stage: Stage, options: tuple[str, ...], kind: str
) -> None:
    stage.start(*options)
    neighbours = [stage.send(f"neighbour_{kind}", number, 1.0, "innocent") for number in range(5)]
    eventually(lambda: len(lines(stage.folder / "innocent")) >= 5)
    poison = stage.send(f"exits_{kind}", "poison")
    with pytest.raises(WorkerLostError):
        poison.get(timeout=WAIT_S)
    assert len(lines(stage.folder / "poison")) == 3
    assert [result.get(timeout=WAIT_S)[0] for result in neighbours] == list(range(5))


def test_a_poisonous_coroutine_costs_the_functions_beside_it_nothing(stage: Stage) -> None:
    stage.start("-c", "2", "--", "task_crash_limit=1")
    others = [stage.send("neighbour_sync", number, 0.5, "others") for number in range(6)]
    with pytest.raises(WorkerLostError):
        stage.send("exits_async", "poison").get(timeout=WAIT_S)
    assert [result.get(timeout=WAIT_S)[0] for result in others] == list(range(6))
    begun = [line for line in lines(stage.folder / "others") if line.endswith("begin")]
    assert len(begun) == 6


def test_the_log_calls_a_dead_child_as_it_called_itself(stage: Stage) -> None:
    worker = stage.start("-P", "prefork,threads", "-c", "1")
    for _ in range(2):
        pid = stage.send("where_on_thread").get(timeout=WAIT_S)["pid"]
        (name,) = set(re.findall(r"/(Threads-\d)\] Task pool_jobs\.where_on_thread", worker.output()))
        os.kill(pid, signal.SIGKILL)
        eventually(lambda pid=pid, name=name: f"child: {name}, pid: {pid}" in worker.output())
