"""What is to be committed with the end of one run: record, follow-ups, verdict. The table is in `worker.perform`.

`Ending.seal` encodes what the body leaves behind, before the hooks see it; `Ending.end_workflow` adds what the hooks
asked for and, if that does not repeat the task, how its workflow ends; `Ending.performed` the verdict.
"""

from __future__ import annotations

import logging
import os

from msgspec import Struct, field

from celeriac.core.execute import raised_outcome, release
from celeriac.model import states
from celeriac.model.call import RequestFields
from celeriac.model.context import Run, get_current_run
from celeriac.model.errors import EncodeError, Reject
from celeriac.model.message import Ack, Bury, Message, Record, Release, Verdict
from celeriac.model.policy import TaskPolicy
from celeriac.model.run import Outcome, Performed
from celeriac.wire.exceptions import text_of
from celeriac.wire.protocol2 import encode_call
from celeriac.wire.records import Extended, RecordHead, encode_state, encode_success
from celeriac.worker import task_log
from celeriac.worker.advance import Workflow
from celeriac.worker.env import Env
from celeriac.worker.failures import failure_record, require_fit

ACK = Ack()
_REASON_CHARS_MAX = 1000


class Ending(Struct, eq=False):
    """What is to be committed with the end of one run."""

    env: Env
    run: Run
    policy: TaskPolicy
    fields: RequestFields
    ignored: bool
    """No result is wanted; errors may be all the same."""
    workflow: Workflow | None = None
    """None if nothing follows this task."""
    record: Record | None = None
    follow_ups: list[Message] = field(default_factory=list[Message])
    unsendable: BaseException | None = None

    def seal(self, outcome: Outcome) -> Outcome:
        """Encode what the outcome leaves behind. What cannot be encoded makes the run a failure.

        In a copy of the process that the body has made and that comes back, this ends the copy.
        """
        if self.run.is_copy:
            os._exit(0)  # before its hooks run twice, and its end is logged twice
        if self.run.ended_by is not None and outcome.state != states.SUCCESS:
            # The body was broken off for good: nothing it asked for on its way out counts.
            self.run.retry_calls.clear()
            outcome = broken_off(outcome, self.run.ended_by)
        if self.run.retry_calls:
            outcome = self._encode_retries(outcome)
        workflow = self.workflow
        if workflow is not None:  # first of all: what follows is in the record as children, and may fail the run
            outcome = self._followed(workflow, outcome)
        state = outcome.state
        if state == states.SUCCESS:
            if not self.ignored:
                env, value = self.env, outcome.value
                if hasattr(type(value), "as_tuple"):  # a result handle, or a group of them
                    value = value.as_tuple()
                try:
                    record = encode_success(self._head(), value, env.clock.wall())
                    if env.results.body_bytes_max is not None:
                        require_fit(len(record.payload), env.results.body_bytes_max, "the result")
                except Exception as error:  # noqa: BLE001 - serializers call user code
                    outcome = _refused(error, outcome.runtime_s)
                    if workflow is not None:
                        workflow.take_back()
                    self.store_error(outcome, states.FAILURE)
                else:
                    self.record = record
        elif state == states.REJECTED and self._is_final_reject(outcome):
            self.store_error(outcome, states.FAILURE)
        elif state in (states.FAILURE, states.RETRY):
            self.store_error(outcome, state)
        return outcome

    def _followed(self, workflow: Workflow, outcome: Outcome) -> Outcome:
        """Encode what follows a success; what cannot be sent makes the run a failure."""
        if outcome.state == states.SUCCESS:
            value = outcome.value
            try:
                workflow.succeed(value.as_tuple() if hasattr(type(value), "as_tuple") else value)
            except Exception as error:  # noqa: BLE001 - nothing of it is lost: it is what the run failed with
                return raised_outcome(error, outcome.runtime_s)
        return outcome

    def end_workflow(self, outcome: Outcome) -> Outcome:
        """After the hooks: encode the retries they asked for, and what follows any end but a success. Return the end that
        counts. A workflow that a repetition carries on has no end."""
        if len(self.run.retry_calls) > len(self.follow_ups):
            refused = self._encode_retries(outcome)
            if refused is not outcome:
                self.store_error(refused, states.FAILURE)
                outcome = refused
        goes_back = outcome.state == states.REJECTED and not self._is_final_reject(outcome)
        if self.workflow is not None and outcome.state != states.SUCCESS and not goes_back:
            self.workflow.end(outcome)
        return outcome

    def calls_in_place(self, outcome: Outcome) -> bool:
        """True if `end_workflow` may call error callbacks, which are code of the user's."""
        return self.workflow is not None and outcome.state != states.SUCCESS and self.workflow.calls_in_place()

    def _is_final_reject(self, outcome: Outcome) -> bool:
        return self.policy.acks_late is False or not (isinstance(outcome.raised, Reject) and outcome.raised.requeue)

    def _encode_retries(self, outcome: Outcome) -> Outcome:
        """Encode the retries that have not been yet; a failure to do so fails the run."""
        calls = self.run.retry_calls
        try:
            for call in calls[len(self.follow_ups) :]:
                message = encode_call(call)
                require_fit(len(message.body), self.env.results.body_bytes_max, "the message of the retry")
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
        bytes_max = self.env.results.body_bytes_max
        now = self.env.clock.wall()
        self.record = failure_record(self._head(), error, outcome.traceback, now, state, bytes_max)

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
        """All that is to be committed, after `end_workflow`. The run is over; the frames that its exception holds are let
        go."""
        state = outcome.state
        if state == states.SUCCESS:
            verdict: Verdict = ACK
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
            (() if self.record is None else (self.record,)) if self.workflow is None else self.records(),
            tuple(self.follow_ups) if self.workflow is None else self.messages(),
        )

    def records(self) -> tuple[Record, ...]:
        """All records that are committed with this end."""
        own = () if self.record is None else (self.record,)
        return own if self.workflow is None else (*own, *self.workflow.records)

    def messages(self) -> tuple[Message, ...]:
        """All messages that are committed with this end."""
        if self.workflow is None or self.run.retry_calls:  # a repetition carries the workflow on
            return tuple(self.follow_ups)
        return (*self.follow_ups, *self.workflow.messages)

    def _verdict(self, outcome: Outcome) -> Verdict:
        """The table of this module."""
        state, policy = outcome.state, self.policy
        if state in (states.SUCCESS, states.RETRY, states.IGNORED) or policy.acks_late is False:
            return ACK
        if state == states.REJECTED:
            raised = outcome.raised
            if isinstance(raised, Reject) and raised.requeue:
                return Release()
            return Bury(f"rejected: {reason_of(raised)}")
        if self.unsendable is not None:
            return Bury(f"its retry could not be sent: {reason_of(self.unsendable)}")
        if policy.acks_on_failure is False:
            return Bury(f"failed: {reason_of(outcome.error)}")
        return ACK


def broken_off(outcome: Outcome, error: BaseException) -> Outcome:
    """The outcome of a body that a hard limit or a termination has ended, however it has left."""
    raised = outcome.raised
    if isinstance(raised, type(error)):
        if not raised.args:
            raised.args = error.args  # lost on the way to another thread
        return outcome
    release(outcome.raised)
    return raised_outcome(error, outcome.runtime_s)


def _refused(error: Exception, runtime_s: float) -> Outcome:
    """The failure of a run whose end cannot be encoded."""
    if not isinstance(error, EncodeError):
        wrapped = EncodeError(text_of(error))
        wrapped.__cause__ = error
        error = wrapped
    return raised_outcome(error, runtime_s)


def reason_of(error: BaseException | None) -> str:
    """Why a message is a dead letter, bounded."""
    if isinstance(error, Reject):
        return str(error.reason)[:_REASON_CHARS_MAX]
    return "" if error is None else text_of(error)[:_REASON_CHARS_MAX]


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


def _forked() -> None:
    """In a forked copy of the process: all runs that the caller is in are copies."""
    run = get_current_run()
    while run is not None:
        run.is_copy = True
        run = run.parent


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
