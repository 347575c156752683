"""The node's side of its children: sockets, marks, interrupts. Turns bytes into events and back.

It never blocks: what a child's socket does not take now waits here and goes out when there is room.
"""

from __future__ import annotations

import itertools
import selectors
import signal
import socket
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Literal

from msgspec import Struct

from celeriac.model.errors import DecodeError
from celeriac.model.facts import PoolFacts
from celeriac.model.ports import Pool
from celeriac.model.process_signals import signal_number
from celeriac.pools.host import SOFT_SIGNAL
from celeriac.pools.kinds import records_of
from celeriac.pools.marks import Marks
from celeriac.pools.spawner import Exited, Spawned, Spawner
from celeriac.wire.frames import Break, FrameReader, FromChild, JobFrame, Jobs, Leave, RecallJobs, pack

_RECEIVE_BYTES = 1 << 18
_SOCKET_BUFFER_BYTES = 1 << 20
_LEFT_MAX = 64
"""So many children that are gone are remembered: until the log has told of it."""


class Gone(Struct, frozen=True, gc=False):
    """A child is gone. `last_words` are the frames it had sent and nobody had read, `running` the jobs it was in."""

    child: int
    pid: int
    running: tuple[int, ...]
    status: str
    last_words: tuple[FromChild, ...]


class Whereabouts(Struct, frozen=True, gc=False):
    """Where a child is, or was: what people see of it."""

    pool: str
    place: int
    pid: int


class _Post:
    """Where one child stands: its kind, its number to the owner of processes, its records in the marks."""

    __slots__ = ("count", "facts", "first", "place", "seen")

    def __init__(self, facts: PoolFacts, place: int, first: int) -> None:
        self.facts = facts
        self.place = place
        self.first = first
        self.count = records_of(facts)
        self.seen = [0] * self.count
        """The jobs of its slots that were told of as begun."""


class _Line:
    """One child's sockets and what is under way on them."""

    __slots__ = ("broken", "child", "control", "control_out", "data", "out", "pid", "reader")

    def __init__(self, child: int, spawned: Spawned) -> None:
        self.child = child
        self.pid = spawned.pid
        self.data = spawned.data
        self.control = spawned.control
        self.out = bytearray()
        """What the socket did not take yet; while it is not empty, the selector watches for room."""
        self.control_out = bytearray()
        """The same of the other socket."""
        self.reader = FrameReader(from_child=True)
        self.broken = False
        """Somebody else wrote to the socket: nothing more can be read from it."""


class HostedPool(Pool):
    """Children of several kinds, started through a `Spawner`.

    :param selector: the node's; sockets of children are registered with ``data=("child", number)``
    :param kinds: by the names of pools
    """

    def __init__(
        self, spawner: Spawner, marks: Marks, selector: selectors.BaseSelector, kinds: Mapping[str, PoolFacts]
    ) -> None:
        self.kinds = kinds
        self.spawner = spawner
        self._marks = marks
        self.selector = selector
        self._lines: dict[int, _Line] = {}
        self._posts: dict[int, _Post] = {}
        self._children: dict[int, int] = {}
        self._whereabouts: dict[int, Whereabouts] = {}
        """Of children that were started, and of the last ones that are gone."""
        self._left: deque[int] = deque()
        """Those that are gone."""

    def start(self, child: int, pool: str) -> None:
        """Ask for a child of this pool; `Up` follows when it has imported everything.

        A child is known to its spawner and in logs by its place, the lowest that is free.
        """
        facts = self.kinds[pool]
        place = next(place for place in itertools.count() if place not in self._children)
        post = _Post(facts, place, self._free_records(facts))
        self._posts[child] = post
        self._children[place] = child
        self._marks.wipe(post.first, post.count)
        self.spawner.spawn(place, pool, post.first)

    def slots(self, child: int) -> int:
        """How many jobs this child runs at once."""
        return self._posts[child].facts.slots_per_child

    def _free_records(self, facts: PoolFacts) -> int:
        """The first record of a free stretch: lowest for processes, highest for children of many slots, so that the
        small ones do not cut up the room of the large ones."""
        count = records_of(facts)
        taken = sorted((post.first, post.first + post.count) for post in self._posts.values())
        free: list[int] = []
        start = 0
        for first, end in [*taken, (self._marks.records, self._marks.records)]:
            if first - start >= count:
                free.append(start if facts.by_signal else first - count)
            start = end
        if not free:
            raise RuntimeError(
                f"no room in the marks for {count} more slots of {facts.name}: {len(taken)} children live"
            )
        return free[0] if facts.by_signal else free[-1]

    def adopt(self, spawned: Spawned) -> None:
        """Take a new child's sockets over."""
        child = self._children[spawned.child]
        line = _Line(child, spawned)
        for sock in (line.data, line.control):
            sock.setblocking(False)
        line.data.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SOCKET_BUFFER_BYTES)
        self._lines[child] = line
        self._whereabouts[child] = Whereabouts(self._posts[child].facts.name, spawned.child, spawned.pid)
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
        """Break into job `seq`: by exception; or, if not softly, by killing the process it has to itself."""
        post = self._posts.get(child)
        if post is None:
            return
        signum = _signal_of(signal_name) if how == "terminate" else signal.SIGKILL
        if not post.facts.by_signal:
            self._tell(child, Break(seq, how, signum))
            return
        if post.facts.kills and how != "soft" and self._marks.running(post.first)[0] != seq:
            # It has ended meanwhile; its successor must not pay.
            return
        self._marks.ask_to_stop(post.first, seq)
        self.spawner.kill(post.place, SOFT_SIGNAL if how == "soft" else signum)

    def kill(self, child: int) -> None:
        """End a child at once; `Gone` follows."""
        post = self._posts.get(child)
        if post is not None:
            self.spawner.kill(post.place, signal.SIGKILL)

    def writable(self, child: int) -> None:
        """There is room on this child's socket."""
        line = self._lines.get(child)
        if line is None:
            return
        if line.out and _flush(line.data, line.out):
            self.selector.modify(line.data, selectors.EVENT_READ, ("child", line.child))
        if line.control_out and _flush(line.control, line.control_out):
            self.selector.unregister(line.control)

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
        elif (facts := self._posts[child].facts).kills or not facts.by_signal:
            # A process that ends is beyond being killed. One that goes on has lost its sockets to a task.
            self.kill(child)
        # It ends: wait for the owner of processes to tell how.
        self._stop_reading(line)
        return []

    def gone(self, exited: Exited) -> Gone:
        """A child was reaped: read its last words, tell which jobs it was in, forget it."""
        child = self._children.pop(exited.child)
        post = self._posts.pop(child)
        running = self._marks.all_running(post.first, post.count)
        line = self._lines.pop(child, None)
        last_words: Sequence[FromChild] = ()
        if line is not None:
            last_words = self._last_words(line)
            if line.broken:
                # Its outcomes cannot be read, and most likely it was one of the last jobs that wrote.
                running = self._marks.all_last(post.first, post.count)
        self._marks.wipe(post.first, post.count)
        self._left.append(child)
        if len(self._left) > _LEFT_MAX:
            self._whereabouts.pop(self._left.popleft(), None)
        jobs = tuple(seq for seq in running if seq)
        return Gone(child, exited.pid, jobs, exited.status, tuple(last_words))

    def begun(self) -> list[tuple[int, int, float]]:
        """(child, job, monotonic start) of each job seen in its body that was not told before."""
        news: list[tuple[int, int, float]] = []
        for child in self._lines:
            post = self._posts[child]
            running = self._marks.all_running(post.first, post.count)
            if running == post.seen:
                continue
            for slot, (seq, seen) in enumerate(zip(running, post.seen, strict=True)):
                if seq and seq != seen:
                    now, at = self._marks.running(post.first + slot)
                    if now == seq:
                        news.append((child, seq, at))
                    else:  # it has ended meanwhile
                        running[slot] = seen
            post.seen = running
        return news

    def whereabouts(self, child: int) -> Whereabouts | None:
        """Where a child is, or was a moment ago; None if it never was anywhere."""
        return self._whereabouts.get(child)

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
        return frames

    def _stop_reading(self, line: _Line) -> None:
        """What it has to say is over; so is what it could be told."""
        for sock in (line.data, line.control):
            with suppress(KeyError):
                self.selector.unregister(sock)
        line.control_out.clear()

    def _tell(self, child: int, frame: RecallJobs | Leave | Break) -> None:
        line = self._lines.get(child)
        if line is None:
            return
        is_waiting = bool(line.control_out)
        line.control_out += pack(frame)
        if not is_waiting and not _flush(line.control, line.control_out):
            self.selector.register(line.control, selectors.EVENT_WRITE, ("child", child))


def _flush(sock: socket.socket, out: bytearray) -> bool:
    """Send what the socket takes; True if nothing is left to be sent, also because nobody reads any more."""
    try:
        while out:
            del out[: sock.send(out[:_SOCKET_BUFFER_BYTES])]
    except (BlockingIOError, InterruptedError):
        return False
    except OSError:
        out.clear()
    return True


def _signal_of(name: str) -> int:
    try:
        return signal_number(name)
    except ValueError:
        # From a client of another system: to end the task is what was asked for.
        return signal.SIGTERM
