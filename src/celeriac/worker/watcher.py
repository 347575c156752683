"""The waiting side of one process: a result backend opened at the first use, and waiting for records.

Safe in threads. Who blocks waits in his own thread; all who cannot block, coroutines and callbacks, share one
(`worker.lookout`). A forked child starts anew and shares nothing with its parent.
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections.abc import Callable, Generator, Sequence
from contextlib import closing

from celeriac.model.message import Record
from celeriac.model.ports import Backend, Waiter
from celeriac.model.states import READY_STATES
from celeriac.model.watch import Watch
from celeriac.worker.lookout import Lookout
from celeriac.worker.polling import PolledWatch

_WAIT_S_MAX = 5.0
"""Longest single wait in a backend: bounds what a missed wake-up costs."""
_STEP_S_MIN = 0.002
"""Shortest interval at which `on_interval` is called."""


class Watcher:
    """Reads and awaits results of one app in this process.

    :param make_backend: returns a new, closed backend; None when results are disabled
    """

    def __init__(self, make_backend: Callable[[], Backend | None]) -> None:
        self._make_backend = make_backend
        self._reset()
        _alive.add(self)

    def _reset(self) -> None:
        self._lock = threading.Lock()
        self._backend: Backend | None = None
        self._is_open = False
        self.lookout = Lookout(self.watch)
        """Waits for those who cannot block."""

    def backend(self) -> Backend:
        """This process's backend, opened. Raises NotImplementedError when results are disabled, BackendUnavailable,
        BackendMisconfigured."""
        backend = self._backend
        if backend is None or not self._is_open:
            with self._lock:
                backend = self._made()
                if not self._is_open:
                    backend.open()
                    self._is_open = True
        return backend

    def address(self) -> str:
        """The `reply_to` that brings results to this process at once; "" if none can. Opens nothing."""
        with self._lock:
            try:
                backend = self._made()
            except NotImplementedError:
                return ""
        return backend.address if isinstance(backend, Waiter) else ""

    def _made(self) -> Backend:
        if self._backend is None:
            self._backend = self._make_backend()
        if self._backend is None:
            raise NotImplementedError(
                "results are disabled for this app (result_backend='disabled'); "
                "set result_backend, for instance to sqlite:///celeriac.db, to keep them"
            )
        return self._backend

    def read(self, task_id: str) -> Record | None:
        """The record of a task now; None for an unknown or expired one."""
        backend = self._backend if self._is_open and self._backend is not None else self.backend()
        return backend.read((task_id,))[0]

    def watch(self) -> Watch:
        """A standing wait in the backend; a polled one where it cannot wait. Close it."""
        backend = self.backend()
        return backend.watch() if isinstance(backend, Waiter) else PolledWatch(backend)

    # ---------------------------------------------------------------- in the caller's thread

    def wait(
        self,
        task_id: str,
        timeout_s: float | None,
        on_record: Callable[[Record], object] | None = None,
        on_interval: Callable[[], object] | None = None,
        interval_s: float = _WAIT_S_MAX,
    ) -> Record | None:
        """The final record of a task, as soon as it is there; None after `timeout_s`.

        `on_record` is told each new record on the way, `on_interval` is called about every `interval_s`.
        """
        backend = self._backend if self._is_open and self._backend is not None else self.backend()
        if on_record is not None or not isinstance(backend, Waiter):
            for records in self.wait_many((task_id,), timeout_s, on_record, on_interval, interval_s):
                return records[0]
            return None
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        step_s = _WAIT_S_MAX if on_interval is None else max(_STEP_S_MIN, interval_s)
        while True:
            left_s = step_s if deadline is None else min(step_s, deadline - time.monotonic())
            found = backend.wait((task_id,), max(0.0, left_s), True)
            if found:
                return found[0]
            if deadline is not None and time.monotonic() >= deadline:
                return None
            if on_interval is not None:
                on_interval()

    def wait_many(
        self,
        ids: Sequence[str],
        timeout_s: float | None,
        on_record: Callable[[Record], object] | None = None,
        on_interval: Callable[[], object] | None = None,
        interval_s: float = _WAIT_S_MAX,
    ) -> Generator[list[Record], None, None]:
        """The final records of many tasks, as they come; it ends when all have come, or after `timeout_s`."""
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        step_s = _WAIT_S_MAX if on_interval is None else max(_STEP_S_MIN, interval_s)
        left = set(ids)
        with closing(self.watch()) as watch:
            watch.add(tuple(left))
            while left:
                left_s = step_s if deadline is None else min(step_s, deadline - time.monotonic())
                records = watch.wait(max(0.0, left_s))
                if on_record is not None:
                    for record in records:
                        on_record(record)
                final = [record for record in records if record.state in READY_STATES and record.id in left]
                if final:
                    done = [record.id for record in final]
                    left.difference_update(done)
                    watch.discard(done)
                    yield final
                if deadline is not None and left and time.monotonic() >= deadline:
                    return
                if on_interval is not None and not records:
                    on_interval()

    def close(self) -> None:
        """Close the backend; the next use opens one anew. Who awaits a result gets BackendUnavailable."""
        self.lookout.close()
        with self._lock:
            backend, self._backend, self._is_open = self._backend, None, False
        if backend is not None:
            backend.close()


_alive: weakref.WeakSet[Watcher] = weakref.WeakSet()


def _start_anew() -> None:
    """In a forked child: what the parent opened is not ours."""
    for watcher in list(_alive):
        watcher._reset()  # noqa: SLF001 - our own object


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_anew)
