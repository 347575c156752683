"""Limits and terminate in every pool: enforced within seconds, told rightly, and paid for by nobody else.

The workers forgive no crash (``task_crash_limit=1``): a neighbour that were blamed for the end of its process would be
a dead letter at once, and its result an error.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec import Struct

from celeriac import AsyncResult
from celeriac.exceptions import SoftTimeLimitExceeded, TaskRevokedError, TimeLimitExceeded

from .conftest import SCALE, Stage, eventually, lines, staged

_ENFORCED_S = 15.0
"""A limit of a second, one more for a body that resists, five for its neighbours, and what a slow machine takes."""


class Mode(Struct, frozen=True):
    """A worker, and which bodies are broken off in it."""

    options: tuple[str, ...]
    kind: str
    """`sync` or `async`: of the bodies that are broken off."""
    neighbours: tuple[str, ...]
    breaks_sleep: bool = True
    """False: nothing but the death of the process ends one long call of C code."""


MODES = {
    "prefork": Mode(("-P", "prefork", "-c", "4"), "sync", ("sync", "sync", "sync")),
    "threads": Mode(("-P", "threads", "-c", "8"), "sync", ("sync", "sync", "sync"), breaks_sleep=False),
    "coroutines": Mode(("-P", "asyncio"), "async", ("async", "async", "async")),
    "threads of asyncio": Mode(("-P", "asyncio"), "sync", ("sync", "async", "async"), breaks_sleep=False),
    "solo": Mode(("-P", "solo"), "sync", ()),
    "mixed": Mode(("-c", "3"), "async", ("sync", "async", "async")),
}


class Played(Stage):
    """The stage of one mode."""

    mode: Mode
    number = 0

    def begin(self, task: str, **options: Any) -> AsyncResult[Any]:
        """Send a body that is to be broken off; return when it has begun."""
        self.number += 1
        trace = f"victim-{self.number}"
        result = self.send(f"{task}_{self.mode.kind}", trace, **options)
        eventually(lambda: lines(self.folder / trace))
        return result

    def neighbours(self, seconds: float = 1.5) -> list[AsyncResult[Any]]:
        """Start neighbours; return when they run."""
        self.number += 1
        trace = self.folder / f"neighbours-{self.number}"
        sent = [
            self.send(f"neighbour_{kind}", number, seconds, trace.name)
            for number, kind in enumerate(self.mode.neighbours)
        ]
        eventually(lambda: len(lines(trace)) >= len(sent))
        return sent


@pytest.fixture(scope="module", params=MODES)
def played(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Played]:
    """A worker of each mode in turn; all tests of a mode share it."""
    folder: Path = tmp_path_factory.mktemp("pool")
    with staged(folder) as stage:
        stage.__class__ = Played
        assert isinstance(stage, Played)
        stage.mode = MODES[request.param]
        stage.start(*stage.mode.options, "--", "task_crash_limit=1")
        yield stage


def ends_as(error: type[BaseException], result: AsyncResult[Any], state: str = "FAILURE") -> BaseException:
    """The exception of a task that was broken off, in time."""
    with pytest.raises(error) as caught:
        result.get(timeout=_ENFORCED_S * SCALE)
    assert result.state == state
    return caught.value


def are_intact(neighbours: list[AsyncResult[Any]], played: Played) -> None:
    """Every neighbour has its own result."""
    for number, result in enumerate(neighbours):
        value = result.get(timeout=20 * SCALE)
        assert value[:2] == [number, result.id]
    # And the worker takes more of each kind.
    for kind in (*played.mode.neighbours, played.mode.kind):
        result = played.send(f"neighbour_{kind}", 0, 0.0, "after")
        assert result.get(timeout=20 * SCALE)[1] == result.id


def test_a_soft_limit_is_caught_in_the_body_which_ends_as_it_likes(played: Played) -> None:
    neighbours = played.neighbours()
    result = played.begin("caught", soft_time_limit=0.5)
    assert result.get(timeout=_ENFORCED_S * SCALE) == "cleaned up"
    are_intact(neighbours, played)


def test_a_soft_limit_that_is_not_caught_fails_the_task(played: Played) -> None:
    neighbours = played.neighbours()
    ends_as(SoftTimeLimitExceeded, played.begin("short_sleeps", soft_time_limit=0.5))
    are_intact(neighbours, played)


def test_a_hard_limit_ends_a_body_that_sleeps(played: Played) -> None:
    neighbours = played.neighbours()
    error = ends_as(TimeLimitExceeded, played.begin("sleeping", time_limit=1))
    assert error.args == (1.0,)
    are_intact(neighbours, played)


def test_a_hard_limit_ends_a_busy_loop(played: Played) -> None:
    neighbours = played.neighbours()
    ends_as(TimeLimitExceeded, played.begin("busy", time_limit=1))
    are_intact(neighbours, played)


def test_a_hard_limit_ends_a_body_that_swallows_what_is_raised_in_it(played: Played) -> None:
    neighbours = played.neighbours()
    ends_as(TimeLimitExceeded, played.begin("stubborn", time_limit=1))
    are_intact(neighbours, played)


def test_a_running_task_is_terminated(played: Played) -> None:
    neighbours = played.neighbours()
    result = played.begin("short_sleeps")
    result.revoke(terminate=True)
    ends_as(TaskRevokedError, result, "REVOKED")
    are_intact(neighbours, played)


def test_a_running_task_that_sleeps_is_terminated(played: Played) -> None:
    neighbours = played.neighbours()
    result = played.begin("sleeping")
    result.revoke(terminate=True)
    ends_as(TaskRevokedError, result, "REVOKED")
    are_intact(neighbours, played)


def test_a_neighbour_that_outlasts_the_end_of_its_process_runs_again_unblamed(played: Played) -> None:
    if not played.mode.neighbours:
        pytest.skip("one task at a time: there are no neighbours")
    trace = f"long-{played.number}"
    long = played.send(f"long_once_{played.mode.kind}", trace)
    eventually(lambda: lines(played.folder / trace))
    before = time.monotonic()
    ends_as(TimeLimitExceeded, played.begin("stubborn", time_limit=1))
    if played.mode.kind == "sync" and "prefork" in played.mode.options:
        # A process of its own: it does not even notice.
        assert lines(played.folder / trace) == ["begin"]
        long.revoke(terminate=True)
        ends_as(TaskRevokedError, long, "REVOKED")
        return
    assert long.get(timeout=30 * SCALE) == "second"
    assert time.monotonic() - before < 30 * SCALE
