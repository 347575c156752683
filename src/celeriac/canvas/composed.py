"""`chain` and `group`: signatures made of signatures."""

# pyright: reportImportCycles=false

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import count
from typing import TYPE_CHECKING, Any, TypeVar, overload

from msgspec.structs import replace

from celeriac.canvas.sending import aapply_node, apply_node, send_node
from celeriac.canvas.signature import Signature, as_node
from celeriac.core.workflow.build import chain_of
from celeriac.model.canvas import Chain, Group, Node, applied
from celeriac.result import AsyncResult, GroupResult

if TYPE_CHECKING:
    from celeriac.app import Celeriac

R = TypeVar("R")
R2 = TypeVar("R2")


class chain(Signature[R], node=Chain):  # noqa: N801 - Celery's public name
    """Tasks that run one after the other: ``chain(a, b, c)`` or ``a | b | c``. Each gets the result of the one before in
    front of its arguments, but for immutable ones.

    Chains within are flattened. A group may be its last part: each member gets the result. Its result is that of the
    last part, whose `parent` leads back. Options given when it is sent are for the first task; `task_id` names the
    last.
    """

    __slots__ = ()

    @overload
    def __init__(self: chain[R2], first: Signature[R2], /, **options: Any) -> None: ...
    @overload
    def __init__(self: chain[R2], first: Signature[Any], last: Signature[R2], /, **options: Any) -> None: ...
    @overload
    def __init__(
        self: chain[R2], first: Signature[Any], second: Signature[Any], last: Signature[R2], /, **options: Any
    ) -> None: ...
    @overload
    def __init__(
        self: chain[R2],
        first: Signature[Any],
        second: Signature[Any],
        third: Signature[Any],
        last: Signature[R2],
        /,
        **options: Any,
    ) -> None: ...
    @overload
    def __init__(self: chain[Any], *tasks: Any, **options: Any) -> None: ...
    def __init__(self: Any, *tasks: Any, **options: Any) -> None:  # type: ignore[misc] # it is of every self type
        parts = _parts(tasks)
        self._app: Celeriac | None = options.pop("app", None) or _app_of(parts)
        self.node = applied(chain_of(as_node(part) for part in parts), options=options)

    @property
    def tasks(self) -> tuple[Signature[Any], ...]:
        """Its parts, in running order."""
        return tuple(Signature.of(step, self._app) for step in self._steps())

    def unchain_tasks(self) -> list[Signature[Any]]:
        """Its parts as signatures of their own."""
        return list(self.tasks)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Send it; None if it is empty."""
        return self.apply_async(args, kwargs)

    def run(
        self, args: Sequence[Any] | None = None, kwargs: Mapping[str, Any] | None = None, **options: Any
    ) -> AsyncResult[R]:
        """Same as `apply_async`."""
        return self.apply_async(args, kwargs, **options)

    def _steps(self) -> tuple[Node, ...]:
        assert isinstance(self.node, Chain)
        return self.node.steps

    def __repr__(self) -> str:
        try:
            return " | ".join(map(repr, self.tasks)) if self._steps() else "chain()"
        except RecursionError:
            return "chain(...)"


class group(Signature[list[R]], node=Group):  # noqa: N801 - Celery's public name
    """Tasks that run side by side: ``group(a, b)`` or ``group(add.s(i, i) for i in range(10))``. Arguments and options
    given when it is sent are for every member.

    Groups within are part of it: the result is one flat `GroupResult`, in order.
    """

    __slots__ = ()

    @overload
    def __init__(self: group[R2], tasks: Iterable[Signature[R2]], /, **options: Any) -> None: ...
    @overload
    def __init__(self: group[R2], *tasks: Signature[R2], **options: Any) -> None: ...
    @overload
    def __init__(self: group[Any], *tasks: Mapping[str, Any], **options: Any) -> None: ...
    def __init__(self: Any, *tasks: Any, **options: Any) -> None:  # type: ignore[misc] # it is of every self type
        parts = _parts(tasks)
        self._app: Celeriac | None = options.pop("app", None) or _app_of(parts)
        self.node = applied(Group(tuple(as_node(part) for part in parts)), options=options)

    @property
    def tasks(self) -> tuple[Signature[Any], ...]:
        """Its members."""
        return tuple(Signature.of(member, self._app) for member in self._members())

    def __call__(self, *args: Any, **options: Any) -> GroupResult[R]:
        """Send it."""
        return self.apply_async(args, **options)

    def delay(self, *args: Any, **kwargs: Any) -> GroupResult[R]:  # type: ignore[override]
        """Send it, with `args` in front of each member's arguments."""
        return self.apply_async(args, kwargs)

    def apply_async(  # type: ignore[override]
        self,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        route_name: str | None = None,
        **options: Any,
    ) -> GroupResult[R]:
        """Send all members, as one; options are for every one of them, `task_id` is the group's.

        Raises TypeError for `link`: a group has no result of its own that a callback could get. Raises like
        `Task.apply_async`; nothing was sent then.
        """
        result: GroupResult[R] = send_node(self.node, self.app, args or (), kwargs or {}, options)
        return result

    async def adelay(self, *args: Any, **kwargs: Any) -> GroupResult[R]:  # type: ignore[override]
        """Like `delay`, without blocking the event loop."""
        return await self.aapply_async(args, kwargs)

    async def aapply_async(  # type: ignore[override]
        self, args: Sequence[Any] | None = None, kwargs: Mapping[str, Any] | None = None, **options: Any
    ) -> GroupResult[R]:
        """Like `apply_async`, without blocking the event loop."""
        result: GroupResult[R] = await aapply_node(self.node, self.app, args or (), kwargs or {}, options)
        return result

    def apply(  # type: ignore[override]
        self, args: Sequence[Any] | None = None, kwargs: Mapping[str, Any] | None = None, **options: Any
    ) -> GroupResult[R]:
        """Run the members in this process, one after the other, as a worker would."""
        result: GroupResult[R] = apply_node(self.node, self.app, args or (), kwargs or {}, options)
        return result

    def __invert__(self) -> list[R]:
        return self.apply_async().get()

    def skew(self, start: float = 1.0, stop: float | None = None, step: float = 1.0) -> group[R]:
        """Let the members start one after the other, `step` seconds apart; returns itself. After `stop` seconds it
        begins anew at `start`."""
        if step <= 0 or (stop is not None and stop <= start):
            raise ValueError(f"skew(start={start}, stop={stop}, step={step}) never gets from one member to the next")
        per_round = None if stop is None else max(1, -int(-(stop - start) // step))
        delays = (start + step * (index if per_round is None else index % per_round) for index in count())
        members = tuple(applied(member, options={"countdown": next(delays)}) for member in self._members())
        self.node = replace(self.node, members=members)
        return self

    def _members(self) -> tuple[Node, ...]:
        assert isinstance(self.node, Group)
        return self.node.members

    def __len__(self) -> int:
        return len(self._members())

    def __repr__(self) -> str:
        try:
            return f"group([{', '.join(map(repr, self.tasks))}])"
        except RecursionError:
            return "group(...)"


def _parts(tasks: tuple[Any, ...]) -> tuple[Any, ...]:
    """What was given one by one, or as one list, generator or other iterable."""
    if len(tasks) == 1 and not isinstance(tasks[0], Mapping):
        if not isinstance(tasks[0], Iterable):
            raise TypeError(f"{tasks[0]!r} is no signature and no list of them; make one with task.s()")
        return tuple(tasks[0])
    return tasks


def _app_of(parts: tuple[Any, ...]) -> Celeriac | None:
    """The app of the first part that has one."""
    return next((app for app in (getattr(part, "_app", None) for part in parts) if app is not None), None)
