"""The node's side of its children: sockets, marks, interrupts. Turns bytes into events and back.

It never blocks: what a child's socket does not take now waits here and goes out when there is room.
"""

from __future__ import annotations

import selectors
import signal
import socket
from collections.abc import Sequence
from contextlib import suppress
from typing import Literal

from msgspec import Struct

from celeriac.model.errors import DecodeError
from celeriac.model.facts import PoolFacts
from celeriac.model.ports import Pool
from celeriac.model.process_signals import signal_number
from celeriac.pools.host import SOFT_SIGNAL
from celeriac.pools.marks import Marks
from celeriac.pools.spawner import Exited, Spawned, Spawner
from celeriac.wire.frames import FrameReader, FromChild, JobFrame, Jobs, Leave, RecallJobs, pack

_RECEIVE_BYTES = 1 << 18
_SOCKET_BUFFER_BYTES = 1 << 20


class Gone(Struct, frozen=True, gc=False):
    """A child is gone. `last_words` are the frames it had sent and nobody had read, `running` the job it was in, or 0."""

    child: int
    pid: int
    running: int
    status: str
    last_words: tuple[FromChild, ...]


class _Line:
    """One child's sockets and what is under way on them."""

    __slots__ = ("broken", "child", "control", "data", "out", "pid", "reader")

    def __init__(self, child: int, spawned: Spawned) -> None:
        self.child = child
        self.pid = spawned.pid
        self.data = spawned.data
        self.control = spawned.control
        self.out = bytearray()
        """What the socket did not take yet; while it is not empty, the selector watches for room."""
        self.reader = FrameReader(from_child=True)
        self.broken = False
        """Somebody else wrote to the socket: nothing more can be read from it."""


class HostedPool(Pool):
    """Children of one slot each, started through a `Spawner`.

    :param selector: the node's; sockets of children are registered with ``data=("child", number)``
    """

    def __init__(self, spawner: Spawner, marks: Marks, selector: selectors.BaseSelector, facts: PoolFacts) -> None:
        self.facts = facts
        self.spawner = spawner
        self._marks = marks
        self.selector = selector
        self._lines: dict[int, _Line] = {}
        self._places: dict[int, int] = {}
        self._children: dict[int, int] = {}
        self._seen: dict[int, int] = {}

    def start(self, child: int) -> None:
        """Ask for a child; `Up` follows when it has imported everything.

        A child is known to its spawner, to the marks and in logs by its place, the lowest that is free.
        """
        place = next(place for place in range(self._marks.children) if place not in self._children)
        self._places[child] = place
        self._children[place] = child
        self._marks.clear(place)
        self.spawner.spawn(place)

    def adopt(self, spawned: Spawned) -> None:
        """Take a new child's sockets over."""
        child = self._children[spawned.child]
        line = _Line(child, spawned)
        for sock in (line.data, line.control):
            sock.setblocking(False)
        line.data.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SOCKET_BUFFER_BYTES)
        self._lines[child] = line
        self.selector.register(line.data, selectors.EVENT_READ, ("child", child))

    def submit(self, child: int, jobs: Sequence[JobFrame]) -> bool:
        """Hand jobs to a child; False if it is gone (`Gone` tells, or told)."""
        line = self._lines.get(child)
        if line is None:
            return False
        frame = pack(Jobs(tuple(jobs)))
        if line.out:
            line.out += frame
            return True
        try:
            sent = line.data.send(frame)
        except (BlockingIOError, InterruptedError):
            sent = 0
        except OSError:
            return True  # it is dying; `Gone` will say so
        if sent < len(frame):
            line.out += frame[sent:]
            with suppress(KeyError):  # not watched any more: it is ending, what it runs and waits for with it
                self.selector.modify(line.data, selectors.EVENT_READ | selectors.EVENT_WRITE, ("child", line.child))
        return True

    def recall(self, child: int, seqs: Sequence[int]) -> None:
        """Ask for jobs back; `Back` follows, unless the child dies first."""
        self._tell(child, RecallJobs(tuple(seqs)))

    def retire(self, child: int) -> None:
        """Ask a child to end when its present job is done."""
        self._tell(child, Leave())

    def interrupt(self, child: int, seq: int, how: Literal["soft", "hard", "terminate"], signal_name: str) -> None:
        """Break into job `seq`: softly by exception; otherwise by killing the process it has to itself."""
        place = self._places.get(child)
        if place is None:
            return
        if self.facts.kills and how != "soft" and self._marks.running(place)[0] != seq:
            # It has ended meanwhile; its successor must not pay.
            return
        self._marks.ask_to_stop(place, seq)
        if how == "soft":
            self.spawner.kill(place, SOFT_SIGNAL)
        elif how == "terminate":
            try:
                signum = signal_number(signal_name)
            except ValueError:
                # From a client of another system: to end the task is what was asked for.
                signum = signal.SIGTERM
            self.spawner.kill(place, signum)
        else:
            self.spawner.kill(place, signal.SIGKILL)

    def kill(self, child: int) -> None:
        """End a child at once; `Gone` follows."""
        place = self._places.get(child)
        if place is not None:
            self.spawner.kill(place, signal.SIGKILL)

    def writable(self, child: int) -> None:
        """There is room on this child's socket."""
        line = self._lines.get(child)
        if line is None:
            return
        out = line.out
        try:
            while out:
                del out[: line.data.send(out[:_SOCKET_BUFFER_BYTES])]
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            out.clear()
        self.selector.modify(line.data, selectors.EVENT_READ, ("child", line.child))

    def readable(self, child: int) -> list[FromChild]:
        """What this child has sent."""
        line = self._lines.get(child)
        if line is None:
            return []
        try:
            data = line.data.recv(_RECEIVE_BYTES)
        except (BlockingIOError, InterruptedError):
            return []
        except OSError:
            data = b""
        if data:
            try:
                return line.reader.feed(data)
            except DecodeError:
                # A task wrote to descriptors not its own.
                line.broken = True
                self.kill(child)
        # It ends: wait for the owner of processes to tell how.
        self._stop_reading(line)
        return []

    def gone(self, exited: Exited) -> Gone:
        """A child was reaped: read its last words, tell which job it was in, forget it."""
        place = exited.child
        child = self._children.pop(place)
        del self._places[child]
        running, _ = self._marks.running(place)
        line = self._lines.pop(child, None)
        last_words: Sequence[FromChild] = ()
        if line is not None:
            last_words = self._last_words(line)
            if line.broken:
                # Its outcome cannot be read, and most likely it was that job which wrote.
                running = self._marks.last(place)
        self._marks.clear(place)
        return Gone(child, exited.pid, running, exited.status, tuple(last_words))

    def begun(self) -> list[tuple[int, int, float]]:
        """(child, job, monotonic start) of each job seen in its body that was not told before."""
        news: list[tuple[int, int, float]] = []
        for child in self._lines:
            seq, at = self._marks.running(self._places[child])
            if seq and self._seen.get(child) != seq:
                self._seen[child] = seq
                news.append((child, seq, at))
        return news

    def pids(self) -> dict[int, int]:
        """Process ids by child."""
        return {child: line.pid for child, line in self._lines.items()}

    def close(self) -> None:
        """Let go of all sockets; the children end when they see it."""
        for line in self._lines.values():
            self._stop_reading(line)
            line.data.close()
            line.control.close()
        self._lines.clear()

    def _last_words(self, line: _Line) -> list[FromChild]:
        frames: list[FromChild] = []
        try:
            while data := line.data.recv(_RECEIVE_BYTES):
                frames += line.reader.feed(data)
        except DecodeError:
            line.broken = True
        except OSError:
            pass  # nothing more is there
        self._stop_reading(line)
        line.data.close()
        line.control.close()
        self._seen.pop(line.child, None)
        return frames

    def _stop_reading(self, line: _Line) -> None:
        try:
            self.selector.unregister(line.data)
        except KeyError:
            return

    def _tell(self, child: int, frame: RecallJobs | Leave) -> None:
        line = self._lines.get(child)
        if line is None:
            return
        try:
            line.control.send(pack(frame))
        except OSError:
            # Full or gone. A recall that is not heard costs time, no task.
            return
