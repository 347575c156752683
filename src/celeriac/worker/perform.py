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

import logging
import os
from collections.abc import Callable, Mapping

from msgspec import Struct, field

from celeriac.core.engine.effects import Final
from celeriac.core.execute import call_hooks, execute, raised_outcome, release
from celeriac.model import states
from celeriac.model.call import RequestFields
from celeriac.model.clock import SystemClock
from celeriac.model.context import Place, Run, context_of, enter_run, leave_run
from celeriac.model.errors import CeleriacError, DecodeError, EncodeError, Reject, UnpickleableExceptionWrapper
from celeriac.model.message import Ack, Bury, Head, Message, Record, Release, Verdict
from celeriac.model.policy import TaskPolicy
from celeriac.model.ports import Clock
from celeriac.model.run import ExceptionInfo, Outcome, Performed, ResultPolicy, Runnable
from celeriac.model.shield import shield
from celeriac.wire.exceptions import name_of, text_of
from celeriac.wire.protocol2 import decode_head, decode_request, encode_call
from celeriac.wire.records import Extended, RecordHead, encode_failure, encode_state, encode_success
from celeriac.wire.serializers import serializer_named
from celeriac.worker import task_log
from celeriac.worker.coroutines import CoroutineRunner
from celeriac.worker.finals import exception_of

_ACK = Ack()
_REASON_CHARS_MAX = 1000


class Env:
    """What all runs of one process share.

    :param place: node name, log level, the worker's own limits
    :param results: how results are written, and what messages may contain
    :param on_started: writes a STARTED record at once
    """

    def __init__(
        self,
        place: Place,
        results: ResultPolicy,
        *,
        on_started: Callable[[Record], None] | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.place = place
        self.results = results
        self.on_started = on_started
        self.clock: Clock = SystemClock() if clock is None else clock
        self.accept = frozenset(results.accept)
        self.serializer = serializer_named(results.serializer)
        self.run_coroutine = CoroutineRunner()
        self.early: BaseException | None = None
        """What wanted to break in while the present job had no run yet."""
        self.run: Run | None = None
        """The run of the present job, from before its first hook until its outcome is encoded."""

    def break_in(self, error: BaseException) -> None:
        """Raise `error` (SoftTimeLimitExceeded) in the body that runs now, or as soon as it begins; nothing
        happens when it has ended.

        For a signal handler of the thread that performs. It never lands in our own code, so that neither an
        outcome nor a transaction is left half made.
        """
        run = self.run
        if run is None:
            self.early = error
        elif not run.in_body:
            run.broken_by = error
        elif shield.mine.inside:
            shield.mine.threat = error
        elif not self.run_coroutine.break_in(error):
            raise error


def perform(
    tasks: Mapping[str, Runnable],
    message: Message,
    env: Env,
    *,
    redelivered: bool = False,
    conclude: Final | None = None,
) -> Performed:
    """Run what `message` asks for. With `conclude`, only say that the run ended so: hooks and record, no body.

    Raises only what must end the process: MemoryError, SystemExit, KeyboardInterrupt.
    """
    try:
        fields = decode_request(message, env.accept)
    except DecodeError as error:
        return _unreadable(tasks, message, env, error, conclude)
    task = tasks.get(fields.task)
    if task is None and conclude is not None:
        return Performed(conclude.state, _ACK, 0.0, _bare_records(message, env, exception_of(conclude), conclude.state))
    if task is None:
        return Performed(states.REJECTED, Bury(f"task {fields.task!r} is not registered here", parked=True))
    policy = task.policy
    context = context_of(fields, policy, env.place, redelivered)
    run = Run(task, context, collects=True)
    ignored = policy.ignore_result if fields.ignore_result is None else fields.ignore_result
    ending = _Ending(env, run, policy, fields, ignored)
    if conclude is not None:
        return _conclude(ending, conclude)
    if fields.chain or fields.callbacks or fields.errbacks or fields.chord:
        return _refuse(ending)
    if env.results.track_started if policy.track_started is None else policy.track_started:
        ending.report_start()
    env.run = run
    if env.early is not None:
        run.broken_by = env.early
    try:
        outcome = execute(
            run,
            fields.args,
            fields.kwargs,
            env.clock,
            seal=ending.seal,
            run_coroutine=env.run_coroutine,
            hook_failed=ending.hook_failed,
        )
    finally:
        env.run = None
    return ending.performed(outcome)


class _Ending(Struct, eq=False):
    """What is to be committed with the end of one run."""

    env: Env
    run: Run
    policy: TaskPolicy
    fields: RequestFields
    ignored: bool
    """No result is wanted; errors may be all the same."""
    record: Record | None = None
    follow_ups: list[Message] = field(default_factory=list[Message])
    unsendable: BaseException | None = None

    def seal(self, outcome: Outcome) -> Outcome:
        """Encode what the outcome leaves behind. What cannot be encoded makes the run a failure."""
        if self.run.retry_calls:
            outcome = self._encode_retries(outcome)
        state = outcome.state
        if state == states.SUCCESS:
            if self.ignored:
                return outcome
            env, value = self.env, outcome.value
            if hasattr(type(value), "as_tuple"):  # a result handle, or a group of them
                value = value.as_tuple()
            try:
                record = encode_success(self._head(), value, env.clock.wall())
                if env.results.body_bytes_max is not None:
                    _require_fit(len(record.payload), env.results.body_bytes_max, "the result")
            except Exception as error:  # noqa: BLE001 - serializers call user code
                outcome = _refused(error, outcome.runtime_s)
                self.store_error(outcome, states.FAILURE)
            else:
                self.record = record
        elif state == states.REJECTED and self._is_final_reject(outcome):
            self.store_error(outcome, states.FAILURE)
        elif state in (states.FAILURE, states.RETRY):
            self.store_error(outcome, state)
        return outcome

    def _is_final_reject(self, outcome: Outcome) -> bool:
        return self.policy.acks_late is False or not (isinstance(outcome.raised, Reject) and outcome.raised.requeue)

    def _encode_retries(self, outcome: Outcome) -> Outcome:
        """Encode the retries that have not been yet; a failure to do so fails the run."""
        calls = self.run.retry_calls
        try:
            for call in calls[len(self.follow_ups) :]:
                message = encode_call(call)
                _require_fit(len(message.body), self.env.results.body_bytes_max, "the message of the retry")
                self.follow_ups.append(message)
        except Exception as error:  # noqa: BLE001 - serializers call user code
            del calls[len(self.follow_ups) :]
            self.unsendable = error
            return _refused(error, outcome.runtime_s)
        return outcome

    def store_error(self, outcome: Outcome, state: str) -> None:
        """Encode the record of an exception, if it is wanted."""
        error = outcome.error
        if error is None or (self.ignored and not self.policy.store_errors_even_if_ignored):
            return
        done_at = self.env.clock.wall()
        text = outcome.traceback
        limit = self.env.results.body_bytes_max
        try:
            record = encode_failure(self._head(), error, text, done_at, state)
            _require_fit(len(record.payload), limit, "the exception")
        except Exception:  # noqa: BLE001 - an exception must be told in any case: shorter, and bare
            module, name = name_of(type(error))
            short = UnpickleableExceptionWrapper(module, name, (), text_of(error)[:_REASON_CHARS_MAX])
            fields = self.fields
            head = RecordHead(fields.id, expires_s=self.env.results.expires_s, reply_to=fields.reply_to)
            record = encode_failure(head, short, text[-_REASON_CHARS_MAX:] if text else None, done_at, state)
        self.record = record

    def _head(self) -> RecordHead:
        fields, env = self.fields, self.env
        children = self.run.context.__dict__.get("children", ())
        return RecordHead(
            fields.id,
            fields.group,
            fields.parent_id,
            [child.as_tuple() if hasattr(child, "as_tuple") else child for child in children] if children else (),
            _extended(fields, env.place.hostname) if env.results.extended else None,
            env.results.expires_s,
            fields.reply_to,
            env.serializer,
        )

    def report_start(self) -> None:
        """Write that the run has begun, if results of this task are kept and somebody writes."""
        on_started = self.env.on_started
        if on_started is not None and not self.ignored:
            meta = {"pid": os.getpid(), "hostname": self.env.place.hostname}
            on_started(encode_state(self._head(), states.STARTED, meta))

    def hook_failed(self, hook: str, error: BaseException) -> None:
        """A hook raised: say so, and go on."""
        task_log.hook_failed(self.fields, hook, error)

    def performed(self, outcome: Outcome) -> Performed:
        """All that is to be committed. The run is over; the frames that its exception holds are let go."""
        if len(self.run.retry_calls) > len(self.follow_ups):  # a hook asked for a retry
            refused = self._encode_retries(outcome)
            if refused is not outcome:
                self.store_error(refused, states.FAILURE)
                outcome = refused
        state = outcome.state
        if state == states.SUCCESS:
            verdict: Verdict = _ACK
            if task_log.logger.isEnabledFor(logging.INFO):
                task_log.task_ended(self.run.task, self.fields, outcome)
        else:
            verdict = self._verdict(outcome)
            task_log.task_ended(self.run.task, self.fields, outcome, resent=bool(self.follow_ups))
        if state == states.REJECTED and self._is_final_reject(outcome):
            state = states.FAILURE
        if outcome.raised is not None:
            release(outcome.raised)
        return Performed(
            state,
            verdict,
            outcome.runtime_s,
            () if self.record is None else (self.record,),
            tuple(self.follow_ups),
        )

    def _verdict(self, outcome: Outcome) -> Verdict:
        """The table of this module."""
        state, policy = outcome.state, self.policy
        if state in (states.SUCCESS, states.RETRY, states.IGNORED) or policy.acks_late is False:
            return _ACK
        if state == states.REJECTED:
            raised = outcome.raised
            if isinstance(raised, Reject) and raised.requeue:
                return Release()
            return Bury(f"rejected: {_reason(raised)}")
        if self.unsendable is not None:
            return Bury(f"its retry could not be sent: {_reason(self.unsendable)}")
        if policy.acks_on_failure is False:
            return Bury(f"failed: {_reason(outcome.error)}")
        return _ACK


def _refused(error: Exception, runtime_s: float) -> Outcome:
    """The failure of a run whose end cannot be encoded."""
    if not isinstance(error, EncodeError):
        wrapped = EncodeError(text_of(error))
        wrapped.__cause__ = error
        error = wrapped
    return raised_outcome(error, runtime_s)


def _reason(error: BaseException | None) -> str:
    if isinstance(error, Reject):
        return str(error.reason)[:_REASON_CHARS_MAX]
    return "" if error is None else text_of(error)[:_REASON_CHARS_MAX]


def _require_fit(size: int, size_max: int | None, what: str) -> None:
    if size_max is not None and size > size_max:
        raise EncodeError(
            f"{what} is {size} bytes, over the limit of {size_max} (setting task_body_bytes_max): "
            "store large data elsewhere and pass its address, or raise the limit"
        )


def _extended(fields: RequestFields, hostname: str) -> Extended:
    return Extended(
        fields.shadow or fields.task,
        fields.args,
        fields.kwargs,
        hostname,
        fields.retries,
        fields.queue,
        fields.stamped_headers,
        fields.stamps,
    )


def _conclude(ending: _Ending, final: Final) -> Performed:
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
    return Performed(final.state, _ACK, 0.0, () if ending.record is None else (ending.record,))


def _refuse(ending: _Ending) -> Performed:
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
    return Performed(state, Bury(f"cannot be decoded: {_reason(error)}"), 0.0, records)


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
