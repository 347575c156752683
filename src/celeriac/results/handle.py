"""`AsyncResult`: the handle of one task's result."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Generator
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from celeriac.core.options import require_text
from celeriac.model import states
from celeriac.model.context import get_current_run
from celeriac.model.errors import TimeoutError  # noqa: A004 - Celery's public name
from celeriac.results.base import ResultBase
from celeriac.results.callbacks import Callbacks, call_when_ended
from celeriac.results.ends import as_dict, throw
from celeriac.results.joining import assert_will_not_block
from celeriac.results.looks import ResultLooks
from celeriac.results.waits import wait_for_end
from celeriac.wire.records import Meta
from celeriac.worker.sender import current_batch

if TYPE_CHECKING:
    from celeriac.app import Celeriac
    from celeriac.results.awaiting import StateChange

R_co = TypeVar("R_co", covariant=True)


class AsyncResult(ResultLooks, Generic[R_co]):
    """The result of a task by its id. Two handles of one id are equal.

    A task nobody knows of is PENDING.
    """

    __slots__ = ("__weakref__", "_app", "_final", "_ignored", "_name", "_sent", "id", "parent")

    def __init__(
        self,
        id: str,  # noqa: A002 - Celery's public name
        backend: Any = None,
        task_name: str | None = None,
        app: Celeriac | None = None,
        parent: ResultBase | None = None,
        ignored: bool = False,
        sent: bool = False,
    ) -> None:
        if not isinstance(id, str) or not id:  # type: ignore[redundant-expr]
            raise ValueError(f"AsyncResult needs the id of a task, not {id!r}")
        if not id.isascii():
            require_text("id", id)  # a store refuses it, and with it all that it is asked for in the same breath
        self.id = id
        self._app = app
        self._name = task_name
        self._ignored = ignored
        self._sent = sent
        """Made by the send itself: the result is not there yet, most likely."""
        self._final: Meta | None = None
        self.parent = parent

    @property
    def ignored(self) -> bool:
        """True if the task keeps no result: then nothing is waited for."""
        return self._ignored

    @ignored.setter
    def ignored(self, ignored: bool) -> None:
        self._ignored = ignored

    # waiting

    def get(
        self,
        timeout: float | None = None,
        propagate: bool = True,
        interval: float = 0.5,
        no_ack: bool = True,
        follow_parents: bool = True,
        callback: Callable[[str, Any], object] | None = None,
        on_message: Callable[[Any], object] | None = None,
        on_interval: Callable[[], object] | None = None,
        disable_sync_subtasks: bool = True,
        EXCEPTION_STATES: Any = states.EXCEPTION_STATES,  # noqa: N803 - Celery's public name
        PROPAGATE_STATES: Any = states.PROPAGATE_STATES,  # noqa: N803 - Celery's public name
    ) -> R_co:
        """Wait for the task to end and return its result, or raise what it raised.

        The exception is rebuilt from its record; the worker's traceback stands behind it as its cause. What is no
        `Exception` (CancelledError, say) is the cause of a TaskError instead. With ``propagate=False`` it is returned. `callback` gets id and value, `on_message` each state on the
        way as a mapping, `on_interval` is called about every `interval` seconds.

        Raises TimeoutError after `timeout` seconds (the task goes on), RuntimeError within a task if the end is not known
        to this handle, and when the task lies in a batch that has not been sent.
        """
        if self._ignored:
            return None  # type: ignore[return-value]
        if disable_sync_subtasks and self._final is None and get_current_run() is not None:
            assert_will_not_block()
        meta = self._final or self._wait(timeout, interval, on_message, on_interval, follow_parents and propagate)
        if meta.status == states.SUCCESS:
            self._final = meta
        elif propagate:
            throw(meta, PROPAGATE_STATES)
        if callback is not None:
            callback(self.id, meta.result)
        value: R_co = meta.result
        return value

    wait = get

    async def aget(
        self,
        timeout: float | None = None,
        propagate: bool = True,
        follow_parents: bool = True,
        callback: Callable[[str, Any], object] | None = None,
        on_message: Callable[[Any], object] | None = None,
    ) -> R_co:
        """`get` for coroutines: the loop goes on meanwhile. However many wait, one thread of the process waits for
        all of them. ``await result`` is the same without options.

        Cancelling it changes nothing about the task. Within a task it is allowed: no slot is occupied by waiting.

        Raises what `get` raises.
        """
        if self._ignored:
            return None  # type: ignore[return-value]
        meta = self._final or await self._await_end(timeout, on_message, follow_parents and propagate)
        if meta.status == states.SUCCESS:
            self._final = meta
        elif propagate:
            throw(meta)
        if callback is not None:
            callback(self.id, meta.result)
        value: R_co = meta.result
        return value

    def __await__(self) -> Generator[Any, None, R_co]:
        return self.aget().__await__()

    async def astates(self, timeout: float | None = None) -> AsyncIterator[StateChange]:
        """``async for state, info in result.astates()``: the states of the task as they change, the last one too:
        progress without polling. A failure is not raised, its exception is the info. Of changes that follow each other
        at once some may be left out.

        Raises TimeoutError.
        """
        from celeriac.results.awaiting import StateChange, await_states  # brings asyncio

        known = self.known()
        if known is not None:
            yield StateChange(known.status, known.result)
            return
        self.check_sent()
        async for change in await_states(self.app, self.id, timeout):
            yield change

    def then(
        self,
        callback: Callable[[AsyncResult[R_co]], object],
        on_error: Callable[[BaseException], object] | None = None,
        weak: bool = False,
    ) -> None:
        """Call `callback` with this handle when the task has ended, however it did; with `on_error`, that is called
        with the exception of a task that failed instead.

        On a running loop the call comes on it, elsewhere on the thread that waits for results; it must not block. What
        it raises is logged. With `weak` it is forgotten when nobody else holds it.
        """
        self.check_sent()
        call_when_ended(self.app, (self,), Callbacks(self, callback, on_error, weak))

    def _wait(
        self,
        timeout_s: float | None,
        interval_s: float,
        on_message: Callable[[Any], object] | None,
        on_interval: Callable[[], object] | None,
        follows: bool,
    ) -> Meta:
        app = self._app or self.app
        if current_batch() is not None:
            self.check_sent()
        followed = () if self.parent is None or not follows else self.unfinished_before()
        if self._sent and not followed and on_message is None and get_current_run() is None:
            record = app.watcher.wait(self.id, timeout_s, None, on_interval, interval_s)
        else:
            record = None if followed else app.watcher.read(self.id)
            if record is None or record.state not in states.READY_STATES:
                record = wait_for_end(app, self.id, followed, timeout_s, on_message, on_interval, interval_s)
            elif on_message is not None:
                on_message(as_dict(app.decode_result(record)))
        if record is None:
            raise TimeoutError(self._late(timeout_s, self.state))
        return app.decode_result(record)

    async def _await_end(
        self, timeout_s: float | None, on_message: Callable[[Any], object] | None, follows: bool
    ) -> Meta:
        from celeriac.results.awaiting import await_end  # brings asyncio

        app = self._app or self.app
        self.check_sent()
        followed = () if self.parent is None or not follows else self.unfinished_before()
        record, seen = await await_end(app, self.id, followed, timeout_s, on_message)
        if record is None:
            raise TimeoutError(self._late(timeout_s, seen))
        return app.decode_result(record)

    def _late(self, timeout_s: float | None, state: str) -> str:
        shown = f"{self._name}[{self.id}]" if self._name else self.id
        return f"no result of {shown} after {timeout_s} s; its state is {state}"

    def maybe_throw(self, propagate: bool = True, callback: Callable[[str, Any], object] | None = None) -> Any:
        """The result as it is now, without waiting; raises the task's exception if it failed."""
        meta = self._meta()
        if propagate:
            throw(meta, states.PROPAGATE_STATES)
        if callback is not None:
            callback(self.id, meta.result)
        return meta.result

    maybe_reraise = maybe_throw

    # acting

    def forget(self) -> None:
        """Delete the record, and those of its parents. The ids are PENDING again."""
        line, before = self._line()
        for result in line:
            result._final = None  # noqa: SLF001 - of this class
        self.app.backend.forget([result.id for result in line])
        if before is not None:
            before.forget()

    def revoke(
        self,
        connection: Any = None,
        terminate: bool = False,
        signal: str | None = None,
        wait: bool = False,
        timeout: float | None = None,
    ) -> None:
        """The task must not run: a waiting one becomes REVOKED. With `terminate` a running one is ended."""
        self.app.revoke(self.id, terminate=terminate, signal=signal)

    def form(self, before: tuple[Any, Any] | None) -> tuple[Any, Any]:
        """``((id, parent), None)``."""
        return (self.id, before), None

    def as_list(self) -> list[str]:
        """The ids of this task and its parents."""
        line, before = self._line()
        return [*(result.id for result in line), *(() if before is None else before.as_list())]

    def _line(self) -> tuple[list[AsyncResult[Any]], ResultBase | None]:
        """This task and the single tasks before it, the nearest first; and the group before those, if there is one."""
        line: list[AsyncResult[Any]] = [self]
        for parent in self.parents():
            if not isinstance(parent, AsyncResult):
                return line, parent
            line.append(parent)
        return line, None

    def leaves(self) -> list[AsyncResult[Any]]:
        """This task alone."""
        return [self]

    def known(self) -> Meta | None:
        """How it ended, if that is known here without asking the backend."""
        return Meta(task_id=self.id, status=states.SUCCESS) if self._ignored else self._final

    def keep(self, meta: Meta) -> None:
        """Remember how it ended. A failure may be revived and become another result; a success stays."""
        if meta.status == states.SUCCESS:
            self._final = meta

    def end_as(self, meta: Meta) -> None:
        """Remember how it ended, also a failure: this handle was given to somebody as one of an end."""
        self._final = meta

    def _meta(self) -> Meta:
        if self._final is not None:
            return self._final
        record = self.app.watcher.read(self.id)
        meta = Meta(task_id=self.id, status=states.PENDING) if record is None else self.app.decode_result(record)
        self.keep(meta)
        return meta

    def __eq__(self, other: object) -> bool:
        if isinstance(other, AsyncResult):
            return bool(other.id == self.id)
        if isinstance(other, str):
            return other == self.id
        return NotImplemented

    def __hash__(self) -> int:
        return hash(self.id)

    def __str__(self) -> str:
        return self.id

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self.id}>"

    def __reduce__(self) -> tuple[Any, ...]:
        if self.parent is None:
            return (type(self), (self.id, None, self._name, None, None, self._ignored))
        told: list[tuple[Any, ...]] = []
        result: ResultBase | None = self
        while isinstance(result, AsyncResult) and type(result).__reduce__ is AsyncResult.__reduce__:
            told.append((type(result), result.id, result._name, result._ignored))  # noqa: SLF001 - of this class
            result = result.parent
        return (_unpickled, (told, result))


def _unpickled(line: list[tuple[Any, ...]], before: ResultBase | None) -> Any:
    for cls, task_id, name, ignored in reversed(line):
        before = cls(task_id, None, name, None, before, ignored)
    return before
