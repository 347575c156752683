"""Waiting for results on an event loop. Imported with the first wait: it brings asyncio."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import aclosing, nullcontext
from typing import TYPE_CHECKING, Any, NamedTuple

from celeriac.model import states
from celeriac.model.context import get_worker_run
from celeriac.model.errors import TimeoutError  # noqa: A004 - Celery's public name
from celeriac.model.message import Record
from celeriac.results.joining import waiting
from celeriac.results.waits import OnMessage, Waited, many_missing, own_ends, own_record, told
from celeriac.worker.awaiting import Arrivals, arrival

if TYPE_CHECKING:
    from celeriac.app import Celeriac
    from celeriac.wire.records import Meta

_AT_ONCE_S = 0.005
"""A task whose result does not come within this is waited for; its pool is told only then."""


class StateChange(NamedTuple):
    """A state that a task was seen in."""

    state: str
    info: Any
    """Its data: progress, the result, or the exception."""


async def await_end(
    app: Celeriac, task_id: str, followed: Sequence[str], timeout_s: float | None, on_message: OnMessage | None
) -> tuple[Record | None, str]:
    """The final record of a task and its state; no record after `timeout_s`. What one of `followed` fails with before
    is raised."""
    lookout = app.watcher.lookout
    if timeout_s is not None and timeout_s <= 0:
        record = await asyncio.to_thread(app.watcher.read, task_id)
        state = states.PENDING if record is None else record.state
        return (record if state in states.READY_STATES else None), state
    if followed or on_message is not None:
        return await _end_among(app, task_id, followed, timeout_s, on_message)
    if get_worker_run() is not None:
        first_s = _AT_ONCE_S if timeout_s is None else min(timeout_s, _AT_ONCE_S)
        record, state = await arrival(lookout, task_id, first_s)
        if record is not None or first_s == timeout_s:
            return record, state
    with waiting():
        return await arrival(lookout, task_id, timeout_s)


async def _end_among(
    app: Celeriac, task_id: str, followed: Sequence[str], timeout_s: float | None, on_message: OnMessage | None
) -> tuple[Record | None, str]:
    """As `await_end`, where more is looked at than the end of one task."""
    tell = told(app, on_message, (task_id,))
    seen = states.PENDING
    async with aclosing(_arriving(app, (task_id, *followed), timeout_s, follows=tell is not None)) as arriving:
        async for records in arriving:
            for record in records:
                if record.id == task_id:
                    seen = record.state
                    if tell is not None:
                        tell(record)
            ended = own_record(app, task_id, [record for record in records if record.state in states.READY_STATES])
            if ended is not None:
                return ended, seen
    return None, seen


async def _arriving(
    app: Celeriac, ids: Iterable[str], timeout_s: float | None, *, follows: bool, whole: bool = False
) -> AsyncGenerator[list[Record], None]:
    """Records as they come, until all are final or `timeout_s` is over. With `whole` nothing of the user's runs in
    between, so that a pool is told of a single wait."""
    loop = asyncio.get_running_loop()
    deadline = None if timeout_s is None else loop.time() + timeout_s
    left = set(ids)
    arrivals = Arrivals(app.watcher.lookout, left, follows)
    try:
        if get_worker_run() is not None:
            records = await arrivals.next(_AT_ONCE_S)
            left.difference_update(_ended(records))
            yield records
        if not left:
            return
        with waiting() if whole else nullcontext():
            while left:
                with nullcontext() if whole else waiting():
                    records = await arrivals.next(None if deadline is None else max(0.0, deadline - loop.time()))
                if not records:
                    return
                left.difference_update(_ended(records))
                yield records
    finally:
        arrivals.close()


def _ended(records: Iterable[Record]) -> list[str]:
    return [record.id for record in records if record.state in states.READY_STATES]


async def await_ends(
    app: Celeriac, waited: Waited, timeout_s: float | None, on_message: OnMessage | None
) -> AsyncGenerator[tuple[str, Meta], None]:
    """Each task with how it ended, as they end: one wait for all. Raises TimeoutError."""
    if not waited.ids:
        return
    tell = told(app, on_message, waited.ids)
    missing = set(waited.ids)
    wanted = (*waited.ids, *waited.followed)
    async with aclosing(_arriving(app, wanted, timeout_s, follows=tell is not None, whole=waited.whole)) as arriving:
        async for records in arriving:
            if tell is not None:
                for record in records:
                    tell(record)
            for end in own_ends(app, missing, [record for record in records if record.state in states.READY_STATES]):
                yield end
            if not missing:
                return
    raise TimeoutError(many_missing(missing, len(waited.ids), timeout_s))


async def await_states(app: Celeriac, task_id: str, timeout_s: float | None) -> AsyncGenerator[StateChange, None]:
    """The states of a task as they change, the last one too. Raises TimeoutError."""
    seen = states.PENDING
    async with aclosing(_arriving(app, (task_id,), timeout_s, follows=True)) as arriving:
        async for records in arriving:
            for record in records:
                meta = app.decode_result(record)
                seen = meta.status
                yield StateChange(seen, meta.result)
    if seen not in states.READY_STATES:
        raise TimeoutError(f"task {task_id} has not ended after {timeout_s} s; its state is {seen}")
