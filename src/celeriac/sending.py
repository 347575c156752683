"""Sending by name, without the task's code; and the limit on the size of a message."""

from __future__ import annotations

import time
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from celeriac.core.prepare import prepare
from celeriac.model.context import get_worker_run
from celeriac.model.errors import AlwaysEagerIgnored, EncodeError
from celeriac.model.ids import new_id
from celeriac.model.message import Message
from celeriac.result import AsyncResult
from celeriac.settled import retries_of, settle_retries, settle_send
from celeriac.wire.protocol2 import encode_call

if TYPE_CHECKING:
    from celeriac.app import Celeriac


def check_size(message: Message, bytes_max: int) -> None:
    """Raise EncodeError, naming size and limit, if the body is larger than `bytes_max`."""
    size = len(message.body)
    if size > bytes_max:
        raise EncodeError(
            f"the arguments of {message.task} are {size} bytes encoded, over the limit of {bytes_max} (setting "
            "task_body_bytes_max): store large data elsewhere and pass its address, or raise the limit"
        )


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
    task = app.tasks.get(name)
    send = settle_send(app, name, task)
    parent = get_worker_run()
    given = options
    if not send.router.is_static:
        given = {**send.router.route(name, args or (), kwargs or {}, options, task), **options}
    call = prepare(
        send, args or (), kwargs or {}, given, None if parent is None else parent.context, time.time(), new_id
    )
    app.send_message(encode_call(call), retries_of(options, settle_retries(app)), send.body_bytes_max)
    ignored = task.policy.ignore_result if call.ignore_result is None and task is not None else call.ignore_result
    result: AsyncResult[Any] = AsyncResult(call.id, app=app, task_name=name, ignored=bool(ignored))
    if parent is not None and options.get("add_to_parent", True):
        parent.context.children.append(result)
    return result
