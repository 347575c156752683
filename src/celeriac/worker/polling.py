"""Watching records of a backend that cannot wait: look, with pauses that grow while nothing comes."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

from celeriac.model.message import Record
from celeriac.model.ports import Backend

_PAUSE_S_MIN = 0.002
_PAUSE_S_MAX = 0.1
_PAUSE_SHARE = 0.05
"""The pause is this share of the time since the last news, within the two bounds. So an answer is late by a twentieth
at most."""
_IDLE_S = 5.0
"""Longest sleep while there is nothing to look at."""


class PolledWatch:
    """A `Watch` on a backend that can only be read."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._changed = threading.Condition()
        self._told: dict[str, bytes | None] = {}
        self._woken = False
        self._news_at = time.monotonic()

    def add(self, ids: Sequence[str]) -> None:
        """Wait for these too."""
        with self._changed:
            for task_id in ids:
                self._told.setdefault(task_id, None)
            self._news_at = time.monotonic()
            self._changed.notify_all()

    def discard(self, ids: Sequence[str]) -> None:
        """Wait for these no longer."""
        with self._changed:
            for task_id in ids:
                self._told.pop(task_id, None)

    def wait(self, wait_s: float) -> Sequence[Record]:
        """What is new; empty after about `wait_s` or `wake`. Raises BackendUnavailable."""
        deadline = time.monotonic() + wait_s
        while True:
            with self._changed:
                ids = list(self._told)
            began_at = time.monotonic()
            records = self._backend.read(ids) if ids else ()
            now = time.monotonic()
            with self._changed:
                found = [
                    record
                    for record in records
                    if record is not None and self._told.get(record.id, record.payload) != record.payload
                ]
                for record in found:
                    self._told[record.id] = record.payload
                if found:
                    self._news_at = now
                if found or self._woken or now >= deadline:
                    self._woken = False
                    return found
                pause_s = min(max((now - self._news_at) * _PAUSE_SHARE, _PAUSE_S_MIN), _PAUSE_S_MAX)
                # Where looking takes long, half of the time is left to others.
                pause_s = max(pause_s, now - began_at) if ids else _IDLE_S
                self._changed.wait(min(pause_s, deadline - now))

    def wake(self) -> None:
        """Have the one who waits return."""
        with self._changed:
            self._woken = True
            self._changed.notify_all()

    def close(self) -> None:
        """Wait for nothing any more. Idempotent."""
        with self._changed:
            self._told.clear()
        self.wake()
