"""`EagerResult`: the result of a task that ran in place."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from celeriac.model import states
from celeriac.results.base import ResultBase
from celeriac.results.groups import GroupResult
from celeriac.results.handle import AsyncResult, R_co
from celeriac.wire.records import Meta

if TYPE_CHECKING:
    from celeriac.app import Celeriac


class EagerResult(AsyncResult[R_co]):
    """The result of a task that ran in place: it is known already.

    :param told: what came of all tasks that ran with it, by id: its children are among them
    """

    __slots__ = ("_meta_known", "_told")

    def __init__(
        self,
        meta: Meta,
        name: str | None = None,
        app: Celeriac | None = None,
        told: Mapping[str, Meta] | None = None,
    ) -> None:
        super().__init__(meta.task_id, task_name=name, app=app)
        self._meta_known = meta
        self._told: Mapping[str, Meta] = {} if told is None else told

    @property
    def children(self) -> list[ResultBase] | None:
        """Handles of the tasks and groups that this one led to; what ran in place, too, is known."""
        children = super().children
        return None if children is None else [self._as_known(child) for child in children]

    def _as_known(self, child: ResultBase) -> ResultBase:
        """The handle, or one that knows what came of it; those before it likewise."""
        before: ResultBase | None = None
        for one in (*reversed([*child.parents()]), child):
            if isinstance(one, GroupResult):
                before = GroupResult(one.id, [self._as_known(member) for member in one.results], before, self._app)
                continue
            meta = self._told.get(one.id) if isinstance(one, AsyncResult) else None
            if meta is None:
                before = one
            else:
                known: EagerResult[Any] = EagerResult(meta, meta.name, self._app, self._told)
                known.parent, before = before, known
        assert before is not None
        return before

    def known(self) -> Meta | None:
        """How it ended."""
        return self._meta_known

    def _wait(
        self,
        timeout_s: float | None,
        interval_s: float,
        on_message: Callable[[Any], object] | None,
        on_interval: Callable[[], object] | None,
        follows: bool,
    ) -> Meta:
        return self._meta_known

    async def _await_end(
        self, timeout_s: float | None, on_message: Callable[[Any], object] | None, follows: bool
    ) -> Meta:
        return self._meta_known

    def _meta(self) -> Meta:
        return self._meta_known

    def exists(self) -> bool:
        """Always: it is known."""
        return True

    def forget(self) -> None:
        """Nothing is kept anywhere."""

    def revoke(self, *args: Any, **kwargs: Any) -> None:
        """The state is REVOKED from now on."""
        self._final = None
        self._meta_known = Meta(task_id=self.id, status=states.REVOKED, name=self._meta_known.name)

    def __repr__(self) -> str:
        return f"<EagerResult: {self.id}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return (EagerResult, (self._meta_known, self._name))
