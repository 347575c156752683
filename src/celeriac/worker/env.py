"""What runs need: what all of one process share (`Env`), and what runs in one place after another have (`Seat`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager

from celeriac.model.clock import SystemClock
from celeriac.model.context import Place, Run
from celeriac.model.errors import SoftTimeLimitExceeded, TimeLimitExceeded
from celeriac.model.message import Record
from celeriac.model.ports import Clock
from celeriac.model.run import ResultPolicy, Runnable
from celeriac.model.shield import Guard, shield
from celeriac.wire.serializers import serializer_named
from celeriac.worker.coroutines import CoroutineRunner


class Env:
    """What all runs of one process share.

    :param place: node name, log level, the worker's own limits
    :param results: how results are written, and what messages may contain
    :param tasks: those that are known here, by name
    :param on_started: writes a STARTED record at once
    """

    def __init__(
        self,
        place: Place,
        results: ResultPolicy,
        *,
        tasks: Mapping[str, Runnable] | None = None,
        on_started: Callable[[Record], None] | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.place = place
        self.tasks: Mapping[str, Runnable] = {} if tasks is None else tasks
        self.results = results
        self.on_started = on_started
        self.clock: Clock = SystemClock() if clock is None else clock
        self.accept = frozenset(results.accept)
        self.serializer = serializer_named(results.serializer)


class Seat:
    """Where one job runs after another: a process, a thread, a place on an event loop.

    Made on the thread that performs.

    :param guard: that of this thread, if other threads may break in
    :param waiting: the runs' own (`Run.waiting`)
    """

    __slots__ = ("early", "env", "guard", "run", "run_coroutine", "waiting")

    def __init__(
        self,
        env: Env,
        guard: Guard | None = None,
        waiting: Callable[[], AbstractContextManager[None]] | None = None,
    ) -> None:
        self.env = env
        self.guard = guard
        self.waiting = waiting
        self.run_coroutine = CoroutineRunner(guard)
        self.early: BaseException | None = None
        """What wanted to break in while the present job had no run yet."""
        self.run: Run | None = None
        """The run of the present job, from before its first hook until its outcome is encoded."""

    def break_in(self, error: BaseException) -> None:
        """Raise `error` in the body that runs now, or as soon as it begins; nothing happens when it has ended.

        For a signal handler of the thread that performs. It never lands in our own code, so that neither an
        outcome nor a transaction is left half made.
        """
        run = self.run
        if run is None:
            self.early = error
        elif not run.in_body:
            run.broken_by = error
        else:
            if not isinstance(error, SoftTimeLimitExceeded):
                run.ended_by = _telling(error, run)
            if shield.mine.inside:
                shield.mine.threat = error
            elif not self.run_coroutine.break_in(error):
                raise error

    def is_in_body(self) -> bool:
        """True if the user's code runs: only then may something break in."""
        run = self.run
        return run is not None and run.in_body

    def open_to(self, error: BaseException) -> bool:
        """True if the body runs, into which another thread wants to break; it may, and will. One that is broken off for
        good can then only succeed or fail by that."""
        run = self.run
        if run is None or not run.in_body:
            return False
        if not isinstance(error, SoftTimeLimitExceeded):
            run.ended_by = _telling(error, run)
        return True

    def poke(self) -> None:
        """Wake the coroutine that waits on this seat's own loop, for what the guard holds back. From another thread."""
        self.run_coroutine.poke()

    def close(self) -> None:
        """Close the loop of its coroutines. On its own thread; idempotent."""
        self.run_coroutine.close()


def _telling(error: BaseException, run: Run) -> BaseException:
    """The error that breaks off a run, with the seconds of the limit: an order to break in does not say them."""
    if isinstance(error, TimeLimitExceeded) and not error.args:
        limit_s = run.context.time_limit
        if limit_s is not None:
            error.args = (limit_s,)
    return error
