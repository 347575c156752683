from __future__ import annotations

import ctypes
import threading
import time
from collections.abc import Iterator

import pytest

from celeriac.model.shield import Aim, Guard, shield
from celeriac.pools.thread_guard import ThreadGuard


class BrokenIn(Exception):
    """What breaks in here."""


@pytest.fixture(autouse=True)
def nothing_pending() -> Iterator[None]:
    """An exception that was sent to a thread which ended first leaves CPython 3.11 looking for it for ever, and a
    profiler that is set later in this process never gets past its first call. One that arrives ends that."""
    yield
    with pytest.raises(BrokenIn):
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(threading.get_ident()), ctypes.py_object(BrokenIn))
        for _ in range(1000):
            pass


def test_what_was_held_back_is_raised_on_the_last_step_out():
    guard = Guard()
    guard.enter()
    guard.enter()
    assert guard.aim(BrokenIn(), lambda: True, lambda: pytest.fail("sent"))
    guard.leave()
    with pytest.raises(BrokenIn):
        guard.leave()
    assert (guard.inside, guard.threat) == (0, None)


def test_outside_it_is_sent_and_when_closed_it_is_neither():
    guard, sent = Guard(), []
    assert guard.aim(BrokenIn(), lambda: True, lambda: sent.append(1))
    assert sent == [1]
    assert not guard.aim(BrokenIn(), lambda: False, lambda: sent.append(2))
    assert (sent, guard.threat) == ([1], None)


def test_who_enters_waits_until_the_other_has_aimed():
    guard, order = Guard(), []
    aiming, go = threading.Event(), threading.Event()

    def is_open() -> bool:
        aiming.set()
        go.wait(10)
        order.append("aimed")
        return False

    other = threading.Thread(target=guard.aim, args=(BrokenIn(), is_open, lambda: None))
    other.start()
    aiming.wait(10)
    threading.Timer(0.02, go.set).start()
    guard.enter()
    order.append("entered")
    other.join(10)
    assert order == ["aimed", "entered"]
    assert guard.inside == 1


def test_what_was_sent_before_is_raised_by_entering_which_then_was_not_done():
    results: list[tuple[int, bool]] = []

    def enter() -> None:
        thread_guard = ThreadGuard()
        ready, sent = threading.Event(), threading.Event()

        def strike() -> None:
            ready.wait(10)
            thread_guard.strike(TimeoutError(), lambda: True)
            sent.set()

        other = threading.Thread(target=strike)
        other.start()
        with pytest.raises(TimeoutError):
            ready.set()
            while True:
                thread_guard.enter()
                thread_guard.leave()
        other.join(10)
        results.append((thread_guard.inside, sent.is_set()))

    for _ in range(20):
        enter()
    assert results == [(0, True)] * 20


def test_what_was_sent_and_raised_elsewhere_does_not_keep_anybody_from_entering():
    guard = Guard()
    guard.threat = Aim.SENT
    guard.enter()
    assert (guard.inside, guard.threat) == (1, None)


def test_nothing_is_raised_after_the_end_of_what_it_was_meant_for():
    outcomes = []

    def work() -> None:
        guard = ThreadGuard()
        is_open = [True]
        other = threading.Thread(target=lambda: [guard.strike(BrokenIn(), lambda: is_open[0]) for _ in range(50)])
        try:
            other.start()
            time.sleep(0.0002)
            is_open[0] = False
            guard.close()
            outcomes.append("whole")
        except BrokenIn:
            is_open[0] = False
            outcomes.append("broken")
        while True:
            try:
                guard.close()
                other.join(10)
                break
            except BrokenIn:  # as a body that was broken into on its way out
                continue
        guard.close()
        for _ in range(1000):
            pass

    for _ in range(30):
        thread = threading.Thread(target=work)
        thread.start()
        thread.join(10)
    assert len(outcomes) == 30


def test_each_thread_has_a_guard_of_its_own():
    seen = []
    thread = threading.Thread(target=lambda: seen.append(shield.mine))
    thread.start()
    thread.join(10)
    assert seen[0] is not shield.mine
    assert shield.mine is shield.mine
