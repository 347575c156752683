"""The workers of chaos: started, killed at random, started again, and none of them left behind."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from msgspec import Struct

from celeriac.testing.chaos_judge import Kill, KillKind
from celeriac.testing.chaos_tasks import SCENE_VARIABLE

WORKER_APP = "celeriac.testing.chaos_worker"
COMMAND = (sys.executable, "-m", "celeriac")
KINDS: tuple[KillKind, ...] = ("child", "child", "node", "main")
"""What dies, at equal odds: most often what runs tasks."""
_NODE = "celeriac-node"
_END_S = 10.0
_START_S = 60.0
_UNASKED_MAX = 5
"""A worker that ends so often by itself will never work."""
_NAP_S = 0.02
_EMPTY_LOOKS = 3
_TAIL_CHARS = 1500


class ChaosError(Exception):
    """The proof cannot be carried out; the text says why."""


class Scene(Struct, frozen=True):
    """Where the workers play, and with what."""

    url: str
    queue: str
    folder: str
    options: tuple[str, ...]
    """Words behind ``worker``."""
    command: tuple[str, ...] = COMMAND

    def environment(self) -> dict[str, str]:
        """What a worker's processes find in their environment."""
        scene = {"url": self.url, "queue": self.queue, "folder": self.folder, "parent": os.getpid()}
        kept = {name: value for name, value in os.environ.items() if not name.startswith("CELERY_")}
        return {**kept, SCENE_VARIABLE: json.dumps(scene), "PYTHONUNBUFFERED": "1"}


class Cast:
    """Workers. Everything happens in the calling thread, with whose end the kernel ends the workers, too.

    :param count: how many
    """

    def __init__(self, scene: Scene, count: int) -> None:
        if not Path("/proc/self/task").exists():
            raise ChaosError("chaos looks for processes in /proc, which this system does not have: run it on Linux")
        self._scene = scene
        self._environment = scene.environment()
        self._workers: list[subprocess.Popen[bytes]] = []
        self._started = 0
        self._unasked = 0
        self.kills: list[Kill] = []
        for _ in range(count):
            self._workers.append(self._start())

    def _start(self) -> subprocess.Popen[bytes]:
        self._started += 1
        scene = self._scene
        words = [*scene.command, "-A", WORKER_APP, "worker", "-Q", scene.queue, "-n", f"chaos{self._started}@%h"]
        with self._log(self._started).open("wb") as log:
            return subprocess.Popen(
                [*words, *scene.options],
                cwd=scene.folder,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                # Not the terminal's: Ctrl-C is for us, who end them.
                start_new_session=True,
            )

    def _log(self, number: int) -> Path:
        return Path(self._scene.folder) / f"worker-{number}.log"

    def await_ready(self) -> None:
        """Wait until all take work. Raises ChaosError."""
        deadline = time.monotonic() + _START_S
        for number in range(1, self._started + 1):
            while " ready" not in self._log(number).read_text(errors="replace"):
                if self._workers[number - 1].poll() is not None:
                    raise ChaosError(f"a worker does not start:\n{self._tail(number)}")
                if time.monotonic() > deadline:
                    raise ChaosError(f"a worker does not start within {_START_S:g} s:\n{self._tail(number)}")
                time.sleep(_NAP_S)

    def _tail(self, number: int) -> str:
        return self._log(number).read_text(errors="replace")[-_TAIL_CHARS:].strip()

    def look_after(self) -> None:
        """Start anew what has died. Raises ChaosError when workers end again and again that nobody has killed."""
        killed = {kill.pid for kill in self.kills}
        for index, worker in enumerate(self._workers):
            code = worker.poll()
            if code is None:
                continue
            if worker.pid not in killed:
                self._unasked += 1
                if self._unasked >= _UNASKED_MAX:
                    raise ChaosError(f"workers end by themselves, the last one with {code}; their logs tell why")
            self._workers[index] = self._start()

    def await_up(self) -> int:
        """Wait until every worker has its node again; how many have not after a while. Raises ChaosError."""
        deadline = time.monotonic() + _START_S
        while True:
            self.look_after()
            down = sum(not self._is_up(worker) for worker in self._workers)
            if not down or time.monotonic() > deadline:
                return down
            time.sleep(_NAP_S)

    def _is_up(self, worker: subprocess.Popen[bytes]) -> bool:
        return worker.poll() is None and bool(_members(worker.pid, "node"))

    @property
    def unasked(self) -> int:
        """How often a worker has ended that nobody had killed."""
        return self._unasked

    def kill_one(self, chance: random.Random) -> Kill | None:
        """Kill a process of a random kind of a random worker that is up; None if there is none just now. One that is
        still starting has nothing to lose: it would only keep the proof from going on."""
        up = [worker.pid for worker in self._workers if self._is_up(worker)]
        if not up:
            return None
        main = chance.choice(up)
        kind = chance.choice(KINDS)
        pids = [main] if kind == "main" else _members(main, kind)
        if not pids:
            return None
        pid = chance.choice(pids)
        # Before the kill: so a recovery is never shorter than it was.
        kill = Kill(time.monotonic(), kind, pid, main)
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
            self.kills.append(kill)
            return kill
        return None

    def stop(self) -> int:
        """Ask all to end, wait, and kill what is left; how many processes there were that should have been gone."""
        for worker in self._workers:
            if worker.poll() is None:
                worker.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + _END_S
        left = 0
        for worker in self._workers:
            try:
                worker.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                left += 1
        deadline = time.monotonic() + 1.0
        # What a dead parent takes along takes its moment.
        while (pids := self._all()) and time.monotonic() < deadline and not left:
            time.sleep(_NAP_S)
        left = max(left, len(pids))
        self.kill_all()
        return left

    def kill_all(self) -> None:
        """Leave no process behind, by force. Idempotent."""
        for worker in self._workers:
            if worker.poll() is None:
                worker.kill()
        for worker in self._workers:
            with suppress(subprocess.TimeoutExpired):
                worker.wait(_END_S)
        deadline = time.monotonic() + _END_S
        empty = 0
        # Nothing, several times over: one that is just being started (when Ctrl-C came) shows its environment a moment later.
        while empty < _EMPTY_LOOKS and time.monotonic() < deadline:
            pids = self._all()
            empty = 0 if pids else empty + 1
            for pid in pids:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(_NAP_S)

    def _all(self) -> list[int]:
        """Every process that has our scene in its environment, whoever its parent is by now."""
        mark = f"{SCENE_VARIABLE}={self._environment[SCENE_VARIABLE]}".encode()
        return [pid for pid in _pids(os.listdir("/proc")) if pid != os.getpid() and mark in _environ(pid)]


def _pids(names: Iterable[str]) -> list[int]:
    return [int(name) for name in names if name.isdigit()]


def _environ(pid: int) -> bytes:
    """Empty for a process that is gone, or not ours, or dead and not yet waited for."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/environ").read_bytes()
    return b""


def _members(main: int, kind: KillKind) -> list[int]:
    """The processes of that kind below a main process."""
    return [pid for pid in _children_of(main) if (_name_of(pid) == _NODE) == (kind == "node")]


def _children_of(pid: int) -> Sequence[int]:
    with suppress(OSError):
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()]
    return []


def _name_of(pid: int) -> str:
    with suppress(OSError):
        return Path(f"/proc/{pid}/comm").read_text(errors="replace").strip()
    return ""
