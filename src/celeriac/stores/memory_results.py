"""Result records of one process, by task id, with a lifetime and waiters."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress

from celeriac.model.message import Record
from celeriac.model.ports import Clock
from celeriac.model.states import READY_STATES, SUCCESS
from celeriac.stores.watching import Wanted

# Expired records are also hidden when read, so the search for them need not be eager.
_SWEEP_EACH_S = 1.0
# A waiter looks again after this long even if nobody woke it.
_LOOK_AGAIN_S = 1.0


class MemoryResults:
    """Records under the lock of the store they belong to."""

    def __init__(self, lock: threading.RLock, clock: Clock) -> None:
        self._arrived = threading.Condition(lock)
        self._clock = clock
        self._records: dict[str, tuple[Record, float | None]] = {}
        self._watches: list[Wanted] = []
        self._swept_at = clock.monotonic()

    def write(self, records: Iterable[Record]) -> None:
        """Keep each record, unless a SUCCESS is there, and wake those who wait."""
        with self._arrived:
            now = self._clock.monotonic()
            for record in records:
                if (old := self._living(record.id, now)) is None or old.state != SUCCESS:
                    until = None if record.expires_s is None else now + record.expires_s
                    self._records[record.id] = (record, until)
                    for wanted in self._watches:
                        wanted.take(record)
            self._sweep(now)
            self._arrived.notify_all()

    def read(self, ids: Sequence[str]) -> list[Record | None]:
        """Records in the order of `ids`, None where there is none."""
        with self._arrived:
            now = self._clock.monotonic()
            return [self._living(task_id, now) for task_id in ids]

    def forget(self, ids: Iterable[str]) -> None:
        """Delete records; unknown ids are ignored."""
        with self._arrived:
            for task_id in ids:
                self._records.pop(task_id, None)

    def forget_failure(self, task_id: str) -> None:
        """Delete the record of a task that is to run again; a SUCCESS stays."""
        entry = self._records.get(task_id)
        if entry is not None and entry[0].state != SUCCESS:
            del self._records[task_id]

    def wait(self, ids: Sequence[str], wait_s: float, final: bool) -> list[Record]:
        """Records of `ids` that are there (with `final`: in their last state), as soon as there is one; empty after
        `wait_s`."""
        deadline = time.monotonic() + wait_s
        with self._arrived:
            while True:
                found = [record for record in self.read(ids) if record is not None]
                if final:
                    found = [record for record in found if record.state in READY_STATES]
                left_s = deadline - time.monotonic()
                if found or left_s <= 0:
                    return found
                self._arrived.wait(min(left_s, _LOOK_AGAIN_S))

    def watch(self) -> MemoryWatch:
        """A standing wait."""
        return MemoryWatch(self)

    def _living(self, task_id: str, now: float) -> Record | None:
        entry = self._records.get(task_id)
        if entry is None:
            return None
        if entry[1] is not None and entry[1] <= now:
            del self._records[task_id]
            return None
        return entry[0]

    def _sweep(self, now: float) -> None:
        if now - self._swept_at < _SWEEP_EACH_S:
            return
        self._swept_at = now
        for task_id in [key for key, (_, until) in self._records.items() if until is not None and until <= now]:
            del self._records[task_id]


class MemoryWatch:
    """A standing wait for records of a memory store."""

    def __init__(self, results: MemoryResults) -> None:
        self._results = results
        self._arrived = results._arrived  # noqa: SLF001 - of one piece
        self._wanted = Wanted()
        with self._arrived:
            results._watches.append(self._wanted)  # noqa: SLF001 - of one piece

    def add(self, ids: Sequence[str]) -> None:
        """Wait for these too."""
        with self._arrived:
            self._wanted.add(ids)
            self._arrived.notify_all()

    def discard(self, ids: Sequence[str]) -> None:
        """Wait for these no longer."""
        with self._arrived:
            self._wanted.discard(ids)

    def wait(self, wait_s: float) -> list[Record]:
        """What is new, each change once; empty after `wait_s` or `wake`."""
        deadline = time.monotonic() + wait_s
        wanted = self._wanted
        with self._arrived:
            while True:
                for record in self._results.read(wanted.unseen()):
                    if record is not None:
                        wanted.take(record)
                found, left_s = wanted.news(), deadline - time.monotonic()
                if found or left_s <= 0 or wanted.woken:
                    wanted.woken = False
                    return found
                self._arrived.wait(min(left_s, _LOOK_AGAIN_S))

    def wake(self) -> None:
        """Have the one who waits return."""
        with self._arrived:
            self._wanted.woken = True
            self._arrived.notify_all()

    def close(self) -> None:
        """Wait for nothing any more. Idempotent."""
        self.wake()
        with self._arrived, suppress(ValueError):
            self._results._watches.remove(self._wanted)  # noqa: SLF001 - of one piece
