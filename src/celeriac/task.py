"""`Task`: a function or class that can be sent, run and retried.

What becomes of a task's message when a run ends is one table: see `celeriac.worker.perform`.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Mapping, Sequence
from contextvars import Token
from datetime import datetime
from types import CoroutineType
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar

from celeriac.calling import adopt, make_call
from celeriac.canvas.making import Signs
from celeriac.core.options import TASK_OPTIONS
from celeriac.core.prepare import ArgumentCheck
from celeriac.core.retry import Attempt, Backoff, GiveUp, automatic_delay_s, decide_retry, retries_automatically
from celeriac.model.context import Context, Run, context_for, enter_run, get_current_run, leave_run
from celeriac.model.errors import Retry
from celeriac.model.policy import TaskPolicy
from celeriac.repeating import collect_retry, raise_original
from celeriac.result import AsyncResult, EagerResult
from celeriac.settled import (
    FROM_SETTINGS,
    Settled,
    check_task,
    error_classes,
    missing_attribute,
    policy_of,
    settle,
)
from celeriac.task_options import HOOKS, TaskOptions

if TYPE_CHECKING:
    from celeriac.app import Celeriac

P = ParamSpec("P")
R = TypeVar("R")


class Task(TaskOptions, Signs[R], Generic[P, R]):
    """A unit of work with a name. `@app.task` makes one of a function; a class of your own defines `run`.

    There is one instance per app and name, so what you keep on `self` stays between runs of one process.
    """

    app: Celeriac
    name: str

    def run(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """The body. A class-based task defines it."""
        raise NotImplementedError(f"task {self.name} defines no run()")

    @classmethod
    def on_bound(cls, app: Celeriac) -> None:
        """Called once when the task gets its app."""

    # made by the app

    def bind(self, app: Celeriac) -> Task[P, R]:
        """Belong to `app`; the app calls it. Raises TypeError or ValueError for an option that is wrong."""
        self.app = app
        self._settled: Settled | None = None
        self._policy: tuple[int, TaskPolicy] | None = None
        check_task(self)
        self._calls_itself = type(self).__call__ is not Task.__call__
        self._body: Callable[..., Any] = self.__call__ if self._calls_itself else self.run
        function = getattr(self.run, "__func__", self.run)
        # A method's first parameter is the task, and no argument of the call.
        self._check_arguments = ArgumentCheck(function, self.name, skip_first=function is not self.run)
        checks = app.strict_typing if self.typing is None else self.typing
        self._checks_arguments = checks and not self._calls_itself
        self._autoretry_for = error_classes(self, "autoretry_for")
        self._dont_autoretry_for = error_classes(self, "dont_autoretry_for")
        self.throws = error_classes(self, "throws")
        self._find_hooks()
        self.on_bound(app)
        return self

    own_hooks: frozenset[str] = frozenset()
    """The hooks that this task or its class defines. They are looked for when the task is bound and when an attribute
    is set on it: one that is put on a class later is not called, unless it replaces another."""

    def _find_hooks(self) -> None:
        own = {name for name in HOOKS if getattr(getattr(self, name), "__func__", None) is not vars(TaskOptions)[name]}
        object.__setattr__(self, "own_hooks", frozenset(own))

    def settled(self) -> Settled:
        """The options of this task as they hold now. Raises TypeError or ValueError for a wrong one."""
        settled, app = self._settled, self.app
        if settled is None or settled.version != app.conf.version + app.sender.generation:
            settled = settle(self, app)
            object.__setattr__(self, "_settled", settled)
        return settled

    @property
    def policy(self) -> TaskPolicy:
        """What a worker decides by. It does not settle how the task is sent: a child that only runs tasks needs
        neither broker nor backend, nor their modules."""
        known, version = self._policy, self.app.conf.version
        if known is None or known[0] != version:
            known = (version, policy_of(self, self.app))
            object.__setattr__(self, "_policy", known)
        return known[1]

    # calling

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run the body here and now, as a plain function."""
        run = get_current_run()
        if run is not None and run.task is self and self._calls_itself and not run.context.get("_entered"):
            # A class's own __call__ handed on to this one: still the run that the worker began.
            run.context.update(_entered=True)
            return self.run(*args, **kwargs)
        context = Context(args=args, kwargs=kwargs)
        token = enter_run(Run(self, context))
        try:
            return self.run(*args, **kwargs)
        finally:
            leave_run(token)

    def delay(self, *args: P.args, **kwargs: P.kwargs) -> AsyncResult[R]:
        """Send the task with these arguments. For options use `apply_async`."""
        return self.apply_async(args, kwargs)

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
        if settled.always_eager:
            return self.apply(args, kwargs, **options)
        message, retries, result = make_call(app, settled, args, kwargs, options, self)
        app.sender.send(message, retries)
        if get_current_run() is not None:
            adopt(result, settled, options)
        return result

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
        return run_eagerly(self, tuple(args or ()), dict(kwargs or {}), options, retries or 0, throw)

    # running

    def perform(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """Run the body with automatic retries applied; a coroutine is returned as such."""
        if not self._autoretry_for:
            return self._body(*args, **kwargs)
        try:
            value = self._body(*args, **kwargs)
        except self._autoretry_for as exc:
            again = self._retry_automatically(exc)
            if again is exc:
                raise
            raise again from exc
        return self._awaited(value) if type(value) is CoroutineType else value

    async def _awaited(self, coroutine: CoroutineType[Any, Any, Any]) -> Any:
        try:
            return await coroutine
        except self._autoretry_for as exc:
            again = self._retry_automatically(exc)
            if again is exc:
                raise
            raise again from exc

    def _retry_automatically(self, error: BaseException) -> BaseException:
        """What to raise for `error`: itself, or the retry it leads to. Raises what `retry` gives up with."""
        if not retries_automatically(error, self._autoretry_for, self._dont_autoretry_for):
            return error
        options = dict(self.retry_kwargs or {})
        factor = 1.0 if self.retry_backoff is True else float(self.retry_backoff) or None
        backoff = Backoff(
            factor,
            self.retry_backoff_max,
            self.retry_jitter,
            options.get("countdown"),
            self.default_retry_delay,
        )
        request = self.request
        if "eta" not in options:
            options["countdown"] = automatic_delay_s(backoff, request.retries, random.random())
        asked = request.get("_max_retries")
        if asked is not None:
            options["max_retries"] = asked
        return self.retry(exc=error, throw=False, **options)

    @property
    def request(self) -> Context:
        """The run this task is in: id, args, retries and so on. Outside of one, that of a plain call."""
        return context_for(self)

    def retry(
        self,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        exc: BaseException | None = None,
        throw: bool = True,
        eta: datetime | None = None,
        countdown: float | None = None,
        max_retries: int | None = None,
        **options: Any,
    ) -> Retry:
        """Run this task again later, under the same id; raises Retry, so that code behind it does not run.

        `exc` is what it failed with: it is stored with the state RETRY, and raised when no retries are left (without
        it, MaxRetriesExceededError). When: `eta`, else `countdown` seconds from now, else `default_retry_delay`.
        The repetition is committed together with the end of this run. With ``throw=False`` Retry is returned, and this
        run ends by its own outcome.

        Called in a plain function call, there is nothing to repeat: the original exception is raised.
        """
        request = self.request
        current = sys.exc_info()[1]
        if request.called_directly:
            raise_original(exc, current)
        if max_retries is not None:
            request.update(_max_retries=max_retries)
        decision = decide_retry(
            Attempt(
                self.name,
                request.id,
                request.retries,
                self.max_retries if max_retries is None else max_retries,
                request.args,
                request.kwargs,
                current,
            ),
            exc,
            countdown_s=countdown,
            eta=eta,
            default_delay_s=self.default_retry_delay,
        )
        if isinstance(decision, GiveUp):
            raise decision.error from decision.cause
        when = {"eta": decision.eta} if decision.eta is not None else {"countdown": decision.delay_s}
        collect_retry(self, args, kwargs, {**options, **when}, exc or current)
        again = Retry(exc=exc if exc is not None else current, when=decision.when, is_eager=request.is_eager)
        if throw:
            raise again
        return again

    def update_state(
        self, task_id: str | None = None, state: str | None = None, meta: Any = None, **kwargs: Any
    ) -> None:
        """Store a state of your own (by convention in capitals) with data, for those who watch the result.

        It is overwritten when the task ends. Raises BackendUnavailable, EncodeError.
        """
        request = self.request
        target = task_id or request.id
        if target is None:
            raise RuntimeError(f"{self.name}: update_state() needs a task_id outside of a run")
        if state is None:
            raise TypeError("update_state() needs a state, such as 'PROGRESS'")
        self.app.store_state(target, state, meta, request if task_id in {None, request.id} else None)

    def AsyncResult(self, task_id: str, **kwargs: Any) -> AsyncResult[R]:  # noqa: N802 - Celery's public name
        """The handle of a result of this task."""
        return AsyncResult(task_id, app=self.app, task_name=self.name, **kwargs)

    @property
    def backend(self) -> Any:
        """The app's result backend, opened."""
        return self.app.backend

    def push_request(self, *args: Any, **kwargs: Any) -> None:
        """Make a request by hand the current one, for tests. Undo it with `pop_request`."""
        kwargs.setdefault("called_directly", True)
        token = enter_run(Run(self, Context(*args, **kwargs)))
        self.__dict__.setdefault("_pushed", []).append(token)

    def pop_request(self) -> None:
        """Undo the last `push_request`."""
        token: Token[Run | None] = self.__dict__["_pushed"].pop()
        leave_run(token)

    def add_trail(self, result: Any) -> Any:
        """Record a result as a child of this run."""
        if self.trail:
            self.request.children.append(result)
        return result

    def __getattr__(self, name: str) -> Any:
        if name not in FROM_SETTINGS:
            raise AttributeError(missing_attribute(self, name))
        settled, app = self._settled, self.app
        if settled is None or settled.version != app.conf.version + app.sender.generation:
            settled = self.settled()
        return settled.from_settings[name]

    def __setattr__(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)
        if name in TASK_OPTIONS:
            object.__setattr__(self, "_settled", None)
            object.__setattr__(self, "_policy", None)
        elif name in HOOKS:
            self._find_hooks()

    def __reduce__(self) -> tuple[Any, ...]:
        from celeriac.current import task_named

        return (task_named, (self.name,))

    def __repr__(self) -> str:
        return f"<@task: {self.name} of {self.app.main or 'celeriac'}>"
