"""Doorbells inside one process: a pipe per listener, so that a node can poll it beside its sockets."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress

_READ_BYTES = 4096


class MemoryBell:
    """Readable when rung for one of its queues."""

    def __init__(self, queues: Iterable[str]) -> None:
        self.queues = frozenset(queues)
        self._reader, self._writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def fileno(self) -> int:
        """The descriptor to poll."""
        return self._reader

    def ring(self) -> None:
        """Make it readable. Never blocks."""
        with suppress(BlockingIOError):
            os.write(self._writer, b"!")

    def heard(self) -> bool:
        """Clear it; False if it was not rung."""
        try:
            return bool(os.read(self._reader, _READ_BYTES))
        except OSError:
            return False  # not rung, or closed in a forked child

    def close(self) -> None:
        """Close both ends. Idempotent."""
        if self._reader >= 0:
            os.close(self._reader)
            os.close(self._writer)
            self._reader = self._writer = -1
