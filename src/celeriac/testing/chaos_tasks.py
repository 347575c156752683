"""The tasks that chaos runs. Each run notes its beginning and its end by itself, in a file of its process, so that what
is known of runs does not come from the machinery that is on trial."""

from __future__ import annotations

import asyncio
import itertools
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from msgspec import Struct

from celeriac.app import Celeriac
from celeriac.task import Task

SCENE_VARIABLE = "CELERIAC_CHAOS"
"""Tells a worker where it plays. A JSON object: ``url``, ``queue``, ``folder``, and ``parent``, the process without
which no worker shall live."""
BLOCKING = "chaos.work"
COROUTINE = "chaos.work_async"
TASKS_OF_POOL: dict[str, tuple[str, ...]] = {
    "prefork": (BLOCKING,),
    "threads": (BLOCKING,),
    "asyncio": (COROUTINE,),
    "mixed": (BLOCKING, COROUTINE),
}
"""Which tasks are sent, in turn."""
_KEEP_S = 86400.0
"""Results outlive any proof."""


class Run(Struct, frozen=True):
    """One begun run of a task. Moments are those of the monotonic clock, which all processes share."""

    id: str
    name: str
    """Names this run among all; the task returns it."""
    main: int
    """Process id of its worker's main process."""
    pid: int
    begun_at: float
    ended_at: float | None = None


class Notes:
    """Writes the notes of one process.

    :param folder: where the files of all processes lie
    """

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._pid = 0
        self._fd = -1
        self._numbers = itertools.count()

    def begin(self, task_id: str) -> str:
        """A run begins; its name."""
        pid = os.getpid()
        if pid != self._pid:
            # Forked: its parent is the main process that has forked it. (Two threads may come here at once and open
            # the file twice, to the same end.)
            path = f"{self._folder}/runs-{os.getppid()}-{pid}"
            self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            self._pid = pid
        name = f"{pid}-{next(self._numbers)}-{time.monotonic_ns()}"
        # One call each, so that a kill leaves whole lines.
        os.write(self._fd, f"{name} {time.monotonic():.6f} {task_id}\n".encode())
        return name

    def end(self, name: str) -> str:
        """The run is over, its task is about to return; its name."""
        os.write(self._fd, f"{name} {time.monotonic():.6f}\n".encode())
        return name


def read_notes(folder: str) -> Iterator[Run]:
    """All runs that were noted there."""
    for path in sorted(Path(folder).glob("runs-*")):
        _, main, pid = path.name.split("-")
        begun: dict[str, tuple[str, float]] = {}
        ended: dict[str, float] = {}
        for line in path.read_text(encoding="ascii").splitlines():
            name, at, *task_id = line.split()
            if task_id:
                begun[name] = (task_id[0], float(at))
            else:
                ended[name] = float(at)
        for name, (task_id_, at_) in begun.items():
            yield Run(task_id_, name, int(main), int(pid), at_, ended.get(name))


def make_app(url: str, queue: str, folder: str) -> Celeriac:
    """The app of a proof, for its workers and for who sends.

    :param folder: where runs are noted
    """
    notes = Notes(folder)
    app = Celeriac("chaos", broker=url, backend=url)
    app.conf.update(task_default_queue=queue, result_expires=_KEEP_S)

    @app.task(name=BLOCKING, bind=True)
    def work(self: Task[..., str], seconds: float) -> str:
        name = notes.begin(_id_of(self))
        time.sleep(seconds)
        return notes.end(name)

    @app.task(name=COROUTINE, bind=True)
    async def work_async(self: Task[..., str], seconds: float) -> str:
        name = notes.begin(_id_of(self))
        await asyncio.sleep(seconds)
        return notes.end(name)

    return app


def _id_of(task: Task[..., Any]) -> str:
    task_id = task.request.id
    assert task_id is not None, "a chaos task was called, not run"
    return str(task_id)
