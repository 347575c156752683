"""One call made ready: prepared and encoded, with the handle of its result; and its place in the run it came from."""

# An app and its tasks know each other's types; at run time the imports go one way.
# pyright: reportImportCycles=false

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from celeriac.core.prepare import prepare
from celeriac.model.context import get_current_run, get_worker_run
from celeriac.model.errors import EncodeError
from celeriac.model.ids import new_id
from celeriac.model.message import Message
from celeriac.model.shield import shield
from celeriac.result import AsyncResult, ResultBase
from celeriac.settled import Settled, retries_of, settle_by_name
from celeriac.wire.protocol2 import encode_call
from celeriac.worker.sender import PublishRetries

if TYPE_CHECKING:
    from celeriac.app import Celeriac
    from celeriac.task import Task


def make_call(
    app: Celeriac,
    settled: Settled,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    options: Mapping[str, Any],
    task: Task[Any, Any] | None,
) -> tuple[Message, PublishRetries, AsyncResult[Any]]:
    """Prepare and encode one call; nothing is sent. Sent with `Sender.send` or `send_many`, it belongs to the run it
    came from once `adopt` was told. `task` is None when only the name is known here."""
    defaults, parent, serializer = settled.send, None, settled.serializer
    in_task = get_current_run() is not None
    if in_task:
        run = get_worker_run()
        parent = None if run is None else run.context
        # A time limit that broke in here would look like arguments that cannot be encoded.
        shield.mine.enter()
    try:
        if not defaults.router.is_static:
            options = {**defaults.router.route(defaults.task, args, kwargs, options, task), **options}
        call = prepare(defaults, args, kwargs, options, parent, time.time(), new_id)
        message = encode_call(call, serializer if call.serializer == serializer.name else None)
    finally:
        if in_task:
            shield.mine.leave()
    retries, bytes_max = settled.retries, defaults.body_bytes_max
    if bytes_max is not None and len(message.body) > bytes_max:
        raise EncodeError(
            f"the arguments of {call.task} are {len(message.body)} bytes encoded, over the limit of {bytes_max} "
            "(setting task_body_bytes_max): store large data elsewhere and pass its address, or raise the limit"
        )
    if options and ("retry" in options or "retry_policy" in options):
        retries = retries_of(options, retries)
    ignored = settled.policy.ignore_result if call.ignore_result is None else call.ignore_result
    result: AsyncResult[Any] = AsyncResult(call.id, None, call.task, app, None, ignored, sent=True)
    return message, retries, result


def adopt(result: ResultBase, settled: Settled, options: Mapping[str, Any]) -> None:
    """What was sent is a child of the run it was sent from, if there is one and nobody objects."""
    run = get_worker_run()
    if run is not None and settled.trail and options.get("add_to_parent", True):
        run.context.children.append(result)


def make_follow_up(
    app: Celeriac, name: str, args: Sequence[Any], kwargs: Mapping[str, Any], options: dict[str, Any]
) -> Message:
    """The message of a call that follows from the present run, for the worker to commit with the run's end.

    Raises as `Task.apply_async`, and nothing else.
    """
    settled, task = settle_by_name(app, name), app.tasks.get(name)
    if task is not None and settled.names_shadow and not options.get("shadow"):
        options["shadow"] = task.shadow_name(args, kwargs, options)
    return make_call(app, settled, args, kwargs, options, task)[0]
