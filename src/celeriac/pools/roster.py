"""Which jobs a child of many slots runs, and whether it may begin more."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple

from celeriac.pools.host import Allowance, resident_kib
from celeriac.pools.line import Line
from celeriac.pools.marks import Marks
from celeriac.pools.waiting import Waits
from celeriac.wire.frames import Resumes
from celeriac.wire.frames import Waits as Waiting

_LOOK_S = 0.5
_NEIGHBOURS_S = 5.0
"""When one job ends the process, the others get so long to finish, as the node gives them before it kills a child."""


_STUCK_S = 2.0
"""So much later the process ends without its main thread, which may be held by a body."""
_EXIT_STUCK = 70


class Stand(NamedTuple):
    """One child's slots."""

    marks: Marks
    first: int
    """Its first record."""
    records: int
    slots: int
    """How many jobs run at once, besides those that wait for others."""


class Roster:
    """The state that all threads of a child share, under one lock. Methods named ``..._locked`` want it held.

    :param waits: called when a job begins to wait for others (True), so that another may begin, and when it goes on
    """

    def __init__(self, line: Line, stand: Stand, allowance: Allowance, waits: Callable[[int, bool], None]) -> None:
        self.lock = threading.Lock()
        self.marks = stand.marks
        self.slots = stand.slots
        self.free = list(range(stand.first + stand.records - 1, stand.first - 1, -1))
        """Records that no slot has; the lowest is last."""
        self.running: dict[int, Any] = {}
        """By the numbers of jobs, what runs them."""
        self.busy = 0
        """How many of them do not wait for others."""
        self._waiting: set[int] = set()
        self._lost: set[int] = set()
        """Jobs that end this process: they stay in `running`, and in the marks."""
        self.is_leaving = False
        """True when nothing more begins."""
        self.failure: BaseException | None = None
        """What ends this process."""
        self._failed_at = 0.0
        self.over = threading.Event()
        """Set when this child is leaving and nothing runs, or it has failed."""
        self.waits = Waits(self._begins_to_wait, self._goes_on)
        self.room_locked: Callable[[], None] | None = None
        """Called when a job has ended on a thread."""
        self._line = line
        self._tell = waits
        self._allowance = allowance
        self._is_limited = allowance != Allowance()
        self._count = 0

    def begins_locked(self, seq: int, slot: object) -> None:
        """A slot takes this job."""
        self.busy += 1
        self.running[seq] = slot

    def ends_locked(self, seq: int) -> None:
        """The job has ended and its outcome is told; or it will be by nobody."""
        if self.running.pop(seq, None) is None:
            return
        if seq in self._waiting:
            self._waiting.discard(seq)
        else:
            self.busy -= 1
        if self.is_leaving:
            self._end_if_empty()

    def leave_locked(self) -> None:
        """Begin nothing more."""
        self.is_leaving = True
        self._end_if_empty()

    def fail(self, failure: BaseException, seq: int = 0) -> None:
        """Something has happened, in this job, that ends this process."""
        with self.lock:
            if self.failure is None:
                self.failure, self._failed_at = failure, time.monotonic()
                _end_in_any_case()
            if seq:
                self._lost.add(seq)
            self.leave_locked()
        self._line.wake()

    def is_done(self) -> bool:
        """True if this process may end: nothing runs, or it fails and the others have had time to finish."""
        return self.over.is_set() or (self.failure is not None and time.monotonic() > self._failed_at + _NEIGHBOURS_S)

    def finish(self) -> None:
        """Wait for all that runs to end. Raises what ends the process, when the others have had time to finish."""
        while not self.is_done():
            self.over.wait(_LOOK_S)
        if self.failure is not None:
            raise self.failure

    def is_last(self) -> bool:
        """Count one job that has ended; True if this child ends after those that run now."""
        if not self._is_limited:
            return False
        allowance = self._allowance
        with self.lock:
            self._count += 1
            is_last = self.is_leaving or (allowance.tasks_max is not None and self._count >= allowance.tasks_max)
        if not is_last and allowance.memory_max_kib is not None:
            is_last = resident_kib() > allowance.memory_max_kib
        if is_last:
            with self.lock:
                self.leave_locked()
            self._line.wake()
        return is_last

    def _end_if_empty(self) -> None:
        if len(self.running) == len(self._lost):
            self.over.set()

    def _begins_to_wait(self, seq: int) -> None:
        with self.lock:
            if seq not in self.running:
                return
            self._waiting.add(seq)
            self.busy -= 1
        self._line.tell(Waiting(seq))
        self._tell(seq, True)

    def _goes_on(self, seq: int) -> None:
        with self.lock:
            if seq not in self._waiting:
                return
            self._waiting.discard(seq)
            self.busy += 1
        self._tell(seq, False)
        self._line.tell(Resumes(seq))


def _end_in_any_case() -> None:
    timer = threading.Timer(_NEIGHBOURS_S + _STUCK_S, os._exit, (_EXIT_STUCK,))
    timer.daemon = True
    with suppress(RuntimeError, MemoryError):  # then the main thread has to do it
        timer.start()
