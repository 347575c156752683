"""How a result that is there is told: raised, or shown as a mapping."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from celeriac.model import states
from celeriac.model.errors import TaskError, TaskRevokedError
from celeriac.wire.exceptions import text_of
from celeriac.wire.records import Meta


class RemoteTraceback(Exception):
    """The traceback of a worker, as the cause of the exception raised here."""

    def __str__(self) -> str:
        return f"\n\n{self.args[0]}"


def error_of(meta: Meta) -> Exception:
    """What a task failed with, the worker's traceback being its cause.

    What is no `Exception` would not mean here what it meant in the worker: a CancelledError would pass for the
    cancellation of who waits, a SystemExit would end his process. So a TaskError that names it stands for it, with it
    as its cause.
    """
    error: BaseException
    if isinstance(meta.result, BaseException):
        error = meta.result
    elif meta.status == states.REVOKED:
        error = TaskRevokedError(str(meta.result or "revoked"))
    else:
        error = Exception(meta.result)
    if meta.traceback:
        error.__cause__ = RemoteTraceback(meta.traceback)
    if not isinstance(error, Exception):
        told = TaskError(f"the task ended with {text_of(error)}")
        told.__cause__ = error
        return told
    return error


def throw(meta: Meta, propagated: Collection[str] = states.PROPAGATE_STATES) -> None:
    """Raise what a task failed with; nothing if its state is none of `propagated`."""
    if meta.status in propagated:
        raise error_of(meta)


def as_dict(meta: Meta) -> dict[str, Any]:
    """A record as the mapping that callbacks are told."""
    return {name: getattr(meta, name) for name in meta.__struct_fields__}
