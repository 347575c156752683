"""Runs a task in the caller's process, on the same path as a worker: arguments and result pass the serializer, options
and route are checked, hooks are called. Limits, ETA and expiry are ignored; retries follow at once."""

# An app and its tasks know each other's types; at run time the imports go one way.
# pyright: reportImportCycles=false

from __future__ import annotations

import time
from collections import deque
from collections.abc import Coroutine, Mapping, Sequence
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from msgspec import structs

from celeriac.core.execute import execute, raised_outcome
from celeriac.core.prepare import prepare
from celeriac.model import states
from celeriac.model.call import RequestFields
from celeriac.model.clock import SystemClock
from celeriac.model.context import Place, Run, context_of, get_worker_run
from celeriac.model.errors import EncodeError
from celeriac.model.ids import new_id
from celeriac.model.message import Message
from celeriac.model.run import Outcome, ResultPolicy
from celeriac.result import EagerResult
from celeriac.settled import Settled
from celeriac.wire.protocol2 import decode_request, encode_call
from celeriac.wire.records import Meta, RecordHead, decode_record, encode_failure, encode_success
from celeriac.wire.serializers import serializer_named
from celeriac.worker.advance import Workflow, is_linked, read_workflow
from celeriac.worker.coroutines import CoroutineRunner

if TYPE_CHECKING:
    from celeriac.app import Celeriac
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
    """Run `task` now, with its retries and all that follows, and return its result; with `throw` raise what failed.

    Raises what `apply_async` raises for wrong options and arguments that cannot be encoded, NotRegistered for a task
    that follows and is not known here.
    """
    app, settled = task.app, task.settled()
    send, parent = settled.send, get_worker_run()
    if not send.router.is_static:
        options = {**send.router.route(task.name, args, kwargs, options, task), **options}
    call = prepare(send, args, kwargs, options, None if parent is None else parent.context, time.time(), new_id)
    if retries:
        call = structs.replace(call, retries=retries)
    session = _Session(app)
    session.run([encode_call(call)])
    session.raise_if(throw)
    return EagerResult(session.metas[call.id], task.name, app, session.metas)


def run_all_eagerly(app: Celeriac, messages: Sequence[Message], throw: bool | None) -> Mapping[str, Meta]:
    """Run what these messages ask for, and all that follows, in order; what came of each, by id. Raises as
    `run_eagerly`."""
    session = _Session(app)
    session.run(messages)
    session.raise_if(throw)
    return session.metas


class _Session:
    """One workflow that is run in place: what waits, and what came of each task."""

    def __init__(self, app: Celeriac) -> None:
        self.app = app
        self.metas: dict[str, Meta] = {}
        self.error: BaseException | None = None
        """What the first task that failed has raised."""
        conf = app.conf
        self.tasks = app.tasks
        self.clock = _CLOCK
        self.place = Place(hostname=app.sender.origin)
        self.accept = frozenset(conf["accept_content"])
        self.serializer = serializer_named(conf["result_serializer"])
        self.results = ResultPolicy(
            expires_s=conf.seconds("result_expires"), body_bytes_max=conf["task_body_bytes_max"]
        )

    def run(self, messages: Sequence[Message]) -> None:
        """Run these, and what follows from them, until nothing is left."""
        waiting = deque(messages)
        while waiting:
            fields = decode_request(waiting.popleft(), self.accept)
            waiting.extend(self._run_task(self.app.tasks[fields.task], fields))

    def raise_if(self, throw: bool | None) -> None:
        """Raise the first error, if that is wanted."""
        raises = bool(self.app.conf["task_eager_propagates"]) if throw is None else throw
        if raises and self.error is not None:
            raise self.error

    def _run_task(self, task: Task[Any, Any], fields: RequestFields) -> Sequence[Message]:
        """Run one task with its retries; what follows."""
        settled = task.settled()
        while True:
            run, outcome, workflow = self._run_once(task, settled, fields)
            if not run.retry_calls:
                break
            fields = decode_request(encode_call(run.retry_calls[-1]), self.accept)
        _store(task, settled, fields, outcome)
        self.metas[fields.id] = _meta(task, fields, run, outcome)
        if outcome.state == states.FAILURE and self.error is None:
            self.error = outcome.error
        if workflow is None:
            return ()
        for record in workflow.records:
            self.metas[record.id] = decode_record(record)
        return workflow.messages

    def _run_once(
        self, task: Task[Any, Any], settled: Settled, fields: RequestFields
    ) -> tuple[Run, Outcome, Workflow | None]:
        context = context_of(fields, settled.policy, self.place)
        context.update(is_eager=True)
        run = Run(task, context, collects=True)
        workflow = read_workflow(self, self.tasks, run, fields) if is_linked(fields) else None

        def seal(outcome: Outcome) -> Outcome:
            sealed = self._sealed(outcome)
            if workflow is None:
                return sealed
            if sealed.state == states.SUCCESS:
                try:
                    workflow.succeed(sealed.value)
                except Exception as error:  # noqa: BLE001 - what follows cannot be sent: the task has failed
                    sealed = raised_outcome(error, outcome.runtime_s)
            return sealed

        outcome = execute(run, fields.args, fields.kwargs, _CLOCK, seal=seal, run_coroutine=_run_coroutine)
        if workflow is not None and outcome.state != states.SUCCESS:
            workflow.end(outcome)  # after the hooks: one that asks for a retry carries the workflow on
        return run, outcome, workflow

    def _sealed(self, outcome: Outcome) -> Outcome:
        """A result comes back as a reader of the backend would see it; one that cannot be encoded fails the run."""
        if outcome.state != states.SUCCESS:
            return outcome
        value = outcome.value
        if hasattr(type(value), "as_tuple"):  # a result handle
            value = value.as_tuple()
        try:
            return structs.replace(outcome, value=self.serializer.loads(self.serializer.dumps(value)))
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
        children=[child.as_tuple() if hasattr(child, "as_tuple") else child for child in run.context.children],
        date_done=datetime.now(timezone.utc).isoformat(),
        parent_id=fields.parent_id,
        name=task.name,
        args=fields.args,
        kwargs=fields.kwargs,
        retries=fields.retries,
        queue=fields.queue,
    )
