"""When a task runs again: back-off, and whether there is another try. Pure; chance is passed in."""

from __future__ import annotations

from datetime import datetime
from typing import Union

from msgspec import Struct

from celeriac.model.errors import Ignore, MaxRetriesExceededError, Retry

_DOUBLINGS_MAX = 64
"""More doublings than this exceed every delay that makes sense, and make integers without end."""


class Backoff(Struct, frozen=True, gc=False):
    """How long automatic retries wait. Celery's option names with `retry_` in front.

    `factor` None: no back-off, then `countdown_s` and, without it, `default_delay_s` hold.
    """

    factor: float | None = None
    delay_max_s: float = 600
    jitter: bool = True
    countdown_s: float | None = None
    default_delay_s: float = 180


class Again(Struct, frozen=True, gc=False):
    """Run again after `delay_s`, or at `eta`."""

    delay_s: float | None
    eta: datetime | None = None

    @property
    def when(self) -> datetime | float | None:
        """The moment or the delay, as `Retry.when` holds it."""
        return self.eta if self.eta is not None else self.delay_s


class GiveUp(Struct, frozen=True):
    """There is no other try: raise `error` (``from cause``)."""

    error: BaseException
    cause: BaseException | None = None


def backoff_s(factor: float, retries: int, delay_max_s: float = 600, chance: float | None = None) -> int:
    """Whole seconds to wait before retry number `retries` (0 is the first).

    Doubles with every retry, up to `delay_max_s`; a fraction of `factor` is cut off, and a factor under 1
    counts as 1. With `chance` (a random number from 0 up to, not including, 1) the delay is spread evenly over
    0 to that value, both included.
    """
    base = int(max(1, factor))
    delay_s = max(0, int(min(delay_max_s, base << min(max(retries, 0), _DOUBLINGS_MAX))))
    if chance is None:
        return delay_s
    return min(delay_s, int(chance * (delay_s + 1)))


def automatic_delay_s(backoff: Backoff, retries: int, chance: float) -> float:
    """How long an automatic retry waits. `chance` is a random number in [0, 1)."""
    if backoff.factor is not None:
        return backoff_s(backoff.factor, retries, backoff.delay_max_s, chance if backoff.jitter else None)
    return backoff.default_delay_s if backoff.countdown_s is None else backoff.countdown_s


def retries_automatically(
    error: BaseException,
    on: tuple[type[BaseException], ...],
    never_on: tuple[type[BaseException], ...] = (),
) -> bool:
    """True if `error` leads to an automatic retry: `on` and their subclasses do, `never_on` do not, and what a
    task raises to say that it retries already, or wants to be ignored, never does. A Reject may."""
    if isinstance(error, (Ignore, Retry, *never_on)):
        return False
    return isinstance(error, on)


class Attempt(Struct, frozen=True):
    """The run that asks for a retry.

    :param retries: how often it was retried before
    :param max_retries: how many retries there may be; None: without limit
    :param current: the exception that is being handled where `retry` was called, if any
    """

    name: str
    id: str | None
    retries: int
    max_retries: int | None
    task_args: object = ()
    task_kwargs: object = None
    current: BaseException | None = None


def decide_retry(
    attempt: Attempt,
    error: BaseException | None = None,
    *,
    countdown_s: float | None = None,
    eta: datetime | None = None,
    default_delay_s: float = 180,
) -> Union[Again, GiveUp]:
    """Whether and when `attempt` is followed by another. `error` is the `exc` that the caller gave.

    `eta` wins over `countdown_s`, which wins over the default; ``countdown_s=0`` is at once. A limit of n
    allows n retries, so n + 1 runs.
    """
    limit = attempt.max_retries
    if limit is None or attempt.retries < limit:
        if eta is not None:
            return Again(None, eta)
        return Again(default_delay_s if countdown_s is None else countdown_s)
    if error is not None:
        return GiveUp(error, attempt.current if attempt.current is not error else None)
    text = (
        f"Can't retry {attempt.name}[{attempt.id}] args:{attempt.task_args} kwargs:{attempt.task_kwargs or {}}: "
        f"all {limit} retries are used up"
    )
    exceeded = MaxRetriesExceededError(text, task_args=attempt.task_args, task_kwargs=attempt.task_kwargs or {})
    return GiveUp(exceeded, attempt.current)
