"""Calling a task: made ready, that is prepared and encoded with the handle of its result; sent; and given its place in
the run it came from."""

# An app and its tasks know each other's types; at run time the imports go one way.
# pyright: reportImportCycles=false

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar, cast

from celeriac.call_options import aapply_async_signature, apply_async_signature, signed_as
from celeriac.core.prepare import prepare
from celeriac.model.context import get_current_run, get_worker_run
from celeriac.model.errors import EncodeError
from celeriac.model.ids import new_id
from celeriac.model.message import Message
from celeriac.model.shield import shield
from celeriac.on_loops import notice, notice_send, run_beside
from celeriac.result import AsyncResult, ResultBase
from celeriac.settled import Settled, retries_of, settle_by_name
from celeriac.task_base import BoundTask
from celeriac.wire.protocol2 import encode_call
from celeriac.worker.sender import PublishRetries

if TYPE_CHECKING:
    from celeriac.app import Celeriac
    from celeriac.result import EagerResult
    from celeriac.task import Task

P = ParamSpec("P")
R = TypeVar("R")


class Calls(BoundTask, Generic[P, R]):
    """What a task offers to who wants it run."""

    def delay(self, *args: P.args, **kwargs: P.kwargs) -> AsyncResult[R]:
        """Send the task with these arguments. For options use `apply_async`; on an event loop, `adelay`."""
        return self.apply_async(args, kwargs)

    async def adelay(self, *args: P.args, **kwargs: P.kwargs) -> AsyncResult[R]:
        """`delay` for coroutines: the loop goes on meanwhile, and what others send at the same time leaves together.
        For options use `aapply_async`."""
        return await self.aapply_async(args, kwargs)

    @signed_as(apply_async_signature)
    def apply_async(
        self,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        task_id: str | None = None,
        producer: Any = None,
        link: Any = None,
        link_error: Any = None,
        shadow: str | None = None,
        **options: Any,
    ) -> AsyncResult[R]:
        """Send the task; return the handle of its result once the broker has it.

        Options: countdown (seconds), eta (datetime), expires (seconds or datetime), priority (0 to 9, low, normal,
        high), queue, headers, ignore_result, time_limit, soft_time_limit, serializer, compression, retry,
        retry_policy, argsrepr, kwargsrepr, reply_to, root_id, parent_id, group_id, add_to_parent; a name that is none
        of ours becomes a property of the message.

        Raises TypeError (arguments that do not fit, an option of a wrong type), UnknownOption, ValueError, EncodeError,
        BrokerUnavailable, BrokerRejected. Nothing was sent then.
        """
        if args is None:
            args = ()
        elif not isinstance(args, (tuple, list)):
            raise TypeError(f"args of {self.name} must be a list or tuple, not {args!r}")
        if kwargs is None:
            kwargs = {}
        elif not isinstance(kwargs, Mapping):
            raise TypeError(f"kwargs of {self.name} must be a mapping, not {kwargs!r}")
        if self._checks_arguments:
            self._check_arguments(args, kwargs)
        app, settled = self.app, self._settled
        if settled is None or settled.version != app.conf.version + app.sender.generation:
            settled = self.settled()
        if task_id is not None or link or link_error or shadow:
            options.update(task_id=task_id, link=link, link_error=link_error, shadow=shadow)
        if settled.names_shadow and not shadow:
            options["shadow"] = self.shadow_name(args, kwargs, options)
        if notice.is_on:
            notice_send()
        if settled.always_eager:
            return self.apply(args, kwargs, **options)
        message, retries, result = make_call(app, settled, args, kwargs, options, self)
        app.sender.send(message, retries)
        if get_current_run() is not None:
            adopt(result, settled, options)
        return result

    @signed_as(aapply_async_signature)
    async def aapply_async(
        self,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        *more: Any,
        **options: Any,
    ) -> AsyncResult[R]:
        """`apply_async` for coroutines: the loop goes on meanwhile, and what others send at the same time leaves
        together. It calls `apply_async`, so what a class of its own does there is done here, too.

        If it is cancelled, the message may be sent or not: it is sent at most once.
        """
        if self.settled().always_eager:
            return await run_beside(lambda: self.apply_async(args, kwargs, *more, **options))
        return await self.app.sender.sending(lambda: self.apply_async(args, kwargs, *more, **options))

    def apply(
        self,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        link: Any = None,
        link_error: Any = None,
        task_id: str | None = None,
        retries: int | None = None,
        throw: bool | None = None,
        **options: Any,
    ) -> EagerResult[R]:
        """Run the task here, as a worker would: arguments and result pass the serializer, retries follow at once.

        With `throw` (default: setting `task_eager_propagates`) the task's exception is raised.
        """
        from celeriac.eager import run_eagerly

        options.update(task_id=task_id, link=link, link_error=link_error)
        return run_eagerly(
            cast("Task[Any, Any]", self), tuple(args or ()), dict(kwargs or {}), options, retries or 0, throw
        )


def make_call(
    app: Celeriac,
    settled: Settled,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    options: Mapping[str, Any],
    task: BoundTask | None,
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
