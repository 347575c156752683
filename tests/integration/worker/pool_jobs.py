"""The app of workers whose pools are under test: the same bodies as functions and as coroutines."""

# Bodies that poll files and clocks, because the test is another process.
# ruff: noqa: ASYNC110, ASYNC240

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

from celeriac import Celeriac, Task, current_task
from celeriac.exceptions import SoftTimeLimitExceeded
from celeriac.result import allow_join_result

app = Celeriac("pool_jobs")

_BOUND_S = 60.0
"""What is to be broken off ends by itself after this time, long after its test has failed."""


def note(name: str, text: object = "") -> None:
    """Append one line to a file that the test reads; one write call, so that lines stay whole."""
    fd = os.open(name, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(fd, f"{text}\n".encode())
    finally:
        os.close(fd)


def _where() -> dict[str, Any]:
    try:
        in_loop = asyncio.get_running_loop() is not None
    except RuntimeError:
        in_loop = False
    thread = threading.current_thread()
    return {"pid": os.getpid(), "main_thread": thread is threading.main_thread(), "loop": in_loop}


@app.task
def where_sync() -> dict[str, Any]:
    return _where()


@app.task
async def where_async() -> dict[str, Any]:
    return _where()


@app.task(pool="threads")
def where_on_thread() -> dict[str, Any]:
    return _where()


@app.task(pool="asyncio")
def where_beside_loop() -> dict[str, Any]:
    return _where()


@app.task(pool="prefork")
async def where_in_process() -> dict[str, Any]:
    return _where()


# A body of each kind, to be broken off.


@app.task
def caught_sync(name: str) -> str:
    note(name, "begin")
    try:
        ends_at = time.monotonic() + _BOUND_S
        while time.monotonic() < ends_at:
            time.sleep(0.01)
    except SoftTimeLimitExceeded:
        return "cleaned up"
    return "not broken"


@app.task
async def caught_async(name: str) -> str:
    note(name, "begin")
    try:
        await asyncio.sleep(_BOUND_S)
    except SoftTimeLimitExceeded:
        await asyncio.sleep(0.01)
        return "cleaned up"
    return "not broken"


@app.task
def short_sleeps_sync(name: str) -> str:
    note(name, "begin")
    ends_at = time.monotonic() + _BOUND_S
    while time.monotonic() < ends_at:
        time.sleep(0.01)
    return "not broken"


@app.task
async def short_sleeps_async(name: str) -> str:
    note(name, "begin")
    ends_at = time.monotonic() + _BOUND_S
    while time.monotonic() < ends_at:
        await asyncio.sleep(0.01)
    return "not broken"


@app.task
def sleeping_sync(name: str) -> str:
    """One long call of C code."""
    note(name, "begin")
    time.sleep(_BOUND_S)
    return "not broken"


@app.task
async def sleeping_async(name: str) -> str:
    note(name, "begin")
    await asyncio.sleep(_BOUND_S)
    return "not broken"


@app.task
def busy_sync(name: str) -> str:
    note(name, "begin")
    ends_at = time.monotonic() + _BOUND_S
    while time.monotonic() < ends_at:
        pass
    return "not broken"


@app.task
async def busy_async(name: str) -> str:
    """Holds the loop."""
    note(name, "begin")
    ends_at = time.monotonic() + _BOUND_S
    while time.monotonic() < ends_at:
        pass
    return "not broken"


@app.task
def stubborn_sync(name: str) -> str:
    note(name, "begin")
    ends_at = time.monotonic() + _BOUND_S
    while time.monotonic() < ends_at:
        try:
            while time.monotonic() < ends_at:
                time.sleep(0.01)
        except BaseException:
            continue
    return "not broken"


@app.task
async def stubborn_async(name: str) -> str:
    note(name, "begin")
    ends_at = time.monotonic() + _BOUND_S
    while time.monotonic() < ends_at:
        try:
            while time.monotonic() < ends_at:
                await asyncio.sleep(0.01)
        except BaseException:
            continue
    return "not broken"


# Neighbours.


@app.task(bind=True)
def neighbour_sync(self: Task[..., Any], number: int, seconds: float, name: str) -> list[Any]:
    note(name, f"{number} begin")
    ends_at = time.monotonic() + seconds
    while time.monotonic() < ends_at:
        time.sleep(0.01)
    note(name, f"{number} end")
    return [number, self.request.id, os.getpid()]


@app.task(bind=True)
async def neighbour_async(self: Task[..., Any], number: int, seconds: float, name: str) -> list[Any]:
    note(name, f"{number} begin")
    await asyncio.sleep(seconds)
    note(name, f"{number} end")
    return [number, self.request.id, os.getpid()]


@app.task
def long_once_sync(name: str) -> str:
    """Runs for long the first time, and ends at once when it runs again."""
    is_first = not Path(name).exists()
    note(name, "begin")
    if is_first:
        time.sleep(_BOUND_S)
    return "first" if is_first else "second"


@app.task
async def long_once_async(name: str) -> str:
    is_first = not Path(name).exists()
    note(name, "begin")
    if is_first:
        await asyncio.sleep(_BOUND_S)
    return "first" if is_first else "second"


# What ends its process.


@app.task
async def exits_async(name: str) -> None:
    note(name, "begin")
    await asyncio.sleep(0.05)
    os._exit(3)


@app.task
def exits_sync(name: str) -> None:
    note(name, "begin")
    time.sleep(0.05)
    os.kill(os.getpid(), signal.SIGKILL)


@app.task
async def gather_async(number: int, name: str) -> list[int]:
    """Note the beginning, and wait until a file says go."""
    note(name, os.getpid())
    ends_at = time.monotonic() + _BOUND_S
    while not Path("go").exists() and time.monotonic() < ends_at:
        await asyncio.sleep(0.05)
    return [number, os.getpid()]


# What they know of themselves.


@app.task(bind=True)
async def interleaved(self: Task[..., Any], rounds: int) -> bool:
    """True if every look at request and current task showed this very run."""
    mine = self.request.id
    seen = True
    for _ in range(rounds):
        await asyncio.sleep(0.001)
        seen = seen and self.request.id == mine and current_task.request.id == mine
        seen = seen and current_task.name == self.name
        seen = seen and await _id_in_a_task_of_its_own() == mine
        seen = seen and await asyncio.to_thread(lambda: current_task.request.id) == mine
    return seen


async def _id_in_a_task_of_its_own() -> str:
    async def look() -> str:
        await asyncio.sleep(0)
        return str(current_task.request.id)

    return await asyncio.create_task(look())


@app.task(bind=True)
def interleaved_sync(self: Task[..., Any], rounds: int) -> bool:
    mine = self.request.id
    seen = True
    for _ in range(rounds):
        time.sleep(0.001)
        seen = seen and self.request.id == mine and current_task.request.id == mine
        seen = seen and current_task.name == self.name
    return seen


@app.task(bind=True, max_retries=3)
async def retries_async(self: Task[..., int], wins_at: int) -> int:
    await asyncio.sleep(0)
    if self.request.retries < wins_at:
        raise self.retry(countdown=0)
    return int(self.request.retries)


@app.task(bind=True, autoretry_for=(KeyError,), retry_kwargs={"max_retries": 3, "countdown": 0})
async def autoretries_async(self: Task[..., int], wins_at: int) -> int:
    await asyncio.sleep(0)
    if self.request.retries < wins_at:
        raise KeyError(wins_at)
    return int(self.request.retries)


@app.task(bind=True)
async def progress_async(self: Task[..., str], name: str) -> str:
    self.update_state(state="PROGRESS", meta={"done": 1})
    note(name, "told")
    ends_at = time.monotonic() + _BOUND_S
    while not Path(name + ".go").exists() and time.monotonic() < ends_at:
        await asyncio.sleep(0.01)
    return "done"


@app.task(bind=True)
async def sends_async(self: Task[..., Any], number: int) -> list[str]:
    """Send from inside a coroutine: the id of what was sent, and that of the sender."""
    return [add.delay(number, 1).id, self.request.id]


@app.task
def add(x: int, y: int) -> int:
    return x + y


@app.task(bind=True)
def parent_of(self: Task[..., Any]) -> str | None:
    return self.request.parent_id


# Parents that wait.


@app.task
def tree_sync(depth: int) -> int:
    """One more than the child that it waits for returns."""
    if not depth:
        return 1
    return int(tree_sync.delay(depth - 1).get(timeout=30, disable_sync_subtasks=False)) + 1


@app.task
async def tree_async(depth: int) -> int:
    if not depth:
        return 1
    return int(await (await tree_async.adelay(depth - 1)).aget(timeout=30)) + 1


@app.task
def many_children(count: int) -> int:
    results = [add.delay(number, 1) for number in range(count)]
    with allow_join_result():
        return sum(int(result.get(timeout=30)) for result in results)


@app.task
def waits_for_sync(queue: str, name: str) -> int:
    """Wait for a task in a queue that perhaps nobody takes from."""
    result = add.apply_async((1, 1), queue=queue)
    note(name, os.getpid())
    return int(result.get(timeout=_BOUND_S, disable_sync_subtasks=False))


@app.task
async def waits_for_async(queue: str, name: str) -> int:
    result = await add.aapply_async((1, 1), queue=queue)
    note(name, os.getpid())
    return int(await result.aget(timeout=_BOUND_S))


@app.task
def waits_wrongly(name: str) -> str:
    try:
        add.delay(1, 1).get(timeout=20, disable_sync_subtasks=False)
    except RuntimeError as exc:
        return str(exc)
    return "waited"
