"""Real workers, started as users start them, in a directory of their own."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from celeriac import AsyncResult, Celeriac

SCALE = float(os.environ.get("CELERIAC_TEST_SCALE", "1"))
"""Stretches every bound in seconds, for slow machines."""
HERE = Path(__file__).parent


def eventually(condition: Callable[[], Any], within_s: float = 10.0) -> Any:
    """The first true value of `condition`; fails if there is none in time."""
    deadline = time.monotonic() + within_s * SCALE
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            pytest.fail(f"did not come true within {within_s * SCALE} s: {condition}")
        time.sleep(0.01)


def lines(path: Path) -> list[str]:
    """The lines that tasks have noted."""
    return path.read_text().splitlines() if path.exists() else []


def children_of(pid: int) -> list[int]:
    """Process ids of the direct children."""
    with suppress(OSError):
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


def name_of(pid: int) -> str:
    """The short name of a process; empty when it is gone."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/comm").read_text().strip()
    return ""


def is_alive(pid: int) -> bool:
    """True unless the process is gone or a zombie."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    return False


class Worker:
    """One worker: main process, node, children."""

    def __init__(
        self, folder: Path, *options: str, environment: dict[str, str] | None = None, app: str = "jobs"
    ) -> None:
        self.folder = folder
        self.log = folder / f"worker-{time.monotonic_ns()}.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "celeriac", "-A", app, "worker", "-l", "info", *options],
                cwd=folder,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env={**os.environ, **(environment or {})},
            )

    def ready(self) -> Worker:
        """Wait until it takes work."""
        eventually(lambda: " ready" in self.output() or self.process.poll() is not None, 20)
        assert self.process.poll() is None, self.output()
        return self

    def output(self) -> str:
        """All it has logged."""
        return self.log.read_text(errors="replace")

    @property
    def node(self) -> int:
        """Process id of the node."""
        return next((pid for pid in children_of(self.process.pid) if name_of(pid) == "celeriac-node"), 0)

    @property
    def children(self) -> list[int]:
        """Process ids of the children."""
        node = self.node
        return [pid for pid in children_of(self.process.pid) if pid != node]

    def tree(self) -> list[int]:
        """All its processes."""
        return [self.process.pid, *children_of(self.process.pid)]

    def stop(self, signum: int = signal.SIGTERM, within_s: float = 15.0) -> int:
        """Ask it to end; its exit code."""
        self.process.send_signal(signum)
        return self.process.wait(within_s * SCALE)

    def kill_all(self) -> None:
        """End every process of it at once."""
        for pid in self.tree():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait(10)


class Stage:
    """A directory with a database, the tasks of `pool_jobs`, and workers on both."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        shutil.copy(HERE / "pool_jobs.py", folder / "pool_jobs.py")
        self.app = Celeriac("client", broker=f"sqlite:///{folder}/celeriac.db", set_as_current=False)
        self.workers: list[Worker] = []

    def start(self, *options: str) -> Worker:
        """A worker that is ready."""
        worker = Worker(self.folder, *options, app="pool_jobs")
        self.workers.append(worker)
        return worker.ready()

    def send(self, task: str, *args: Any, **options: Any) -> AsyncResult[Any]:
        """Send the task of `pool_jobs` with that name."""
        return self.app.send_task(f"pool_jobs.{task}", args, **options)

    def close(self) -> None:
        """End all workers, close the client."""
        for worker in self.workers:
            if worker.process.poll() is None:
                worker.kill_all()
        self.app.close()


@contextmanager
def staged(folder: Path) -> Iterator[Stage]:
    """A stage, cleared at the end."""
    stage = Stage(folder)
    try:
        yield stage
    finally:
        stage.close()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with the tasks in it."""
    shutil.copy(HERE / "jobs.py", tmp_path / "jobs.py")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def start(folder: Path) -> Iterator[Callable[..., Worker]]:
    """Starts workers and ends them all."""
    workers: list[Worker] = []

    def start_worker(*options: str, environment: dict[str, str] | None = None) -> Worker:
        worker = Worker(folder, *(options or ("-c", "2")), environment=environment)
        workers.append(worker)
        return worker.ready()

    yield start_worker
    for worker in workers:
        if worker.process.poll() is None:
            worker.kill_all()


@pytest.fixture
def jobs(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The tasks, as their client sees them."""
    monkeypatch.syspath_prepend(str(folder))
    sys.modules.pop("jobs", None)
    import jobs as module

    yield module
    module.app.close()
    sys.modules.pop("jobs", None)


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    """For workers with pools of any kind."""
    with staged(tmp_path) as made:
        yield made
