"""Threads that run jobs, each one after another; started when there is work for them, and kept."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager
from contextvars import Context
from typing import Protocol

from msgspec.structs import replace

from celeriac.model.errors import SoftTimeLimitExceeded, Terminated, TimeLimitExceeded
from celeriac.model.message import Bury
from celeriac.model.run import Performed
from celeriac.model.shield import Guard, shield
from celeriac.pools.line import Line
from celeriac.pools.roster import Roster
from celeriac.pools.steered import BREAK_INS
from celeriac.pools.thread_guard import ThreadGuard
from celeriac.wire.frames import Break, Done, JobFrame, pack

log = logging.getLogger("celeriac.worker")

_AGAIN_S = 0.01
"""A job that cannot be broken into now (it has not begun its body) is tried again after this time."""
_APART_S = 0.02
"""Two exceptions are not sent to one thread within this time: it may still be handling the first."""
SOON_S = 0.001
"""When `stir_locked` is to be asked again."""
_QUICK = 8
"""When so many jobs have begun since it was asked last, more threads would only wait for each other: while one runs
Python code, no other does."""
_WAVE_MAX = 1024
_JOIN_S = 1.0
"""For threads without work to end; what one does then is user code (closing a loop)."""


class Seat(Protocol):
    """What runs jobs on one thread. `worker.env.Seat` and what is around it."""

    def perform(self, job: JobFrame) -> Performed:
        """Run one job. Raises only what must end the process."""
        ...

    def open_to(self, error: BaseException) -> bool:
        """True if the body runs, into which `error` may break now; it will."""
        ...

    def poke(self) -> None:
        """Wake what waits on this seat's own event loop for what the guard holds back. From another thread."""
        ...

    def close(self) -> None:
        """Let go of what the thread has kept. On the thread itself."""
        ...


MakeSeat = Callable[[Guard, Callable[[], AbstractContextManager[None]]], Seat]
"""Called on the seat's own thread, with its guard and `Run.waiting`."""


class _Slot:
    """One thread."""

    __slots__ = ("guard", "record", "seat", "seq", "struck_at", "thread", "wake")

    guard: ThreadGuard
    seat: Seat
    thread: threading.Thread

    def __init__(self, record: int) -> None:
        self.record = record
        self.seq = 0
        """Its present job, 0 for none."""
        self.struck_at = 0.0
        self.wake = threading.Lock()
        """Held, but while there may be work for it."""
        self.wake.acquire()


class _Strike:
    """A break-in that is still to be done."""

    __slots__ = ("error", "seq", "slot")

    def __init__(self, slot: _Slot, seq: int, error: BaseException) -> None:
        self.slot = slot
        self.seq = seq
        self.error = error


class Crew:
    """The threads of one child.

    :param threads_max: how many run jobs at once, besides those whose jobs wait for others
    """

    def __init__(self, line: Line, roster: Roster, make_seat: MakeSeat, threads_max: int) -> None:
        self.waiting: deque[JobFrame] = deque()
        """Jobs that have not begun. Under the roster's lock."""
        self._line = line
        self._roster = roster
        self._make_seat = make_seat
        self._threads_max = threads_max
        self._busy: set[int] = set()
        """Jobs that threads run and that do not wait."""
        self._slots: list[_Slot] = []
        self._idle: list[_Slot] = []
        self._begun = 0
        """Jobs since threads were stirred last."""
        self._wave = 1
        """How many threads are woken next."""
        self._looking = 0
        """Threads that have been woken and have not looked yet."""
        self._strikes: list[_Strike] = []
        """Only the thread that hears orders uses it."""
        self._pid = os.getpid()

    def stir_locked(self) -> bool:
        """Let threads look for work: few at first, and no more while they are quick; True if it should be asked again in
        a moment."""
        begun, self._begun = self._begun, 0
        if not self._wanted_locked():
            self._wave = 1
            return False
        if begun < _QUICK:
            self._wake_locked(self._wave)
            self._wave = min(2 * self._wave, _WAVE_MAX)
        return self._wanted_locked() > 0

    def stir_all_locked(self) -> None:
        """Let as many threads look for work as there is work for."""
        self._wake_locked(_WAVE_MAX)

    def _wanted_locked(self) -> int:
        roster = self._roster
        if roster.is_leaving:
            return 0
        wanted = min(len(self.waiting), roster.slots - roster.busy, self._threads_max - len(self._busy)) - self._looking
        return wanted if self._idle or roster.free else 0

    def _wake_locked(self, at_most: int) -> None:
        for _ in range(min(at_most, self._wanted_locked())):
            if self._idle:
                self._idle.pop().wake.release()
            elif not self._roster.free or not self._start_locked():
                return
            self._looking += 1

    def waits_locked(self, seq: int, *, waits: bool) -> None:
        """A job has begun to wait for others, or goes on."""
        if waits:
            self._busy.discard(seq)
        else:
            self._busy.add(seq)

    def strike(self, slot: object, order: Break) -> None:
        """Break into a job of this crew. On the thread that hears orders, as `tend`."""
        if isinstance(slot, _Slot):
            self._strikes.append(_Strike(slot, order.seq, error_of(order)))

    def tend(self) -> float | None:
        """Do what strikes can be done; when to try again."""
        now = time.monotonic()
        self._strikes = [strike for strike in self._strikes if not self._is_done(strike, now)]
        return _AGAIN_S if self._strikes else None

    def end(self) -> None:
        """Nothing is left to do: end all threads that have no job. Bounded in time."""
        with self._roster.lock:
            assert self._roster.is_leaving
            idle, self._idle = self._idle, []
            for slot in idle:
                slot.wake.release()
        until = time.monotonic() + _JOIN_S
        for slot in idle:
            slot.thread.join(max(0.0, until - time.monotonic()))

    def _is_done(self, strike: _Strike, now: float) -> bool:
        slot, seq, error = strike.slot, strike.seq, strike.error
        if slot.seq != seq:
            return True
        if now - slot.struck_at < _APART_S:
            return False
        if not slot.guard.strike(error, lambda: slot.seq == seq and slot.seat.open_to(error)):
            return False
        slot.struck_at = now
        slot.seat.poke()
        return True

    def _start_locked(self) -> bool:
        """Start one more thread; False, and said, if the system has none to give and work can go on without."""
        roster = self._roster
        slot = _Slot(roster.free[-1])
        slot.thread = threading.Thread(
            target=self._work, args=(slot,), name=f"slot-{len(self._slots) + 1}", daemon=True
        )
        try:
            slot.thread.start()
        except RuntimeError:
            if not self._slots:
                raise
            log.warning("the system has no more threads for this child", extra={"action": "no_more_threads"})
            self._threads_max = len(self._slots)
            return False
        roster.free.pop()
        self._slots.append(slot)
        return True

    # On the slots' threads.

    def _work(self, slot: _Slot) -> None:
        roster = self._roster
        try:
            slot.guard = shield.mine = ThreadGuard()
            slot.seat = self._make_seat(slot.guard, lambda: roster.waits.of(slot.seq))
            job = self._next(slot, 0, is_woken=True)
            while job is not None:
                self._run(slot, job)
                job = self._next(slot, job.seq, is_woken=False)
            slot.seat.close()
        except BaseException as exc:  # noqa: BLE001 - the main thread raises it again
            roster.fail(exc, slot.seq)

    def _next(self, slot: _Slot, ended: int, *, is_woken: bool) -> JobFrame | None:
        """The next job; blocks. None when this thread is to end. `ended` is the job before, whose outcome is told."""
        roster = self._roster
        while True:
            with roster.lock:
                if ended:
                    self._busy.discard(ended)
                    roster.ends_locked(ended)
                    ended = slot.seq = 0
                    if roster.room_locked is not None:
                        roster.room_locked()
                if is_woken:
                    self._looking -= 1
                if roster.is_leaving:
                    roster.marks.clear(slot.record)
                    return None
                if self.waiting and roster.busy < roster.slots and len(self._busy) < self._threads_max:
                    job = self.waiting.popleft()
                    slot.seq = job.seq
                    roster.begins_locked(job.seq, slot)
                    self._busy.add(job.seq)
                    self._begun += 1
                    return job
                roster.marks.clear(slot.record)
                self._idle.append(slot)
            slot.wake.acquire()  # until there is work, or the host ends
            is_woken = True

    def _run(self, slot: _Slot, job: JobFrame) -> None:
        """Run one job and tell what became of it."""
        roster = self._roster
        roster.marks.begin(slot.record, job.key, job.seq, time.monotonic_ns())
        try:
            # In a context of its own, as on a thread of its own: no run inherits the variables of another.
            performed = Context().run(slot.seat.perform, job)
        except BREAK_INS as error:
            # It came so late, and another one with it, that it got past all who wait for it.
            slot.guard.close()
            performed = slot.seat.perform(replace(job, conclude=("FAILURE", type(error).__name__, error.args)))
        if os.getpid() != self._pid:
            # The task forked and the copy came back to us: its outcome is the original's business.
            os._exit(0)
        roster.waits.forget(job.seq)
        self._line.send(pack_done(job, performed, roster.is_last(), slot.seat.perform))


def pack_done(job: JobFrame, performed: Performed, retiring: bool, perform: Callable[[JobFrame], Performed]) -> bytes:
    """The frame that tells of an outcome; of one that cannot be told, that the job has failed for this reason."""
    try:
        return pack(
            Done(
                job.seq,
                performed.state,
                performed.verdict,
                performed.runtime_s,
                performed.records,
                performed.follow_ups,
                retiring,
            )
        )
    except ValueError as exc:  # half of a surrogate pair in an id, gigabytes
        reason = f"its outcome cannot be told: {exc}"
        failed = perform(replace(job, conclude=("FAILURE", "EncodeError", (reason,))))
        try:
            return pack(Done(job.seq, failed.state, failed.verdict, 0.0, failed.records, (), retiring))
        except ValueError:
            return pack(Done(job.seq, "FAILURE", Bury(reason), 0.0, (), (), retiring))


def error_of(order: Break) -> BaseException:
    """What a break-in raises."""
    if order.how == "soft":
        return SoftTimeLimitExceeded()
    return TimeLimitExceeded() if order.how == "hard" else Terminated(order.signum)


def take_out(waiting: deque[JobFrame], seqs: frozenset[int] | None) -> list[JobFrame]:
    """Remove the jobs of these numbers (all, if None) and return them."""
    out = [job for job in waiting if seqs is None or job.seq in seqs]
    if out:
        keep = [job for job in waiting if seqs is not None and job.seq not in seqs]
        waiting.clear()
        waiting.extend(keep)
    return out
