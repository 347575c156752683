"""A stage for hosts: real child processes over socket pairs, and a node's hosted pool in front of them."""

from __future__ import annotations

import itertools
import mmap
import os
import selectors
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from msgspec import Struct
from msgspec.structs import replace

from celeriac.model.call import Call
from celeriac.model.policy import PoolPolicy
from celeriac.pools.host import Sockets
from celeriac.pools.hosted import Gone, HostedPool
from celeriac.pools.kinds import facts_of
from celeriac.pools.marks import RECORD_BYTES, Marks
from celeriac.pools.spawner import Exited, Spawned
from celeriac.wire.frames import Back, Done, Hello, JobFrame
from celeriac.wire.protocol2 import encode_call
from celeriac.wire.records import decode_record
from celeriac.worker.child import Post, be_child
from unit.pools import bodies

SCALE = float(os.environ.get("CELERIAC_TEST_SCALE", "1"))
BOUND_S = 10.0
"""What takes longer has failed."""
RECORDS = 4096
CHILD = 1
LIMIT_S = 60.0
"""The hard time limit that the messages name; who watches it is the node, and there is none here."""


class Mode(Struct, frozen=True):
    """One kind of host, and which bodies it is given."""

    pool: str
    kind: str
    """`sync` or `async`."""
    slots: int = 4


MODES = {
    "prefork": Mode("prefork", "sync", 1),
    "prefork, coroutines": Mode("prefork", "async", 1),
    "threads": Mode("threads", "sync"),
    "threads, coroutines": Mode("threads", "async"),
    "asyncio": Mode("asyncio", "async"),
    "threads of asyncio": Mode("asyncio", "sync"),
}


class ForkingSpawner:
    """Starts children by fork, from the test's process."""

    def __init__(self, marks: Marks, be: Callable[[Post, Sockets], None]) -> None:
        self._marks = marks
        self._be = be
        self._news: list[Any] = []
        self.pids: dict[int, int] = {}

    def fileno(self) -> int:
        return -1

    def receive(self) -> Sequence[Any]:
        for place, pid in list(self.pids.items()):
            done, status = os.waitpid(pid, os.WNOHANG)
            if done:
                del self.pids[place]
                code = os.waitstatus_to_exitcode(status)
                self._news.append(Exited(place, pid, f"signal {-code}" if code < 0 else f"exit code {code}"))
        news, self._news = self._news, []
        return news

    def share_marks(self, fd: int, offset: int, size: int) -> None:
        raise NotImplementedError

    def spawn(self, child: int, pool: str, record: int) -> None:
        data, control = socket.socketpair(), socket.socketpair()
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if pid == 0:
            code = 70
            try:
                data[0].close()
                control[0].close()
                self._be(Post(child, pool, record), Sockets(data[1], control[1]))
                code = 0
            except SystemExit as exc:
                code = exc.code if isinstance(exc.code, int) else 1
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stderr.flush()
                os._exit(code)
        data[1].close()
        control[1].close()
        self.pids[child] = pid
        self._news.append(Spawned(child, pid, data[0], control[0]))

    def kill(self, child: int, signum: int) -> None:
        if child in self.pids:
            os.kill(self.pids[child], signum)


class Hosting:
    """One child, seen from its node."""

    def __init__(self, mode: Mode, be: Callable[..., None] = be_child, **options: Any) -> None:
        bodies.wipe()
        self.mode = mode
        self.marks = Marks(mmap.mmap(-1, RECORDS * RECORD_BYTES), RECORDS)
        config = bodies.app.worker_config()
        policy = PoolPolicy(mode.pool, 1, options.pop("slots", mode.slots), kills=mode.pool == "prefork")
        config = replace(config, policy=replace(config.policy, pools=(policy,)), **options)
        tasks = bodies.app.load_tasks()
        parent = os.getpid()
        self.spawner = ForkingSpawner(
            self.marks, lambda post, sockets: be(post, parent, sockets, self.marks, tasks, config)
        )
        self.selector = selectors.DefaultSelector()
        self.pool = HostedPool(self.spawner, self.marks, self.selector, {policy.name: facts_of(policy)})
        self.frames: list[Any] = []
        self.gone: Gone | None = None
        self._seqs = itertools.count(1)
        self.pool.start(CHILD, mode.pool)
        try:
            self.until(lambda: self.said(Hello))
        except BaseException:
            self.close()
            raise

    def job(self, body: str, *args: Any, conclude: Any = None) -> int:
        """Give one job; its number, which is its body's first argument."""
        return self.jobs(1, body, *args, conclude=conclude)[0]

    def jobs(self, count: int, body: str, *args: Any, conclude: Any = None) -> list[int]:
        """Give several at once. `body` without its kind is that of this mode's."""
        return self._give([self._frame(body, *args, conclude=conclude) for _ in range(count)])

    def mixed(self, *names: str) -> list[int]:
        """Give jobs of different bodies at once."""
        return self._give([self._frame(body) for body in names])

    def _frame(self, body: str, *args: Any, conclude: Any = None) -> JobFrame:
        name, seq = f"{body}_{self.mode.kind}", next(self._seqs)
        if name not in bodies.app.tasks:
            name = body
        call = Call(id=f"id-{seq}", task=name, queue="celery", args=(seq, *args), kwargs={}, time_limit_s=LIMIT_S)
        message = encode_call(call)
        return JobFrame(seq, seq, message, 1, 0, False, conclude)

    def _give(self, frames: list[JobFrame]) -> list[int]:
        assert self.pool.submit(CHILD, frames)
        return [frame.seq for frame in frames]

    def pump(self, wait_s: float = 0.02) -> None:
        """Hear what the child says."""
        for key, mask in self.selector.select(wait_s):
            _, child = key.data
            if mask & selectors.EVENT_WRITE:
                self.pool.writable(child)
            if mask & selectors.EVENT_READ:
                self.frames += self.pool.readable(child)
        for news in self.spawner.receive():
            if isinstance(news, Spawned):
                self.pool.adopt(news)
            else:
                self.gone = self.pool.gone(news)
                self.frames += self.gone.last_words

    def until(self, condition: Callable[[], Any], within_s: float | None = None) -> Any:
        """Pump until the condition holds; its value."""
        deadline = time.monotonic() + (BOUND_S if within_s is None else min(within_s, 2 * BOUND_S)) * SCALE
        while True:
            self.pump()
            value = condition()
            if value:
                return value
            if time.monotonic() > deadline:
                pytest.fail(f"did not come true; heard {self.frames[-5:]}, gone: {self.gone}, running {self.running()}")

    def said(self, kind: type, seq: int | None = None) -> list[Any]:
        """The frames of this kind, in the order heard."""
        return [frame for frame in self.frames if isinstance(frame, kind) and (seq is None or frame.seq == seq)]

    def done(self) -> dict[int, Done]:
        """Outcomes by job; fails if there are two of one."""
        found: dict[int, Done] = {}
        for frame in self.said(Done):
            assert frame.seq not in found, f"two outcomes of job {frame.seq}"
            found[frame.seq] = frame
        return found

    def ended(self, *seqs: int, within_s: float | None = None) -> list[Any]:
        """The results of these jobs, when they have all ended: values, or exceptions."""
        self.until(lambda: set(seqs) <= set(self.done()), within_s)
        done = self.done()
        return [decode_record(done[seq].records[0], ("json", "pickle")).result for seq in seqs]

    def begun(self, *seqs: int) -> None:
        """Wait until the bodies of these jobs have begun."""
        self.until(lambda: all(bodies.board[seq] for seq in seqs))

    def go(self) -> None:
        """Let all bodies that hold go on."""
        bodies.board[bodies.GO] = 1

    def running(self) -> set[int]:
        """The jobs that the marks show."""
        return set(self.marks.all_running(0, RECORDS)) - {0}

    def break_in(self, seq: int, how: Any = "soft") -> None:
        """Break into a job."""
        self.pool.interrupt(CHILD, seq, how, "SIGTERM")

    def recalled(self, seqs: Sequence[int]) -> set[int]:
        """Recall these; those that have not begun."""
        before = len(self.said(Back))
        self.pool.recall(CHILD, seqs)
        self.until(lambda: len(self.said(Back)) > before)
        return set(self.said(Back)[before].seqs)

    def left(self, within_s: float | None = None) -> Gone:
        """Wait until the child is gone."""
        self.until(lambda: self.gone, within_s)
        assert self.gone is not None
        return self.gone

    def close(self) -> None:
        for pid in self.spawner.pids.values():
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        self.pool.close()
        self.selector.close()


@pytest.fixture
def host() -> Iterator[Callable[..., Hosting]]:
    """Start a child of a mode; it is gone after the test."""
    started: list[Hosting] = []

    def start(mode: Mode, **options: Any) -> Hosting:
        started.append(Hosting(mode, **options))
        return started[-1]

    yield start
    for hosting in started:
        hosting.close()


@pytest.fixture(params=MODES)
def mode(request: pytest.FixtureRequest) -> Mode:
    """Each kind of host with each kind of body."""
    return MODES[request.param]


@pytest.fixture(params=[name for name, mode in MODES.items() if mode.slots > 1])
def many(request: pytest.FixtureRequest) -> Mode:
    """Those of many slots."""
    return MODES[request.param]
