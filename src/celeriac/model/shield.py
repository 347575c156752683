"""Keeps exceptions that others raise in a thread out of the code that must not be left half-way.

A time limit breaks into a task by an exception at any instruction: raised by a signal handler on the same thread, or
sent to it by another thread. Inside a store that would leave a lock or a transaction behind. So a store tells when its
caller's thread is inside, and whoever breaks in leaves the exception to be raised on the way out.

Between two threads this takes a protocol, since "is it inside?" and "raise" are two steps. The one who breaks in
announces it first, then looks, then sends. The one who goes inside says so first, then looks whether something was
announced. So at least one of them sees the other.
"""

from __future__ import annotations

import enum
import threading
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

_AIM_PAUSE_S = 0.0001
_AIM_PAUSES_MAX = 50_000
"""To aim takes microseconds; a thread that takes longer than seconds for it has died."""


class Aim(enum.Enum):
    """How far another thread has come with breaking in."""

    AIMING = 1
    """It looks whether it may."""
    SENT = 2
    """It has sent the exception: it will be raised here soon, or was raised already."""


class Guard:
    """One thread's readiness to be broken into. Its methods are called on that thread, but for `aim`."""

    __slots__ = ("inside", "threat")

    def __init__(self) -> None:
        self.inside = 0
        """How deep this thread is in code that must not be broken into."""
        self.threat: BaseException | Aim | None = None
        """What wants to break in. An exception is held back until the thread is outside."""

    def enter(self) -> None:
        """One step inside. What was sent before is raised now, then this step was not taken."""
        depth = self.inside
        try:
            self.inside = depth + 1
            if self.threat is not None:
                self.look()
        except BaseException:
            self.inside = depth
            raise

    def look(self) -> None:
        """Just inside: raise what was sent before, and hold back what comes from now on.

        Where every call counts, this is to enter: ``guard.inside += 1``, and in the ``try`` that ends with leaving,
        `look` if `threat` is not None.
        """
        self._await_aim()
        if self.threat is Aim.SENT:
            # A turn of a loop is where the interpreter raises what was sent.
            for _ in range(2):
                pass
            # It was raised earlier, then.
            self.threat = None

    def leave(self) -> None:
        """One step out; outside, what was held back is raised.

        Where every call counts: ``guard.inside -= 1``, and `out` if `threat` is not None.
        """
        self.inside -= 1
        if self.threat is not None:
            self.out()

    def out(self) -> None:
        """Raise what was held back, if this is outside."""
        if not self.inside:
            self._await_aim()
            threat = self.threat
            if isinstance(threat, BaseException):
                self.threat = None
                raise threat

    def opened(self, call: Callable[[], T]) -> T:
        """What `call` returns, which may be broken into, if this is but one step inside. For what blocks."""
        depth = self.inside
        try:
            self.inside = depth - 1
            if self.threat is not None:
                self.out()
            return call()
        finally:
            self.inside = depth
            if self.threat is not None:
                self.look()

    def close(self) -> None:
        """The body is over: what has not been raised will not be."""
        self.threat = None

    def aim(self, error: BaseException, is_open: Callable[[], bool], send: Callable[[], None]) -> bool:
        """Break in from another thread, of which there must be one only. False if `is_open` says no.

        Inside, the error is held back. Outside, `send` is called; the thread was outside when it was.
        """
        self.threat = Aim.AIMING
        if not is_open():
            self.threat = None
            return False
        if self.inside:
            self.threat = error
        else:
            send()
            self.threat = Aim.SENT
        return True

    def _await_aim(self) -> None:
        for _ in range(_AIM_PAUSES_MAX):
            if self.threat is not Aim.AIMING:
                return
            time.sleep(_AIM_PAUSE_S)
        self.threat = None


class Shield(threading.local):
    """The guard of the thread that looks at it."""

    def __init__(self) -> None:
        self.mine = Guard()


shield = Shield()
"""``shield.mine.enter()`` before what must not be left half-way, ``shield.mine.leave()`` after it."""
