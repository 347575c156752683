"""Run one task: its hooks and its body, in one order, whoever asks (a worker's child, or the caller eagerly).

Order: `before_start`, body, `seal` (the caller encodes the result, and may turn a success into a failure),
then `on_success`, `on_failure` or `on_retry`, then `after_return` for SUCCESS and FAILURE.

Only MemoryError, SystemExit and KeyboardInterrupt leave `execute`: the process is not fit to go on, or was told
to end. Everything else that a body raises, whatever its base, is an outcome.
"""

from __future__ import annotations

import builtins
import traceback
from collections.abc import Callable, Coroutine, Mapping, Sequence
from types import CoroutineType, TracebackType
from typing import Any

from celeriac.model import states
from celeriac.model.context import Run, get_current_run, leave_run, set_current_run
from celeriac.model.errors import Ignore, Reject, Retry, SoftTimeLimitExceeded, Terminated, TimeLimitExceeded
from celeriac.model.ports import Clock
from celeriac.model.run import ExceptionInfo, Outcome

TRACEBACK_CHARS_MAX = 65_536
"""Longer tracebacks lose their middle: an exception's text may be of any size."""

_PACKAGE = __name__.partition(".")[0]

_LINKS_MAX = 100
"""So many causes and contexts of an exception are released; chains are rarely longer than ten."""

_ENDS_PROCESS = (MemoryError, SystemExit, KeyboardInterrupt)

_BREAK_INS = (SoftTimeLimitExceeded, TimeLimitExceeded, Terminated)

_GROUPS: tuple[type[BaseException], ...] = tuple(
    value for name, value in vars(builtins).items() if name == "BaseExceptionGroup"
)
"""Exception groups, where the interpreter has them (3.11 and newer)."""

HookFailed = Callable[[str, BaseException], None]
"""Told the hook's name and what it raised; the outcome stands."""


def execute(
    run: Run,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    clock: Clock,
    *,
    seal: Callable[[Outcome], Outcome] | None = None,
    run_coroutine: Callable[[Coroutine[Any, Any, Any]], Any] | None = None,
    hook_failed: HookFailed | None = None,
) -> Outcome:
    """Run the task of `run` and return what became of it.

    `seal` is given the outcome of the body before the hooks see it and returns the one that counts. A coroutine
    that the body returns is handed to `run_coroutine`. The outcome holds the live exception; a worker calls
    `release` when it is done with it, so that no frame of the body outlives the run.

    Raises MemoryError, SystemExit and KeyboardInterrupt if the body does.
    """
    task = run.task
    task_id = run.context.id or ""
    hooks = task.own_hooks
    run.parent = get_current_run()
    token = set_current_run(run)
    try:
        started = clock.monotonic()
        try:
            try:
                # A time limit may break in while this is set, and nowhere else; so it always lands in here.
                run.in_body = True
                if run.broken_by is not None:
                    raise run.broken_by
                if "before_start" in hooks:
                    task.before_start(task_id, args, kwargs)
                value = task.perform(args, kwargs)
                if type(value) is CoroutineType and run_coroutine is not None:
                    value = run_coroutine(value)
            finally:
                run.in_body = False
                if run.guard is not None:
                    run.guard.close()
        except _ENDS_PROCESS:
            raise
        except BaseException as error:  # noqa: BLE001 - whatever a body raises is what became of it
            if run.guard is not None:
                # Another thread may have broken in on the way out.
                run.in_body = False
                run.guard.close()
            outcome = raised_outcome(error, clock.monotonic() - started)
        else:
            outcome = Outcome(states.SUCCESS, value, runtime_s=clock.monotonic() - started)
        if seal is not None:
            outcome = seal(outcome)
        if hooks:
            call_hooks(run, outcome, args, kwargs, hook_failed)
        return outcome
    finally:
        leave_run(token)


async def execute_async(
    run: Run,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    clock: Clock,
    *,
    seal: Callable[[Outcome], Outcome],
    hook_failed: HookFailed,
    translate: Callable[[BaseException], BaseException],
) -> Outcome:
    """`execute` for a coroutine task on the running loop; nothing but its body is awaited.

    `translate` is given what the body raised and says what it stands for. The calling `asyncio.Task` must be this
    run's own: the current run is a context variable.
    """
    task = run.task
    task_id = run.context.id or ""
    hooks = task.own_hooks
    set_current_run(run)
    started = clock.monotonic()
    try:
        try:
            run.in_body = True
            if run.broken_by is not None:
                raise run.broken_by
            if "before_start" in hooks:
                task.before_start(task_id, args, kwargs)
            value = task.perform(args, kwargs)
            if type(value) is CoroutineType:
                value = await value
        finally:
            run.in_body = False
    except _ENDS_PROCESS:
        raise
    except BaseException as error:  # noqa: BLE001 - whatever a body raises is what became of it
        outcome = raised_outcome(translate(error), clock.monotonic() - started)
    else:
        outcome = Outcome(states.SUCCESS, value, runtime_s=clock.monotonic() - started)
    outcome = seal(outcome)
    if hooks:
        call_hooks(run, outcome, args, kwargs, hook_failed)
    return outcome


def raised_outcome(error: BaseException, runtime_s: float = 0.0) -> Outcome:
    """The outcome of a body that raised `error`."""
    cause: BaseException = error
    if isinstance(error, Retry):
        state = states.RETRY
        if isinstance(error.exc, BaseException):
            cause = error.exc
    elif isinstance(error, Ignore):
        state = states.IGNORED
    elif isinstance(error, Reject):
        state = states.REJECTED
    else:
        state = states.FAILURE
    if state in (states.IGNORED, states.REJECTED):
        return Outcome(state, error=error, raised=error, runtime_s=runtime_s)
    return Outcome(
        state, error=cause, raised=error, einfo=ExceptionInfo(cause, traceback_text(error)), runtime_s=runtime_s
    )


def call_hooks(
    run: Run,
    outcome: Outcome,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    hook_failed: HookFailed | None = None,
) -> None:
    """Call the hooks that follow the end of a run, in order. What they raise is reported and changes nothing."""
    task, state, error = run.task, outcome.state, outcome.error
    task_id = run.context.id or ""
    own = task.own_hooks
    if state == states.SUCCESS:
        if "on_success" in own:
            _call("on_success", hook_failed, task.on_success, outcome.value, task_id, args, kwargs)
        if "after_return" in own:
            _call("after_return", hook_failed, task.after_return, state, outcome.value, task_id, args, kwargs, None)
    elif state == states.FAILURE:
        if "on_failure" in own:
            _call("on_failure", hook_failed, task.on_failure, error, task_id, args, kwargs, outcome.einfo)
        if "after_return" in own:
            # No einfo here, also for failures: what Celery's tasks are used to.
            _call("after_return", hook_failed, task.after_return, state, error, task_id, args, kwargs, None)
    elif state == states.RETRY and "on_retry" in own:
        _call("on_retry", hook_failed, task.on_retry, error, task_id, args, kwargs, outcome.einfo)


def _call(name: str, hook_failed: HookFailed | None, hook: Callable[..., None], *values: Any) -> None:
    try:
        hook(*values)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001 - the task has ended; its hook cannot change how
        if hook_failed is not None:
            hook_failed(name, error)


def traceback_text(error: BaseException) -> str:
    """The traceback as text, without our own frames, bounded; never raises an Exception."""
    try:
        if isinstance(error, _BREAK_INS):
            _cut_break_in(error.__traceback__)
        lines = traceback.format_exception(type(error), error, _users_part(error.__traceback__))
        text = "".join(lines)
    except Exception as failed:  # noqa: BLE001 - a __str__ or a source file may do anything
        return f"{type(error).__qualname__}: <its traceback cannot be shown: {type(failed).__qualname__}>\n"
    if len(text) <= TRACEBACK_CHARS_MAX:
        return text
    half = TRACEBACK_CHARS_MAX // 2
    return f"{text[:half]}\n... {len(text) - 2 * half} characters ...\n{text[-half:]}"


def _users_part(tb: TracebackType | None) -> TracebackType | None:
    """The traceback from the first frame that is not this package's; the last frame if all are."""
    while tb is not None and tb.tb_next is not None and _is_ours(tb):
        tb = tb.tb_next
    return tb


def _cut_break_in(tb: TracebackType | None) -> None:
    """Let the traceback end where the task was broken into, without the frames of the signal handler."""
    last_of_users: TracebackType | None = None
    while tb is not None:
        if not _is_ours(tb):
            last_of_users = tb
        tb = tb.tb_next
    if last_of_users is not None:
        last_of_users.tb_next = None


def _is_ours(tb: TracebackType) -> bool:
    return str(tb.tb_frame.f_globals.get("__name__")).partition(".")[0] == _PACKAGE


def release(error: BaseException | None) -> None:
    """Let go of the frames that an exception, its causes and its contexts hold, so that what the body had in
    its variables is freed at once, without waiting for the garbage collector."""
    seen: set[int] = set()
    waiting = [error]
    while waiting and len(seen) < _LINKS_MAX:
        link = waiting.pop()
        if link is None or id(link) in seen:
            continue
        seen.add(id(link))
        traceback.clear_frames(link.__traceback__)
        # Not by assignment: a class may forbid that (a frozen dataclass does).
        BaseException.with_traceback(link, None)
        waiting += (link.__cause__, link.__context__)
        waiting += getattr(link, "exceptions", ()) if isinstance(link, _GROUPS) else ()
        if isinstance(link, Retry) and isinstance(link.exc, BaseException):
            waiting.append(link.exc)
