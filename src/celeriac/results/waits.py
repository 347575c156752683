"""Waiting for results in the caller's own thread."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from celeriac.model import states
from celeriac.model.context import get_current_run
from celeriac.model.errors import TimeoutError  # noqa: A004 - Celery's public name
from celeriac.model.message import Record
from celeriac.results.ends import as_dict, throw
from celeriac.results.joining import waiting

if TYPE_CHECKING:
    from celeriac.app import Celeriac
    from celeriac.wire.records import Meta

OnMessage = Callable[[Any], object]
OnInterval = Callable[[], object]


def told(app: Celeriac, on_message: OnMessage | None) -> Callable[[Record], object] | None:
    """`on_message` as one who takes records; None if nobody wants them."""
    if on_message is None:
        return None
    tell = on_message
    return lambda record: tell(as_dict(app.decode_result(record)))


def wait_for_end(
    app: Celeriac,
    task_id: str,
    followed: Sequence[str],
    timeout_s: float | None,
    on_message: OnMessage | None,
    on_interval: OnInterval | None,
    interval_s: float,
) -> Record | None:
    """The final record of a task; None after `timeout_s`. What one of `followed` fails with before is raised."""
    tell = told(app, on_message)
    if get_current_run() is not None:
        record = app.watcher.read(task_id)
        if record is not None and record.state in states.READY_STATES:
            return record
    with waiting():
        if not followed:
            return app.watcher.wait(task_id, timeout_s, tell, on_interval, interval_s)
        own = None if tell is None else lambda record: tell(record) if record.id == task_id else None
        for records in app.watcher.wait_many((task_id, *followed), timeout_s, own, on_interval, interval_s):
            record = own_record(app, task_id, records)
            if record is not None:
                return record
        return None


def own_record(app: Celeriac, task_id: str, records: Sequence[Record]) -> Record | None:
    """The record of this task among final ones; without it, what another one has failed with is raised."""
    for record in records:
        if record.id == task_id:
            return record
    for record in records:
        if record.state in states.PROPAGATE_STATES:
            throw(app.decode_result(record))
    return None


def wait_for_ends(
    app: Celeriac,
    ids: Sequence[str],
    timeout_s: float | None,
    on_message: OnMessage | None,
    on_interval: OnInterval | None,
    interval_s: float,
    whole: bool,
) -> Generator[tuple[str, Meta], None, None]:
    """Each task with how it ended, as they end: one wait for all. With `whole` nothing of the user's runs in between,
    so that a pool is told of a single wait. Raises TimeoutError."""
    missing = set(ids)
    in_task = get_current_run() is not None
    if in_task:
        for record in app.backend.read(ids):
            if record is not None and record.state in states.READY_STATES and record.id in missing:
                missing.discard(record.id)
                yield record.id, app.decode_result(record)
    if not missing:
        return
    arriving = app.watcher.wait_many(tuple(missing), timeout_s, told(app, on_message), on_interval, interval_s)
    with waiting() if whole else nullcontext():
        while True:
            with nullcontext() if whole else waiting():
                records = next(arriving, ())
            if not records:
                break
            for record in records:
                missing.discard(record.id)
                yield record.id, app.decode_result(record)
    if missing:
        raise TimeoutError(many_missing(missing, len(ids), timeout_s))


def many_missing(missing: set[str], count: int, timeout_s: float | None) -> str:
    """What to say when not all have come."""
    return f"{len(missing)} of {count} results did not come within {timeout_s} s, that of {min(missing)} among them"
