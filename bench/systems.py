"""The systems under test: how to start a worker of each, and what it needs beside it."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.stamp import Stamp

ROOT = Path(__file__).resolve().parents[1]
CELERY_VENV = ROOT / ".venvs" / "celery"
REDIS_FOLDER = ROOT / ".venvs" / "redis"
REDIS_PACKAGES = (
    "redis-server",
    "redis-tools",
    "libjemalloc2",
    "liblzf1",
    "liblua5.1-0",
    "lua-cjson",
    "lua-bitop",
    "libhiredis0.14",
)
CLIENT_S = 600.0
"""No client command takes longer."""


class BenchError(Exception):
    """A figure could not be taken; the text says why."""


@dataclass
class System:
    """One system, ready to be measured."""

    name: str
    python: str
    folder: Path
    worker_arguments: tuple[str, ...]
    version: str
    store: str = ""
    reset: Callable[[], None] = lambda: None
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def stamp_path(self) -> str:
        return str(self.folder / f"{self.name}.stamp")

    def env(self) -> dict[str, str]:
        path = [str(ROOT)] + ([str(ROOT / "src")] if self.name == "celeriac" else [])
        return {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(path),
            "BENCH_STORE": self.store,
            "BENCH_STAMP": self.stamp_path,
            **self.environment,
        }

    def client(self, command: str, n: int) -> dict[str, Any]:
        """Run a client command in its own process."""
        done = subprocess.run(
            [self.python, "-m", "bench.client", self.name, command, str(n)],
            cwd=self.folder,
            env=self.env(),
            capture_output=True,
            text=True,
            timeout=CLIENT_S,
            check=False,
        )
        if done.returncode:
            raise BenchError(f"{self.name} {command}: {done.stderr.strip()[-800:]}")
        answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return answer

    def delayed(self) -> int:
        """How many delayed messages lie in the store, asked of the command line."""
        done = subprocess.run(
            [self.python, "-m", "celeriac", "-A", "bench.tasks", "queues", "--json"],
            cwd=self.folder,
            env=self.env(),
            capture_output=True,
            text=True,
            timeout=CLIENT_S,
            check=True,
        )
        return sum(int(queue["delayed"]) for queue in json.loads(done.stdout))

    @contextlib.contextmanager
    def worker(self, *options: str) -> Iterator[subprocess.Popen[bytes]]:
        """A worker with one child, as long as the block lasts.

        :param options: words behind those every worker has; the last one counts
        """
        log = self.folder / f"{self.name}.log"
        with log.open("wb") as out:
            process = subprocess.Popen(
                [self.python, *self.worker_arguments, *options], cwd=self.folder, env=self.env(), stdout=out, stderr=out
            )
        try:
            yield process
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(timeout=20)

    def wait_for(self, stamp: Stamp, count: int, process: subprocess.Popen[bytes], within_s: float) -> None:
        """Until so many bodies ran; raises with the end of the worker's log when that does not happen."""
        ends_at = time.monotonic() + within_s
        while stamp.count() < count:
            if process.poll() is not None or time.monotonic() > ends_at:
                log = (self.folder / f"{self.name}.log").read_text(errors="replace")[-1500:]
                state = f"exit code {process.returncode}" if process.poll() is not None else "still running"
                raise BenchError(f"{self.name}: {stamp.count()} of {count} tasks ran, worker {state}:\n{log}")
            time.sleep(0.002)


def celeriac(folder: Path) -> System:
    """Celeriac on a SQLite file in the folder."""
    path = folder / "bench.db"

    def reset() -> None:
        for file in folder.glob("bench.db*"):
            file.unlink()

    text = (ROOT / "src/celeriac/__init__.py").read_text()
    version = next(line.split('"')[1] for line in text.splitlines() if line.startswith("__version__"))
    arguments = ("-m", "celeriac", "-A", "bench.tasks", "worker", "-c", "1", "-l", "warning")
    return System("celeriac", sys.executable, folder, arguments, version, f"sqlite:///{path}", reset)


@contextlib.contextmanager
def celery(folder: Path) -> Iterator[System]:
    """The newest Celery on a Redis of its own. Raises BenchError when one of them cannot be had."""
    python = _celery_python()
    with _redis(folder) as port:

        def reset() -> None:
            with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
                connection.sendall(b"FLUSHALL\r\n")
                connection.recv(64)

        version = subprocess.run(
            [python, "-c", "import celery; print(celery.__version__)"],
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        ).stdout.strip()
        arguments = (
            "-m",
            "celery",
            "-A",
            "bench.celery_tasks",
            "worker",
            "-P",
            "prefork",
            "-c",
            "1",
            "-l",
            "warning",
            "--without-gossip",
            "--without-mingle",
            "--without-heartbeat",
        )
        store = f"redis://127.0.0.1:{port}/0"
        yield System("celery", python, folder, arguments, version, store, reset)


def _celery_python() -> str:
    python = CELERY_VENV / "bin" / "python"
    if not (CELERY_VENV / ".installed").exists():
        print(f"installing Celery into {CELERY_VENV}", file=sys.stderr)
        steps = (
            [sys.executable, "-m", "venv", str(CELERY_VENV)],
            [str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check", "celery[redis]", "hiredis"],
        )
        for step in steps:
            done = subprocess.run(step, capture_output=True, text=True, timeout=600, check=False)
            if done.returncode:
                raise BenchError(f"Celery cannot be installed: {done.stderr.strip()[-400:]}")
        (CELERY_VENV / ".installed").touch()
    return str(python)


def _redis_command() -> tuple[str, dict[str, str]]:
    """redis-server from the PATH, else unpacked from Debian's packages, which needs no root."""
    found = shutil.which("redis-server")
    if found:
        return found, {}
    server = REDIS_FOLDER / "usr/bin/redis-server"
    if not server.exists():
        if not shutil.which("apt-get"):
            raise BenchError("no redis-server on the PATH, and no apt-get to fetch it with")
        print(f"unpacking redis-server into {REDIS_FOLDER}", file=sys.stderr)
        REDIS_FOLDER.mkdir(parents=True, exist_ok=True)
        for package in REDIS_PACKAGES:
            subprocess.run(
                ["apt-get", "download", "-q", package], cwd=REDIS_FOLDER, capture_output=True, timeout=120, check=False
            )
        for file in REDIS_FOLDER.glob("*.deb"):
            subprocess.run(
                ["dpkg-deb", "-x", str(file), str(REDIS_FOLDER)], capture_output=True, timeout=60, check=True
            )
    if not server.exists():
        raise BenchError("redis-server is not on the PATH and could not be fetched from Debian")
    libraries = sorted({str(file.parent) for file in REDIS_FOLDER.rglob("*.so*")})
    return str(server), {"LD_LIBRARY_PATH": os.pathsep.join(libraries)}


@contextlib.contextmanager
def _redis(folder: Path) -> Iterator[int]:
    command, extra = _redis_command()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with (folder / "redis.log").open("wb") as log:
        server = subprocess.Popen(
            [
                command,
                "--port",
                str(port),
                "--bind",
                "127.0.0.1",
                "--save",
                "",
                "--appendonly",
                "no",
                "--dir",
                str(folder),
            ],
            env={**os.environ, **extra},
            stdout=log,
            stderr=log,
        )
    try:
        for _ in range(100):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                break
            if server.poll() is not None:
                raise BenchError(f"redis-server does not start: {(folder / 'redis.log').read_text()[-400:]}")
            time.sleep(0.05)
        yield port
    finally:
        server.terminate()
        server.wait(timeout=10)
