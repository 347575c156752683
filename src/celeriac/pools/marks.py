"""The shared page on which children mark the job they are in.

One record of 64 bytes per child, all words unsigned 64-bit in machine order:

====  ==========================================================================
word  meaning
====  ==========================================================================
0     key of the message whose body runs (the broker's integer key), 0 when idle
1     the node's number of that job, 0 when idle
2     when the body began, nanoseconds on the monotonic clock
3     number of the job that is asked to stop softly, 0 for none
4     number of the job that began last, also when idle again
====  ==========================================================================

A child writes its record before the body, so that whoever finds it dead knows which job it was in, and that
the others had not begun. Aligned 8-byte stores are not torn on the machines we run on; word 0 is written last,
so a reader that sees it set sees the others.
"""

from __future__ import annotations

import mmap

RECORD_BYTES = 64
_WORDS = RECORD_BYTES // 8


class Marks:
    """Records in shared memory; `children` of them, numbered from 0.

    :param memory: a shared mapping of at least ``children * RECORD_BYTES`` bytes
    """

    def __init__(self, memory: mmap.mmap, children: int) -> None:
        if len(memory) < children * RECORD_BYTES:
            raise ValueError(f"marks for {children} children need {children * RECORD_BYTES} bytes, got {len(memory)}")
        self.children = children
        self._memory = memory
        self._words = memoryview(memory)[: children * RECORD_BYTES].cast("Q")

    def begin(self, child: int, key: int, seq: int, started_ns: int) -> None:
        """This child enters the body of job `seq`."""
        words = self._words
        at = child * _WORDS
        words[at] = 0
        words[at + 2] = started_ns
        words[at + 4] = seq
        words[at + 1] = seq
        words[at] = key

    def clear(self, child: int) -> None:
        """This child is in no body."""
        words = self._words
        at = child * _WORDS
        words[at] = 0
        words[at + 1] = 0
        words[at + 3] = 0

    def running(self, child: int) -> tuple[int, float]:
        """(job number, monotonic seconds of its beginning); (0, 0.0) when the child is in no body."""
        at = child * _WORDS
        words = self._words
        seq = words[at + 1]
        started_ns = words[at + 2]
        if not seq or words[at + 1] != seq:
            return 0, 0.0
        return seq, started_ns / 1e9

    def last(self, child: int) -> int:
        """The job that began last, whether it still runs or not."""
        return self._words[child * _WORDS + 4]

    def ask_to_stop(self, child: int, seq: int) -> None:
        """Name the job that the next soft interrupt is meant for."""
        self._words[child * _WORDS + 3] = seq

    def is_asked_to_stop(self, child: int, seq: int) -> bool:
        """True if job `seq` is the one asked to stop; forgets the question."""
        at = child * _WORDS + 3
        if self._words[at] != seq:
            return False
        self._words[at] = 0
        return True

    def close(self) -> None:
        """Give the mapping up."""
        self._words.release()
        self._memory.close()
