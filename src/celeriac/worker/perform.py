"""Run the task that a message asks for, and encode all that must be committed with its end.

What becomes of the message (the options are Celery's):

| the run | `acks_late` unset or True | `acks_late=False` (acknowledged at its start) |
|---|---|---|
| SUCCESS, RETRY, IGNORED | ack | - |
| FAILURE (a soft time limit too) | ack; `acks_on_failure=False`: dead letter | - |
| ``Reject(requeue=True)`` | back to the queue at once, uncounted | FAILURE |
| ``Reject(requeue=False)`` | FAILURE, dead letter | FAILURE |
| retry that cannot be encoded | FAILURE, dead letter | FAILURE |
| body, or what follows the task, that is not understood | FAILURE, dead letter | FAILURE |
| hard time limit (the node decides) | FAILURE, ack; `acks_on_timeout=False`: back to the queue | FAILURE |
| the process dies (the node decides) | again, up to the crash limit, then FAILURE and dead letter; with `acks_late=True` and `reject_on_worker_lost=False` FAILURE and ack at the first crash | FAILURE |

What follows the task, in its chain or as a callback, is committed with its end: see `core.workflow.advance`.

A dead letter is final for those who wait: they see FAILURE. Reviving it makes the task PENDING again.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from contextlib import AbstractContextManager
from typing import Any

from celeriac.core.engine.effects import Final
from celeriac.core.execute import call_hooks, execute, execute_async, raised_outcome
from celeriac.model import states
from celeriac.model.call import RequestFields
from celeriac.model.context import Run, context_of, enter_run, leave_run
from celeriac.model.errors import CeleriacError, DecodeError
from celeriac.model.message import Bury, Head, Message, Record
from celeriac.model.policy import TaskPolicy
from celeriac.model.run import ExceptionInfo, Outcome, Performed, Runnable
from celeriac.model.shield import Guard
from celeriac.pools.steered import plain
from celeriac.wire.frames import JobFrame
from celeriac.wire.protocol2 import decode_head, decode_request
from celeriac.wire.records import RecordHead, encode_failure
from celeriac.worker import task_log
from celeriac.worker.advance import hopeless_workflow, is_linked, read_workflow
from celeriac.worker.coroutines import beside
from celeriac.worker.ending import ACK, Ending, reason_of
from celeriac.worker.env import Env, Seat
from celeriac.worker.finals import exception_of


def perform(
    tasks: Mapping[str, Runnable],
    message: Message,
    seat: Seat,
    *,
    redelivered: bool = False,
    conclude: Final | None = None,
) -> Performed:
    """Run what `message` asks for. With `conclude`, only say that the run ended so: hooks and record, no body.

    Raises only what must end the process: MemoryError, SystemExit, KeyboardInterrupt.
    """
    ending = _begin(tasks, message, seat, redelivered, conclude)
    if isinstance(ending, Performed):
        return ending
    run, fields = ending.run, ending.fields
    run.guard = seat.guard
    seat.run = run
    if seat.early is not None:
        run.broken_by, seat.early = seat.early, None
    try:
        outcome = execute(
            run,
            fields.args,
            fields.kwargs,
            seat.env.clock,
            seal=ending.seal,
            run_coroutine=seat.run_coroutine,
            hook_failed=ending.hook_failed,
        )
        if ending.workflow is not None or run.retry_calls:
            outcome = ending.end_workflow(outcome)
    finally:
        seat.run = None
    return ending.performed(outcome)


async def perform_async(
    tasks: Mapping[str, Runnable], message: Message, seat: Seat, *, redelivered: bool = False
) -> Performed:
    """`perform` for a coroutine task, on the running loop, in an `asyncio.Task` of its own."""
    ending = _begin(tasks, message, seat, redelivered, None)
    if isinstance(ending, Performed):
        return ending
    seat.run = ending.run
    try:
        outcome = await execute_async(
            ending.run,
            ending.fields.args,
            ending.fields.kwargs,
            seat.env.clock,
            seal=ending.seal,
            hook_failed=ending.hook_failed,
            translate=plain,
        )
        if ending.calls_in_place(outcome):  # they may block: not the loop, on which others run
            outcome = await beside(ending.end_workflow, outcome)
        elif ending.workflow is not None or ending.run.retry_calls:
            outcome = ending.end_workflow(outcome)
    finally:
        seat.run = None
    return ending.performed(outcome)


class JobSeat(Seat):
    """A seat that runs jobs as they come from a node, of these tasks."""

    __slots__ = ("_tasks",)

    def __init__(
        self,
        tasks: Mapping[str, Runnable],
        env: Env,
        guard: Guard | None = None,
        waiting: Callable[[], AbstractContextManager[None]] | None = None,
    ) -> None:
        super().__init__(env, guard, waiting)
        self._tasks = tasks

    def perform(self, job: JobFrame) -> Performed:
        """Run one job. Raises only what must end the process."""
        conclude = None if job.conclude is None else Final(*job.conclude)
        try:
            return perform(self._tasks, job.message, self, redelivered=job.redelivered, conclude=conclude)
        finally:
            self.early = None

    def perform_async(self, job: JobFrame) -> Coroutine[Any, Any, Performed]:
        """Run one job of a coroutine task, in an `asyncio.Task` of its own."""
        return perform_async(self._tasks, job.message, self, redelivered=job.redelivered)


def _begin(
    tasks: Mapping[str, Runnable], message: Message, seat: Seat, redelivered: bool, conclude: Final | None
) -> Ending | Performed:
    """All that comes before the body; what became of it, if there is no body to run."""
    env = seat.env
    try:
        fields = decode_request(message, env.accept)
    except DecodeError as error:
        return _unreadable(tasks, message, env, error, conclude)
    task = tasks.get(fields.task)
    if task is None:
        if conclude is not None:
            return _conclude_unknown(tasks, message, env, fields, conclude)
        return Performed(states.REJECTED, Bury(f"task {fields.task!r} is not registered here", parked=True))
    policy = task.policy
    run = Run(task, context_of(fields, policy, env.place, redelivered), collects=True, waiting=seat.waiting)
    ignored = policy.ignore_result if fields.ignore_result is None else fields.ignore_result
    ending = Ending(env, run, policy, fields, ignored)
    if is_linked(fields):
        try:
            ending.workflow = read_workflow(env, tasks, run, fields)
        except (DecodeError, NotImplementedError) as error:
            ending.workflow = hopeless_workflow(env, tasks, run, fields)
            if conclude is None:
                return _refuse(ending, error)
    if conclude is not None:
        return _conclude(ending, conclude)
    if env.results.track_started if policy.track_started is None else policy.track_started:
        ending.report_start()
    return ending


def _conclude(ending: Ending, final: Final) -> Performed:
    """Hooks, record and workflow of a run whose own process is gone."""
    outcome = _outcome_of(final)
    token = enter_run(ending.run)
    try:
        ending.store_error(outcome, final.state)
        call_hooks(ending.run, outcome, ending.fields.args, ending.fields.kwargs, ending.hook_failed)
        ending.end_workflow(outcome)
    finally:
        leave_run(token)
    return Performed(final.state, ACK, 0.0, ending.records(), ending.messages())


def _outcome_of(final: Final) -> Outcome:
    error = exception_of(final)
    einfo = ExceptionInfo(error, f"{type(error).__name__}: {error}\n")
    return Outcome(final.state, error=error, raised=error, einfo=einfo)


def _conclude_unknown(
    tasks: Mapping[str, Runnable], message: Message, env: Env, fields: RequestFields, final: Final
) -> Performed:
    """Record and workflow of a task that is not known here: any other task of the app knows how to send."""
    records = _bare_records(message, env, exception_of(final), final.state)
    sender = next(iter(tasks.values()), None)
    if sender is None or not is_linked(fields):
        return Performed(final.state, ACK, 0.0, records)
    run = Run(sender, context_of(fields, TaskPolicy(fields.task), env.place), collects=True)
    try:
        workflow = read_workflow(env, tasks, run, fields)
    except (DecodeError, NotImplementedError):
        workflow = hopeless_workflow(env, tasks, run, fields)
    workflow.end(_outcome_of(final))
    return Performed(final.state, ACK, 0.0, (*records, *workflow.records), workflow.messages)


def _refuse(ending: Ending, error: Exception) -> Performed:
    """Something follows this task that is not understood: to run it and drop that would lose work without a word."""
    refused = CeleriacError(f"not run: {error}")
    outcome = raised_outcome(refused)
    ending.store_error(outcome, states.FAILURE)
    if ending.workflow is not None:
        ending.workflow.end(outcome)
    task_log.message_refused(ending.fields, refused)
    return Performed(states.FAILURE, Bury(reason_of(refused)), 0.0, ending.records(), ending.messages())


def _unreadable(
    tasks: Mapping[str, Runnable], message: Message, env: Env, error: DecodeError, conclude: Final | None
) -> Performed:
    """A message whose body cannot be decoded: no run, no hooks; a dead letter, and FAILURE for those who wait."""
    task = tasks.get(message.task)
    state, cause = (states.FAILURE, error) if conclude is None else (conclude.state, exception_of(conclude))
    records = _bare_records(message, env, cause, state, None if task is None else task.policy)
    task_log.message_unreadable(message.id, message.task, error)
    return Performed(state, Bury(f"cannot be decoded: {reason_of(error)}"), 0.0, records)


def _bare_records(
    message: Message, env: Env, error: BaseException, state: str, policy: TaskPolicy | None = None
) -> tuple[Record, ...]:
    """The record of an error, as far as headers alone tell whether and for whom it is wanted."""
    try:
        head = decode_head(message, env.accept)
    except DecodeError:
        head = Head(message.id, message.task)
    ignored = head.ignore_result
    if ignored is None:
        ignored = policy is not None and policy.ignore_result
    if ignored and not (policy is not None and policy.store_errors_even_if_ignored):
        return ()
    record_head = RecordHead(
        head.id, head.group, head.parent_id, expires_s=env.results.expires_s, reply_to=message.reply_to
    )
    return (encode_failure(record_head, error, None, env.clock.wall(), state),)
