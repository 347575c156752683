"""Pools side by side in one worker, and what a task sees in each."""

from __future__ import annotations

import re
import signal
import time

import pytest

from .conftest import SCALE, Stage, eventually, lines

WAIT_S = 20 * SCALE


def test_functions_and_coroutines_share_one_worker(stage: Stage) -> None:
    worker = stage.start("-c", "2")
    main = worker.process.pid
    before = 2
    eventually(lambda: len(worker.children) == before)
    assert stage.send("where_sync").get(timeout=WAIT_S)["loop"] is False
    assert len(worker.children) == before  # nothing is started for coroutines before the first one
    pids: dict[str, set[int]] = {"sync": set(), "async": set()}
    results = [(kind, stage.send(f"where_{kind}")) for _ in range(20) for kind in pids]
    for kind, result in results:
        found = result.get(timeout=WAIT_S)
        pids[kind].add(found["pid"])
        assert found["loop"] is (kind == "async")
        assert found["main_thread"] is True
    assert len(pids["async"]) == 1
    assert not pids["sync"] & pids["async"]
    assert main not in pids["sync"] | pids["async"]
    assert len(worker.children) == before + 1


def test_a_task_chooses_its_pool(stage: Stage) -> None:
    stage.start("-c", "2")
    found = {
        name: stage.send(f"where_{name}").get(timeout=WAIT_S)
        for name in ("sync", "async", "on_thread", "beside_loop", "in_process")
    }
    assert (found["sync"]["main_thread"], found["sync"]["loop"]) == (True, False)
    assert (found["async"]["main_thread"], found["async"]["loop"]) == (True, True)
    assert (found["on_thread"]["main_thread"], found["on_thread"]["loop"]) == (False, False)
    assert (found["beside_loop"]["main_thread"], found["beside_loop"]["loop"]) == (False, False)
    assert found["beside_loop"]["pid"] == found["async"]["pid"]
    assert (found["in_process"]["main_thread"], found["in_process"]["loop"]) == (True, True)
    assert len({found[name]["pid"] for name in ("on_thread", "async", "in_process")}) == 3


@pytest.mark.parametrize(
    "options", [("-P", "threads"), ("-P", "asyncio"), ("-P", "prefork", "-c", "1"), ("-P", "solo")]
)
def test_every_pool_runs_functions_and_coroutines(stage: Stage, options: tuple[str, ...]) -> None:
    worker = stage.start(*options)
    names = ("sync", "async", "on_thread", "beside_loop", "in_process")
    found = [stage.send(f"where_{name}").get(timeout=WAIT_S) for name in names]
    assert len({one["pid"] for one in found}) == 1
    assert [one["loop"] for one in found] == [False, True, False, False, True]
    on_main = {"threads": [False] * 5, "asyncio": [False, True, False, False, True]}
    assert [one["main_thread"] for one in found] == on_main.get(options[1], [True] * 5)
    assert worker.stop() == 0


@pytest.mark.parametrize("words", ["prefork,asyncio", "threads,asyncio", "asyncio,prefork", "prefork,threads,asyncio"])
def test_pools_that_were_chosen_are_started_and_the_first_is_the_default(stage: Stage, words: str) -> None:
    worker = stage.start("-P", words, "-c", "1")
    names = words.split(",")
    eventually(lambda: len(worker.children) == len(names))
    sync = stage.send("where_sync").get(timeout=WAIT_S)
    coroutine = stage.send("where_async").get(timeout=WAIT_S)
    assert sync["main_thread"] is (names[0] == "prefork")
    assert (sync["pid"] == coroutine["pid"]) is (names[0] == "asyncio")
    assert worker.stop() == 0


def test_children_that_are_started_by_exec_are_of_every_pool_too(stage: Stage) -> None:
    worker = stage.start("-P", "prefork,threads,asyncio", "-c", "1", "--", "worker_start=exec")
    found = {name: stage.send(f"where_{name}").get(timeout=WAIT_S) for name in ("sync", "async", "on_thread")}
    assert len({one["pid"] for one in found.values()}) == 3
    assert (found["async"]["loop"], found["on_thread"]["main_thread"]) == (True, False)
    assert worker.stop() == 0


def test_log_lines_name_the_child_and_its_pool(stage: Stage) -> None:
    worker = stage.start("-P", "prefork,threads,asyncio", "-c", "1")
    for name in ("sync", "async", "on_thread"):
        stage.send(f"where_{name}").get(timeout=WAIT_S)
    for process, task in (("Worker-", "sync"), ("Asyncio-", "async"), ("Threads-", "on_thread")):
        wanted = re.compile(rf"INFO/{process}\d\] Task pool_jobs\.where_{task}\[.*succeeded")
        eventually(lambda wanted=wanted: wanted.search(worker.output()))
    assert worker.output().count("cannot break into a blocking call") == 1


def test_a_thousand_short_awaits_overlap_in_one_child(stage: Stage) -> None:
    stage.start("-c", "1")
    stage.send("where_async").get(timeout=WAIT_S)
    began = time.monotonic()
    with stage.app.batch():
        results = [stage.send("neighbour_async", number, 2.0, "thousand") for number in range(1000)]
    values = [result.get(timeout=60 * SCALE) for result in results]
    assert time.monotonic() - began < 60 * SCALE  # one by one they would take half an hour
    assert [value[0] for value in values] == list(range(1000))
    assert len({value[2] for value in values}) == 1
    noted = lines(stage.folder / "thousand")
    running, most = 0, 0
    for line in noted:
        running += 1 if line.endswith("begin") else -1
        most = max(most, running)
    assert most >= 500


def test_each_of_a_hundred_interleaved_coroutines_sees_its_own_request(stage: Stage) -> None:
    stage.start("-c", "1")
    with stage.app.batch():
        results = [stage.send("interleaved", 20) for _ in range(100)]
    assert all(result.get(timeout=60 * SCALE) for result in results)


@pytest.mark.parametrize("options", [("-P", "threads", "-c", "20"), ("-P", "asyncio")])
def test_each_of_many_threads_sees_its_own_request(stage: Stage, options: tuple[str, ...]) -> None:
    stage.start(*options)
    with stage.app.batch():
        results = [stage.send("interleaved_sync", 50) for _ in range(60)]
    assert all(result.get(timeout=60 * SCALE) for result in results)


@pytest.mark.parametrize("options", [("-c", "1"), ("-P", "threads", "-c", "2"), ("-P", "asyncio")])
def test_a_coroutine_retries_reports_and_sends(stage: Stage, options: tuple[str, ...]) -> None:
    stage.start(*options)
    assert stage.send("retries_async", 2).get(timeout=WAIT_S) == 2
    assert stage.send("autoretries_async", 2).get(timeout=WAIT_S) == 2
    result = stage.send("progress_async", "progress")
    eventually(lambda: lines(stage.folder / "progress"))
    assert (result.state, result.info) == ("PROGRESS", {"done": 1})
    (stage.folder / "progress.go").touch()
    assert result.get(timeout=WAIT_S) == "done"
    sender = stage.send("sends_async", 4)
    sent, own = sender.get(timeout=WAIT_S)
    assert own == sender.id
    assert stage.app.AsyncResult(sent).get(timeout=WAIT_S) == 5


@pytest.mark.parametrize("options", [("-P", "threads", "-c", "3"), ("-P", "asyncio"), ("-c", "1")])
def test_a_child_of_many_slots_is_replaced_after_its_number_of_tasks(stage: Stage, options: tuple[str, ...]) -> None:
    kind = "sync" if "threads" in options else "async"
    stage.start(*options, "--max-tasks-per-child", "10")
    pids: set[int] = set()
    for wave in range(6):
        with stage.app.batch():
            results = [stage.send(f"neighbour_{kind}", 10 * wave + number, 0.01, "replaced") for number in range(10)]
        values = [result.get(timeout=60 * SCALE) for result in results]
        assert [value[0] for value in values] == list(range(10 * wave, 10 * wave + 10))
        pids |= {value[2] for value in values}
    assert len(pids) >= 3
    noted = lines(stage.folder / "replaced")
    assert sorted(line for line in noted if line.endswith("begin")) == sorted(f"{n} begin" for n in range(60))


def test_a_crowd_of_coroutines_does_not_keep_functions_waiting(stage: Stage) -> None:
    stage.start("-c", "1", "--async-slots", "10")
    with stage.app.batch():
        crowd = [stage.send("neighbour_async", number, 0.2, "crowd") for number in range(300)]
    eventually(lambda: lines(stage.folder / "crowd"))
    added = [stage.send("add", number, 1) for number in range(20)]
    assert [result.get(timeout=WAIT_S) for result in added] == list(range(1, 21))
    assert len(lines(stage.folder / "crowd")) < 600
    assert [result.get(timeout=60 * SCALE)[0] for result in crowd] == list(range(300))


def test_a_crowd_of_functions_does_not_keep_coroutines_waiting(stage: Stage) -> None:
    stage.start("-c", "1")
    with stage.app.batch():
        crowd = [stage.send("neighbour_sync", number, 0.02, "crowd") for number in range(300)]
    eventually(lambda: lines(stage.folder / "crowd"))
    naps = [stage.send("neighbour_async", number, 0.1, "naps") for number in range(20)]
    assert [result.get(timeout=WAIT_S)[0] for result in naps] == list(range(20))
    assert len(lines(stage.folder / "crowd")) < 600
    assert [result.get(timeout=60 * SCALE)[0] for result in crowd] == list(range(300))


def test_a_coroutine_far_behind_functions_runs_while_these_wait_and_each_is_told_of_once(stage: Stage) -> None:
    worker = stage.start("-c", "1")
    long = stage.send("neighbour_sync", 0, 60.0, "long")
    eventually(lambda: lines(stage.folder / "long"))
    with stage.app.batch():
        crowd = [stage.send("add", number, 1) for number in range(400)]
    found = stage.send("where_async").get(timeout=WAIT_S)
    assert found["loop"]
    assert not long.ready()
    assert not any(result.ready() for result in crowd)
    told = re.findall(r"Task pool_jobs\.add\[(\S+)\] received", worker.output())
    assert len(told) == len(set(told)) > 100


def test_a_second_signal_ends_a_worker_full_of_coroutines_at_once(stage: Stage) -> None:
    worker = stage.start("-P", "asyncio", "--", "task_crash_limit=1")
    long = [stage.send("long_once_async", f"long-{number}") for number in range(20)]
    eventually(lambda: all(lines(stage.folder / f"long-{number}") for number in range(20)))
    worker.process.send_signal(signal.SIGTERM)
    eventually(lambda: "warm shutdown" in worker.output())
    assert worker.stop(signal.SIGTERM) == 0
    stage.start("-P", "asyncio", "--", "task_crash_limit=1")
    assert [result.get(timeout=WAIT_S) for result in long] == ["second"] * 20


@pytest.mark.parametrize(
    ("options", "kind"),
    [
        (("-P", "threads", "-c", "4"), "sync"),
        (("-P", "asyncio"), "async"),
        (("-P", "asyncio"), "sync"),
        (("-c", "4"), "async"),
    ],
)
def test_a_stop_lets_what_runs_finish_in_time_and_hands_back_the_rest(
    stage: Stage, options: tuple[str, ...], kind: str
) -> None:
    worker = stage.start(*options, "--grace", "3", "--", "task_crash_limit=1")
    short = [stage.send(f"neighbour_{kind}", number, 1.0, "short") for number in range(3)]
    long = stage.send(f"long_once_{kind}", "long")
    eventually(lambda: len(lines(stage.folder / "short")) >= 3 and lines(stage.folder / "long"))
    assert worker.stop(signal.SIGTERM) == 0
    assert [result.get(timeout=WAIT_S)[0] for result in short] == [0, 1, 2]
    assert len(lines(stage.folder / "short")) == 6
    stage.start(*options, "--", "task_crash_limit=1")
    assert long.get(timeout=WAIT_S) == "second"
