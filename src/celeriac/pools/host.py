"""A child's side: take jobs from the node, run them one by one, answer each before beginning the next.

Two sockets lead to the node. Jobs and outcomes go over *data*; recalls come over *control*, where a thread
answers them while the main thread is inside a task. Whoever takes a job from the waiting list does so under
one lock, so a job is begun or given back, never both.
"""

from __future__ import annotations

import contextvars
import os
import select
import signal
import socket
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import NamedTuple

from msgspec import Struct
from msgspec.structs import replace

from celeriac.model.errors import SoftTimeLimitExceeded
from celeriac.model.message import Bury, Record
from celeriac.model.run import Performed
from celeriac.pools.marks import Marks
from celeriac.pools.waiting import Wait, Waits
from celeriac.wire.frames import (
    Back,
    Done,
    FrameReader,
    FromChild,
    Hello,
    JobFrame,
    Jobs,
    Keep,
    Leave,
    RecallJobs,
    Resumes,
    pack,
)
from celeriac.wire.frames import Waits as Waiting

_RECEIVE_BYTES = 1 << 18
_WAIT_MS = 1000
SOFT_SIGNAL = signal.SIGUSR1
"""Tells a child to look whether its present job was asked to stop softly."""


Performer = Callable[[JobFrame], Performed]
"""Runs one job. Raises only what must end the process."""


class Allowance(Struct, frozen=True, gc=False):
    """How much one child may do before a fresh one takes over; None is unlimited."""

    tasks_max: int | None = None
    memory_max_kib: int | None = None


class Sockets(NamedTuple):
    """A child's two lines to its node."""

    data: socket.socket
    """Stream of jobs and outcomes."""
    control: socket.socket
    """Stream of recalls."""


class MarkOf(NamedTuple):
    """The record of a child of one slot."""

    marks: Marks
    record: int


class Host:
    """Runs jobs on the calling thread until told to leave.

    :param sockets: to the node
    :param mark: where to mark the job that runs
    :param break_in: raises its argument in the body that runs now, on the thread that calls it
    """

    def __init__(
        self,
        sockets: Sockets,
        mark: MarkOf,
        perform: Performer,
        break_in: Callable[[BaseException], None],
        allowance: Allowance,
    ) -> None:
        self._data, self._control = sockets
        self._marks, self._record = mark
        self._perform = perform
        self._break_in = break_in
        self._allowance = allowance
        self._is_limited = allowance != Allowance()
        self._context = contextvars.copy_context()
        """Each job runs in a copy of it, so that no run inherits the variables of another."""
        self._reader = FrameReader(from_child=False)
        self._waiting: deque[JobFrame] = deque()
        self._lock = threading.Lock()
        self._send_lock = threading.Lock()
        self._leaving = False
        self._pid = os.getpid()
        self._seq = 0
        self._count = 0
        self._waits = Waits(lambda seq: self._send(Waiting(seq)), lambda seq: self._send(Resumes(seq)))
        self._poller = select.poll()
        self._poller.register(self._data, select.POLLIN)

    def serve(self, *, soft_signal: bool = True) -> None:
        """Say hello and run jobs until the node says leave, closes the socket, or the allowance is used up."""
        if soft_signal:
            signal.signal(SOFT_SIGNAL, self._on_soft_signal)
        listener = threading.Thread(target=self._listen, name="recalls", daemon=True)
        listener.start()
        self._send(Hello(self._pid))
        while True:
            job = self._next()
            if job is None:
                break
            if self._run(job):
                break
        self._marks.clear(self._record)
        self._give_back(None)

    def waiting(self) -> Wait:
        """To be entered around a wait of the present job."""
        return self._waits.of(self._seq)

    def is_asked_to_stop(self) -> bool:
        """True if it is the present job that was asked to stop; forgets the question."""
        seq = self._seq
        return bool(seq) and self._marks.is_asked_to_stop(self._record, seq)

    def _next(self) -> JobFrame | None:
        """The next job; blocks. None when it is time to leave."""
        is_idle = False
        while True:
            with self._lock:
                if self._leaving or (is_idle and not self._receive()):
                    return None
                if self._waiting:
                    return self._waiting.popleft()
            if not is_idle:
                # No job in hand: this child is idle, and says so.
                is_idle = True
                self._marks.clear(self._record)
            self._poller.poll(_WAIT_MS)

    def _receive(self) -> bool:
        """Move what the node sent to the waiting list; False when the node is gone. Under the lock."""
        try:
            data = self._data.recv(_RECEIVE_BYTES, socket.MSG_DONTWAIT)
        except (BlockingIOError, InterruptedError):
            return True
        except OSError:
            return False
        if not data:
            return False
        for frame in self._reader.feed(data):
            if isinstance(frame, Jobs):
                self._waiting.extend(frame.jobs)
        return True

    def _run(self, job: JobFrame) -> bool:
        """Run one job and answer; True if this child ends after it."""
        self._marks.begin(self._record, job.key, job.seq, time.monotonic_ns())
        self._seq = job.seq
        performed = self._context.copy().run(self._perform, job)
        self._seq = 0
        self._waits.forget(job.seq)
        if os.getpid() != self._pid:
            # The task forked and the copy came back to us: its outcome is the original's business.
            os._exit(0)
        self._count += 1
        retiring = self._is_limited and self._is_used_up()
        try:
            frame = pack(
                Done(
                    job.seq,
                    performed.state,
                    performed.verdict,
                    performed.runtime_s,
                    performed.records,
                    performed.follow_ups,
                    retiring,
                )
            )
        except ValueError as exc:  # half of a surrogate pair in an id, gigabytes
            frame = self._failure_to_tell(job, exc, retiring=retiring)
        with self._send_lock:
            self._data.sendall(frame)
        return retiring

    def _failure_to_tell(self, job: JobFrame, error: ValueError, *, retiring: bool) -> bytes:
        """A job whose outcome cannot be told has failed, once, for that reason."""
        reason = f"its outcome cannot be told: {error}"
        failed = self._perform(replace(job, conclude=("FAILURE", "EncodeError", (reason,))))
        try:
            return pack(Done(job.seq, failed.state, failed.verdict, 0.0, failed.records, (), retiring))
        except ValueError:
            return pack(Done(job.seq, "FAILURE", Bury(reason), 0.0, (), (), retiring))

    def _is_used_up(self) -> bool:
        allowance = self._allowance
        if allowance.tasks_max is not None and self._count >= allowance.tasks_max:
            return True
        return allowance.memory_max_kib is not None and resident_kib() > allowance.memory_max_kib

    def keep(self, record: Record) -> None:
        """Have the node write this record now."""
        self._send(Keep(record))

    def _send(self, frame: FromChild) -> None:
        data = pack(frame)
        with self._send_lock:
            self._data.sendall(data)

    def _listen(self) -> None:
        """The thread that answers recalls, also while the main thread is inside a task."""
        reader = FrameReader(from_child=False)
        while True:
            try:
                data = self._control.recv(_RECEIVE_BYTES)
            except OSError:
                return
            if not data:
                return
            for frame in reader.feed(data):
                if isinstance(frame, RecallJobs):
                    self._give_back(frozenset(frame.seqs))
                elif isinstance(frame, Leave):
                    with self._lock:
                        self._leaving = True
                    self._give_back(None)
                    self._wake()

    def _wake(self) -> None:
        """Get the main thread out of its wait: nothing more will come."""
        try:
            self._data.shutdown(socket.SHUT_RD)
        except OSError:
            return

    def _give_back(self, wanted: frozenset[int] | None) -> None:
        """Return those of `wanted` (all, if None) that have not begun."""
        with self._lock:
            self._receive()
            back = tuple(job.seq for job in self._waiting if wanted is None or job.seq in wanted)
            if wanted is None:
                self._waiting.clear()
            elif back:
                self._waiting = deque(job for job in self._waiting if job.seq not in wanted)
        if back or wanted is not None:
            # A recall is answered even when nothing comes back: what is not named then has begun.
            try:
                self._send(Back(back))
            except OSError:
                return

    def _on_soft_signal(self, _signum: int, _frame: FrameType | None) -> None:
        if self.is_asked_to_stop():
            self._break_in(SoftTimeLimitExceeded())


def resident_kib() -> int:
    """Resident memory of this process in KiB; 0 where the system does not tell."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
        return pages * (os.sysconf("SC_PAGE_SIZE") // 1024)
    except OSError:
        import resource

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak // 1024 if sys.platform == "darwin" else peak
