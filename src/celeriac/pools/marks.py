"""The shared page on which children mark the job they are in.

One record of 64 bytes per slot, all words unsigned 64-bit in machine order:

====  ==========================================================================
word  meaning
====  ==========================================================================
0     key of the message whose body runs (the broker's integer key), 0 when idle
1     the node's number of that job, 0 when idle
2     when the body began, nanoseconds on the monotonic clock
3     number of the job that is asked to stop softly, 0 for none
4     number of the job that began last, also when idle again
====  ==========================================================================

The slots of one child have consecutive records. A child writes the record before the body, so that whoever finds it
dead knows which jobs it was in, and that the others had not begun. Aligned 8-byte stores are not torn on the machines we run on; word 0 is written last,
so a reader that sees it set sees the others.
"""

from __future__ import annotations

import mmap

RECORD_BYTES = 64
_WORDS = RECORD_BYTES // 8


class Marks:
    """Records in shared memory; `records` of them, numbered from 0.

    :param memory: a shared mapping of at least ``records * RECORD_BYTES`` bytes
    """

    def __init__(self, memory: mmap.mmap, records: int) -> None:
        if len(memory) < records * RECORD_BYTES:
            raise ValueError(f"{records} marks need {records * RECORD_BYTES} bytes, got {len(memory)}")
        self.records = records
        self._memory = memory
        self._words = memoryview(memory)[: records * RECORD_BYTES].cast("Q")

    def begin(self, record: int, key: int, seq: int, started_ns: int) -> None:
        """This slot enters the body of job `seq`."""
        words = self._words
        at = record * _WORDS
        words[at] = 0
        words[at + 2] = started_ns
        words[at + 4] = seq
        words[at + 1] = seq
        words[at] = key

    def clear(self, record: int) -> None:
        """This slot is in no body."""
        words = self._words
        at = record * _WORDS
        words[at] = 0
        words[at + 1] = 0
        words[at + 3] = 0

    def wipe(self, first: int, count: int) -> None:
        """These slots have never been in any body."""
        self._words[first * _WORDS : (first + count) * _WORDS] = memoryview(bytes(count * RECORD_BYTES)).cast("Q")

    def running(self, record: int) -> tuple[int, float]:
        """(job number, monotonic seconds of its beginning); (0, 0.0) when the slot is in no body."""
        at = record * _WORDS
        words = self._words
        seq = words[at + 1]
        started_ns = words[at + 2]
        if not seq or words[at + 1] != seq:
            return 0, 0.0
        return seq, started_ns / 1e9

    def all_running(self, first: int, count: int) -> list[int]:
        """The job of each of these slots, 0 for one that is in no body."""
        return self._words[first * _WORDS + 1 : (first + count) * _WORDS : _WORDS].tolist()

    def all_last(self, first: int, count: int) -> list[int]:
        """The job that each of these slots began last, whether it still runs or not; 0 for none."""
        return self._words[first * _WORDS + 4 : (first + count) * _WORDS : _WORDS].tolist()

    def ask_to_stop(self, record: int, seq: int) -> None:
        """Name the job that the next interrupt by signal is meant for."""
        self._words[record * _WORDS + 3] = seq

    def is_asked_to_stop(self, record: int, seq: int) -> bool:
        """True if job `seq` is the one asked to stop; forgets the question."""
        at = record * _WORDS + 3
        if self._words[at] != seq:
            return False
        self._words[at] = 0
        return True

    def close(self) -> None:
        """Give the mapping up."""
        self._words.release()
        self._memory.close()
