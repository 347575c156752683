"""Coroutines of tasks, one at a time, on an event loop that a process keeps."""

from __future__ import annotations

import contextvars
import os
import threading
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import asyncio

_CLEANUP_S = 1.0
"""How long a coroutine that was broken into may take to end before it is left alone."""


class CoroutineRunner:
    """Runs a coroutine to its end. The main thread's loop is made at the first one and kept, so that what a
    task opens on it (connection pools) serves the next task too. A forked copy makes a loop of its own.

    Any other thread (a task run eagerly in a server) has a loop for each coroutine. A thread whose own loop is
    running (eagerly in async code) waits while another thread runs the coroutine."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._pid = 0
        self._task: asyncio.Task[Any] | None = None
        self._broken_by: BaseException | None = None

    def __call__(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """What the coroutine returns; raises what it raises."""
        import asyncio

        if _is_in_loop():
            return _run_beside(coroutine)
        if threading.current_thread() is not threading.main_thread():
            return asyncio.run(coroutine)
        loop = self._loop_of_this_process()
        task = loop.create_task(coroutine)
        self._broken_by = None
        self._task = task
        try:
            return loop.run_until_complete(task)
        except asyncio.CancelledError:
            broken_by = self._broken_by
            if broken_by is None:
                raise
            raise broken_by from None
        finally:
            self._task = None
            if not task.done():
                self._end(loop, task)
            elif not task.cancelled():
                task.exception()  # seen, also where the loop let it through (SystemExit)

    def break_in(self, error: BaseException) -> bool:
        """Called by a signal handler of the running thread: let the waiting coroutine end with `error`.

        False if none is waiting: then the handler raises by itself, into the code that runs.
        """
        import asyncio

        task, loop = self._task, self._loop
        if task is None or loop is None or task.done() or asyncio.current_task(loop) is task:
            return False
        self._broken_by = error
        loop.call_soon_threadsafe(task.cancel)
        return True

    def close(self) -> None:
        """Cancel what is left on the loop and close it. Idempotent."""
        import asyncio

        loop, self._loop = self._loop, None
        if loop is None or loop.is_closed() or self._pid != os.getpid():
            return
        for task in asyncio.all_tasks(loop):
            self._end(loop, task)
        loop.close()

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
        loop.run_until_complete(asyncio.wait([task], timeout=_CLEANUP_S))
        if task.done() and not task.cancelled():
            task.exception()  # seen: asyncio need not warn about it


def _is_in_loop() -> bool:
    """True if the calling thread is running an event loop now."""
    import asyncio  # see CoroutineRunner.__call__

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


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
