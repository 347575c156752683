"""Run the task that a message asks for, and encode all that must be committed with its end.

What becomes of the message (the options are Celery's):

| the run | `acks_late` unset or True | `acks_late=False` (acknowledged at its start) |
|---|---|---|
| SUCCESS, RETRY, IGNORED | ack | - |
| FAILURE (a soft time limit too) | ack; `acks_on_failure=False`: dead letter | - |
| ``Reject(requeue=True)`` | back to the queue at once, uncounted | FAILURE |
| ``Reject(requeue=False)`` | FAILURE, dead letter | FAILURE |
| retry that cannot be encoded | FAILURE, dead letter | FAILURE |
| body that cannot be decoded, or part of a workflow | FAILURE, dead letter | FAILURE |
| hard time limit (the node decides) | FAILURE, ack; `acks_on_timeout=False`: back to the queue | FAILURE |
| the process dies (the node decides) | again, up to the crash limit, then FAILURE and dead letter; with `acks_late=True` and `reject_on_worker_lost=False` FAILURE and ack at the first crash | FAILURE |

A dead letter is final for those who wait: they see FAILURE. Reviving it makes the task PENDING again.
"""

from __future__ import annotations

from collections.abc import Mapping

from celeriac.core.engine.effects import Final
from celeriac.core.execute import call_hooks, execute, execute_async, raised_outcome
from celeriac.model import states
from celeriac.model.context import Run, context_of, enter_run, leave_run
from celeriac.model.errors import CeleriacError, DecodeError
from celeriac.model.message import Bury, Head, Message, Record
from celeriac.model.policy import TaskPolicy
from celeriac.model.run import ExceptionInfo, Outcome, Performed, Runnable
from celeriac.pools.steered import plain
from celeriac.wire.protocol2 import decode_head, decode_request
from celeriac.wire.records import RecordHead, encode_failure
from celeriac.worker import task_log
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
    finally:
        seat.run = None
    return ending.performed(outcome)


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
            records = _bare_records(message, env, exception_of(conclude), conclude.state)
            return Performed(conclude.state, ACK, 0.0, records)
        return Performed(states.REJECTED, Bury(f"task {fields.task!r} is not registered here", parked=True))
    policy = task.policy
    context = context_of(fields, policy, env.place, redelivered)
    run = Run(task, context, collects=True, waiting=seat.waiting)
    ignored = policy.ignore_result if fields.ignore_result is None else fields.ignore_result
    ending = Ending(env, run, policy, fields, ignored)
    if conclude is not None:
        return _conclude(ending, conclude)
    if fields.chain or fields.callbacks or fields.errbacks or fields.chord:
        return _refuse(ending)
    if env.results.track_started if policy.track_started is None else policy.track_started:
        ending.report_start()
    return ending


def _conclude(ending: Ending, final: Final) -> Performed:
    """Hooks and record of a run whose own process is gone."""
    error = exception_of(final)
    outcome = Outcome(
        final.state, error=error, raised=error, einfo=ExceptionInfo(error, f"{type(error).__name__}: {error}\n")
    )
    token = enter_run(ending.run)
    try:
        ending.store_error(outcome, final.state)
        call_hooks(ending.run, outcome, ending.fields.args, ending.fields.kwargs, ending.hook_failed)
    finally:
        leave_run(token)
    return Performed(final.state, ACK, 0.0, () if ending.record is None else (ending.record,))


def _refuse(ending: Ending) -> Performed:
    """A message that belongs to a workflow: to run it and drop what follows would lose work without a word."""
    fields = ending.fields
    names = [name for name in ("callbacks", "errbacks", "chain", "chord") if getattr(fields, name)]
    error = CeleriacError(
        f"not run: the message asks for {' and '.join(names)}, and this release does not continue workflows; "
        "revive it under a release that does"
    )
    ending.store_error(raised_outcome(error), states.FAILURE)
    task_log.message_refused(fields, error)
    return Performed(states.FAILURE, Bury(str(error)), 0.0, () if ending.record is None else (ending.record,))


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
