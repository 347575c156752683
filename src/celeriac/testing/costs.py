"""Level five of the suites: what a verb costs, counted, and how soon who waits is woken, compared.

Nothing here measures against a clock's figure. Round trips are counted by a probe that the author of the adapter supplies;
latencies are compared with what a message between the same two threads or processes takes in the same run.
"""

from __future__ import annotations

import queue
import statistics
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, ClassVar, ParamSpec, Protocol

import pytest
from msgspec import Struct

from celeriac.testing.clients import Call, Client, let_pass, scale
from celeriac.testing.store_bench import LONG_WAIT_S, StoreBench

P = ParamSpec("P")

IDLE_S = 0.6
"""How long idle takers are watched."""
PICKUPS = 50
_PINGS = 25
_TRIPS_MAX = 15.0
"""Half of all wake-ups take less than this many times the work and the message they are made of. A good one takes two
or three; polling each 50 ms takes a hundred and more."""
_PAUSE_S = 0.002
"""Between two wake-ups, so that who waits has come to where it blocks."""


class CostProbe(Protocol):
    """Counts the round trips of one adapter, from outside: by a trace of the driver, a proxy, or the store itself."""

    def count(self) -> int:
        """Round trips so far: how often the store was asked and waited for. A pipeline, a transaction and a script are
        one each; a look that finds nothing is one too."""
        ...


class CostBench(StoreBench):
    """What tests of costs stand on."""

    looks_a_second_max: ClassVar[int] = 60
    """How often somebody who waits idly may look, each second."""

    def counted(self, adapter: Any) -> CostProbe:
        """The probe of an open adapter. Skips the test if the suite has none."""
        probe: CostProbe | None = self.cost_probe(adapter)
        if probe is None:
            pytest.skip(f"{self.adapter.__name__}: its suite gives no cost_probe, so nothing can be counted")
        return probe

    @staticmethod
    def trips(probe: CostProbe, verb: Callable[P, object], *args: P.args, **kwargs: P.kwargs) -> int:
        """What one call of a verb costs."""
        before = probe.count()
        verb(*args, **kwargs)
        return probe.count() - before

    def assert_idle(self, probe: CostProbe, call: Call[Any]) -> None:
        """Who waits in `call` looks rarely."""
        call.settle_in()
        began, before = time.monotonic(), probe.count()
        let_pass(IDLE_S)
        looks, took_s = probe.count() - before, time.monotonic() - began
        assert call.running, "nothing came for who waits"
        allowed = self.looks_a_second_max * took_s + 2
        assert looks <= allowed, f"{looks} looks in {took_s:.2f} s of waiting; {allowed:.0f} are allowed"

    def assert_woken_cheaply(
        self, probe: CostProbe, waiting: Call[Any], wake: Callable[[], object], trips: int
    ) -> None:
        """`wake` and what it wakes cost at most `trips`, and the looks that the time between allows."""
        waiting.settle_in()
        began, before = time.monotonic(), probe.count()
        wake()
        waiting.result(LONG_WAIT_S * scale())
        cost, took_s = probe.count() - before, time.monotonic() - began
        allowed = trips + self.looks_a_second_max * took_s
        assert cost <= allowed, f"a wake-up cost {cost} round trips; {allowed:.0f} are allowed"


class Pace(Struct, frozen=True):
    """What was measured of wake-ups."""

    latency_s: float
    """Median from the start of the waking verb to the return of the one that waited."""
    work_s: float
    """Median of the waking verb itself."""
    ping_s: float
    """Median of a message there and back between the two."""

    def check(self, polls_each_s: float) -> None:
        """Waking is made of the verb and a message, not of naps."""
        allowed_s = _TRIPS_MAX * (self.work_s + self.ping_s)
        shown = f"half of all wake-ups took {self.latency_s * 1e3:.2f} ms or more"
        assert self.latency_s <= allowed_s, (
            f"{shown}; the verb takes {self.work_s * 1e3:.2f} ms and a message {self.ping_s * 1e3:.2f} ms"
        )
        assert self.latency_s < polls_each_s * scale() / 2, (
            f"{shown}, which is polling each {polls_each_s * 1e3:.0f} ms"
        )


def pings(client: Client | None) -> float:
    """The median of a message there and back: to a process, or to a thread."""
    if client is not None:
        return statistics.median(_timed(partial(client.call, "ping")) for _ in range(_PINGS))
    with _echo() as call:
        return statistics.median(_timed(call) for _ in range(_PINGS))


def _timed(verb: Callable[[], object]) -> float:
    began = time.monotonic()
    verb()
    return time.monotonic() - began


@contextmanager
def _echo() -> Iterator[Callable[[], object]]:
    """A thread that answers."""
    there: queue.SimpleQueue[bool] = queue.SimpleQueue()
    back: queue.SimpleQueue[bool] = queue.SimpleQueue()

    def answer() -> None:
        while there.get():
            back.put(True)

    def call() -> None:
        there.put(True)
        back.get(timeout=LONG_WAIT_S)

    thread = threading.Thread(target=answer, daemon=True)
    thread.start()
    try:
        yield call
    finally:
        there.put(False)
        thread.join(LONG_WAIT_S)


def pause(number: int) -> None:
    """Let who waits block, never in step with anybody's naps."""
    let_pass(_PAUSE_S * (1 + number % 7 / 3))


def paced(wakes: Sequence[tuple[float, float, float]], client: Client | None, ping_s: float) -> Pace:
    """Of (start and end of the waking verb, return of who waited), and pings before and after."""
    return Pace(
        latency_s=statistics.median(woken - began for began, _, woken in wakes),
        work_s=statistics.median(ended - began for began, ended, _ in wakes),
        # The slower of two looks at the machine: it may have become busier meanwhile.
        ping_s=max(ping_s, pings(client)),
    )
