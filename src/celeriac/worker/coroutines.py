"""Coroutines of tasks, one at a time, on an event loop that a thread keeps."""

from __future__ import annotations

import contextvars
import inspect
import os
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

from celeriac.model.shield import Guard
from celeriac.pools.steered import BREAK_INS, GuardedSteered, Steered, plain

if TYPE_CHECKING:
    import asyncio

T = TypeVar("T")
R = TypeVar("R")

_CLEANUP_S = 1.0
"""How long a coroutine that was broken into may take to end before it is left alone."""


class CoroutineRunner:
    """Runs a coroutine to its end. The loop of the thread that made the runner is made at the first coroutine and kept,
    so that what a task opens on it (connection pools) serves the next task too. A forked copy makes a loop of its own.

    Any other thread has a loop for each coroutine. A thread whose own loop is running (eagerly in async code) waits
    while another thread runs the coroutine.

    :param guard: that of its thread, if other threads may break in
    """

    def __init__(self, guard: Guard | None = None) -> None:
        self._guard = guard
        self._thread = threading.get_ident()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._pid = 0
        self._steered: Steered | None = None

    def __call__(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """What the coroutine returns; raises what it raises."""
        import asyncio

        if _is_in_loop():
            return _run_beside(coroutine)
        if threading.get_ident() != self._thread:
            return asyncio.run(coroutine)
        guard = self._guard
        if guard is None:
            return self._run(coroutine, Steered(_as_itself(coroutine)))
        try:
            guard.enter()
        except BaseException:
            coroutine.close()
            raise
        try:
            return self._run(coroutine, GuardedSteered(_as_itself(coroutine), guard))
        finally:
            guard.leave()

    def break_in(self, error: BaseException) -> bool:
        """Called by a signal handler of the running thread: let the waiting coroutine end with `error`.

        False if none is waiting: then the handler raises by itself, into the code that runs.
        """
        import asyncio

        steered, loop = self._steered, self._loop
        task = None if steered is None else steered.task
        if steered is None or task is None or loop is None or task.done() or asyncio.current_task(loop) is task:
            return False
        loop.call_soon_threadsafe(steered.break_in, error)
        return True

    def poke(self) -> None:
        """Called by another thread: wake the waiting coroutine, if there is one, for what the guard holds back."""
        steered, loop = self._steered, self._loop
        if isinstance(steered, GuardedSteered) and loop is not None:
            try:
                loop.call_soon_threadsafe(steered.poke)
            except RuntimeError:  # closed: the thread is ending
                return

    def close(self) -> None:
        """Cancel what is left on the loop and close it. Idempotent."""
        import asyncio

        loop, self._loop = self._loop, None
        if loop is None or loop.is_closed() or self._pid != os.getpid():
            return
        loop.set_task_factory(None)
        for task in asyncio.all_tasks(loop):
            self._end(loop, task)
        loop.run_until_complete(asyncio.wait([loop.create_task(loop.shutdown_asyncgens())], timeout=_CLEANUP_S))
        loop.close()

    def _run(self, coroutine: Coroutine[Any, Any, Any], steered: Steered) -> Any:
        import asyncio

        loop = self._loop_of_this_process()
        # What the type stubs ask for is the real thing; what asyncio asks for is that it steps like one.
        body: Any = steered
        # Not by a factory that a task has set: that is for what tasks start.
        task = steered.task = asyncio.Task(body, loop=loop)
        self._steered = steered
        try:
            return loop.run_until_complete(task)
        finally:
            self._steered = None
            if inspect.getcoroutinestate(coroutine) == inspect.CORO_CREATED:
                coroutine.close()  # broken into before its first step
            if not task.done():
                self._end(loop, task)
            elif not task.cancelled():
                task.exception()  # seen, also where the loop let it through (SystemExit)
            if task.done():
                steered.let_go()

    def _loop_of_this_process(self) -> asyncio.AbstractEventLoop:
        pid = os.getpid()
        if self._loop is None or self._pid != pid or self._loop.is_closed():
            import asyncio

            self._loop = asyncio.new_event_loop()
            self._pid = pid
        return self._loop

    @staticmethod
    def _end(loop: asyncio.AbstractEventLoop, task: asyncio.Task[Any]) -> None:
        import asyncio

        task.cancel()
        waiting = asyncio.wait([task], timeout=_CLEANUP_S)
        loop.run_until_complete(asyncio.Task(waiting, loop=loop))
        if task.done() and not task.cancelled():
            task.exception()  # seen: asyncio need not warn about it


async def _as_itself(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Await the coroutine; what breaks into it leaves it as what it is."""
    try:
        return await coroutine
    except BREAK_INS as error:
        broken_by = plain(error)
    raise broken_by


def _is_in_loop() -> bool:
    """True if the calling thread is running an event loop now."""
    import asyncio  # see CoroutineRunner.__call__

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


async def beside(call: Callable[[T], R], given: T) -> R:
    """What `call` returns for `given`, made on a thread of its own in the caller's context; the loop goes on meanwhile.
    Raises what it raises. Who cancels this waits for its end all the same."""
    import asyncio  # loaded already: this runs on a loop

    loop = asyncio.get_running_loop()
    over: asyncio.Future[None] = loop.create_future()
    ends: list[R] = []
    errors: list[BaseException] = []

    def target() -> None:
        try:
            ends.append(call(given))
        except BaseException as error:  # noqa: BLE001 - raised again where it was asked for
            errors.append(error)
        with suppress(RuntimeError):  # the loop is closed: nobody waits
            loop.call_soon_threadsafe(over.set_result, None)

    threading.Thread(target=contextvars.copy_context().run, args=(target,), name="beside", daemon=True).start()
    while not over.done():
        with suppress(asyncio.CancelledError):
            await asyncio.wait([over])
    if errors:
        raise errors[0]
    return ends[0]


def _run_beside(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run the coroutine on a thread and a loop of its own, in the caller's context, and wait for its end."""
    import asyncio  # see CoroutineRunner.__call__

    ends: list[Any] = []
    errors: list[BaseException] = []

    def target() -> None:
        try:
            ends.append(asyncio.run(coroutine))
        except BaseException as error:  # noqa: BLE001 - raised again where it was asked for
            errors.append(error)

    context = contextvars.copy_context()
    thread = threading.Thread(target=context.run, args=(target,), name="coroutine", daemon=True)
    thread.start()
    thread.join()  # as long as the body takes, like every body
    if errors:
        raise errors[0]
    return ends[0]
