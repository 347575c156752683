"""The suite of hosts catches planted faults. Each is planted in the child alone, just after it was forked."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Callable
from typing import Any

import pytest
from msgspec import Struct

from celeriac.model.shield import Aim, Guard
from celeriac.pools import thread_guard
from celeriac.pools.asyncio_host import AsyncioHost
from celeriac.pools.crew import Crew
from celeriac.pools.line import Line
from celeriac.pools.marks import Marks
from celeriac.pools.roster import Roster
from celeriac.pools.steered import Steered
from celeriac.pools.thread_guard import ThreadGuard, _send
from celeriac.pools.waiting import Waits
from celeriac.wire.frames import Back
from celeriac.worker.child import be_child
from celeriac.worker.env import Seat
from unit.pools import conftest, test_break_ins, test_running
from unit.pools.conftest import MODES, Hosting, Mode

_BOUND_S = 2.0
"""What hangs under a fault has failed after this time."""

_TRIES = 40


class Fault(Struct, frozen=True):
    """Something wrong with a host, and the test that must see it."""

    name: str
    plant: Callable[[], None]
    seen_by: Callable[..., None]
    mode: str
    more: tuple[Any, ...] = ()
    """Further arguments of that test."""


def _set(owner: type, name: str, value: object) -> Callable[[], None]:
    return lambda: setattr(owner, name, value)


def _gives_back_all(self: Any, seqs: frozenset[int] | None) -> None:
    self._line.tell(Back(tuple(seqs or ())))


def _sends_whatever(self: ThreadGuard, error: BaseException, is_open: Callable[[], bool]) -> bool:
    is_open()
    _send(self._thread, type(error))
    return True


def _ignores_the_shield(self: Guard, error: BaseException, is_open: Callable[[], bool], send: Any) -> bool:
    if not is_open():
        return False
    send()
    self.threat = Aim.SENT
    return True


def _strikes_the_slot(self: Any, strike: Any, now: float) -> bool:
    """Late, and whatever runs there then."""
    time.sleep(0.004)
    strike.slot.guard.strike(strike.error, lambda: strike.slot.seat.open_to(strike.error))
    return True


def _tells_each_wait(self: Waits, seq: int) -> None:
    self._begins(seq)


def _counts_no_return(self: Roster, seq: int) -> None:
    with self.lock:
        self._waiting.discard(seq)
    self._tell(seq, False)
    self._line.tell(test_running.Resumes(seq))


def _keeps_outcomes(self: Line, data: bytes) -> None:
    """Sends each outcome only after the next job has ended."""
    with self._lock:
        out, self._out = bytes(self._out), bytearray(data)
        if b"hello" in data:
            out, self._out = data, bytearray()
        if out:
            self.data.sendall(out)


def _takes_its_time(thread: int, kind: type[BaseException] | None) -> None:
    """A thread that breaks in may lose the processor just then."""
    if kind is not None:
        time.sleep(0.003)
    _send(thread, kind)


def _plant_slowness() -> None:
    thread_guard._send = _takes_its_time


def _plant_no_taking_back() -> None:
    _plant_slowness()
    ThreadGuard.close = Guard.close


def _does_not_wait(self: Roster) -> bool:
    return self.failure is not None or self.over.is_set()


def _cancels_only(self: Steered, error: BaseException) -> BaseException:
    return error


def _opens_always(self: Seat, error: BaseException) -> bool:
    return self.run is not None


def _forgets_who_ended_it(self: Seat, error: BaseException) -> bool:
    return self.run is not None and self.run.in_body


def _keep_context() -> None:
    base = asyncio.BaseEventLoop.call_soon

    def call_soon(self: Any, callback: Any, *args: Any, context: Any = None) -> Any:
        if getattr(callback, "__name__", "") == "_tell":
            context = None
        return base(self, callback, *args, context=context)

    asyncio.BaseEventLoop.call_soon = call_soon


def _nothing(*_: object) -> None:
    return None


FAULTS = [
    Fault(
        "gives back what has begun",
        _set(AsyncioHost, "recall", _gives_back_all),
        test_running.test_a_recall_during_bodies_returns_what_has_not_begun_and_only_that,
        "asyncio",
    ),
    Fault(
        "marks nothing",
        _set(Marks, "begin", _nothing),
        test_running.test_marks_show_what_runs_and_nothing_when_all_is_done,
        "threads",
    ),
    Fault(
        "clears no mark",
        _set(Marks, "clear", _nothing),
        test_running.test_marks_show_what_runs_and_nothing_when_all_is_done,
        "asyncio",
    ),
    Fault(
        "keeps its outcome until the next",
        _set(Line, "send", _keeps_outcomes),
        test_running.test_outcomes_that_nobody_had_read_are_the_last_words,
        "threads",
    ),
    Fault(
        "does not leave",
        _set(AsyncioHost, "leave", _nothing),
        test_running.test_an_idle_host_that_is_told_to_leave_ends,
        "asyncio",
    ),
    Fault(
        "is never used up",
        _set(Roster, "is_last", lambda _: False),
        test_running.test_after_its_allowance_of_tasks_it_takes_no_more_and_ends,
        "threads",
    ),
    Fault(
        "tells each wait",
        _set(Waits, "begin", _tells_each_wait),
        test_running.test_a_job_that_waits_is_told_once_however_often_it_waits_and_lets_another_one_run,
        "threads",
    ),
    Fault(
        "counts no return",
        _set(Roster, "_goes_on", _counts_no_return),
        test_running.test_when_all_that_waited_goes_on_no_more_than_the_slots_begin,
        "asyncio",
    ),
    Fault(
        "wakes nobody when one waits",
        _set(AsyncioHost, "_waits", _nothing),
        test_running.test_what_has_no_slot_begins_when_another_one_waits,
        "threads of asyncio",
    ),
    Fault(
        "ends without its neighbours",
        _set(Roster, "is_done", _does_not_wait),
        test_running.test_neighbours_of_what_ends_the_process_orderly_may_finish_and_are_not_blamed,
        "threads",
        ("exit",),
    ),
    Fault(
        "lets copies go on",
        _set(AsyncioHost, "_forked", _nothing),
        test_running.test_a_copy_that_a_task_has_forked_ends_when_it_comes_back,
        "asyncio",
    ),
    Fault(
        "lets variables through", _keep_context, test_running.test_no_run_inherits_the_variables_of_another, "asyncio"
    ),
    Fault(
        "cleans nothing up",
        _set(AsyncioHost, "_clean_up", _nothing),
        test_running.test_what_coroutines_leave_on_the_loop_is_ended_with_the_host,
        "asyncio",
        ("task",),
    ),
    Fault(
        "only cancels",
        _set(Steered, "_reason_for", _cancels_only),
        test_break_ins.test_a_soft_break_in_ends_the_body_with_its_exception,
        "asyncio",
        ("hold",),
    ),
    Fault(
        "never uses force",
        _set(AsyncioHost, "_on_signal", _nothing),
        test_break_ins.test_a_soft_break_in_ends_the_body_with_its_exception,
        "asyncio",
        ("spin",),
    ),
    Fault(
        "forgets that a hard limit has ended it",
        _set(Seat, "open_to", _forgets_who_ended_it),
        test_break_ins.test_a_hard_break_in_is_never_retried,
        "threads",
    ),
    Fault(
        "does not take back what it has sent",
        _plant_no_taking_back,
        test_break_ins.test_break_ins_near_the_end_hit_only_the_job_they_name,
        "threads",
        ("short",),
    ),
    Fault(
        "sends without looking",
        _set(ThreadGuard, "strike", _sends_whatever),
        test_break_ins.test_break_ins_near_the_end_hit_only_the_job_they_name,
        "threads",
        ("short",),
    ),
    Fault(
        "ignores the shield",
        _set(Guard, "aim", _ignores_the_shield),
        test_break_ins.test_break_ins_near_the_end_hit_only_the_job_they_name,
        "threads",
        ("store",),
    ),
    Fault(
        "strikes whatever the slot runs",
        _set(Crew, "_is_done", _strikes_the_slot),
        test_break_ins.test_break_ins_near_the_end_hit_only_the_job_they_name,
        "threads",
        ("short",),
    ),
    Fault(
        "breaks in outside of bodies",
        _set(Seat, "open_to", _opens_always),
        test_break_ins.test_break_ins_near_the_end_hit_only_the_job_they_name,
        "threads",
        ("short",),
    ),
]


def test_one_who_breaks_in_slowly_hits_nothing_else(many: Mode):
    def be(*args: Any) -> None:
        _plant_slowness()
        be_child(*args)

    hosting = Hosting(many, be)
    try:
        test_break_ins.test_break_ins_near_the_end_hit_only_the_job_they_name(lambda *_: hosting, many, "short")
    finally:
        hosting.close()


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name.replace(" ", "-"))
def test_a_planted_fault_is_caught(fault: Fault, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]):
    monkeypatch.setattr(conftest, "BOUND_S", _BOUND_S)
    started: list[Hosting] = []

    def be(*args: Any) -> None:
        fault.plant()
        be_child(*args)

    def host(mode: Mode, **options: Any) -> Hosting:
        started.append(Hosting(mode, be, **options))
        return started[-1]

    try:
        # Some faults show only now and then.
        assert any(_fails(fault, host) for _ in range(_TRIES)), "not caught"
    finally:
        for hosting in started:
            hosting.close()


def _fails(fault: Fault, host: Callable[..., Hosting]) -> bool:
    wanted = inspect.signature(fault.seen_by).parameters
    given = [host] if len(wanted) == 1 else [host, MODES[fault.mode], *fault.more]
    try:
        fault.seen_by(*given)
    except (AssertionError, pytest.fail.Exception):
        return True
    return False
