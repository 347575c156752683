"""Keeps exceptions that signal handlers raise out of the code that must not be left half-way.

A time limit breaks into a task by an exception raised in a signal handler, at any instruction. Inside a store that
would leave a lock or a transaction behind. So a store tells when its caller's thread is inside, and whoever breaks
in leaves the exception to be raised on the way out.
"""

from __future__ import annotations

import threading


class Shield(threading.local):
    """The state of one thread."""

    inside = 0
    """How deep this thread is in code that must not be broken into."""
    pending: BaseException | None = None
    """What is to be raised when it is out."""

    def leave(self) -> None:
        """One step out; outside, what was held back is raised."""
        self.inside -= 1
        if self.pending is not None and not self.inside:
            pending, self.pending = self.pending, None
            raise pending


shield = Shield()
"""Of the thread that looks at it."""
