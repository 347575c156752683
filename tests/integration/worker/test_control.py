"""Remote control of real workers: each command, and what must not be disturbed by any."""

from __future__ import annotations

import fcntl
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from celeriac.canvas import group, signature
from celeriac.controlling import Control
from celeriac.exceptions import TaskRevokedError

from .conftest import SCALE, Stage, Worker, children_of, eventually, is_alive, lines, name_of

Start = Callable[..., Worker]
Pair = tuple[Worker, Worker]

LONG_S = 20.0
"""A wait that only a lost answer would use up."""
SOON_S = 8.0 * SCALE


@pytest.fixture
def pair(start: Start) -> Pair:
    """Two workers on one database."""
    return start("-c", "2", "-n", "w1@h"), start("-c", "1", "-n", "w2@h")


@pytest.fixture
def control(jobs: ModuleType) -> Control:
    """The client's side."""
    made: Control = jobs.app.control
    return made


def nodes_there(control: Control) -> list[str]:
    return sorted(name for reply in control.ping(timeout=2 * SCALE) for name in reply)


def stop_between_writes(pid: int, folder: Path) -> None:
    """Stop a process, but not while it keeps the store to itself: then everybody would stand still."""

    def stopped() -> bool:
        os.kill(pid, signal.SIGSTOP)
        gate = os.open(folder / "celeriac.db-gate", os.O_RDWR)
        try:
            fcntl.flock(gate, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.kill(pid, signal.SIGCONT)
            return False
        finally:
            os.close(gate)
        return True

    eventually(stopped)


def test_every_node_answers_every_question_in_celerys_shape(jobs: ModuleType, pair: Pair, control: Control) -> None:
    running = [jobs.sleep.delay(60) for _ in range(3)]
    later = jobs.add.apply_async((1, 2), countdown=600)
    inspect = control.inspect(timeout=LONG_S)
    eventually(lambda: sum(map(len, inspect.active().values())) == 3)
    began = time.monotonic()
    assert inspect.ping() == {"w1@h": {"ok": "pong"}, "w2@h": {"ok": "pong"}}

    active = inspect.active()
    tasks = [task for found in active.values() for task in found]
    assert {task["id"] for task in tasks} == {result.id for result in running}
    (first,) = active["w2@h"]
    assert (first["name"], first["args"], first["kwargs"], first["type"]) == ("jobs.sleep", "(60,)", "{}", "jobs.sleep")
    assert first["hostname"] == "w2@h"
    assert first["worker_pid"] in pair[1].children
    assert abs(time.time() - first["time_start"]) < 30 * SCALE
    assert first["acknowledged"] is False
    info = {name: value for name, value in first["delivery_info"].items() if name != "redelivered"}
    assert info == {"exchange": "", "routing_key": "celery", "priority": 0}

    waiting = jobs.add.delay(5, 5)
    assert all(isinstance(found, list) for found in inspect.reserved().values())
    scheduled = inspect.scheduled()
    assert [entry["request"]["id"] for entry in scheduled["w1@h"]] == [later.id]
    assert scheduled["w1@h"][0]["request"]["delivery_info"]["routing_key"] == "celery"
    assert "jobs.add" in inspect.registered()["w2@h"]
    assert inspect.active_queues()["w1@h"][0]["name"] == "celery"
    held = inspect.query_task(running[0].id, "unknown-id")
    assert [found[running[0].id][0] for found in held.values() if found] == ["active"]
    assert "celeriac" in inspect.report()["w1@h"]["ok"]
    assert "broker_url" in inspect.conf(with_defaults=True)["w1@h"]
    assert inspect.revoked() == {"w1@h": [], "w2@h": []}

    stats = inspect.stats()
    assert stats["w1@h"]["pid"] == pair[0].node
    assert sorted(stats["w1@h"]["pool"]["processes"]) == sorted(pair[0].children)
    assert stats["w1@h"]["broker"]["transport"] == "sqlite"
    assert stats["w1@h"]["active"] + stats["w2@h"]["active"] == 3
    assert time.monotonic() - began < LONG_S, "nobody was waited for in vain"

    control.revoke([result.id for result in running], terminate=True)
    assert waiting.get(timeout=10 * SCALE) == 10
    eventually(lambda: sum(numbers["total"].get("jobs.add", 0) for numbers in inspect.stats().values()) == 1)


def test_those_who_are_meant_answer(pair: Pair, control: Control) -> None:
    assert control.ping(destination=["w2@h"], timeout=LONG_S) == [{"w2@h": {"ok": "pong"}}]
    assert control.inspect(destination="w1@h", timeout=LONG_S).ping() == {"ok": "pong"}
    assert control.inspect(destination=["w1@h"], timeout=LONG_S).ping() == {"w1@h": {"ok": "pong"}}
    assert control.inspect(destination="nobody@h", timeout=0.2).ping() is None
    assert control.ping(pattern="w1*", timeout=0.5 * SCALE) == [{"w1@h": {"ok": "pong"}}]
    assert control.ping(pattern=r"w[2-9]@", matcher="pcre", timeout=LONG_S) == [{"w2@h": {"ok": "pong"}}]
    by_function = control.ping(pattern="w1", matcher=lambda name, pattern: name.startswith(pattern), timeout=LONG_S)
    assert by_function == [{"w1@h": {"ok": "pong"}}]
    seen: list[Any] = []
    assert len(control.ping(limit=1, callback=seen.append, timeout=LONG_S)) == 1
    assert seen[0] in ({"w1@h": {"ok": "pong"}}, {"w2@h": {"ok": "pong"}})
    assert control.broadcast("ping") is None
    errors = control.broadcast("no_such_command", reply=True, timeout=LONG_S) or []
    assert [set(answer) for reply in errors for answer in reply.values()] == [{"error"}, {"error"}]


def test_what_waits_behind_a_running_task_is_reserved(jobs: ModuleType, start: Start, control: Control) -> None:
    start("-c", "1", "-n", "w1@h", "--prefetch-multiplier", "4")
    running = jobs.sleep.delay(60)
    inspect = control.inspect(destination="w1@h", timeout=LONG_S)
    eventually(lambda: len(inspect.active()) == 1)
    behind = {jobs.add.delay(n, n).id for n in range(3)}
    eventually(lambda: {task["id"] for task in inspect.reserved()} == behind)
    assert {task["worker_pid"] for task in inspect.reserved()} == {None}
    assert inspect.query_task(*behind).keys() == behind
    assert inspect.stats()["prefetch_count"] >= 4
    control.terminate(running.id, signal="KILL")
    eventually(lambda: inspect.stats()["total"].get("jobs.add") == 3)
    assert inspect.reserved() == inspect.active() == []


def test_coroutines_that_wait_beside_each_other_are_all_active(stage: Stage) -> None:
    worker = stage.start("-n", "w1@h")
    for _ in range(30):
        stage.send("caught_async", "begun")
    inspect = stage.app.control.inspect(destination="w1@h", timeout=LONG_S)
    eventually(lambda: len(inspect.active()) == 30)
    pids = {task["worker_pid"] for task in inspect.active()}
    assert len(pids) == 1
    assert pids <= set(worker.children)


def test_a_worker_whose_children_are_all_busy_answers_at_once(jobs: ModuleType, start: Start, control: Control) -> None:
    start("-c", "4", "-n", "w1@h")
    for _ in range(6):
        jobs.busy.delay(30, "busy")
    inspect = control.inspect(timeout=LONG_S)
    eventually(lambda: len(inspect.active()["w1@h"]) == 4)
    assert nodes_there(control) == ["w1@h"]


def test_a_worker_that_stands_still_delays_nobody_beyond_the_timeout(pair: Pair, control: Control) -> None:
    node = pair[0].node
    stop_between_writes(node, Path())
    try:
        began = time.monotonic()
        assert control.ping(timeout=1.0) == [{"w2@h": {"ok": "pong"}}]
        assert time.monotonic() - began < 1.0 + SOON_S
        began = time.monotonic()
        assert control.ping(destination=["w2@h"], timeout=LONG_S) == [{"w2@h": {"ok": "pong"}}]
        assert time.monotonic() - began < SOON_S
    finally:
        os.kill(node, signal.SIGCONT)
    eventually(lambda: nodes_there(control) == ["w1@h", "w2@h"])


def test_a_worker_that_wakes_up_late_does_not_obey_an_old_shutdown(
    jobs: ModuleType, start: Start, control: Control
) -> None:
    worker = start("-c", "1", "-n", "w1@h")
    node = worker.node
    stop_between_writes(node, Path())
    assert control.shutdown(reply=True, timeout=0.1) == []
    # The store's clock of words, not ours: the word is still there when the node wakes up.
    asked_at = time.time()
    eventually(lambda: time.time() > asked_at + 2.5)
    os.kill(node, signal.SIGCONT)
    assert jobs.add.delay(1, 2).get(timeout=10 * SCALE) == 3
    assert nodes_there(control) == ["w1@h"]
    assert "Got shutdown" not in worker.output()
    assert "came after its end and is not obeyed" in worker.output()


def test_shutdown_of_one_leaves_the_other(jobs: ModuleType, pair: Pair, control: Control) -> None:
    running = jobs.sleep.apply_async((1.0, "trace"))
    eventually(lambda: lines(Path("trace")))
    busy, idle = pair if control.inspect(timeout=LONG_S).active()["w1@h"] else pair[::-1]
    name = "w1@h" if busy is pair[0] else "w2@h"
    for _ in range(3):  # whoever asks again hastens nothing
        assert control.shutdown(destination=[name], reply=True, timeout=LONG_S) == [{name: {"ok": "shutting down"}}]
    assert busy.process.wait(15 * SCALE) == 0
    assert "Got shutdown from remote" in busy.output()
    assert running.get(timeout=5 * SCALE) == 1.0
    assert lines(Path("trace")) == ["begin", "end"]
    assert idle.process.poll() is None
    assert jobs.add.delay(1, 1).get(timeout=10 * SCALE) == 2
    control.shutdown()
    assert idle.process.wait(15 * SCALE) == 0


def test_a_solo_worker_answers_while_its_task_runs_and_ends_when_told(
    jobs: ModuleType, start: Start, control: Control
) -> None:
    worker = start("-P", "solo", "-n", "w1@h")
    jobs.sleep.delay(1.0, "trace")
    eventually(lambda: lines(Path("trace")))
    (task,) = control.inspect(destination="w1@h", timeout=LONG_S).active()
    assert task["worker_pid"] == worker.process.pid
    assert control.shutdown(destination="w1@h", reply=True, timeout=LONG_S)
    assert worker.process.wait(15 * SCALE) == 0
    assert lines(Path("trace")) == ["begin", "end"]


def test_the_steps_behind_a_revoked_step_of_unknown_name_are_revoked(jobs: ModuleType, start: Start) -> None:
    start("-c", "1")
    missing = signature("jobs.missing", app=jobs.app)
    result = (jobs.add.s(1, 1) | missing | jobs.add.s(1) | group(jobs.add.s(1), jobs.add.s(2))).delay()
    parked, last = result.parent.parent, result.results[1]
    broker = jobs.app.sender.broker()
    eventually(lambda: [letter.message.id for letter in broker.dead(None, 10)] == [parked.id])
    parked.revoke()
    with pytest.raises(TaskRevokedError):
        last.get(timeout=SOON_S)
    assert [one.state for one in (parked.parent, parked, result.parent)] == ["SUCCESS", "REVOKED", "REVOKED"]
    assert broker.dead(None, 10) == []


def test_revoke_with_terminate_ends_what_runs_and_stops_what_waits(
    jobs: ModuleType, start: Start, control: Control
) -> None:
    start("-c", "1", "-n", "w1@h")
    running = jobs.sleep.delay(60, "first")
    eventually(lambda: lines(Path("first")))
    waiting = jobs.sleep.delay(60, "second")
    replies = control.revoke([running.id, waiting.id], terminate=True, signal="SIGKILL", reply=True, timeout=LONG_S)
    assert replies == [{"w1@h": {"ok": f"terminate: {running.id}"}}]
    for result in (running, waiting):
        with pytest.raises(TaskRevokedError):
            result.get(timeout=10 * SCALE)
    assert jobs.add.delay(1, 1).get(timeout=10 * SCALE) == 2
    assert not lines(Path("second"))
    assert control.revoke("never-sent", reply=True, timeout=LONG_S) == [
        {"w1@h": {"ok": "tasks {'never-sent'} flagged as revoked"}}
    ]
    assert "never-sent" in control.inspect(destination="w1@h", timeout=LONG_S).revoked()
    with pytest.raises(ValueError, match="signal"):
        control.terminate("never-sent", signal="SIGNONSENSE")


def test_nonsense_on_the_topic_is_told_and_harms_nobody(jobs: ModuleType, start: Start, control: Control) -> None:
    worker = start("-c", "1", "-n", "w1@h")
    bus = jobs.app.sender.broker()
    for word in (
        b"",
        b"\xff\xfe",
        b"[]",
        b'{"command": 7}',
        b"[" * 50_000,
        b'{"command": "ping", "reply_to": "control"}',
    ):
        bus.publish_topic("control", word * 3)
    for arguments in ({"task_id": {"a": 1}}, {"task_id": ["a"] * 1000, "signal": "no"}, {"task_id": None}):
        control.broadcast("revoke", arguments)
    assert nodes_there(control) == ["w1@h"]
    assert jobs.add.delay(1, 2).get(timeout=10 * SCALE) == 3
    assert "cannot be read and is ignored" in worker.output()
    assert worker.output().count("Traceback") == 0


def test_a_flood_of_questions_delays_no_task(jobs: ModuleType, start: Start, control: Control) -> None:
    start("-c", "2", "-n", "w1@h")
    for _ in range(300):
        control.broadcast("stats")
    results = [jobs.add.delay(n, n) for n in range(50)]
    assert [result.get(timeout=20 * SCALE) for result in results] == [2 * n for n in range(50)]
    assert nodes_there(control) == ["w1@h"]


def threads_of(pid: int) -> list[str]:
    """The threads of a process: those of a killed one may outlive its first one, and keep its files open."""
    with suppress(OSError):
        return os.listdir(f"/proc/{pid}/task")
    return []


def test_a_killed_worker_is_not_waited_for(pair: Pair, control: Control) -> None:
    tree = pair[0].tree()
    pair[0].kill_all()
    eventually(lambda: not any(is_alive(pid) or len(threads_of(pid)) > 1 for pid in tree))
    began = time.monotonic()
    assert control.ping(timeout=LONG_S) == [{"w2@h": {"ok": "pong"}}]
    assert time.monotonic() - began < SOON_S


def test_a_node_that_died_has_a_successor_that_answers(start: Start, control: Control) -> None:
    worker = start("-c", "1", "-n", "w1@h")
    old = worker.node
    os.kill(old, signal.SIGKILL)
    inspect = control.inspect(destination="w1@h", timeout=1.0)
    found = eventually(inspect.stats, 15)
    assert found["pid"] != old
    assert name_of(found["pid"]) == "celeriac-node"
    assert found["pid"] in children_of(worker.process.pid)


ASKERS = 100
_ASKERS = f"""
import os, random, signal, sys, time
from celeriac import Celeriac

chance = random.Random(7)
for number in range({ASKERS}):
    asking, asks = os.pipe()
    pid = os.fork()
    if pid == 0:
        app = Celeriac("asker", broker="sqlite:///celeriac.db")
        app.control.ping(timeout=30)
        os.write(asks, b"!")
        while True:
            app.control.inspect(timeout=30).stats()
            app.control.broadcast("no_such", reply=True, timeout=30)
            app.control.ping(destination=["nobody@h"], timeout=0.01)
    os.read(asking, 1)
    time.sleep(chance.uniform(0.0, 0.02))
    os.kill(pid, signal.SIGKILL)
    assert os.WTERMSIG(os.waitpid(pid, 0)[1]) == signal.SIGKILL
    os.close(asking)
    os.close(asks)
"""
"""Programs that ask, each killed in the midst of it."""


def test_askers_that_are_killed_leave_nothing_in_the_store(start: Start, control: Control, folder: Path) -> None:
    start("-c", "1", "-n", "w1@h")
    subprocess.run([sys.executable, "-c", _ASKERS], cwd=folder, check=True, timeout=60 * SCALE)
    assert _rows(folder, "ear") > 1, "the killed ones have left their ears behind"
    assert _rows(folder, "word") > 0
    # They are a minute older now: the life of an ear, and of a word.
    with closing(sqlite3.connect(folder / "celeriac.db", timeout=10)) as conn, conn:
        conn.execute("update ear set until=until-61 where topic like 'reply.%'")
        conn.execute("update word set at=at-61")
    eventually(lambda: _rows(folder, "word") == 0, 15)
    eventually(lambda: _rows(folder, "ear") == 1, 15)
    assert nodes_there(control) == ["w1@h"]


def _rows(folder: Path, table: str) -> int:
    with closing(sqlite3.connect(folder / "celeriac.db", timeout=10)) as conn:
        return int(conn.execute(f"select count(*) from {table}").fetchone()[0])
