"""The app of workflows under test; its database is ``celeriac.db`` in the working directory."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

from celeriac import Celeriac, Task
from celeriac.canvas import chain, group

app = Celeriac("flows")


def note(name: str, text: object) -> None:
    """Append one line to a file that the test reads; one write call, so that lines stay whole."""
    fd = os.open(name, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(fd, f"{text}\n".encode())
    finally:
        os.close(fd)


@app.task
def add(x: int, y: int) -> int:
    return x + y


@app.task
def mul(x: int, y: int) -> int:
    return x * y


@app.task
def step(path: list[int], number: int, seconds: float = 0.0) -> list[int]:
    """One step of a numbered walk."""
    note("steps", f"{path[0]} {number} {os.getpid()}")
    if seconds:
        time.sleep(seconds)
    return [*path, number]


@app.task
def fail(*args: Any) -> None:
    raise ValueError(*args)


@app.task
def die(*args: Any) -> None:
    """Be killed at each run."""
    note("died", os.getpid())
    os.kill(os.getpid(), signal.SIGKILL)


@app.task
def die_once(value: int, name: str) -> int:
    """Be killed at the first run."""
    first = not Path(name).exists()
    note(name, os.getpid())
    if first:
        os.kill(os.getpid(), signal.SIGKILL)
    return value


@app.task(time_limit=0.3)
def overrun() -> None:
    time.sleep(30)


@app.task
def slow(seconds: float) -> float:
    note("slow", "begin")
    time.sleep(seconds)
    return seconds


@app.task(acks_late=False)
def once(value: int) -> int:
    """Acknowledged at its start."""
    return value


@app.task(bind=True, max_retries=3)
def flaky(self: Task[..., int], value: int) -> int:
    if self.request.retries < 2:
        raise self.retry(countdown=0.01)
    return value


@app.task
def keep(*args: Any) -> Any:
    note("kept", args)
    return args


@app.task
def on_error(failed_id: str) -> str:
    note("errors", failed_id)
    return failed_id


@app.task
def on_error3(request: Any, exc: BaseException, traceback: str) -> None:
    note("errors3", f"{request.id} {type(exc).__name__}")


@app.task
def on_error3_late(request: Any, exc: BaseException, traceback: str) -> None:
    """Takes longer than the task may, whose failure path it is part of."""
    note("late", request.id)
    time.sleep(30)


@app.task
def spawn() -> list[str]:
    """Send workflows from within."""
    line = chain(add.s(1, 1), mul.s(5)).delay()
    many = group(add.s(i, i) for i in range(3)).delay()
    return [line.id, many.id]


@app.task
async def later(value: int) -> int:
    return value + 1
