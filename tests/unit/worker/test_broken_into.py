"""Sending and waiting are broken into by time limits at any line; nothing is left half-way."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import pytest

import celeriac
from celeriac import Celeriac, exceptions
from celeriac.model.errors import SoftTimeLimitExceeded
from celeriac.model.shield import shield
from celeriac.stores.sqlite import _Batch
from celeriac.wire.records import RecordHead, encode_success
from celeriac.worker.lookout import Ticket

PACKAGE = Path(celeriac.__file__).parent
ROOMS = (*(f"{PACKAGE}/{room}/" for room in ("stores", "brokers", "backends", "worker")), threading.__file__)
LINES_MAX = 3000
WAIT_S = 10


class Breaker:
    """Breaks into what this thread does, as the signal of a soft limit would, at the beginning of one line."""

    def __init__(self, at: int) -> None:
        self.lines = 0
        self.at = at

    def __call__(self, frame: FrameType, event: str, _arg: Any) -> Any:
        if not frame.f_code.co_filename.startswith(ROOMS):
            return None
        if event == "line" and is_first_of_line(frame.f_code, frame.f_lineno, frame.f_lasti):
            self.lines += 1
            if self.lines == self.at:
                if not shield.mine.inside:
                    raise SoftTimeLimitExceeded
                shield.mine.threat = SoftTimeLimitExceeded()
        return self


def is_first_of_line(code: CodeType, line: int, offset: int) -> bool:
    """False where a ``with`` is left: a line begins there for a debugger, but the interpreter raises nothing."""
    return offset == min(start for start, _, number in code.co_lines() if number == line)


def broken_at(line: int, call: Callable[[], Any]) -> bool:
    """Break into `call` at this line; False if it has no so many."""
    breaker = Breaker(line)
    before = sys.gettrace()
    sys.settrace(breaker)
    try:
        call()
    except (SoftTimeLimitExceeded, exceptions.TimeoutError):
        pass
    finally:
        sys.settrace(before)
    assert shield.mine.inside == 0
    shield.mine.close()
    return breaker.lines >= line


def on_another_thread(call: Callable[[], Any]) -> Any:
    """What it returns; fails if it does not in time."""
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(call()), daemon=True)
    thread.start()
    thread.join(WAIT_S)
    assert found, f"something is held for ever: {call}"
    return found[0]


@pytest.fixture
def app(tmp_path: Path):
    address = f"sqlite:///{tmp_path / 'broken.db'}?connect_timeout_s=0.5"
    with_app = Celeriac("broken", broker=address, backend=address)
    with_app.task(name="noop")(lambda: None)
    yield with_app
    with_app.close()


def test_a_send_that_is_broken_into_at_any_line_keeps_nobody_from_sending(app):
    noop = app.tasks["noop"]
    noop.delay()
    line = 1
    while broken_at(line, noop.delay):
        assert on_another_thread(noop.delay).id
        line += 1
    assert 20 < line < LINES_MAX


def test_a_first_send_that_is_broken_into_at_any_line_keeps_nobody_from_sending(app):
    noop = app.tasks["noop"]
    line = 1
    while broken_at(line, noop.delay):
        assert on_another_thread(noop.delay).id
        app.sender.close()
        line += 7
    assert 20 < line < LINES_MAX


def test_sends_beside_others_that_are_broken_into_keep_nobody_from_sending(app):
    noop = app.tasks["noop"]
    store = app.sender.broker()._store
    line = 1

    def beside() -> None:
        store._waiting.append(_Batch([]))
        noop.delay()

    while broken_at(line, beside):
        assert on_another_thread(noop.delay).id
        line += 1
    assert 20 < line < LINES_MAX


def test_a_wait_that_is_broken_into_at_any_line_leaves_nothing_behind(app):
    result = app.tasks["noop"].delay()
    mailbox = app.watcher.backend()._store.mailbox
    line = 1
    while broken_at(line, lambda: result.get(timeout=0.001)):
        assert on_another_thread(lambda: app.watcher.wait("other", 0.0) is None)
        assert (mailbox._wanted, mailbox._reading) == ({}, False)
        line += 1
    assert 40 < line < LINES_MAX


def test_a_wait_for_many_that_is_broken_into_at_any_line_leaves_nothing_behind(app):
    results = [app.tasks["noop"].delay() for _ in range(2)]
    line = 1
    while broken_at(line, lambda: celeriac.ResultSet(results).get(timeout=0.001)):
        assert on_another_thread(lambda: app.watcher.wait("other", 0.0) is None)
        line += 1
    assert 40 < line < LINES_MAX


def test_asking_to_be_told_is_broken_into_at_any_line_and_others_are_told_all_the_same(app):
    backend, lookout = app.watcher.backend(), app.watcher.lookout

    def ask() -> None:
        tickets = [Ticket("one", None, lambda *_: None), Ticket("two", None, lambda *_: None)]
        lookout.add(tickets)
        lookout.drop(tickets)

    line = 1
    while broken_at(line, ask):
        told = threading.Event()
        ticket = Ticket(f"other-{line}", None, lambda *_, told=told: told.set())
        assert on_another_thread(lambda ticket=ticket: [lookout.add([ticket])])
        backend.write([encode_success(RecordHead(ticket.id), None, 0.0)])
        assert told.wait(WAIT_S)
        lookout.close()  # it has to start anew
        line += 1
    assert 100 < line < LINES_MAX
