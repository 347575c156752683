"""`EagerResult`: the result of a task that ran in place."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from celeriac.model import states
from celeriac.results.handle import AsyncResult, R_co
from celeriac.wire.records import Meta

if TYPE_CHECKING:
    from celeriac.app import Celeriac


class EagerResult(AsyncResult[R_co]):
    """The result of a task that ran in place: it is known already."""

    __slots__ = ("_meta_known",)

    def __init__(self, meta: Meta, name: str | None = None, app: Celeriac | None = None) -> None:
        super().__init__(meta.task_id, task_name=name, app=app)
        self._meta_known = meta

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
