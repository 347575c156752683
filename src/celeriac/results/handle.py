"""`AsyncResult`: the handle of one task's result."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from celeriac.current import get_current_app
from celeriac.model import states
from celeriac.model.context import get_current_run
from celeriac.model.errors import TimeoutError  # noqa: A004 - Celery's public name
from celeriac.model.message import Record
from celeriac.results.base import ResultBase, rebuilt
from celeriac.results.ends import as_dict, throw
from celeriac.results.joining import assert_will_not_block
from celeriac.wire.records import Meta
from celeriac.worker.sender import current_batch

if TYPE_CHECKING:
    from celeriac.app import Celeriac

R_co = TypeVar("R_co", covariant=True)


class AsyncResult(ResultBase, Generic[R_co]):
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
        self.id = id
        self._app = app
        self._name = task_name
        self._ignored = ignored
        self._sent = sent
        """Made by the send itself: the result is not there yet, most likely."""
        self._final: Meta | None = None
        self.parent = parent

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

        The exception is rebuilt from its record; the worker's traceback stands behind it as its cause. With
        ``propagate=False`` the exception is returned. `callback` gets id and value, `on_message` each state on the
        way as a mapping, `on_interval` is called about every `interval` seconds.

        Raises TimeoutError after `timeout` seconds (the task goes on), RuntimeError within a task, and when the task
        lies in a batch that has not been sent.
        """
        if self._ignored:
            return None  # type: ignore[return-value]
        if disable_sync_subtasks and get_current_run() is not None:
            assert_will_not_block()
        meta = self._final or self._wait(timeout, interval, on_message, on_interval)
        if meta.status == states.SUCCESS:
            self._final = meta
        elif propagate:
            throw(meta, PROPAGATE_STATES)
        if callback is not None:
            callback(self.id, meta.result)
        value: R_co = meta.result
        return value

    wait = get

    def _wait(
        self,
        timeout_s: float | None,
        interval_s: float,
        on_message: Callable[[Any], object] | None,
        on_interval: Callable[[], object] | None,
    ) -> Meta:
        app = self._app or self.app
        if current_batch() is not None and app.sender.is_unsent(self.id):
            raise RuntimeError(
                f"task {self.id} has not been sent: its batch ends with the `with` block; call get() after it"
            )

        tell: Callable[[Record], object] | None = None
        if on_message is not None:
            told = on_message
            tell = lambda record: told(as_dict(app.decode_result(record)))  # noqa: E731 - most callers want none
        record = None if self._sent else app.watcher.read(self.id)
        if record is None or record.state not in states.READY_STATES:
            record = app.watcher.wait(self.id, timeout_s, tell, on_interval, interval_s)
        elif tell is not None:
            tell(record)
        if record is None:
            shown = f"{self._name}[{self.id}]" if self._name else self.id
            raise TimeoutError(f"no result of {shown} after {timeout_s} s; its state is {self.state}")
        return app.decode_result(record)

    def maybe_throw(self, propagate: bool = True, callback: Callable[[str, Any], object] | None = None) -> Any:
        """The result as it is now, without waiting; raises the task's exception if it failed."""
        meta = self._meta()
        if propagate:
            throw(meta, states.PROPAGATE_STATES)
        if callback is not None:
            callback(self.id, meta.result)
        return meta.result

    maybe_reraise = maybe_throw

    # looking

    @property
    def app(self) -> Celeriac:
        """The app whose backend is asked."""
        return self._app if self._app is not None else get_current_app()

    @property
    def backend(self) -> Any:
        """That backend, opened."""
        return self.app.backend

    @property
    def task_id(self) -> str:
        """Same as `id`."""
        return self.id

    @property
    def state(self) -> str:
        """The state now; PENDING if nothing is known."""
        return self._meta().status

    status = state

    @property
    def result(self) -> Any:
        """What the task returned or raised, or the data of the state it is in."""
        return self._meta().result

    info = result

    @property
    def traceback(self) -> str | None:
        """The worker's traceback as text, if something was raised."""
        return self._meta().traceback

    def ready(self) -> bool:
        """True if the task has ended: SUCCESS, FAILURE or REVOKED."""
        return self.state in states.READY_STATES

    def successful(self) -> bool:
        """True if it returned."""
        return self.state == states.SUCCESS

    def failed(self) -> bool:
        """True if it raised."""
        return self.state == states.FAILURE

    def exists(self) -> bool:
        """True if anything is recorded for this id."""
        return self._final is not None or self.app.watcher.read(self.id) is not None

    @property
    def children(self) -> list[ResultBase] | None:
        """Handles of the tasks and groups that this one sent, known at its end."""
        children = self._meta().children
        return None if children is None else [rebuilt(child, self._app) for child in children]

    @property
    def name(self) -> str | None:
        """The task's name (with `result_extended`, or if this process sent it)."""
        return self._meta().name or self._name

    task_name = name

    @property
    def args(self) -> Any:
        """Its arguments (with `result_extended`)."""
        return self._meta().args

    @property
    def kwargs(self) -> Any:
        """Its keyword arguments (with `result_extended`)."""
        return self._meta().kwargs

    @property
    def worker(self) -> str | None:
        """The node that ran it (with `result_extended`)."""
        return self._meta().worker

    @property
    def retries(self) -> int | None:
        """How often it was retried (with `result_extended`)."""
        return self._meta().retries

    @property
    def queue(self) -> str | None:
        """Where it waited (with `result_extended`)."""
        return self._meta().queue

    @property
    def date_done(self) -> datetime | None:
        """When it ended, in UTC."""
        text = self._meta().date_done
        if not text:
            return None
        moment = datetime.fromisoformat(text)
        return moment.replace(tzinfo=timezone.utc) if moment.tzinfo is None else moment.astimezone(timezone.utc)

    # acting

    def forget(self) -> None:
        """Delete the record. The id is PENDING again."""
        self._final = None
        self.app.backend.forget([self.id])
        if self.parent is not None:
            self.parent.forget()

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

    def as_tuple(self) -> tuple[Any, Any]:
        """``((id, parent), children)``, a form that can be serialized."""
        return (self.id, self.parent.as_tuple() if self.parent is not None else None), None

    def as_list(self) -> list[str]:
        """The ids of this task and its parents."""
        return [self.id, *(self.parent.as_list() if self.parent is not None else ())]

    def known(self) -> Meta | None:
        """How it ended, if that is known here without asking the backend."""
        return Meta(task_id=self.id, status=states.SUCCESS) if self._ignored else self._final

    def keep(self, meta: Meta) -> None:
        """Remember how it ended. A failure may be revived and become another result; a success stays."""
        if meta.status == states.SUCCESS:
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
        return (type(self), (self.id, None, self._name, None, self.parent, self._ignored))
