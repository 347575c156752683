"""How a result that is there is told: raised, or shown as a mapping."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from celeriac.model import states
from celeriac.model.errors import TaskRevokedError
from celeriac.wire.records import Meta


class RemoteTraceback(Exception):
    """The traceback of a worker, as the cause of the exception raised here."""

    def __str__(self) -> str:
        return f"\n\n{self.args[0]}"


def throw(meta: Meta, propagated: Collection[str] = states.PROPAGATE_STATES) -> None:
    """Raise what a task failed with, the worker's traceback being its cause; nothing if its state is no such one."""
    if meta.status not in propagated:
        return
    error = meta.result
    if not isinstance(error, BaseException):
        error = TaskRevokedError(str(error or "revoked")) if meta.status == states.REVOKED else Exception(error)
    if meta.traceback:
        raise error from RemoteTraceback(meta.traceback)
    raise error


def as_dict(meta: Meta) -> dict[str, Any]:
    """A record as the mapping that callbacks are told."""
    return {name: getattr(meta, name) for name in meta.__struct_fields__}
