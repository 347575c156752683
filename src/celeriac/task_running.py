"""What a task does while it runs: its body, retries, states."""

# pyright: reportImportCycles=false

from __future__ import annotations

import random
import sys
from collections.abc import Mapping, Sequence
from contextvars import Token
from datetime import datetime
from types import CoroutineType
from typing import TYPE_CHECKING, Any, cast

from celeriac.core.retry import Attempt, Backoff, GiveUp, automatic_delay_s, decide_retry, retries_automatically
from celeriac.model.context import Context, Run, enter_run, leave_run
from celeriac.model.errors import Retry
from celeriac.model.policy import TaskPolicy
from celeriac.repeating import collect_retry, raise_original
from celeriac.settled import policy_of
from celeriac.task_base import BoundTask

if TYPE_CHECKING:
    from celeriac.task import Task


class RunningTask(BoundTask):
    """A task as its own code, and the worker, use it."""

    @property
    def policy(self) -> TaskPolicy:
        """What a worker decides by. It does not settle how the task is sent: a child that only runs tasks needs
        neither broker nor backend, nor their modules."""
        known, version = self._policy, self.app.conf.version
        if known is None or known[0] != version:
            known = (version, policy_of(cast("Task[Any, Any]", self), self.app))
            object.__setattr__(self, "_policy", known)
        return known[1]

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
        collect_retry(cast("Task[Any, Any]", self), args, kwargs, {**options, **when}, exc or current)
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

    def push_request(self, *args: Any, **kwargs: Any) -> None:
        """Make a request by hand the current one, for tests. Undo it with `pop_request`."""
        kwargs.setdefault("called_directly", True)
        token = enter_run(Run(cast("Task[Any, Any]", self), Context(*args, **kwargs)))
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
