"""What the handle of one task and that of many have in common."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

from celeriac.model.errors import TimeoutError  # noqa: A004 - Celery's public name
from celeriac.worker.sender import current_batch

if TYPE_CHECKING:
    from celeriac.app import Celeriac

_TOLD_MAX = 200
"""So many parents are part of a result's form: it nests, and deeper than about twice that no serializer goes."""


class ResultBase:
    """The handle of what one task, or several, will come to."""

    TimeoutError = TimeoutError

    __slots__ = ()

    parent: ResultBase | None
    """What ran before: of a step of a chain the step before it."""

    @property
    def app(self) -> Celeriac:
        """The app whose backend is asked."""
        raise NotImplementedError

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

    def parents(self) -> Iterator[ResultBase]:
        """What ran before it, the nearest first. To be walked step by step: chains are longer than any stack is deep."""
        parent = self.parent
        while parent is not None:
            yield parent
            parent = parent.parent

    def leaves_before(self) -> list[Any]:
        """The single tasks that ran before it, the nearest first."""
        found: list[Any] = []
        for parent in self.parents():
            found += parent.leaves()
        return found

    def unfinished_before(self) -> list[str]:
        """The tasks before this one whose end is not known to be good: if one of them fails, this one never runs."""
        return [leaf.id for leaf in self.leaves_before() if leaf.known() is None]

    def check_sent(self) -> None:
        """Raise RuntimeError if it, or what runs before it, lies in a batch of the caller's that has not been sent."""
        if current_batch() is None:
            return
        leaves: list[Any] = [*self.leaves()]
        before = {one.id for leaf in leaves for one in leaf.leaves_before()}
        before.update(leaf.id for leaf in self.leaves_before())
        if self.app.sender.is_unsent(before.union(leaf.id for leaf in leaves)):
            raise RuntimeError(f"{self} has not been sent: its batch ends with the `with` block; call get() after it")

    def as_tuple(self) -> tuple[Any, Any]:
        """``((id, parent), members)``, a form that can be serialized; `result_from_tuple` reads it. Of a long chain, the
        nearest 200 before it are told."""
        before: tuple[Any, Any] | None = None
        for parent in reversed([*islice(self.parents(), _TOLD_MAX)]):
            before = parent.form(before)
        return self.form(before)

    def form(self, before: tuple[Any, Any] | None) -> tuple[Any, Any]:
        """`as_tuple`, given that of what ran before."""
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
