"""The waiting side of one process: a result backend opened at the first use, and waiting for final records.

Safe in threads. A forked child starts anew and shares nothing with its parent.
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections.abc import Callable

from celeriac.model.message import Record
from celeriac.model.ports import Backend, Waiter
from celeriac.model.states import READY_STATES

_WAIT_S_MAX = 5.0
"""Longest single wait in a backend: bounds what a missed wake-up costs."""
_POLL_S_MIN = 0.002
_POLL_S_MAX = 0.1
_POLL_SHARE = 0.05
"""Looking again at a record that is there but not final, or in a backend that cannot wait: the pause is this share of
the time waited since the last news, within the two bounds. So an answer is late by a twentieth at most."""


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

    def wait(
        self,
        task_id: str,
        timeout_s: float | None,
        on_record: Callable[[Record], object] | None = None,
        on_interval: Callable[[], object] | None = None,
        interval_s: float = _POLL_S_MAX,
    ) -> Record | None:
        """The final record of a task, as soon as it is there; None after `timeout_s`.

        `on_record` is told each new record on the way, `on_interval` is called about every `interval_s`.
        """
        backend = self._backend if self._is_open and self._backend is not None else self.backend()
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        step_s = _WAIT_S_MAX if on_interval is None else max(_POLL_S_MIN, interval_s)
        last: Record | None = None
        waiter = backend if isinstance(backend, Waiter) else None
        news_at = time.monotonic()
        while True:
            left_s = step_s if deadline is None else min(step_s, deadline - time.monotonic())
            if waiter is not None and last is None:
                found = waiter.wait([task_id], max(0.0, left_s))
                record = found[0] if found else None
            else:
                record = backend.read([task_id])[0]
            if record is not None and record.state in READY_STATES:
                if on_record is not None:
                    on_record(record)
                return record
            if record is not None and (last is None or record.payload != last.payload):
                last, news_at = record, time.monotonic()
                if on_record is not None:
                    on_record(record)
            if deadline is not None and time.monotonic() >= deadline:
                return None
            if on_interval is not None:
                on_interval()
            if waiter is None or last is not None:
                now = time.monotonic()
                pause_s = min(
                    max((now - news_at) * _POLL_SHARE, _POLL_S_MIN), _POLL_S_MAX, max(interval_s, _POLL_S_MIN)
                )
                time.sleep(pause_s if deadline is None else max(0.0, min(pause_s, deadline - now)))

    def close(self) -> None:
        """Close the backend; the next use opens one anew."""
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
