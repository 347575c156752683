"""The main process of a worker: imports the app, then stays a zygote and supervisor.

It has no threads and no connections, so that forking it is cheap and safe. It forks the node and, when the node
asks, children; it reaps them all, tells the node how they ended, passes on signals, and starts a new node when
one dies. Nothing it does depends on what is in the queue.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import selectors
import signal
import socket
import sys
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from math import inf
from types import FrameType
from typing import NoReturn

from celeriac.model.run import Runnable
from celeriac.pools.host import Sockets
from celeriac.pools.marks import Marks
from celeriac.worker.child import Post, be_child, map_marks
from celeriac.worker.config import Home, WorkerConfig, with_pools_of
from celeriac.worker.exec_child import ChildSpec, exec_child
from celeriac.worker.log_setup import greet, name_in_log, setup_logging
from celeriac.worker.node_process import EXIT_FATAL, node_main
from celeriac.worker.pool_notes import tell_of_pools
from celeriac.worker.process import (
    STOP_SIGNALS,
    ignore_stops,
    name_process,
    reaped,
    require_descriptors,
    thread_names,
    why,
)
from celeriac.worker.solo import run_solo
from celeriac.worker.threads import EXIT_GIVEN_UP
from celeriac.worker.tree import (
    ChildExited,
    ChildSpawned,
    FromNode,
    GotSignal,
    MainEnd,
    ShareMarks,
    SignalChild,
    SpawnChild,
    exit_status,
    tree_sockets,
)

log = logging.getLogger("celeriac.worker")

_GIVEN_UP = (EXIT_GIVEN_UP, EXIT_FATAL)
_RESPAWN_FIRST_S = 0.1
_RESPAWN_MAX_S = 10.0
_RESPAWN_CALM_S = 30.0
"""A node that lived so long may be restarted at once when it dies."""
_LAST_WORD_S = 5.0
"""How much longer than the grace period the node may take before the main process ends everything."""
_STARTING_S = 1.0
"""How long a node that has taken nothing yet may go on after a stop: it may just be getting ready."""
_REAP_S = 1.0
_EXIT_NO_PROCESS = 71
"""The system gave us no process to start with (as sysexits.h has it)."""
_MEANT = (0, 1)
"""Exit codes by which a node ends the worker; by any other only the very first one does. What a person must mend is
waited for by a worker that was at work before: it will be mended, and tasks wait for it."""


def run_worker(home: Home, config: WorkerConfig) -> int:
    """Run a worker until it is told to stop; its exit code. Blocks; call it on the main thread.

    Raises what importing the app raises, and ImproperlyConfigured where the system allows too few open files.
    """
    require_descriptors(sum(pool.children for pool in config.policy.pools))
    setup_logging(config, "MainProcess")
    name_process("celeriac-main")
    tasks = home.load_tasks()
    policies = [task.policy for task in tasks.values()]
    config = with_pools_of(config, policies)
    tell_of_pools(config.policy, policies)
    if config.is_solo:
        return run_solo(home, config, tasks)
    return _Supervisor(home, config, tasks).run()


class _Supervisor:
    """Owns the processes."""

    def __init__(self, home: Home, config: WorkerConfig, tasks: Mapping[str, Runnable]) -> None:
        self._home = home
        self._config = config
        self._tasks = tasks
        self._pid = os.getpid()
        self._selector = selectors.DefaultSelector()
        self._children: dict[int, int] = {}
        self._marks: Marks | None = None
        self._marks_at = (-1, 0, 0)
        self._execs = False
        self._node_pid = 0
        self._node_exit: int | None = None
        self._end: MainEnd | None = None
        self._stopping_at = inf
        self._stops = 0
        self._stop_code = 0
        """What to exit with when we were told to stop and no node can say."""
        self._hastened = False
        self._node_ready = False
        self._pause_s = _RESPAWN_FIRST_S
        self._spoken = False

    def run(self) -> int:
        """Until the node has ended for good."""
        self._choose_start()
        gc.collect()
        gc.freeze()
        wakeup = self._install_signals()
        try:
            while True:
                started = time.monotonic()
                if self._start_node():
                    self._watch(wakeup)
                elif not self._spoken:
                    return _EXIT_NO_PROCESS
                code = self._node_exit
                if code is not None:
                    return code
                if self._stops:
                    return 1 if self._node_ready else self._stop_code
                if not self._pause(time.monotonic() - started, wakeup):
                    return self._stop_code
        finally:
            self._kill_children()
            self._selector.close()
            signal.set_wakeup_fd(-1)
            ignore_stops()

    # Processes.

    def _choose_start(self) -> None:
        """Fork, unless the app's import has started threads: a forked copy may hang on locks they hold."""
        start = self._config.start
        names = thread_names()
        if start == "exec" or (start == "auto" and names):
            self._execs = bool(self._config.app_path)
        if start == "exec" or not names:
            return
        log.warning(
            "importing the app started threads (%s); children are started by %s. Better start them in the tasks that "
            "need them",
            ", ".join(names),
            "exec" if self._execs else "fork all the same, and may hang on locks they hold",
            extra={"action": "threads_at_import"},
        )

    def _start_node(self) -> bool:
        """Start a node; False, and said, if the system has no process for it."""
        self._node_exit, self._node_ready = None, False
        try:
            ours, theirs = tree_sockets()
            pid = self._fork()
        except OSError as exc:
            log.critical("cannot start the node: %s", why(exc), extra={"action": "node_not_started"})
            return False
        if pid == 0:
            self._be(lambda: node_main(self._home, self._config, self._tasks, theirs, self._pid), keep=theirs)
        theirs.close()
        self._node_pid = pid
        self._end = MainEnd(ours)
        self._selector.register(self._end, selectors.EVENT_READ, "node")
        return True

    def _start_child(self, word: SpawnChild) -> None:
        """Start a child; what the system refuses is a death to the node, which tries again with growing pauses."""
        if self._marks is None or self._end is None:
            return
        child = word.child
        try:
            with contextlib.ExitStack() as sockets:
                data = [sockets.enter_context(sock) for sock in socket.socketpair()]
                control = [sockets.enter_context(sock) for sock in socket.socketpair()]
                pid = self._fork()
                if pid == 0:
                    self._be_child(word, data, control, self._marks)
                self._children[child] = pid
                self._end.send(ChildSpawned(child, pid), [data[0].fileno(), control[0].fileno()])
        except OSError as exc:
            log.warning("cannot start a child: %s", why(exc), extra={"action": "child_not_started"})
            self._end.send(ChildExited(child, 0, f"could not be started: {why(exc)}"))

    def _be_child(
        self, word: SpawnChild, data: Sequence[socket.socket], control: Sequence[socket.socket], marks: Marks
    ) -> NoReturn:
        post = Post(word.child, word.pool, word.record)
        if self._execs:
            descriptors = data[1].fileno(), control[1].fileno()
            exec_child(self._config, ChildSpec(post, self._pid, *descriptors, *self._marks_at))
        data[0].close()
        control[0].close()

        def body() -> int:
            setup_logging(self._config, name_in_log(post.pool, post.place), post.place + 1)
            be_child(post, self._pid, Sockets(data[1], control[1]), marks, self._tasks, self._config)
            return 0

        self._be(body)

    @staticmethod
    def _fork() -> int:
        with warnings.catch_warnings():
            # Threads of the user's making are dealt with in `_choose_start`; the node runs none of their code.
            warnings.simplefilter("ignore", DeprecationWarning)
            return os.fork()

    def _be(self, body: Callable[[], int], keep: socket.socket | None = None) -> NoReturn:
        """Turn the forked copy into what it is to be; never returns."""
        code = 70
        try:
            signal.set_wakeup_fd(-1)
            for signum in (*STOP_SIGNALS, signal.SIGCHLD):
                signal.signal(signum, signal.SIG_IGN if keep is not None else signal.SIG_DFL)
            self._selector.close()
            if self._end is not None:
                self._end.close()
            code = body()
        except SystemExit as exc:
            code = exc.code if isinstance(exc.code, int) else 1
        except BaseException as exc:
            log.critical(
                "the process ends on an error: %s", why(exc), exc_info=True, extra={"action": "process_failed"}
            )
        finally:
            with contextlib.suppress(Exception):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(code)

    # The watch.

    def _watch(self, wakeup: socket.socket) -> None:
        """Until the node is gone."""
        while self._node_pid:
            for key, _ in self._selector.select(self._patience_s()):
                if key.data == "wakeup":
                    self._on_signals(wakeup)
                else:
                    self._hear()
            self._reap()
            if time.monotonic() > self._stopping_at:
                if self._node_ready:
                    log.error("the node did not end in time; killing it", extra={"action": "node_overdue"})
                if self._node_pid:
                    os.kill(self._node_pid, signal.SIGKILL)
                self._stopping_at = inf

    def _patience_s(self) -> float:
        return min(_REAP_S, max(0.0, self._stopping_at - time.monotonic()))

    def _hear(self) -> None:
        end = self._end
        while end is not None:
            try:
                word = end.receive()
            except EOFError:
                self._selector.unregister(end)
                end.close()
                self._end = None
                return
            if word is None:
                return
            self._obey(*word)

    def _obey(self, word: FromNode, descriptors: list[int]) -> None:
        if isinstance(word, SpawnChild):
            self._start_child(word)
        elif isinstance(word, SignalChild):
            pid = self._children.get(word.child)
            if pid is not None:
                with contextlib.suppress(OSError):
                    os.kill(pid, word.signum)
        elif isinstance(word, ShareMarks):
            if self._marks is not None:
                self._marks.close()
            self._marks = map_marks(descriptors[0], word.offset, word.size)
            if self._execs:
                if self._marks_at[0] >= 0:
                    os.close(self._marks_at[0])
                self._marks_at = (os.dup(descriptors[0]), word.offset, word.size)
        else:
            self._node_ready = True
            if self._stops:
                # It may have taken work before it heard of the stop.
                self._stopping_at = time.monotonic() + self._patience_of_stop_s()
            if not self._spoken:
                self._spoken = True
                greet(self._config)
        for fd in descriptors:
            os.close(fd)

    def _reap(self) -> None:
        for child, pid in list(self._children.items()):
            status = reaped(pid)
            if status is None:
                continue
            del self._children[child]
            if self._end is not None:
                self._end.send(ChildExited(child, pid, exit_status(status)))
        status = reaped(self._node_pid)
        if status is None:
            return
        node_pid, self._node_pid = self._node_pid, 0
        # First of all: without their node, children must not go on.
        self._kill_children()
        if self._end is not None:
            self._selector.unregister(self._end)
            self._end.close()
            self._end = None
        if os.WIFEXITED(status) and (os.WEXITSTATUS(status) in _MEANT or not self._spoken):
            self._node_exit = os.WEXITSTATUS(status)
        elif self._stops and not self._node_ready:
            log.info("stopped while starting; nothing was taken", extra={"action": "stopped_at_start"})
        elif os.WIFEXITED(status) and os.WEXITSTATUS(status) in _GIVEN_UP:
            text = "the node (pid %d) gave up, for the reason it told; what it held goes to the next one"
            log.warning(text, node_pid, extra={"action": "node_gave_up"})
        else:
            log.error(
                "the node (pid %d) died: %s; what it held goes to the next one",
                node_pid,
                exit_status(status),
                extra={"action": "node_died"},
            )

    def _kill_children(self) -> None:
        for pid in self._children.values():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for pid in self._children.values():
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, 0)
        self._children.clear()

    def _pause(self, lived_s: float, wakeup: socket.socket) -> bool:
        """Do not start nodes in a tight circle; False, at once, when told to stop meanwhile."""
        if lived_s > _RESPAWN_CALM_S:
            self._pause_s = _RESPAWN_FIRST_S
        ends_at = time.monotonic() + self._pause_s
        while not self._stops and (left_s := ends_at - time.monotonic()) > 0:
            if self._selector.select(left_s):
                self._on_signals(wakeup)
        self._pause_s = min(self._pause_s * 2, _RESPAWN_MAX_S)
        return not self._stops

    # Signals.

    def _install_signals(self) -> socket.socket:
        read, write = socket.socketpair()
        for sock in (read, write):
            sock.setblocking(False)
        signal.set_wakeup_fd(write.fileno(), warn_on_full_buffer=False)
        self._wakeup_write = write
        for signum in (*STOP_SIGNALS, signal.SIGCHLD):
            signal.signal(signum, _noted)
        self._selector.register(read, selectors.EVENT_READ, "wakeup")
        return read

    def _on_signals(self, wakeup: socket.socket) -> None:
        with contextlib.suppress(BlockingIOError):
            for number in wakeup.recv(4096):
                if number in STOP_SIGNALS:
                    self._forward(signal.Signals(number).name)

    def _forward(self, name: str) -> None:
        self._stops += 1
        if self._stops == 1:
            self._stop_code = 0 if name == "SIGTERM" else 1
        self._hastened = self._stops > 1 or name == "SIGQUIT"
        # One that asks again and again gets its end no later.
        self._stopping_at = min(self._stopping_at, time.monotonic() + self._patience_of_stop_s())
        if self._end is not None:
            self._end.send(GotSignal(name))

    def _patience_of_stop_s(self) -> float:
        """How long the node may take to end."""
        if not self._node_ready:
            return _STARTING_S
        grace_s = self._config.grace_s
        if self._hastened:
            return _LAST_WORD_S
        return inf if grace_s is None else grace_s + _LAST_WORD_S


def _noted(_signum: int, _frame: FrameType | None) -> None:
    """Signals are read from the wake-up socket; this only keeps Python from its default action."""
