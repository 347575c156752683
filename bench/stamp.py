"""A shared page in which the benchmark's tasks leave their mark: how many ran, when the first and the last, where.

Standard library only: Celery's environment imports it too. One process writes, with any number of threads (the
benchmarks run one child); any process reads. A mark costs about a microsecond.
"""

from __future__ import annotations

import mmap
import os
import struct
import threading
import time

_LAYOUT = struct.Struct("=QQQQ")


class Stamp:
    """Count, first and last moment on the system's monotonic clock, and the process."""

    def __init__(self, path: str) -> None:
        fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        os.ftruncate(fd, 4096)
        self._page = mmap.mmap(fd, 4096)
        os.close(fd)
        self._lock = threading.Lock()

    def reset(self) -> None:
        """Forget everything."""
        _LAYOUT.pack_into(self._page, 0, 0, 0, 0, 0)

    def mark(self) -> None:
        """Called by a task's body."""
        now = time.monotonic_ns()
        with self._lock:
            count, first, _, _ = _LAYOUT.unpack_from(self._page, 0)
            _LAYOUT.pack_into(self._page, 0, count + 1, first or now, now, os.getpid())

    def read(self) -> tuple[int, float, float, int]:
        """(count, first moment in seconds, last moment in seconds, process id)."""
        count, first, last, pid = _LAYOUT.unpack_from(self._page, 0)
        return count, first / 1e9, last / 1e9, pid

    def count(self) -> int:
        """How many bodies ran."""
        return self.read()[0]


def here() -> Stamp:
    """The page that the benchmark named in the environment."""
    return Stamp(os.environ.get("BENCH_STAMP", "/tmp/celeriac-bench-stamp"))
