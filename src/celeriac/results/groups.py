"""`GroupResult`: the results of a group, which can be saved and found again."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, cast

from celeriac.current import get_current_app
from celeriac.results.base import ResultBase, rebuilt
from celeriac.results.handle import R_co
from celeriac.results.sets import ResultSet
from celeriac.wire.records import RecordHead, encode_state

if TYPE_CHECKING:
    from celeriac.app import Celeriac

_SAVED = "celery-taskset-meta-{}"
"""Id of the record that keeps a saved group: no task has it."""
_SAVED_STATE = "GROUP"


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
        return cast("GroupResult[Any]", rebuilt(app.decode_result(record).result, app))

    def form(self, before: tuple[Any, Any] | None) -> tuple[Any, Any]:
        """``((id, parent), members)``."""
        (_, parent), members = super().form(before)
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


class GroupsOf:
    """`GroupResult` for one app: ``app.GroupResult(id, results)`` and ``app.GroupResult.restore(id)``."""

    def __init__(self, app: Celeriac) -> None:
        self._app = app

    def __call__(
        self,
        id: str | None = None,  # noqa: A002 - Celery's public name
        results: Iterable[ResultBase] | None = None,
        parent: ResultBase | None = None,
    ) -> GroupResult[Any]:
        """The handle of a group."""
        return GroupResult(id, results, parent, self._app)

    def restore(self, id: str, backend: Any = None) -> GroupResult[Any] | None:  # noqa: A002 - Celery's public name
        """The group that was saved under this id; None if there is none."""
        return GroupResult.restore(id, backend, self._app)
