"""Jobs that wait for the results of others: told to the node, which lets others run meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import TracebackType

from celeriac.model.shield import shield


class Waits:
    """Which jobs wait now. A job may wait for several results at once; it is told once.

    :param begins: called with the job's number when it begins to wait
    :param ends: called when it goes on
    """

    def __init__(self, begins: Callable[[int], None], ends: Callable[[int], None]) -> None:
        self._begins = begins
        self._ends = ends
        self._lock = threading.Lock()
        self._depths: dict[int, int] = {}

    def of(self, seq: int) -> Wait:
        """To be entered around a wait of this job."""
        return Wait(self, seq)

    def forget(self, seq: int) -> bool:
        """The job has ended; True if it was waiting still, which is not told."""
        if not self._depths:
            return False
        with self._lock:
            return self._depths.pop(seq, 0) > 0

    def begin(self, seq: int) -> None:
        """One wait more."""
        with self._lock:
            depth = self._depths.get(seq, 0)
            self._depths[seq] = depth + 1
            if not depth:
                self._begins(seq)

    def end(self, seq: int) -> None:
        """One wait less."""
        with self._lock:
            depth = self._depths.get(seq, 0)
            if depth > 1:
                self._depths[seq] = depth - 1
            elif depth:
                del self._depths[seq]
                self._ends(seq)


class Wait:
    """One wait, as a context manager. Nothing breaks into its telling."""

    __slots__ = ("_seq", "_waits")

    def __init__(self, waits: Waits, seq: int) -> None:
        self._waits = waits
        self._seq = seq

    def __enter__(self) -> None:
        guard = shield.mine
        guard.enter()
        try:
            self._waits.begin(self._seq)
        except BaseException:
            guard.leave()
            raise
        try:
            guard.leave()
        except BaseException:
            # What was held back breaks in before the wait has begun.
            self._waits.end(self._seq)
            raise

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        guard = shield.mine
        guard.enter()
        try:
            self._waits.end(self._seq)
        finally:
            guard.leave()
