"""Waiting for records on an event loop. Imported with the first wait: it brings asyncio."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

from celeriac.model.message import Record
from celeriac.worker.lookout import Lookout, Ticket


async def arrival(lookout: Lookout, task_id: str, timeout_s: float | None) -> tuple[Record | None, str]:
    """The final record of a task, as soon as it is there, and its state; no record after `timeout_s`."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Record | None] = loop.create_future()
    ticket = Ticket(task_id, loop, lambda record, error: _resolve(future, record, error))
    lookout.add((ticket,))
    timer = None if timeout_s is None else loop.call_later(timeout_s, _resolve, future, None, None)
    record: Record | None = None
    try:
        record = await future
    finally:
        if timer is not None:
            timer.cancel()
        if record is None:
            lookout.drop((ticket,))
    return record, ticket.seen


def _resolve(future: asyncio.Future[Any], value: Any, error: BaseException | None) -> None:
    if future.done():  # cancelled, or timed out
        return
    if error is None:
        future.set_result(value)
    else:
        future.set_exception(error)


class Arrivals:
    """Records of several tasks, as they come; with `follows` those of states on the way, too. Leave it with `close`."""

    def __init__(self, lookout: Lookout, ids: Iterable[str], follows: bool = False) -> None:
        self._lookout = lookout
        self._loop = asyncio.get_running_loop()
        self._came: list[Record] = []
        self._error: BaseException | None = None
        self._future: asyncio.Future[None] | None = None
        self._tickets = [Ticket(task_id, self._loop, self._tell, follows) for task_id in ids]
        lookout.add(self._tickets)

    def _tell(self, record: Record | None, error: BaseException | None) -> None:
        if record is not None:
            self._came.append(record)
        self._error = self._error or error
        if self._future is not None:
            _resolve(self._future, None, None)

    async def next(self, timeout_s: float | None) -> list[Record]:
        """What came since, at least one; empty after `timeout_s`. Raises BackendUnavailable."""
        if not self._came and self._error is None:
            self._future = self._loop.create_future()
            timer = None if timeout_s is None else self._loop.call_later(timeout_s, _resolve, self._future, None, None)
            try:
                await self._future
            finally:
                self._future = None
                if timer is not None:
                    timer.cancel()
        came, self._came = self._came, []
        if not came and self._error is not None:
            raise self._error
        return came

    def close(self) -> None:
        """Wait for nothing any more."""
        self._lookout.drop(self._tickets)
