"""`ResultSet` and `GroupResult`: handles of many results at once."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterable, Iterator, Sequence
from contextlib import aclosing, closing
from typing import TYPE_CHECKING, Any, Generic, cast

from celeriac.current import get_current_app
from celeriac.model import states
from celeriac.model.context import get_current_run
from celeriac.model.message import Record
from celeriac.results.base import ResultBase
from celeriac.results.callbacks import Callbacks, call_when_ended
from celeriac.results.ends import as_dict, throw
from celeriac.results.handle import AsyncResult, R_co
from celeriac.results.joining import assert_will_not_block
from celeriac.results.waits import Waited, wait_for_ends
from celeriac.wire.records import Meta

if TYPE_CHECKING:
    from celeriac.app import Celeriac


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
            found += cast("Sequence[AsyncResult[Any]]", member.leaves())
        return found

    def _known_now(self) -> tuple[list[AsyncResult[Any]], list[Meta | Record | None]]:
        """All single tasks, and what is known of each now; the backend is asked once."""
        leaves = self.leaves()
        found: list[Meta | Record | None] = [leaf.known() for leaf in leaves]
        missing = [index for index, meta in enumerate(found) if meta is None]
        if missing:
            records = self.app.backend.read([leaves[index].id for index in missing])
            for index, record in zip(missing, records, strict=True):
                found[index] = record
        return leaves, found

    def _states(self) -> list[str]:
        """The states of all single tasks now."""
        return [
            states.PENDING if known is None else known.status if isinstance(known, Meta) else known.state
            for known in self._known_now()[1]
        ]

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
        app = self.app
        for leaf, known in zip(*self._known_now(), strict=True):
            if known is None:
                meta = Meta(task_id=leaf.id, status=states.PENDING)
            else:
                meta = known if isinstance(known, Meta) else app.decode_result(known)
            if propagate:
                throw(meta)
            if callback is not None:
                callback(leaf.id, meta.result)

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
        """Wait for all and return their results in the order of the members. As soon as one fails, or with
        `follow_parents` a task before them, its exception is raised; with ``propagate=False`` exceptions stand in the
        list.

        Raises TimeoutError, RuntimeError as `AsyncResult.get` does.
        """
        if disable_sync_subtasks and get_current_run() is not None:
            assert_will_not_block()
        values: dict[str, Any] = {}
        followed = self.unfinished_before() if follow_parents and propagate else ()
        with closing(self._ends(timeout, interval, on_message, on_interval, whole=True, followed=followed)) as ends:
            for leaf, meta in ends:
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
                inner: ResultSet[Any] = member
                found.append(inner._in_order(values))
            else:
                found += [values[leaf.id] for leaf in cast("Sequence[AsyncResult[Any]]", member.leaves())]
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
        *,
        whole: bool = False,
        followed: Sequence[str] = (),
    ) -> Generator[tuple[AsyncResult[Any], Meta], None, None]:
        """Each single task with how it ended, as they end."""
        known, waited = self._sorted()
        yield from known
        wanted = Waited(tuple(waited), followed, whole)
        for task_id, meta in wait_for_ends(self.app, wanted, timeout_s, on_message, on_interval, interval_s):
            for leaf in waited[task_id]:
                leaf.keep(meta)
                yield leaf, meta

    def _sorted(self) -> tuple[list[tuple[AsyncResult[Any], Meta]], dict[str, list[AsyncResult[Any]]]]:
        """The tasks of which it is known how they ended, and the others by id."""
        known: list[tuple[AsyncResult[Any], Meta]] = []
        waited: dict[str, list[AsyncResult[Any]]] = {}
        self.check_sent()
        for leaf in self.leaves():
            meta = leaf.known()
            if meta is None:
                waited.setdefault(leaf.id, []).append(leaf)
            else:
                known.append((leaf, meta))
        return known, waited

    async def aget(
        self,
        timeout: float | None = None,
        propagate: bool = True,
        follow_parents: bool = True,
        callback: Callable[[str, Any], object] | None = None,
        on_message: Callable[[Any], object] | None = None,
    ) -> list[R_co]:
        """`get` for coroutines: the loop goes on meanwhile. ``await results`` is the same without options."""
        values: dict[str, Any] = {}
        followed = self.unfinished_before() if follow_parents and propagate else ()
        async with aclosing(self._await_ends(timeout, on_message, whole=True, followed=followed)) as ends:
            async for leaf, meta in ends:
                if propagate:
                    throw(meta)
                leaf.keep(meta)
                values[leaf.id] = meta.result
                if callback is not None:
                    callback(leaf.id, meta.result)
        return cast("list[R_co]", self._in_order(values))

    def __await__(self) -> Generator[Any, None, list[R_co]]:
        return self.aget().__await__()

    async def __aiter__(self) -> AsyncIterator[AsyncResult[R_co]]:
        """The single tasks, as they end: what each has come to is known then."""
        async with aclosing(self._await_ends(None, None)) as ends:
            async for leaf, meta in ends:
                leaf.end_as(meta)
                yield leaf

    async def _await_ends(
        self,
        timeout_s: float | None,
        on_message: Callable[[Any], object] | None,
        *,
        whole: bool = False,
        followed: Sequence[str] = (),
    ) -> AsyncGenerator[tuple[AsyncResult[Any], Meta], None]:
        from celeriac.results.awaiting import await_ends  # brings asyncio

        known, waited = self._sorted()
        for leaf, meta in known:
            yield leaf, meta
        wanted = Waited(tuple(waited), followed, whole)
        async with aclosing(await_ends(self.app, wanted, timeout_s, on_message)) as ends:
            async for task_id, meta in ends:
                for leaf in waited[task_id]:
                    yield leaf, meta

    def then(
        self,
        callback: Callable[[Any], object],
        on_error: Callable[[BaseException], object] | None = None,
        weak: bool = False,
    ) -> None:
        """Call `callback` with this set when all have ended; with `on_error`, that is called with what the first of
        those that failed has raised instead. Where: as `AsyncResult.then`."""
        leaves = self.leaves()
        self.check_sent()
        call_when_ended(self.app, leaves, Callbacks(self, callback, on_error, weak))

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

    def form(self, before: tuple[Any, Any] | None) -> tuple[Any, Any]:
        """``((None, parent), members)``."""
        return (None, before), [member.as_tuple() for member in self.results]

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
