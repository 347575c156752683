"""Where coroutine tasks run: places on the loop of an asyncio child, and what is asked of those who run them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import AbstractContextManager
from typing import Any, NamedTuple, Protocol

from celeriac.model.run import Performed
from celeriac.model.shield import Guard
from celeriac.pools.crew import Seat as ThreadSeat
from celeriac.pools.crew import error_of
from celeriac.pools.steered import Steered
from celeriac.wire.frames import Break, JobFrame


class Seat(ThreadSeat, Protocol):
    """What runs jobs in one place of the loop, or on one thread."""

    def perform_async(self, job: JobFrame) -> Coroutine[Any, Any, Performed]:
        """Run one job of a coroutine task, in an `asyncio.Task` of its own."""
        ...


class Bench(NamedTuple):
    """How jobs are run."""

    make_seat: Callable[[Guard | None, Callable[[], AbstractContextManager[None]]], Seat]
    is_coroutine: Callable[[JobFrame], bool]
    """True if the job runs on the loop, False if on a thread."""


class Place:
    """Where one coroutine task runs after another."""

    __slots__ = ("record", "seat", "seq", "steered", "task")

    seat: Seat

    def __init__(self, record: int) -> None:
        self.record = record
        self.seq = 0
        self.task: asyncio.Task[None] | None = None
        self.steered: Steered | None = None


class LoopStrike:
    """A break-in into a coroutine."""

    __slots__ = ("at", "error", "is_done", "place", "seq")

    def __init__(self, place: Place, order: Break, at: float) -> None:
        self.place = place
        self.seq = order.seq
        self.error = error_of(order)
        self.at = at
        self.is_done = False
