"""Breaking into a coroutine: what it awaits is cancelled, and the exception it sees there says why.

The exception is a `CancelledError` too, so that what the standard library does for a cancelled coroutine (ending tasks
of a group, letting go of a lock) is done for one that is broken into.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from celeriac.model.errors import SoftTimeLimitExceeded, Terminated, TimeLimitExceeded
from celeriac.model.shield import Guard

if TYPE_CHECKING:
    import asyncio

BREAK_INS = (SoftTimeLimitExceeded, TimeLimitExceeded, Terminated)
"""What may be raised in a body from outside."""


class Steered:
    """A coroutine that can be broken into where it awaits; for an `asyncio.Task` to run.

    Costs nothing until then: steps go to the coroutine itself.
    """

    __slots__ = ("_coroutine", "_error", "send", "task")

    def __init__(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        self._coroutine = coroutine
        self._error: BaseException | None = None
        self.send: Callable[[Any], Any] = coroutine.send
        self.task: asyncio.Task[Any] | None = None
        """The task that runs it; set when it is made."""

    def break_in(self, error: BaseException) -> None:
        """Raise `error` in the coroutine, where it awaits. On the loop's thread, while the coroutine does not run."""
        if self.task is not None:
            self._error = error
            self.task.cancel()

    def let_go(self) -> None:
        """It is over: let go of what holds this in turn, so that nothing is left for the garbage collector."""
        self.task = None
        del self.send

    def throw(self, error: BaseException, value: object = None, traceback: object = None) -> Any:
        """As a coroutine's; a cancellation of ours comes as the exception that it is for.

        What has not begun begins: whoever cancels all tasks of a loop cannot mean what is not there yet, and a
        coroutine that never begins would keep its place for ever.
        """
        if inspect.getcoroutinestate(self._coroutine) == inspect.CORO_CREATED:
            while self._uncancel():
                pass
            return self.send(None)
        return self._coroutine.throw(self._reason_for(error))

    def close(self) -> None:
        """As a coroutine's; but what has not begun still will."""
        if inspect.getcoroutinestate(self._coroutine) != inspect.CORO_CREATED:
            self._coroutine.close()

    def __await__(self) -> Any:
        return self._coroutine.__await__()

    def _reason_for(self, error: BaseException) -> BaseException:
        from asyncio import CancelledError

        reason = self._error
        if reason is None or not isinstance(error, CancelledError):
            return error
        self._error = None
        self._uncancel()
        return as_cancelled(reason)

    def _uncancel(self) -> int:
        """How many requests are left. Python 3.11 counts them."""
        uncancel: Callable[[], int] | None = getattr(self.task, "uncancel", None)
        return 0 if uncancel is None else uncancel()


class GuardedSteered(Steered):
    """A steered coroutine on a thread that other threads may break into: only while the coroutine itself runs, never
    while its loop does."""

    __slots__ = ("_guard",)

    def __init__(self, coroutine: Coroutine[Any, Any, Any], guard: Guard) -> None:
        super().__init__(coroutine)
        self._guard = guard
        self.send = self._send

    def throw(self, error: BaseException, value: object = None, traceback: object = None) -> Any:
        """As a coroutine's; a cancellation of ours comes as the exception that it is for."""
        return self._step(self._coroutine.throw, self._reason_for(error))

    def poke(self) -> None:
        """On the loop's thread, while the coroutine does not run: wake it for what is held back for it."""
        threat = self._guard.threat
        if isinstance(threat, BaseException):
            self._guard.threat = None
            self.break_in(threat)

    def _send(self, value: Any) -> Any:
        return self._step(self._coroutine.send, value)

    def _step(self, call: Callable[[Any], Any], value: Any) -> Any:
        guard = self._guard
        depth = guard.inside
        while True:
            try:
                guard.leave()
                try:
                    return call(value)
                finally:
                    guard.enter()
            except BREAK_INS as error:
                guard.inside = depth
                if is_over(self._coroutine):
                    raise
                # It came just before or after the coroutine's own instructions.
                call, value = self._coroutine.throw, as_cancelled(error)


def as_cancelled(error: BaseException) -> BaseException:
    """An exception that is both `error` and a CancelledError; `plain` gives `error` back."""
    if hasattr(error, "stands_for"):
        return error
    made = _class_of(next(kind for kind in BREAK_INS if isinstance(error, kind)))(*error.args)
    vars(made)["stands_for"] = error
    return made


def plain(error: BaseException) -> BaseException:
    """What an exception stands for that was raised in a coroutine: itself, or that which broke in."""
    original = vars(error).get("stands_for")
    if not isinstance(original, BaseException):
        return error
    original.__cause__, original.__context__ = error.__cause__, error.__context__
    original.__suppress_context__ = error.__suppress_context__
    return original.with_traceback(error.__traceback__)


def is_over(coroutine: Coroutine[Any, Any, Any]) -> bool:
    """True if nothing of it is left to run."""
    return getattr(coroutine, "cr_frame", None) is None


_classes: dict[type[BaseException], type[BaseException]] = {}


def _class_of(kind: type[BaseException]) -> type[BaseException]:
    made = _classes.get(kind)
    if made is None:
        from asyncio import CancelledError

        names = {"__module__": kind.__module__, "__qualname__": kind.__qualname__, "__doc__": kind.__doc__}
        bases: tuple[Any, ...] = (kind, CancelledError)
        made = _classes[kind] = type(kind.__name__, bases, names)
    return made
