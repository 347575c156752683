"""Calling back when results are there."""

from __future__ import annotations

import sys
import weakref
from collections.abc import Callable, Sequence
from types import MethodType
from typing import TYPE_CHECKING, Any, Protocol

from celeriac.model.states import PROPAGATE_STATES
from celeriac.results.ends import error_of
from celeriac.worker.crossing import pass_on
from celeriac.worker.lookout import Ticket

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop

    from celeriac.app import Celeriac
    from celeriac.model.message import Record
    from celeriac.wire.records import Meta


class Leaf(Protocol):
    """The handle of one task."""

    id: str

    def known(self) -> Meta | None:
        """How it ended, if that is known."""
        ...

    def end_as(self, meta: Meta) -> None:
        """Remember how it ended."""
        ...


class Callbacks:
    """What is called with the handle when all has ended, and what with the exception of the first that failed."""

    def __init__(
        self,
        handle: Any,
        callback: Callable[[Any], object],
        on_error: Callable[[BaseException], object] | None,
        weak: bool,
    ) -> None:
        if not callable(callback):
            raise TypeError(f"then() calls a function, not {callback!r}")
        self._handle = handle
        self._callback = _weakly(callback) if weak else callback
        self._on_error = _weakly(on_error) if weak and on_error is not None else on_error

    def ended(self, metas: Sequence[Meta]) -> None:
        """All has ended like this."""
        failed = next((meta for meta in metas if meta.status in PROPAGATE_STATES), None)
        if failed is not None and self._on_error is not None:
            self._on_error(error_of(failed))
        else:
            self._callback(self._handle)

    def cannot_know(self, error: BaseException) -> None:
        """How it ended cannot be learned."""
        if self._on_error is None:
            raise error
        self._on_error(error)


def _weakly(function: Callable[[Any], object]) -> Callable[[Any], object]:
    find = weakref.WeakMethod(function) if isinstance(function, MethodType) else weakref.ref(function)

    def call(argument: Any) -> object:
        living: Callable[[Any], object] | None = find()
        return None if living is None else living(argument)

    return call


def call_when_ended(app: Celeriac, leaves: Sequence[Leaf], callbacks: Callbacks) -> None:
    """Call back when these tasks have ended: on the running loop if there is one, else on the thread that waits."""
    loop = _running_loop()
    metas = {leaf.id: meta for leaf in leaves if (meta := leaf.known()) is not None}
    missing = {leaf.id for leaf in leaves} - metas.keys()

    def arrived(record: Record | None, error: BaseException | None) -> None:
        if not missing:
            return
        if record is None:
            missing.clear()
            assert error is not None
            callbacks.cannot_know(error)
            return
        metas[record.id] = app.decode_result(record)
        missing.discard(record.id)
        if not missing:
            end()

    def end() -> None:
        for leaf in leaves:
            leaf.end_as(metas[leaf.id])
        callbacks.ended([metas[leaf.id] for leaf in leaves])

    if missing:
        app.watcher.lookout.add([Ticket(task_id, loop, arrived) for task_id in missing])
    else:
        pass_on([(loop, (end, ()))])


def _running_loop() -> AbstractEventLoop | None:
    asyncio = sys.modules.get("asyncio")
    if asyncio is None:  # then no loop is running
        return None
    try:
        loop: AbstractEventLoop = asyncio.get_running_loop()
    except RuntimeError:
        return None
    return loop
