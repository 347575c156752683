"""The node's side of its children: sockets, marks, interrupts. Turns bytes into events and back.

It never blocks: what a child's socket does not take now waits here and goes out when there is room.
"""

from __future__ import annotations

import selectors
import signal
import socket
from collections.abc import Sequence
from typing import Any, Literal, Union

from msgspec import Struct

from celeriac.model.errors import DecodeError
from celeriac.model.facts import PoolFacts
from celeriac.model.process_signals import signal_number
from celeriac.pools.host import SOFT_SIGNAL
from celeriac.pools.marks import Marks
from celeriac.pools.spawner import Exited, Spawned, Spawner
from celeriac.wire.frames import Back, Done, FrameReader, Hello, JobFrame, Jobs, Keep, Leave, RecallJobs, pack

_RECEIVE_BYTES = 1 << 18
_SOCKET_BUFFER_BYTES = 1 << 20


class Up(Struct, frozen=True, gc=False):
    """A child takes work."""

    child: int
    pid: int


class Gone(Struct, frozen=True, gc=False):
    """A child is gone; all it had sent has been told before. `running` is the job it was in, or 0."""

    child: int
    pid: int
    running: int
    status: str


class FromChild(Struct, frozen=True, gc=False):
    """A frame of a child."""

    child: int
    frame: Union[Done, Keep, Back]


PoolEvent = Union[Up, Gone, FromChild]


class _Line:
    """One child's sockets and what is under way on them."""

    __slots__ = ("broken", "child", "control", "data", "out", "pid", "reader", "up")

    def __init__(self, child: int, spawned: Spawned) -> None:
        self.child = child
        self.pid = spawned.pid
        self.data = spawned.data
        self.control = spawned.control
        self.out = bytearray()
        self.reader = FrameReader(from_child=True)
        self.up = False
        self.broken = False
        """Somebody else wrote to the socket: nothing more can be read from it."""


class HostedPool:
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
        line.out += pack(Jobs(tuple(jobs)))
        self._flush(line)
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
        if line is not None:
            self._flush(line)

    def readable(self, child: int) -> list[PoolEvent]:
        """Read what this child sent."""
        line = self._lines.get(child)
        if line is None:
            return []
        try:
            data = line.data.recv(_RECEIVE_BYTES)
        except (BlockingIOError, InterruptedError):
            return []
        except OSError:
            data = b""
        if not data:
            # Wait for the owner of processes to tell how it ended.
            self._stop_reading(line)
            return []
        return self._decode(line, data)

    def gone(self, exited: Exited) -> list[PoolEvent]:
        """A child was reaped: read its last words, tell which job it was in, forget it."""
        place = exited.child
        child = self._children.pop(place)
        del self._places[child]
        running, _ = self._marks.running(place)
        events: list[PoolEvent] = []
        line = self._lines.pop(child, None)
        if line is not None:
            events.extend(self._last_words(line))
            if line.broken:
                # Its outcome cannot be read, and most likely it was that job which wrote.
                running = self._marks.last(place)
        self._marks.clear(place)
        events.append(Gone(child, exited.pid, running, exited.status))
        return events

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

    def _last_words(self, line: _Line) -> list[PoolEvent]:
        events: list[PoolEvent] = []
        while True:
            try:
                data = line.data.recv(_RECEIVE_BYTES)
            except OSError:
                break
            if not data:
                break
            events.extend(self._decode(line, data))
        self._stop_reading(line)
        line.data.close()
        line.control.close()
        self._seen.pop(line.child, None)
        return events

    def _decode(self, line: _Line, data: bytes) -> list[PoolEvent]:
        try:
            frames: list[Any] = line.reader.feed(data)
        except DecodeError:
            # A task wrote to descriptors not its own.
            line.broken = True
            self.kill(line.child)
            self._stop_reading(line)
            return []
        events: list[PoolEvent] = []
        for frame in frames:
            if isinstance(frame, Hello):
                line.up = True
                events.append(Up(line.child, frame.pid))
            else:
                events.append(FromChild(line.child, frame))
        return events

    def _flush(self, line: _Line) -> None:
        out = line.out
        try:
            while out:
                sent = line.data.send(out if len(out) <= _SOCKET_BUFFER_BYTES else bytes(out[:_SOCKET_BUFFER_BYTES]))
                del out[:sent]
        except (BlockingIOError, InterruptedError):
            self._watch(line, selectors.EVENT_READ | selectors.EVENT_WRITE)
            return
        except OSError:
            out.clear()
        self._watch(line, selectors.EVENT_READ)

    def _watch(self, line: _Line, mask: int) -> None:
        key = self.selector.get_map().get(line.data)
        if key is not None and key.events != mask:
            self.selector.modify(line.data, mask, ("child", line.child))

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
