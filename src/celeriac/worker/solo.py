"""The solo pool: one process, one task at a time, on the main thread; for debugging and tiny deployments.

The node is the same as everywhere and runs on a thread, so that leases are renewed and commands heard while a
task runs. A task that outlives its hard limit gets an exception; if that does not end it, its failure is stored
and the process starts itself anew.
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
from collections.abc import Mapping, Sequence
from types import FrameType
from typing import Any

from celeriac.model.clock import SystemClock
from celeriac.model.errors import ImproperlyConfigured, SoftTimeLimitExceeded, Terminated, TimeLimitExceeded
from celeriac.model.facts import PoolFacts
from celeriac.model.run import Runnable
from celeriac.pools.host import SOFT_SIGNAL, Allowance, Host, MarkOf, Sockets
from celeriac.pools.hosted import HostedPool
from celeriac.pools.marks import Marks
from celeriac.pools.spawner import Exited, News, Signalled, Spawned
from celeriac.worker.child import make_env, make_performer
from celeriac.worker.config import Home, WorkerConfig
from celeriac.worker.log_setup import greet
from celeriac.worker.node import Node, open_patiently, revive_known
from celeriac.worker.perform import Env
from celeriac.worker.threads import Mailbox

log = logging.getLogger("celeriac.worker")

SOLO_FACTS = PoolFacts(name="solo", slots_per_child=1, kills=False)
_MARKS_BYTES = 65536
_STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)
_WAIT_S = 0.5
_RESTART_S = 7.0
"""After a task did not end when told to: time for the node to store its failure before the process restarts."""


class SoloSpawner:
    """Hands the one child's sockets to the main thread of this same process."""

    def __init__(self) -> None:
        self._mail = Mailbox()
        self._main_thread = threading.get_ident()
        self._pair: tuple[socket.socket, socket.socket] | None = None
        self._stuck = False
        self._told = False
        self.error: BaseException = SoftTimeLimitExceeded()

    def fileno(self) -> int:
        """Readable when `receive` has news."""
        return self._mail.fileno()

    def receive(self) -> Sequence[News]:
        """What happened since."""
        return self._mail.collect()

    def share_marks(self, fd: int, offset: int, size: int) -> None:
        """One process: nothing to share."""

    def spawn(self, child: int) -> None:
        """Offer the main thread a pair of sockets; a process whose main thread is stuck starts itself anew."""
        if self._stuck:
            threading.Timer(_RESTART_S, restart_process).start()
            return
        data_ours, data_theirs = socket.socketpair()
        control_ours, control_theirs = socket.socketpair()
        self._told = False
        self._mail.post(Spawned(child, os.getpid(), data_ours, control_ours))
        self._pair = (data_theirs, control_theirs)

    def kill(self, child: int, signum: int) -> None:
        """Break into the body on the main thread; at the second time give it up."""
        if signum == SOFT_SIGNAL:
            self.error = SoftTimeLimitExceeded()
        elif self._told:
            log.critical("a task does not end; this process starts anew", extra={"action": "solo_stuck"})
            self._stuck = True
            self._mail.post(Exited(child, os.getpid(), "did not end in time"))
            return
        else:
            self._told = True
            self.error = TimeLimitExceeded() if signum == signal.SIGKILL else Terminated(signum)
        signal.pthread_kill(self._main_thread, SOFT_SIGNAL)

    def take_pair(self) -> tuple[socket.socket, socket.socket] | None:
        """The sockets of the child to be, once."""
        pair, self._pair = self._pair, None
        return pair

    def left(self, child: int) -> None:
        """The main thread has left its host loop."""
        self._mail.post(Exited(child, os.getpid(), "left"))

    def signalled(self, name: str) -> None:
        """A shutdown signal arrived."""
        self._mail.post(Signalled(name))


def restart_process() -> None:
    """Replace this process by a fresh one with the same arguments."""
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606 - our own command line


def run_solo(home: Home, config: WorkerConfig, tasks: Mapping[str, Runnable]) -> int:
    """Run node and tasks in this process until told to stop; the exit code."""
    broker: Any = home.make_broker()
    backend = home.make_backend()
    clock = SystemClock()
    try:
        open_patiently(broker, backend, clock, deadline_s=None)
    except ImproperlyConfigured as exc:
        log.critical("%s", exc, extra={"action": "misconfigured"})
        return 1
    revive_known(broker, tasks)
    spawner = SoloSpawner()
    marks = Marks(mmap.mmap(-1, _MARKS_BYTES), 1)
    pool = HostedPool(spawner, marks, selectors.DefaultSelector(), SOLO_FACTS)
    policies = {name: task.policy for name, task in tasks.items()}
    node = Node(config, broker, backend, policies, pool, clock)
    codes: list[int] = []
    thread = threading.Thread(target=lambda: codes.append(node.run()), name="node", daemon=True)
    for signum in _STOP_SIGNALS:
        signal.signal(signum, lambda number, _frame: spawner.signalled(signal.Signals(number).name))
    thread.start()
    greet(config)
    env = make_env(config)
    try:
        while thread.is_alive():
            pair = spawner.take_pair()
            if pair is None:
                thread.join(_WAIT_S / 10)
            else:
                _host(pair, marks, tasks, config, env, spawner)
    finally:
        broker.close()
        if backend is not None:
            backend.close()
    return codes[0] if codes else 1


def _host(
    pair: tuple[socket.socket, socket.socket],
    marks: Marks,
    tasks: Mapping[str, Runnable],
    config: WorkerConfig,
    env: Env,
    spawner: SoloSpawner,
) -> None:
    allowance = Allowance(config.tasks_per_child_max, config.memory_per_child_max_kib)
    host = Host(Sockets(*pair), MarkOf(marks, 0), make_performer(tasks, env), env.break_in, allowance)
    env.on_started = host.keep

    def on_signal(_signum: int, _frame: FrameType | None) -> None:
        if host.is_asked_to_stop():
            env.break_in(spawner.error)

    signal.signal(SOFT_SIGNAL, on_signal)
    try:
        host.serve(soft_signal=False)
    finally:
        for sock in pair:
            sock.close()
        spawner.left(0)
