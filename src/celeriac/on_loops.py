"""Blocking calls made on an event loop: noticed in development, and how to make them beside the loop."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable
from typing import TypeVar

from celeriac.model.errors import BlockingCallWarning
from celeriac.worker.sender import BatchBlock, current_batch

T = TypeVar("T")


class Notice:
    """Warns of calls that block an event loop, once per process: that says it all, and calls stay as fast as they
    are."""

    is_on = bool(sys.flags.dev_mode or os.environ.get("PYTHONASYNCIODEBUG"))
    """True in development, that is with ``python -X dev``, ``PYTHONDEVMODE`` or ``PYTHONASYNCIODEBUG`` set, until it
    has warned."""

    def warn(self, blocking: str, instead: str) -> None:
        """Warn if the caller's thread runs an event loop now, which a call that blocks holds up."""
        asyncio = sys.modules.get("asyncio")
        if asyncio is None or current_batch() is not None:  # what lies in a batch was not sent, so nothing blocked
            return
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return
        self.is_on = False
        warnings.warn(
            f"{blocking} on an event loop hold it up while the broker works; there, use {instead}. "
            "This is said once, in development only",
            BlockingCallWarning,
            stacklevel=frames_of_ours() + 1,
        )


notice = Notice()
"""That of this process."""


def notice_send() -> None:
    """Warn if the caller, who sends by `delay` or `apply_async`, is on an event loop."""
    notice.warn("delay() and apply_async()", "await adelay() or aapply_async()")


class NoticingBlock(BatchBlock):
    """The block of a batch; in development it is noticed when its end holds up an event loop."""

    def __enter__(self) -> None:
        if notice.is_on:
            notice.warn("batches that are left by a plain `with`", "async with app.batch()")
        super().__enter__()

    async def __aenter__(self) -> None:
        super().__enter__()


def frames_of_ours() -> int:
    """How many frames lie between the caller and who called the package, the caller's included."""
    frame, count = sys._getframe(1), 0  # noqa: SLF001 - as `warnings` itself does it
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith("celeriac."):
        frame, count = frame.f_back, count + 1
    return count


async def run_beside(call: Callable[[], T]) -> T:
    """What `call` returns, made on another thread: the loop goes on meanwhile."""
    import asyncio  # loaded already: this runs on a loop

    return await asyncio.to_thread(call)
