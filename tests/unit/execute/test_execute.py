from __future__ import annotations

import builtins
import dataclasses
import gc
import sys
import weakref

import pytest

from celeriac.core.execute import TRACEBACK_CHARS_MAX, execute, release
from celeriac.model import states
from celeriac.model.clock import ManualClock
from celeriac.model.context import Context, Run, get_current_run
from celeriac.model.errors import Ignore, Reject, Retry, SoftTimeLimitExceeded
from celeriac.model.run import Outcome
from unit.execute.sample import SampleTask


class RootError(BaseException):
    """Stands for the exceptions of libraries that do not derive from Exception."""


def outcome_of(body, *args, clock=None, **options):
    task = SampleTask(body)
    run = Run(task, Context(id="id-1", called_directly=False))
    return task, execute(run, args, {}, clock or ManualClock(), **options)


def raising(error):
    def body():
        raise error

    return body


def test_a_returned_value_is_a_success_with_its_running_time():
    clock = ManualClock()

    def body(x):
        clock.advance(2.5)
        return x + 1

    _, outcome = outcome_of(body, 1, clock=clock)
    assert outcome == Outcome(states.SUCCESS, 2, runtime_s=2.5)


def test_hooks_of_a_success_run_around_the_body_in_order():
    sealed = []

    def seal(outcome):
        sealed.append(list(task.hooks))
        return outcome

    task = SampleTask(lambda: "value")
    execute(Run(task, Context(id="id-1")), (), {}, ManualClock(), seal=seal)
    assert sealed == [["before_start", "body"]]
    assert task.calls == ["before_start", "body", ("on_success", "value"), ("after_return", "SUCCESS", None)]


def test_hooks_of_a_failure_see_the_exception_and_its_traceback():
    error = ValueError("no")
    task, outcome = outcome_of(raising(error))
    assert outcome.state == states.FAILURE
    assert outcome.error is error
    name, seen, einfo = task.calls[2]
    assert (name, seen, einfo.exception, einfo.type) == ("on_failure", error, error, ValueError)
    assert "in body" in str(einfo)
    assert einfo.tb is not None
    assert task.calls[3] == ("after_return", "FAILURE", None)


def test_a_retry_calls_on_retry_with_the_reason_and_not_after_return():
    cause = KeyError("k")
    task, outcome = outcome_of(raising(Retry("later", cause, 3)))
    assert (outcome.state, outcome.error) == (states.RETRY, cause)
    assert task.hooks == ["before_start", "body", "on_retry"]
    assert task.calls[2][1] is cause


@pytest.mark.parametrize("exc", [None, "text of a cause"])
def test_a_retry_without_an_exception_is_its_own_reason(exc):
    retry = Retry("later", exc)
    _, outcome = outcome_of(raising(retry))
    assert outcome.error is retry


@pytest.mark.parametrize(("error", "state"), [(Ignore(), states.IGNORED), (Reject("r"), states.REJECTED)])
def test_ignored_and_rejected_runs_call_no_more_hooks(error, state):
    task, outcome = outcome_of(raising(error))
    assert outcome.state == state
    assert task.hooks == ["before_start", "body"]


@pytest.mark.parametrize("error", [SoftTimeLimitExceeded(), RootError("x"), GeneratorExit(), StopIteration()])
def test_any_other_exception_is_a_failure(error):
    _, outcome = outcome_of(raising(error))
    assert (outcome.state, outcome.error) == (states.FAILURE, error)


@pytest.mark.parametrize("error", [MemoryError(), SystemExit(3), KeyboardInterrupt()])
def test_what_ends_the_process_passes_through_and_the_run_is_left(error):
    with pytest.raises(type(error)):
        outcome_of(raising(error))
    assert get_current_run() is None


def test_an_error_in_before_start_fails_the_task_before_its_body():
    task = SampleTask(lambda: None)
    task.before_start = lambda *_: 1 / 0
    outcome = execute(Run(task, Context(id="id-1")), (), {}, ManualClock())
    assert (outcome.state, type(outcome.error)) == (states.FAILURE, ZeroDivisionError)
    assert task.hooks == ["on_failure", "after_return"]


@pytest.mark.parametrize("error", [ValueError("hook"), SystemExit(), RootError()])
def test_what_a_hook_raises_is_reported_and_changes_nothing(error):
    reported = []
    task = SampleTask(lambda: "value")

    def on_success(*_):
        raise error

    task.on_success = on_success
    outcome = execute(
        Run(task, Context(id="id-1")), (), {}, ManualClock(), hook_failed=lambda *said: reported.append(said)
    )
    assert outcome.state == states.SUCCESS
    assert reported == [("on_success", error)]
    assert task.hooks[-1] == "after_return"


def test_a_hook_can_be_interrupted_from_the_keyboard():
    task = SampleTask(lambda: "value")

    def on_success(*_):
        raise KeyboardInterrupt

    task.on_success = on_success
    with pytest.raises(KeyboardInterrupt):
        execute(Run(task, Context(id="id-1")), (), {}, ManualClock())


def test_the_seal_decides_what_the_hooks_see():
    failed = Outcome(states.FAILURE, error=ValueError("too big"))
    task, outcome = outcome_of(lambda: "value", seal=lambda _: failed)
    assert outcome is failed
    assert task.hooks == ["before_start", "body", "on_failure", "after_return"]


def test_a_coroutine_is_handed_to_its_runner():
    async def body():
        return "value"

    def run_coroutine(coroutine):
        with pytest.raises(StopIteration) as stopped:
            coroutine.send(None)
        return stopped.value.value

    _, outcome = outcome_of(body, run_coroutine=run_coroutine)
    assert outcome.value == "value"


def test_the_run_is_current_in_body_seal_and_hooks_and_not_after():
    seen = []
    task = SampleTask(lambda: seen.append(get_current_run()))
    task.on_success = lambda *_: seen.append(get_current_run())

    def seal(outcome):
        seen.append(get_current_run())
        return outcome

    run = Run(task, Context(id="id-1"))
    execute(run, (), {}, ManualClock(), seal=seal)
    assert seen == [run, run, run]
    assert get_current_run() is None


def test_only_the_body_may_be_broken_into():
    seen = {}
    task = SampleTask(lambda: seen.update(body=run.in_body))
    task.before_start = lambda *_: seen.update(before_start=run.in_body)
    task.on_success = lambda *_: seen.update(on_success=run.in_body)
    run = Run(task, Context(id="id-1"))

    def seal(outcome):
        seen.update(seal=run.in_body)
        return outcome

    execute(run, (), {}, ManualClock(), seal=seal)
    assert seen == {"before_start": True, "body": True, "seal": False, "on_success": False}
    assert not run.in_body


def test_a_body_that_raised_may_not_be_broken_into_any_more():
    task = SampleTask(lambda: 1 / 0)
    seen = []
    task.on_failure = lambda *_: seen.append(run.in_body)
    run = Run(task, Context(id="id-1"))
    execute(run, (), {}, ManualClock())
    assert seen == [False]


def test_the_traceback_begins_with_the_tasks_own_frames():
    _, outcome = outcome_of(raising(ValueError("no")))
    assert "celeriac" not in outcome.traceback
    assert outcome.traceback.endswith("ValueError: no\n")


def test_the_traceback_of_a_call_that_did_not_reach_the_body_shows_where_it_was_tried():
    task = SampleTask(None)
    task.perform = len
    outcome = execute(Run(task, Context(id="id-1")), (), {}, ManualClock())
    assert "task.perform(args, kwargs)" in outcome.traceback


def test_the_traceback_of_a_soft_limit_ends_where_the_body_was_broken_into():
    space = {"__name__": "celeriac.worker.some", "SoftTimeLimitExceeded": SoftTimeLimitExceeded}
    exec("def break_in():\n    raise SoftTimeLimitExceeded", space)

    def body():
        space["break_in"]()

    _, outcome = outcome_of(body)
    assert "in body" in outcome.traceback
    assert "in break_in" not in outcome.traceback


def test_a_huge_traceback_loses_its_middle():
    _, outcome = outcome_of(raising(ValueError("x" * 1_000_000 + "end")))
    assert len(outcome.traceback) < TRACEBACK_CHARS_MAX + 100
    assert outcome.traceback.endswith("end\n")


def test_an_exception_that_cannot_be_shown_is_a_failure_all_the_same():
    class Mute(Exception):
        def __str__(self):
            raise RuntimeError

        __repr__ = __str__

    _, outcome = outcome_of(raising(Mute()))
    assert outcome.state == states.FAILURE
    assert "Mute" in outcome.traceback


def test_a_recursion_without_end_is_a_failure():
    def body():
        return body()

    _, outcome = outcome_of(body)
    assert isinstance(outcome.error, RecursionError)


class Big:
    """Something in a variable of a body."""


def test_released_exceptions_hold_nothing_of_the_body():
    held = []

    def inner():
        thing = Big()
        held.append(weakref.ref(thing))
        raise KeyError(1)

    def body():
        thing = Big()
        held.append(weakref.ref(thing))
        try:
            inner()
        except KeyError as error:
            raise Retry("later", error) from error

    gc.disable()
    try:
        _, outcome = outcome_of(body)
        assert all(ref() is not None for ref in held)
        release(outcome.raised)
        # Where `sys` still names an exception that was handled, its frames live on: not ours to end.
        assert sys.exc_info() == (None, None, None)
        assert [ref() for ref in held] == [None, None]
    finally:
        gc.enable()


@dataclasses.dataclass(frozen=True)
class FrozenError(Exception):
    code: int


def test_exceptions_that_forbid_assignment_are_released_too():
    _, outcome = outcome_of(raising(FrozenError(3)))
    release(outcome.raised)
    assert outcome.error.__traceback__ is None


@pytest.mark.skipif(sys.version_info < (3, 11), reason="exception groups came with Python 3.11")
def test_the_members_of_an_exception_group_are_released_too():
    def body():
        try:
            raise ValueError("member")
        except ValueError as error:
            raise vars(builtins)["ExceptionGroup"]("group", [error]) from None

    _, outcome = outcome_of(body)
    release(outcome.raised)
    assert outcome.error.exceptions[0].__traceback__ is None


def test_releasing_a_circle_of_exceptions_ends():
    first, second = ValueError(1), ValueError(2)
    first.__context__, second.__context__ = second, first
    release(first)
    release(None)
    assert first.__traceback__ is None
