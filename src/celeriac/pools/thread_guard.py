"""Breaking into a body on another thread, by an exception that the interpreter raises there."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable

from celeriac.model.shield import Guard
from celeriac.pools.steered import BREAK_INS


class ThreadGuard(Guard):
    """The guard of the thread that makes it.

    What is sent arrives between two instructions, never within a call of C code. It never arrives outside of the body
    it is meant for: `strike` looks whether that is being run, and `close`, at its end, takes back what is under way.
    """

    __slots__ = ("_thread",)

    def __init__(self) -> None:
        super().__init__()
        self._thread = threading.get_ident()

    def strike(self, error: BaseException, is_open: Callable[[], bool]) -> bool:
        """Break in from another thread, always the same one; False if `is_open` says no. On the way the exception loses
        its arguments, unless it is held back."""
        return self.aim(error, is_open, lambda: _send(self._thread, type(error)))

    def close(self) -> None:
        """The body is over, and `is_open` says so: what was sent and has not been raised will not be."""
        while True:
            try:
                # Whatever has happened on the way, a body ends outside.
                self.inside = 0
                if self.threat is None:
                    return
                self._await_aim()
                _send(self._thread, None)
                self.threat = None
            except BREAK_INS:
                continue


def _send(thread: int, kind: type[BaseException] | None) -> None:
    """Let the interpreter raise `kind` on this thread; None takes back what it has not raised yet."""
    what = None if kind is None else ctypes.py_object(kind)
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), what)
