"""Runs a task in the caller's process, on the same path as a worker: arguments and result pass the serializer, options
and route are checked, hooks are called. Limits, ETA and expiry are ignored; retries follow at once."""

# An app and its tasks know each other's types; at run time the imports go one way.
# pyright: reportImportCycles=false

from __future__ import annotations

import time
from collections.abc import Coroutine, Mapping, Sequence
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from msgspec import structs

from celeriac.core.execute import execute, raised_outcome
from celeriac.core.prepare import prepare
from celeriac.model import states
from celeriac.model.call import Call, RequestFields
from celeriac.model.clock import SystemClock
from celeriac.model.context import Place, Run, context_of, get_worker_run
from celeriac.model.errors import EncodeError
from celeriac.model.ids import new_id
from celeriac.model.ports import Serializer
from celeriac.model.run import Outcome
from celeriac.result import EagerResult
from celeriac.settled import Settled
from celeriac.wire.protocol2 import decode_request, encode_call
from celeriac.wire.records import Meta, RecordHead, encode_failure, encode_success
from celeriac.wire.serializers import serializer_named
from celeriac.worker.coroutines import CoroutineRunner

if TYPE_CHECKING:
    from celeriac.task import Task

_CLOCK = SystemClock()


def run_eagerly(
    task: Task[Any, Any],
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    options: dict[str, Any],
    retries: int,
    throw: bool | None,
) -> EagerResult[Any]:
    """Run `task` now, with its retries, and return its result; with `throw` raise what it failed with.

    Raises what `apply_async` raises for wrong options and arguments that cannot be encoded.
    """
    app, settled = task.app, task.settled()
    send, parent = settled.send, get_worker_run()
    if not send.router.is_static:
        options = {**send.router.route(task.name, args, kwargs, options, task), **options}
    call = prepare(send, args, kwargs, options, None if parent is None else parent.context, time.time(), new_id)
    if retries:
        call = structs.replace(call, retries=retries)
    while True:
        fields = _passed_through(task, call)
        run, outcome = _run_once(task, settled, fields)
        if outcome.state != states.RETRY or not run.retry_calls:
            break
        call = run.retry_calls[-1]
    _store(task, settled, fields, outcome)
    raises = bool(app.conf["task_eager_propagates"]) if throw is None else throw
    if raises and outcome.state == states.FAILURE and outcome.error is not None:
        raise outcome.error
    return EagerResult(_meta(task, fields, run, outcome), task.name, app)


def _passed_through(task: Task[Any, Any], call: Call) -> RequestFields:
    """What a worker would read of this call."""
    conf = task.app.conf
    return decode_request(encode_call(call), frozenset(conf["accept_content"]))


def _run_once(task: Task[Any, Any], settled: Settled, fields: RequestFields) -> tuple[Run, Outcome]:
    context = context_of(fields, settled.policy, Place(hostname=settled.send.origin))
    context.update(is_eager=True)
    run = Run(task, context, collects=True)
    serializer = serializer_named(task.app.conf["result_serializer"])
    outcome = execute(
        run,
        fields.args,
        fields.kwargs,
        _CLOCK,
        seal=lambda outcome: _sealed(outcome, serializer),
        run_coroutine=_run_coroutine,
    )
    return run, outcome


def _sealed(outcome: Outcome, serializer: Serializer) -> Outcome:
    """A result comes back as a reader of the backend would see it; one that cannot be encoded fails the run."""
    if outcome.state != states.SUCCESS:
        return outcome
    value = outcome.value
    if hasattr(type(value), "as_tuple"):  # a result handle
        value = value.as_tuple()
    try:
        return structs.replace(outcome, value=serializer.loads(serializer.dumps(value)))
    except EncodeError as error:
        return raised_outcome(error, outcome.runtime_s)


def _run_coroutine(coroutine: Coroutine[Any, Any, Any]) -> Any:
    runner = CoroutineRunner()
    try:
        return runner(coroutine)
    finally:
        runner.close()


def _store(task: Task[Any, Any], settled: Settled, fields: RequestFields, outcome: Outcome) -> None:
    """Write the result to the backend, if `store_eager_result` says so."""
    ignored = settled.policy.ignore_result if fields.ignore_result is None else fields.ignore_result
    if not task.store_eager_result or ignored:
        return
    conf = task.app.conf
    head = RecordHead(
        fields.id,
        parent_id=fields.parent_id,
        expires_s=conf.seconds("result_expires"),
        serializer=serializer_named(conf["result_serializer"]),
    )
    if outcome.state == states.SUCCESS:
        task.app.backend.write([encode_success(head, outcome.value, time.time())])
    elif outcome.state == states.FAILURE and outcome.error is not None:
        task.app.backend.write([encode_failure(head, outcome.error, outcome.traceback, time.time())])


def _meta(task: Task[Any, Any], fields: RequestFields, run: Run, outcome: Outcome) -> Meta:
    return Meta(
        task_id=fields.id,
        status=outcome.state,
        result=outcome.error if outcome.error is not None else outcome.value,
        traceback=outcome.traceback,
        children=[child.as_tuple() for child in run.context.children],
        date_done=datetime.now(timezone.utc).isoformat(),
        parent_id=fields.parent_id,
        name=task.name,
        args=fields.args,
        kwargs=fields.kwargs,
        retries=fields.retries,
        queue=fields.queue,
    )
