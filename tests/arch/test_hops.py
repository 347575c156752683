"""Few hops: how many functions of ours, in how many files, one task enters on its way."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import celeriac
from arch.source import PACKAGE, ROOT

# What one task may enter: functions, files. The goal is 25 and 8 (10 and 5 for a result that is there); where it is not
# reached, today's number stands here as the most, and is lowered when it can be. It never grows.
#
# The goal of files cannot be reached while rooms are kept apart, which is worth more: a send leads through the front
# (task, result), core (prepare), model (ids), wire (message, JSON, short texts) and the sender, eight files before the
# first of its broker and store; a run through all of node, pool, engine, wire, child and front.
SEND = {"memory": (22, 11), "sqlite": (22, 14)}
TAKEN_TO_BODY = (25, 17)
# Fifteen of these are the store's one transaction: ends, results and the next claim together.
BODY_TO_SETTLED = (38, 20)
# Four of these guard the connection: a thread at a time, no break-in by a time limit, the file still there.
READ = (13, 10)

_TASKS = 24
"""So many are looked at: what comes in between by chance is not in all of them."""

COMPREHENSIONS = {"<listcomp>", "<dictcomp>", "<setcomp>", "<genexpr>"}
"""Frames of their own before Python 3.12, and no functions of ours."""

Place = tuple[str, int, str]


def _entered(call: Callable[[], Any]) -> set[Place]:
    """Functions of the package that one call enters on this thread."""
    places: set[Place] = set()

    def profile(frame: Any, event: str, _arg: Any) -> None:
        code = frame.f_code
        if event == "call" and code.co_filename.startswith(str(PACKAGE)) and code.co_name not in COMPREHENSIONS:
            places.add((code.co_filename, code.co_firstlineno, code.co_name))

    before = sys.getprofile()
    sys.setprofile(profile)
    try:
        call()
    finally:
        sys.setprofile(before)
    return places


def _assert_within(places: set[Place], budget: tuple[int, int]) -> None:
    functions, files = len(places), len({place[0] for place in places})
    listing = "\n".join(f"  {Path(file).relative_to(PACKAGE)}:{line} {name}" for file, line, name in sorted(places))
    assert places, "nothing of the package was entered: the probe is broken"
    assert functions <= budget[0], f"{functions} functions, at most {budget[0]}:\n{listing}"
    assert files <= budget[1], f"{files} files, at most {budget[1]}:\n{listing}"


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return "memory://hops-send" if request.param == "memory" else f"sqlite:///{tmp_path / 'hops.db'}"


def test_one_send_enters_few_functions_in_few_files(store: str):
    app = celeriac.Celeriac("hops-send", broker=store, backend=store)

    @app.task(name="hops.add")
    def add(x: int, y: int) -> int:
        return x + y

    for _ in range(10):
        add.delay(2, 3)
    _assert_within(_entered(lambda: add.delay(2, 3)), SEND[store.partition(":")[0]])
    app.close()


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Any]]:
    """A worker with the recorder in all its processes, and the results of tasks it ran one by one."""
    folder = tmp_path_factory.mktemp("hops")
    store = f"sqlite:///{folder / 'hops.db'}"
    path = os.pathsep.join([str(PACKAGE.parent), str(ROOT / "tests")])
    environment = {**os.environ, "PYTHONPATH": path, "HOPS_STORE": store, "HOPS_FOLDER": str(folder)}
    app = celeriac.Celeriac("hops", broker=store, backend=store)
    command = [sys.executable, "-m", "celeriac", "-A", "arch.hops_tasks", "worker", "-c", "1", "-l", "warning"]
    worker = subprocess.Popen(command, env=environment, cwd=folder)
    try:
        results = []
        for _ in range(_TASKS):
            result = app.send_task("arch.hops_tasks.add", (2, 3))
            assert result.get(timeout=30) == 5
            results.append(result)
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(timeout=30) == 0
        yield folder, results
    finally:
        if worker.poll() is None:
            worker.kill()
            worker.wait(timeout=10)
        app.close()


Line = tuple[int, str, Place]


def _lines(folder: Path) -> list[Line]:
    found = []
    for file in folder.glob("*.hops"):
        for text in file.read_text().splitlines():
            ns, kind, name, line, function = text.split(" ", 4)
            found.append((int(ns), kind, (name, int(line), function)))
    return sorted(found)


def _between(lines: list[Line], first: str, last: str) -> list[set[Place]]:
    """For each stretch from the nearest `first` to a `last`: the functions entered in it."""
    stretches: list[set[Place]] = []
    current: set[Place] | None = None
    for _, kind, place in lines:
        if kind == first:
            current = set()
        elif kind == last and current is not None:
            stretches.append(current)
            current = None
        elif kind == "call" and current is not None and place[2] not in COMPREHENSIONS:
            current.add(place)
    return stretches


def _usual(stretches: list[set[Place]]) -> set[Place]:
    """What every stretch past warming up has: a timer that fires in between, or a process that is ahead of another,
    belongs to no task."""
    assert len(stretches) >= _TASKS - 2, f"only {len(stretches)} of {_TASKS} tasks were seen"
    return set.intersection(*stretches[2:])


def test_few_functions_from_taken_to_the_users_function(recorded: tuple[Path, Any]):
    _assert_within(_usual(_between(_lines(recorded[0]), "taken", "body")), TAKEN_TO_BODY)


def test_few_functions_from_returned_to_settled_and_stored(recorded: tuple[Path, Any]):
    _assert_within(_usual(_between(_lines(recorded[0]), "end", "settled")), BODY_TO_SETTLED)


def test_reading_a_ready_result_enters_few_functions(recorded: tuple[Path, Any]):
    results = recorded[1]
    app = results[0].app
    for result in results[:5]:
        assert app.AsyncResult(result.id).get(timeout=5) == 5
    fresh = app.AsyncResult(results[5].id)
    _assert_within(_entered(lambda: fresh.get(timeout=5)), READ)


def test_the_probe_sees_only_the_thread_that_asks():
    other = threading.Thread(target=lambda: celeriac.Celeriac("other"))
    assert not _entered(lambda: None)
    other.start()
    other.join(timeout=10)
