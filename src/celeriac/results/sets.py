"""`ResultSet` and `GroupResult`: handles of many results at once."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Generic, cast

from celeriac.current import get_current_app
from celeriac.model import states
from celeriac.model.context import get_current_run
from celeriac.model.errors import TimeoutError  # noqa: A004 - Celery's public name
from celeriac.model.message import Record
from celeriac.results.base import ResultBase, rebuilt
from celeriac.results.ends import as_dict, throw
from celeriac.results.handle import AsyncResult, R_co
from celeriac.results.joining import assert_will_not_block
from celeriac.wire.records import Meta, RecordHead, encode_state

if TYPE_CHECKING:
    from celeriac.app import Celeriac

_SAVED = "celery-taskset-meta-{}"
"""Id of the record that keeps a saved group: no task has it."""
_SAVED_STATE = "GROUP"


class ResultSet(ResultBase, Generic[R_co]):
    """Several results, in an order; each is there once."""

    __slots__ = ("__weakref__", "_app", "parent", "results")

    def __init__(
        self,
        results: Iterable[ResultBase],
        app: Celeriac | None = None,
        ready_barrier: Any = None,
        **_options: Any,
    ) -> None:
        self._app = app
        self.parent: ResultBase | None = None
        self.results: list[ResultBase] = []
        self.update(results)

    # members

    def add(self, result: ResultBase) -> None:
        """Add a member, unless it is one."""
        if result not in self.results:
            self.results.append(result)

    def remove(self, result: ResultBase | str) -> None:
        """Remove a member, given as handle or id. Raises KeyError if it is none."""
        handle = AsyncResult[Any](result, app=self._app) if isinstance(result, str) else result
        try:
            self.results.remove(handle)
        except ValueError:
            raise KeyError(result) from None

    def discard(self, result: ResultBase | str) -> None:
        """Remove a member if it is one."""
        handle = AsyncResult[Any](result, app=self._app) if isinstance(result, str) else result
        if handle in self.results:
            self.results.remove(handle)

    def update(self, results: Iterable[ResultBase]) -> None:
        """Add those that are no members yet."""
        known = {id(result) for result in self.results}
        seen = set(self.results)
        for result in results:
            if id(result) not in known and result not in seen:
                seen.add(result)
                self.results.append(result)

    def clear(self) -> None:
        """Remove all."""
        self.results.clear()

    def __iter__(self) -> Iterator[AsyncResult[R_co]]:
        return iter(cast("list[AsyncResult[R_co]]", self.results))

    def __getitem__(self, index: int) -> AsyncResult[R_co]:
        return cast("AsyncResult[R_co]", self.results[index])

    def __len__(self) -> int:
        return len(self.results)

    @property
    def children(self) -> Sequence[ResultBase]:
        """The members."""
        return self.results

    # looking

    @property
    def app(self) -> Celeriac:
        """The app whose backend is asked."""
        if self._app is not None:
            return self._app
        return next((leaf.app for leaf in self.leaves()), None) or get_current_app()

    @property
    def backend(self) -> Any:
        """That backend, opened."""
        return self.app.backend

    supports_native_join = True

    def leaves(self) -> list[AsyncResult[Any]]:
        """The single tasks: members, and members of members."""
        found: list[AsyncResult[Any]] = []
        for member in self.results:
            if isinstance(member, ResultSet):
                found += cast("ResultSet[Any]", member).leaves()
            elif isinstance(member, AsyncResult):
                found.append(cast("AsyncResult[Any]", member))
        return found

    def _states(self) -> list[str]:
        """The states of all single tasks now, asked for at once."""
        leaves = self.leaves()
        metas = [leaf.known() for leaf in leaves]
        asked = [leaf.id for leaf, meta in zip(leaves, metas, strict=True) if meta is None]
        records = dict(zip(asked, self.app.backend.read(asked), strict=True)) if asked else {}
        found: list[str] = []
        for leaf, meta in zip(leaves, metas, strict=True):
            record = records.get(leaf.id)
            if meta is not None:
                found.append(meta.status)
            else:
                found.append(states.PENDING if record is None else record.state)
        return found

    def ready(self) -> bool:
        """True if all have ended."""
        return all(state in states.READY_STATES for state in self._states())

    def successful(self) -> bool:
        """True if all have returned."""
        return all(state == states.SUCCESS for state in self._states())

    def failed(self) -> bool:
        """True if one has raised."""
        return any(state == states.FAILURE for state in self._states())

    def waiting(self) -> bool:
        """True if one has not ended."""
        return any(state not in states.READY_STATES for state in self._states())

    def completed_count(self) -> int:
        """How many have returned."""
        return sum(state == states.SUCCESS for state in self._states())

    def maybe_throw(self, propagate: bool = True, callback: Callable[[str, Any], object] | None = None) -> None:
        """Raise what the first member that failed has raised; nothing if none has, so far."""
        for leaf in self.leaves():
            leaf.maybe_throw(propagate, callback)

    maybe_reraise = maybe_throw

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
    ) -> list[R_co]:
        """Wait for all and return their results in the order of the members. As soon as one fails, its exception is
        raised; with ``propagate=False`` exceptions stand in the list.

        Raises TimeoutError, RuntimeError as `AsyncResult.get` does.
        """
        if disable_sync_subtasks and get_current_run() is not None:
            assert_will_not_block()
        values: dict[str, Any] = {}
        for leaf, meta in self._ends(timeout, interval, on_message, on_interval):
            if propagate:
                throw(meta)
            values[leaf.id] = meta.result
            if callback is not None:
                callback(leaf.id, meta.result)
        return cast("list[R_co]", self._in_order(values))

    join = get
    join_native = get

    def _in_order(self, values: dict[str, Any]) -> list[Any]:
        found: list[Any] = []
        for member in self.results:
            if isinstance(member, ResultSet):
                found.append(cast("ResultSet[Any]", member)._in_order(values))  # noqa: SLF001 - of our own kind
            elif isinstance(member, AsyncResult):
                found.append(values[cast("AsyncResult[Any]", member).id])
        return found

    def iterate(self, timeout: float | None = None, propagate: bool = True, interval: float = 0.5) -> Iterator[Any]:
        """The results of the tasks, as they end. What a failed one raised is raised, or with ``propagate=False``
        given."""
        for _, meta in self._ends(timeout, interval, None, None):
            if propagate:
                throw(meta)
            yield meta.result

    def iter_native(
        self,
        timeout: float | None = None,
        interval: float = 0.5,
        no_ack: bool = True,
        on_message: Callable[[Any], object] | None = None,
        on_interval: Callable[[], object] | None = None,
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        """``(id, record as a mapping)`` of each task, as they end. Nothing is raised for one that failed."""
        for leaf, meta in self._ends(timeout, interval, on_message, on_interval):
            yield leaf.id, as_dict(meta)

    def _ends(
        self,
        timeout_s: float | None,
        interval_s: float,
        on_message: Callable[[Any], object] | None,
        on_interval: Callable[[], object] | None,
    ) -> Iterator[tuple[AsyncResult[Any], Meta]]:
        """Each single task with how it ended, as they end."""
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        waited: dict[str, list[AsyncResult[Any]]] = {}
        for leaf in self.leaves():
            meta = leaf.known()
            if meta is None:
                waited.setdefault(leaf.id, []).append(leaf)
            else:
                yield leaf, meta
        if not waited:
            return
        app = self.app
        tell: Callable[[Record], object] | None = None
        if on_message is not None:
            told = on_message
            tell = lambda record: told(as_dict(app.decode_result(record)))  # noqa: E731 - most callers want none
        for task_id, leaves in waited.items():
            left_s = None if deadline is None else max(0.0, deadline - time.monotonic())
            record = app.watcher.wait(task_id, left_s, tell, on_interval, interval_s)
            if record is None:
                raise TimeoutError(f"no result of {task_id}, one of {len(waited)}, after {timeout_s} s")
            meta = app.decode_result(record)
            for leaf in leaves:
                leaf.keep(meta)
                yield leaf, meta

    # acting

    def forget(self) -> None:
        """Delete the records of all members."""
        for member in self.results:
            member.forget()

    def revoke(
        self,
        connection: Any = None,
        terminate: bool = False,
        signal: str | None = None,
        wait: bool = False,
        timeout: float | None = None,
    ) -> None:
        """None of them must run; one order for all."""
        self.app.revoke([leaf.id for leaf in self.leaves()], terminate=terminate, signal=signal)

    def as_list(self) -> list[str]:
        """The ids of all members."""
        return [task_id for member in self.results for task_id in member.as_list()]

    def as_tuple(self) -> tuple[Any, Any]:
        """``((None, parent), members)``."""
        return (None, self.parent.as_tuple() if self.parent is not None else None), [
            member.as_tuple() for member in self.results
        ]

    def __eq__(self, other: object) -> bool:
        if isinstance(other, ResultSet):
            return bool(other.results == self.results)
        return NotImplemented

    def __hash__(self) -> int:
        return hash(tuple(self.as_list()))

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: [{', '.join(self.as_list())}]>"

    def __reduce__(self) -> tuple[Any, ...]:
        return (type(self), (self.results,))


class GroupResult(ResultSet[R_co]):
    """The results of a group: as a `ResultSet`, with an id, by which it can be saved and found again."""

    __slots__ = ("id",)

    def __init__(
        self,
        id: str | None = None,  # noqa: A002 - Celery's public name
        results: Iterable[ResultBase] | None = None,
        parent: ResultBase | None = None,
        app: Celeriac | None = None,
        **_options: Any,
    ) -> None:
        super().__init__(results or (), app)
        self.id = id
        self.parent = parent

    def save(self, backend: Any = None) -> GroupResult[R_co]:
        """Keep ids and order of the members in the backend, for `restore`. Raises ValueError without an id."""
        app = self.app
        head = RecordHead(self._saved_id(), children=None, expires_s=app.conf.seconds("result_expires"))
        (backend or app.backend).write([encode_state(head, _SAVED_STATE, self.as_tuple())])
        return self

    def delete(self, backend: Any = None) -> None:
        """Undo `save`; the results stay."""
        (backend or self.app.backend).forget([self._saved_id()])

    def _saved_id(self) -> str:
        if not self.id:
            raise ValueError("a GroupResult without an id cannot be saved; give it one: GroupResult(id=...)")
        return _SAVED.format(self.id)

    @classmethod
    def restore(
        cls,
        id: str,  # noqa: A002 - Celery's public name
        backend: Any = None,
        app: Celeriac | None = None,
    ) -> GroupResult[Any] | None:
        """The group that was saved under this id; None if there is none."""
        app = app if app is not None else get_current_app()
        (record,) = (backend or app.backend).read([_SAVED.format(id)])
        if record is None:
            return None
        found = rebuilt(app.decode_result(record).result, app)
        assert isinstance(found, GroupResult)
        return cast("GroupResult[Any]", found)

    def as_tuple(self) -> tuple[Any, Any]:
        """``((id, parent), members)``."""
        (_, parent), members = super().as_tuple()
        return (self.id, parent), members

    def __bool__(self) -> bool:
        return bool(self.id or self.results)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, GroupResult):
            return bool((other.id, other.results, other.parent) == (self.id, self.results, self.parent))
        if isinstance(other, str):
            return other == self.id
        return NotImplemented

    def __hash__(self) -> int:
        return hash(self.id)

    def __str__(self) -> str:
        return str(self.id)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self.id} [{', '.join(self.as_list())}]>"

    def __reduce__(self) -> tuple[Any, ...]:
        return (type(self), (self.id, self.results, self.parent))
