"""The tasks of this folder, each as a function and as a coroutine, and the board on which they and the tests write.

The board is memory that test and child share: what a body has reached is seen without asking the child.
"""

from __future__ import annotations

import asyncio
import ctypes
import faulthandler
import mmap
import os
import signal
import threading
import time
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

from celeriac import Celeriac, Task
from celeriac.exceptions import SoftTimeLimitExceeded
from celeriac.model.context import get_current_run
from celeriac.model.shield import shield

app = Celeriac("bodies", broker="memory://bodies", set_as_current=False)

BOUND_S = 30.0
"""What waits for the test ends by itself after this time, long after the test has failed."""
WORDS = 4096
board = memoryview(mmap.mmap(-1, WORDS * 8)).cast("Q")
"""Word n belongs to the job of number n: how often its body has begun; the named words below to all."""
GO, CAUGHT, LEFT, WRITES, WRITTEN, CLEANED, INNER, HOOKS = range(WORDS - 8, WORDS)


def wipe() -> None:
    """Before each test."""
    for word in range(WORDS):
        board[word] = 0


def is_over(until: float) -> bool:
    """True when the test says go."""
    if time.monotonic() > until:
        raise TimeoutError("the test never said go")
    return board[GO] != 0


@app.task(name="note_sync")
def note_sync(number: int) -> int:
    board[number] += 1
    return number


@app.task(name="note_async")
async def note_async(number: int) -> int:
    board[number] += 1
    return number


@app.task(name="hold_sync")
def hold_sync(number: int) -> int:
    """Until the test says go; may be broken into at any time."""
    board[number] += 1
    until = time.monotonic() + BOUND_S
    while not is_over(until):
        time.sleep(0.001)
    return number


@app.task(name="hold_async")
async def hold_async(number: int) -> int:
    board[number] += 1
    until = time.monotonic() + BOUND_S
    while not is_over(until):  # noqa: ASYNC110 - the test is another process
        await asyncio.sleep(0.001)
    return number


@app.task(name="spin_sync")
def spin_sync(number: int) -> int:
    """Until the test says go, without letting anybody else run but by force."""
    board[number] += 1
    until = time.monotonic() + BOUND_S
    while not is_over(until):
        pass
    return number


@app.task(name="spin_async")
async def spin_async(number: int) -> int:
    board[number] += 1
    until = time.monotonic() + BOUND_S
    while not is_over(until):
        pass
    return number


@app.task(name="catch_sync")
def catch_sync(number: int) -> str:
    board[number] += 1
    until = time.monotonic() + BOUND_S
    try:
        while not is_over(until):
            time.sleep(0.001)
    except SoftTimeLimitExceeded:
        board[CAUGHT] += 1
        return "cleaned up"
    return "not broken"


@app.task(name="catch_async")
async def catch_async(number: int) -> str:
    board[number] += 1
    try:
        await asyncio.sleep(BOUND_S)
    except SoftTimeLimitExceeded:
        board[CAUGHT] += 1
        await asyncio.sleep(0)
        return "cleaned up"
    return "not broken"


@app.task(name="retry_sync", bind=True, autoretry_for=(Exception,))
def retry_sync(self: Any, number: int) -> int:
    return hold_sync.run(number)


@app.task(name="retry_async", bind=True, autoretry_for=(Exception,))
async def retry_async(self: Any, number: int) -> int:
    return await hold_async.run(number)


def _short(until: float) -> None:
    while time.monotonic() < until:
        pass


@app.task(name="short_sync")
def short_sync(number: int, seconds: float) -> int:
    """Computes a little: break-ins meant for it often come too late."""
    board[number] += 1
    _short(time.monotonic() + seconds)
    return number


@app.task(name="short_async")
async def short_async(number: int, seconds: float) -> int:
    board[number] += 1
    until = time.monotonic() + seconds
    _short(until - seconds / 2)
    await asyncio.sleep(0)
    _short(until)
    return number


def _write() -> None:
    """Two words change together, like what a store does."""
    guard = shield.mine
    guard.enter()
    try:
        board[WRITES] += 1
        for _ in range(20):
            pass
        board[WRITTEN] += 1
    finally:
        guard.leave()


@app.task(name="store_sync")
def store_sync(number: int, seconds: float) -> int:
    """Goes in and out of a store."""
    board[number] += 1
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        _write()
    return number


@app.task(name="store_async")
async def store_async(number: int, seconds: float) -> int:
    board[number] += 1
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        _write()
        await asyncio.sleep(0)
    return number


@app.task(name="wait_sync")
def wait_sync(number: int) -> int:
    """Waits for another job, until the test says go: several waits inside each other."""
    board[number] += 1
    run = get_current_run()
    assert run is not None
    assert run.waiting is not None
    until = time.monotonic() + BOUND_S
    with run.waiting(), run.waiting():
        while not is_over(until):
            time.sleep(0.001)
    return number


@app.task(name="wait_async")
async def wait_async(number: int) -> int:
    board[number] += 1
    run = get_current_run()
    assert run is not None
    assert run.waiting is not None
    until = time.monotonic() + BOUND_S

    async def one_wait() -> None:
        assert run.waiting is not None
        with run.waiting():
            while not is_over(until):  # noqa: ASYNC110 - the test is another process
                await asyncio.sleep(0.001)

    await asyncio.gather(one_wait(), one_wait())
    return number


ENDS: dict[str, Callable[[], Any]] = {
    "exit": lambda: (_ for _ in ()).throw(SystemExit(3)),
    "memory": lambda: (_ for _ in ()).throw(MemoryError()),
    "interrupt": lambda: (_ for _ in ()).throw(KeyboardInterrupt()),
    "segfault": lambda: (faulthandler.disable(), ctypes.string_at(0)),
    "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "close": lambda: os.closerange(3, 200),
}


@app.task(name="end_sync")
def end_sync(number: int, how: str) -> None:
    """Ends its process."""
    board[number] += 1
    ENDS[how]()


@app.task(name="end_async")
async def end_async(number: int, how: str) -> None:
    board[number] += 1
    await asyncio.sleep(0)
    ENDS[how]()


@app.task(name="fork_sync")
def fork_sync(number: int) -> int:
    """Its copy comes back to the host."""
    board[number] += 1
    return _fork(number)


@app.task(name="fork_async")
async def fork_async(number: int) -> int:
    board[number] += 1
    await asyncio.sleep(0)
    pid = _fork(number)
    if not pid:
        await asyncio.sleep(0)  # back to the loop, by a way that does not ask which process runs it
        board[LEFT] += 1  # never: the copy has ended
    return pid


class Hooked(Task[..., Any]):
    def on_success(self, *_about: Any) -> None:
        board[HOOKS] += 1


@app.task(name="fork_hooked_sync", base=Hooked)
def fork_hooked_sync(number: int) -> int:
    return _fork(number)


@app.task(name="fork_hooked_async", base=Hooked)
async def fork_hooked_async(number: int) -> int:
    return _fork(number)


def _fork(number: int) -> int:
    pid = os.fork()
    if pid:
        os.waitpid(pid, 0)
        return number
    return 0


@app.task(name="odd_sync")
def odd_sync(number: int) -> object:
    """What it returns cannot be encoded."""
    board[number] += 1
    return object()


@app.task(name="odd_async")
async def odd_async(number: int) -> object:
    board[number] += 1
    return threading.Lock()


@app.task(name="loop_sync")
def loop_sync(number: int) -> bool:
    """True if this thread runs no event loop."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return True
    return False


@app.task(name="loop_async")
async def loop_async(number: int) -> bool:
    """True on a running loop, with this run as the current one in what it starts, too."""
    run = get_current_run()

    async def inner() -> bool:
        await asyncio.sleep(0)
        return get_current_run() is run

    return await asyncio.create_task(inner()) and run is not None


# Of coroutines alone.


@app.task(name="cancel_itself")
async def cancel_itself(number: int) -> None:
    task = asyncio.current_task()
    assert task is not None
    task.cancel()
    await asyncio.sleep(0)


@app.task(name="cancel_all")
async def cancel_all(number: int) -> int:
    """Cleans up roughly: others are on the loop, too, and some have not begun."""
    for task in asyncio.all_tasks():
        if task is not asyncio.current_task():
            task.cancel()
            task.cancel()
    return number


@app.task(name="set_factory")
async def set_factory(number: int) -> int:
    def refuse(loop: Any, coroutine: Any, **options: Any) -> Any:
        raise RuntimeError("this one is for tasks of tasks")

    asyncio.get_running_loop().set_task_factory(refuse)
    return number


@app.task(name="cancel_at_end")
async def cancel_at_end(number: int) -> int:
    task = asyncio.current_task()
    assert task is not None
    task.cancel()
    return number


@app.task(name="inner_tasks")
async def inner_tasks(number: int) -> None:
    """Awaits a task of its own, by `wait_for`; what happens to that is noted."""

    async def inner() -> None:
        board[number] += 1
        try:
            await asyncio.sleep(BOUND_S)
        except asyncio.CancelledError:
            board[INNER] += 1
            raise

    await asyncio.wait_for(inner(), BOUND_S)


_background: set[Any] = set()


@app.task(name="leave_behind")
async def leave_behind(number: int, how: str) -> int:
    """Leaves something on the loop."""

    async def endless() -> None:
        try:
            await asyncio.sleep(BOUND_S)
        finally:
            board[CLEANED] += 1

    async def slow() -> None:
        try:
            await asyncio.sleep(BOUND_S)
        except asyncio.CancelledError:
            await asyncio.sleep(0.2)
            board[CLEANED] += 1
            raise

    async def failing() -> None:
        await asyncio.sleep(0)
        raise SystemExit(5)

    async def numbers() -> Any:
        try:
            yield 1
            yield 2
        finally:
            board[CLEANED] += 1

    loop = asyncio.get_running_loop()
    if how == "task":
        _background.add(loop.create_task(endless()))
        await asyncio.sleep(0)
    elif how == "slow task":
        _background.add(loop.create_task(slow()))
        await asyncio.sleep(0)
    elif how == "exit":
        _background.add(loop.create_task(failing()))
    elif how == "generator":
        generator = numbers()
        _background.add(generator)
        await generator.__anext__()
    else:
        loop.call_soon(lambda: 1 / 0)
    return number


def _left() -> int:
    """How many runs before have left something in the variable."""
    found = _variable.get()
    _variable.set(found + 1)
    return found


@app.task(name="variable_sync")
def variable_sync(number: int) -> int:
    return _left()


@app.task(name="variable_async")
async def variable_async(number: int) -> int:
    found = _left()
    await asyncio.sleep(0)
    return found


_variable: ContextVar[int] = ContextVar("left", default=0)
