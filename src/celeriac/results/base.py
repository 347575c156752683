"""What the handle of one task and that of many have in common."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from celeriac.model.errors import TimeoutError  # noqa: A004 - Celery's public name

if TYPE_CHECKING:
    from celeriac.app import Celeriac


class ResultBase:
    """The handle of what one task, or several, will come to."""

    TimeoutError = TimeoutError

    __slots__ = ()

    parent: ResultBase | None
    """What ran before: of a step of a chain the step before it."""

    @property
    def children(self) -> Sequence[ResultBase] | None:
        """What followed: the tasks that a task sent, the members of a group."""
        raise NotImplementedError

    def leaves(self) -> Sequence[ResultBase]:
        """The single tasks it consists of."""
        raise NotImplementedError

    def ready(self) -> bool:
        """True if it has ended, however."""
        raise NotImplementedError

    def successful(self) -> bool:
        """True if it has ended well."""
        raise NotImplementedError

    def failed(self) -> bool:
        """True if it has failed."""
        raise NotImplementedError

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
    ) -> Any:
        """Wait for it to end."""
        raise NotImplementedError

    def forget(self) -> None:
        """Delete what is recorded."""
        raise NotImplementedError

    def revoke(
        self,
        connection: Any = None,
        terminate: bool = False,
        signal: str | None = None,
        wait: bool = False,
        timeout: float | None = None,
    ) -> None:
        """It must not run."""
        raise NotImplementedError

    def as_list(self) -> list[str]:
        """The ids that belong to it."""
        raise NotImplementedError

    def as_tuple(self) -> tuple[Any, Any]:
        """A form that can be serialized; `result_from_tuple` reads it."""
        raise NotImplementedError


Rebuild = Callable[[Any, "Celeriac | None"], ResultBase]

_rebuild: Rebuild | None = None


def offer_rebuild(rebuild: Rebuild) -> None:
    """`rebuild` makes handles of tuples; it knows all classes of handles, which need not know each other."""
    global _rebuild
    _rebuild = rebuild


def rebuilt(value: Any, app: Celeriac | None) -> ResultBase:
    """The handle that `as_tuple` described."""
    assert _rebuild is not None, "import celeriac.result"
    return _rebuild(value, app)
