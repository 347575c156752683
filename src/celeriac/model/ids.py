"""Identifiers. Task ids are time-ordered (UUID version 7, RFC 9562), because stores keep sorted keys
several times cheaper than random ones; they are still plain UUID text, as Celery's clients expect."""

from __future__ import annotations

import os
import threading
import time
import uuid

_TICKS_PER_MS = 4096


class TimeOrderedIds:
    """Makes UUIDs of version 7, strictly increasing within one process; safe in threads and after fork.

    12 bits below the millisecond count up; 62 random bits come from the kernel, in blocks.
    """

    _BLOCK = 512

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._reset()

    def _reset(self) -> None:
        self._lock = threading.Lock()
        self._last = 0
        self._random = b""
        self._offset = 0

    def __call__(self) -> str:
        """A new id, as 36 characters of text."""
        with self._lock:
            ticks = int(time.time_ns() * _TICKS_PER_MS) // 1_000_000
            if ticks <= self._last:
                ticks = self._last + 1
            self._last = ticks
            offset = self._offset
            if offset + 8 > len(self._random):
                self._random = os.urandom(8 * self._BLOCK)
                offset = 0
            tail = int.from_bytes(self._random[offset : offset + 8], "big")
            self._offset = offset + 8
        ms, sub = divmod(ticks, _TICKS_PER_MS)
        tail = tail & 0x3FFF_FFFF_FFFF_FFFF | 0x8000_0000_0000_0000
        text = f"{ms & 0xFFFF_FFFF_FFFF:012x}7{sub:03x}{tail:016x}"
        return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


new_id = TimeOrderedIds()
"""The process's own maker of task ids."""

# A forked child must not repeat what its parent drew.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=new_id._reset)  # noqa: SLF001 - our own object


def random_id() -> str:
    """A random id (UUID version 4), for names that must not tell the time."""
    return str(uuid.uuid4())
