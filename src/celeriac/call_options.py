"""The options of a call, as type checkers and editors see them. At run time any name is taken, and checked where calls
are prepared (`core.options`)."""

# pyright: reportImportCycles=false

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from celeriac.model.message import Priority

if TYPE_CHECKING:
    from celeriac.calling import Calls
    from celeriac.result import AsyncResult

R = TypeVar("R")
T = TypeVar("T")
S = ParamSpec("S")


def signed_as(signature: Callable[S, T]) -> Callable[[Callable[..., T]], Callable[S, T]]:
    """A decorator: the function stays what it is, and has the types of `signature`."""
    del signature  # its types are all that is wanted

    def decorate(function: Callable[..., T]) -> Callable[S, T]:
        return function

    return decorate


def apply_async_signature(
    self: Calls[Any, R],
    args: Sequence[Any] | None = None,
    kwargs: Mapping[str, Any] | None = None,
    task_id: str | None = None,
    producer: Any = None,
    link: Any = None,
    link_error: Any = None,
    shadow: str | None = None,
    *,
    countdown: float | None = None,
    eta: datetime | None = None,
    expires: float | datetime | timedelta | None = None,
    priority: Priority = None,
    queue: str | None = None,
    routing_key: str | None = None,
    serializer: str | None = None,
    compression: str | None = None,
    headers: Mapping[str, Any] | None = None,
    ignore_result: bool | None = None,
    time_limit: float | None = None,
    soft_time_limit: float | None = None,
    retry: bool | None = None,
    retry_policy: Mapping[str, Any] | None = None,
    argsrepr: str | None = None,
    kwargsrepr: str | None = None,
    reply_to: str | None = None,
    root_id: str | None = None,
    parent_id: str | None = None,
    group_id: str | None = None,
    add_to_parent: bool = True,
    **properties: Any,
) -> AsyncResult[R]:
    """Of `Task.apply_async`."""
    raise NotImplementedError


def aapply_async_signature(
    self: Calls[Any, R],
    args: Sequence[Any] | None = None,
    kwargs: Mapping[str, Any] | None = None,
    task_id: str | None = None,
    producer: Any = None,
    link: Any = None,
    link_error: Any = None,
    shadow: str | None = None,
    *,
    countdown: float | None = None,
    eta: datetime | None = None,
    expires: float | datetime | timedelta | None = None,
    priority: Priority = None,
    queue: str | None = None,
    routing_key: str | None = None,
    serializer: str | None = None,
    compression: str | None = None,
    headers: Mapping[str, Any] | None = None,
    ignore_result: bool | None = None,
    time_limit: float | None = None,
    soft_time_limit: float | None = None,
    retry: bool | None = None,
    retry_policy: Mapping[str, Any] | None = None,
    argsrepr: str | None = None,
    kwargsrepr: str | None = None,
    reply_to: str | None = None,
    root_id: str | None = None,
    parent_id: str | None = None,
    group_id: str | None = None,
    add_to_parent: bool = True,
    **properties: Any,
) -> Coroutine[Any, Any, AsyncResult[R]]:
    """Of `Task.aapply_async`."""
    raise NotImplementedError
