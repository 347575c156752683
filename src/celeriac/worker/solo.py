"""The solo pool: one process, one task at a time, on the main thread; for debugging and tiny deployments.

The node is the same as everywhere and runs on a thread, so that leases are renewed and commands heard while a
task runs. A task that outlives its hard limit gets an exception; if that does not end it, its failure is stored
and the process starts itself anew. A task that would end its process elsewhere (`sys.exit`, no memory left) counts as
crashed here too, and the process stays.
"""

from __future__ import annotations

import logging
import mmap
import os
import selectors
import signal
import socket
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from types import FrameType
from typing import Any, NoReturn

from celeriac.model.clock import SystemClock
from celeriac.model.errors import ImproperlyConfigured, SoftTimeLimitExceeded, Terminated, TimeLimitExceeded
from celeriac.model.facts import PoolFacts
from celeriac.model.run import Runnable
from celeriac.pools.host import SOFT_SIGNAL, Allowance, Host, MarkOf, Sockets
from celeriac.pools.hosted import HostedPool
from celeriac.pools.marks import Marks
from celeriac.pools.spawner import Exited, News, Signalled, Spawned
from celeriac.worker.child import make_env, map_marks
from celeriac.worker.config import RESTARTED, Home, WorkerConfig
from celeriac.worker.log_setup import greet
from celeriac.worker.node import Node, marks_descriptor, revive_known
from celeriac.worker.patience import open_stores, patiently
from celeriac.worker.perform import JobSeat
from celeriac.worker.process import STOP_SIGNALS, ignore_stops, raise_descriptor_limit
from celeriac.worker.reception import make_reception
from celeriac.worker.threads import EXIT_GIVEN_UP, Mailbox

log = logging.getLogger("celeriac.worker")

SOLO_FACTS = PoolFacts(name="solo", slots_per_child=1, kills=False)
_MARKS_BYTES = 65536
_WAIT_S = 0.5
_RESTART_PAUSE_S = 1.0
"""Keeps a node that fails at its start from filling the log."""
_LEAVE_S = 0.5
"""For the main thread to leave an idle host loop when the node has ended."""
_RESTART_S = 7.0
"""After a task did not end when told to: time for the node to store its failure before the process restarts."""


class SoloSpawner:
    """Hands the one child's sockets to the main thread of this same process.

    A host loop of the main thread stands for the child. It cannot be killed: one that is to end is left behind, and the
    node goes on, or ends the process.
    """

    def __init__(self, marks: Marks) -> None:
        self._marks = marks
        self._mail = Mailbox()
        self._main_thread = threading.get_ident()
        self._lock = threading.Lock()
        self._offer: tuple[socket.socket, socket.socket] | None = None
        self._line: socket.socket | None = None
        """The data socket of the host loop."""
        self._back = threading.Event()
        """Clear while the main thread is in a host loop that was left behind."""
        self._back.set()
        self._stuck = False
        self._told = 0
        """The job that was broken into."""
        self.error: BaseException = SoftTimeLimitExceeded()

    def fileno(self) -> int:
        """Readable when `receive` has news."""
        return self._mail.fileno()

    def receive(self) -> Sequence[News]:
        """What happened since."""
        return self._mail.collect()

    def share_marks(self, fd: int, offset: int, size: int) -> None:
        """One process: nothing to share."""

    def spawn(self, child: int, pool: str, record: int) -> None:
        """Offer the main thread a pair of sockets; a process whose main thread is stuck starts itself anew."""
        if self._stuck:
            threading.Timer(_RESTART_S, restart_process).start()
            return
        data_ours, data_theirs = socket.socketpair()
        control_ours, control_theirs = socket.socketpair()
        self._mail.post(Spawned(child, os.getpid(), data_ours, control_ours))
        self._offer = (data_theirs, control_theirs)

    def kill(self, child: int, signum: int) -> None:
        """Break into the body on the main thread."""
        if signum == SOFT_SIGNAL:
            self.error = SoftTimeLimitExceeded()
        else:
            self._told, _ = self._marks.running(child)
            self.error = TimeLimitExceeded() if signum == signal.SIGKILL else Terminated(signum)
        signal.pthread_kill(self._main_thread, SOFT_SIGNAL)

    def end(self, child: int) -> None:
        """Be done with the host loop, whatever it is at."""
        with self._lock:
            offer, self._offer = self._offer, None
            if offer is not None:
                for sock in offer:
                    sock.close()
            elif self._line is not None:
                self._back.clear()
                # If it is idle it ends now, else when its task does.
                with suppress(OSError):
                    self._line.shutdown(socket.SHUT_RD)
        running, _ = self._marks.running(child)
        if running and running == self._told:
            log.critical("a task does not end; this process starts anew", extra={"action": "solo_stuck"})
            self._stuck = True
        self._mail.post(Exited(child, os.getpid(), "did not end in time"))

    def take_pair(self) -> tuple[socket.socket, socket.socket] | None:
        """The sockets of the child to be, once."""
        with self._lock:
            pair, self._offer = self._offer, None
            if pair is not None:
                self._line = pair[0]
            return pair

    def left(self, child: int, status: str) -> None:
        """The main thread has left its host loop; `status` says why, for people."""
        with self._lock:
            self._line = None
            if self._back.is_set():
                self._mail.post(Exited(child, os.getpid(), status))
            self._back.set()

    def is_left_behind(self) -> bool:
        """True if this host loop was given up: nobody hears what becomes of its task."""
        return not self._back.is_set()

    def is_back(self, wait_s: float) -> bool:
        """False if the main thread is still in a host loop that was given up."""
        return self._back.wait(wait_s)

    def signalled(self, name: str) -> None:
        """A shutdown signal arrived."""
        self._mail.post(Signalled(name))


class _SoloPool(HostedPool):
    """Ends its child by leaving it behind, where others kill a process."""

    def __init__(self, spawner: SoloSpawner, marks: Marks) -> None:
        super().__init__(spawner, marks, selectors.DefaultSelector(), {SOLO_FACTS.name: SOLO_FACTS})
        self._solo = spawner

    def kill(self, child: int) -> None:
        """End a child at once; `Gone` follows."""
        post = self._posts.get(child)
        if post is not None:
            self._solo.end(post.place)


def restart_process() -> NoReturn:
    """Replace this process by a fresh one with the same arguments; if that cannot be, end it for a supervisor."""
    argv = [sys.executable, *sys.orig_argv[1:]]
    try:
        os.execve(sys.executable, argv, {**os.environ, RESTARTED: "1"})  # noqa: S606 - our own command line
    except OSError:
        log.critical("this process cannot start anew; it ends", exc_info=True, extra={"action": "restart_failed"})
        os._exit(EXIT_GIVEN_UP)


def run_solo(home: Home, config: WorkerConfig, tasks: Mapping[str, Runnable]) -> int:
    """Run node and tasks in this process until told to stop; the exit code."""
    raise_descriptor_limit()
    broker: Any = home.make_broker()
    backend = home.make_backend()
    clock = SystemClock()
    try:
        patiently(lambda: open_stores(broker, backend))
    except ImproperlyConfigured as exc:
        log.critical("%s", exc, extra={"action": "misconfigured"})
        return 1
    patiently(lambda: revive_known(broker, tasks))
    marks = patiently(lambda: _make_marks(broker))
    spawner = SoloSpawner(marks)
    pool = _SoloPool(spawner, marks)
    policies = {name: task.policy for name, task in tasks.items()}
    end = partial(spawner.signalled, "SIGTERM")
    node = Node(
        config, broker, backend, policies, pool, clock, make_reception(config, home, tasks, broker, backend, clock, end)
    )
    # Nobody would start this process again, as a main process does with its node.
    node.set_give_up(restart_process)
    codes: list[int] = []

    def close() -> None:
        broker.close()
        if backend is not None:
            backend.close()

    def be_node() -> None:
        codes.append(_run_node(node))
        if not spawner.is_back(_LEAVE_S):
            # What the task does is handed back, and must not go on.
            close()
            os._exit(codes[0])

    thread = threading.Thread(target=be_node, name="node", daemon=True)
    signal.signal(SOFT_SIGNAL, signal.SIG_IGN)
    for signum in STOP_SIGNALS:
        signal.signal(signum, lambda number, _frame: spawner.signalled(signal.Signals(number).name))
    thread.start()
    greet(config)
    seat = JobSeat(tasks, make_env(config, tasks), waiting=_no_waiting)
    try:
        while thread.is_alive():
            pair = spawner.take_pair()
            if pair is None:
                thread.join(_WAIT_S / 10)
            else:
                _host(pair, marks, config, seat, spawner)
    finally:
        ignore_stops()
        close()
    return codes[0] if codes else 1


def _make_marks(broker: Any) -> Marks:
    """Where the broker keeps them for others to read after our death, so that a task which kills this process is
    counted as crashed; else in memory of our own."""
    kept = marks_descriptor(broker, _MARKS_BYTES)
    if kept is None:
        return Marks(mmap.mmap(-1, _MARKS_BYTES), 1)
    fd, offset = kept
    return map_marks(fd, offset, _MARKS_BYTES)


def _run_node(node: Node) -> int:
    """Run the node; if it fails, start the process anew, as the main process of other pools does with its node."""
    try:
        return node.run()
    except BaseException:
        log.critical("the node failed; this process starts anew", exc_info=True, extra={"action": "node_died"})
        time.sleep(_RESTART_PAUSE_S)
        restart_process()


def _host(
    pair: tuple[socket.socket, socket.socket],
    marks: Marks,
    config: WorkerConfig,
    seat: JobSeat,
    spawner: SoloSpawner,
) -> None:
    allowance = Allowance(config.tasks_per_child_max, config.memory_per_child_max_kib)
    host = Host(Sockets(*pair), MarkOf(marks, 0), seat.perform, seat.break_in, allowance)
    seat.env.on_started = host.keep

    def on_signal(_signum: int, _frame: FrameType | None) -> None:
        if host.is_asked_to_stop():
            seat.break_in(spawner.error)

    signal.signal(SOFT_SIGNAL, on_signal)
    status = "left"
    try:
        host.serve(soft_signal=False)
    except BaseException as exc:
        # What ends a process elsewhere; here it would end the whole worker, without a word.
        status = _as_exit_status(exc)
        if not spawner.is_left_behind():
            log.critical("a task ended with: %s", status, exc_info=True, extra={"action": "solo_task_ended"})
    finally:
        # A late limit of the job that is over.
        signal.signal(SOFT_SIGNAL, signal.SIG_IGN)
        seat.early = None
        for sock in pair:
            sock.close()
        spawner.left(0, status)


def _no_waiting() -> NoReturn:
    """Nobody else could run what a task waits for."""
    raise RuntimeError(
        "a task cannot wait for the result of another one in the solo pool, which runs one at a time: start the worker "
        "with -P threads or -P prefork, or let the other task follow as a callback"
    )


def _as_exit_status(error: BaseException) -> str:
    """How the process would have ended by this exception, for people."""
    if not isinstance(error, SystemExit):
        return type(error).__name__
    code = error.code
    if code is None:
        return "exit code 0"
    return f"exit code {code}" if isinstance(code, int) else "exit code 1"
