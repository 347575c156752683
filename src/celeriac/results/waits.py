"""Waiting for results in the caller's own thread."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing, nullcontext
from typing import TYPE_CHECKING, Any, NamedTuple

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


def told(app: Celeriac, on_message: OnMessage | None, ids: Iterable[str]) -> Callable[[Record], object] | None:
    """`on_message` as one who takes records, and is told those of `ids`; None if nobody wants them."""
    if on_message is None:
        return None
    tell, own = on_message, frozenset(ids)
    return lambda record: tell(as_dict(app.decode_result(record))) if record.id in own else None


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
    tell = told(app, on_message, (task_id,))
    if get_current_run() is not None:
        record = app.watcher.read(task_id)
        if record is not None and record.state in states.READY_STATES:
            return record
    with waiting():
        if not followed:
            return app.watcher.wait(task_id, timeout_s, tell, on_interval, interval_s)
        for records in app.watcher.wait_many((task_id, *followed), timeout_s, tell, on_interval, interval_s):
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


class Waited(NamedTuple):
    """Tasks that are waited for."""

    ids: Sequence[str]
    followed: Sequence[str] = ()
    """Tasks before them. What one of those fails with is raised: these may never run then."""
    whole: bool = False
    """Nothing of the user's runs between their ends, so that a pool is told of a single wait."""


def wait_for_ends(
    app: Celeriac,
    waited: Waited,
    timeout_s: float | None,
    on_message: OnMessage | None,
    on_interval: OnInterval | None,
    interval_s: float,
) -> Generator[tuple[str, Meta], None, None]:
    """Each task with how it ended, as they end: one wait for all. Raises TimeoutError."""
    missing, whole = set(waited.ids), waited.whole
    in_task = get_current_run() is not None
    if in_task:
        ended = [one for one in app.backend.read(waited.ids) if one is not None and one.state in states.READY_STATES]
        yield from own_ends(app, missing, ended)
    if not missing:
        return
    wanted = (*missing, *waited.followed)
    arriving = app.watcher.wait_many(wanted, timeout_s, told(app, on_message, waited.ids), on_interval, interval_s)
    with closing(arriving), waiting() if whole else nullcontext():
        while missing:
            with nullcontext() if whole else waiting():
                records = next(arriving, ())
            if not records:
                raise TimeoutError(many_missing(missing, len(waited.ids), timeout_s))
            yield from own_ends(app, missing, records)


def own_ends(app: Celeriac, missing: set[str], records: Sequence[Record]) -> Iterator[tuple[str, Meta]]:
    """Those of the missing tasks that are among final records, with how each has ended; they are missing no more. If
    some are after that, what another task has failed with is raised."""
    others: list[Record] = []
    for record in records:
        if record.id in missing:
            missing.discard(record.id)
            yield record.id, app.decode_result(record)
        elif record.state in states.PROPAGATE_STATES:
            others.append(record)
    if missing:
        for record in others:
            throw(app.decode_result(record))


def many_missing(missing: set[str], count: int, timeout_s: float | None) -> str:
    """What to say when not all have come."""
    return f"{len(missing)} of {count} results did not come within {timeout_s} s, that of {min(missing)} among them"
