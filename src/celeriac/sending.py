"""Sending by name, without the task's code."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from celeriac.calling import adopt, make_call
from celeriac.model.errors import AlwaysEagerIgnored
from celeriac.on_loops import notice
from celeriac.result import AsyncResult
from celeriac.settled import settle_by_name

if TYPE_CHECKING:
    from celeriac.app import Celeriac


def send_by_name(
    app: Celeriac,
    name: str,
    args: Sequence[Any] | None,
    kwargs: Mapping[str, Any] | None,
    options: dict[str, Any],
) -> AsyncResult[Any]:
    """Send the task `name`; a task of that name registered here lends its options as defaults."""
    if app.conf["task_always_eager"]:
        warnings.warn(
            "task_always_eager has no effect on send_task: there is no code to run; the task is sent",
            AlwaysEagerIgnored,
            stacklevel=3,
        )
    if args is not None and not isinstance(args, (tuple, list)):
        raise TypeError(f"args of {name} must be a list or tuple, not {args!r}")
    if kwargs is not None and not isinstance(kwargs, Mapping):
        raise TypeError(f"kwargs of {name} must be a mapping, not {kwargs!r}")
    if notice.is_on:
        notice.warn("calls of send_task()", "await asend_task()")
    settled = settle_by_name(app, name)
    message, retries, result = make_call(app, settled, args or (), kwargs or {}, options, app.tasks.get(name))
    app.sender.send(message, retries)
    adopt(result, settled, options)
    return result
