"""The ground under a simulated cluster: one fake clock, one queue of things to come, one list of what was."""

from __future__ import annotations

import heapq
import random
from collections import Counter
from collections.abc import Callable
from typing import Any, Protocol

from msgspec import Struct

from celeriac.model.message import Receipt
from celeriac.testing.simulator_plan import Plan, TaskPlan
from celeriac.testing.simulator_store import SimStore

WALL = 1_700_000_000.0
"""The wall clock stands this far ahead of the simulated one, which begins at zero."""


class Fact(Struct, gc=False):
    """Something that truly happened. Engines never see these; checkers see nothing else."""

    at: float
    what: str
    node: int = 0
    child: int = 0
    task: str = ""
    seq: int = 0
    receipt: Receipt | None = None
    state: str = ""
    number: float = 0.0
    flag: bool = False


class Watcher(Protocol):
    """A checker: sees every fact as it happens, in the order of happening; complains by `World.violation`."""

    def see(self, world: World, fact: Fact) -> None:
        """Take in one fact."""
        ...

    def end(self, world: World) -> None:
        """All is quiet, or time is up: judge."""
        ...


class World:
    """Clock, chance, store and history of one simulation."""

    def __init__(self, plan: Plan, watchers: list[Watcher]) -> None:
        self.plan = plan
        self.rng = random.Random(plan.seed * 2 + 1)
        self.now = 0.0
        self.watchers = watchers
        self.violations: list[str] = []
        self.history: list[Fact] = []
        self.counts: Counter[str] = Counter()
        self.tasks: dict[str, TaskPlan] = {task.id: task for task in plan.tasks}
        self.store = SimStore(self._store_tells, plan.lease_s, self._ready_at)
        self.takers: Callable[[], None] | None = None
        """Wakes those who wait for messages; the cluster sets it."""
        self.published: set[str] = set()
        self.ended: set[str] = set()
        """Tasks that have a final state."""
        self.waiters: dict[str, list[Callable[[], None]]] = {}
        """Who is told when these have ended."""
        self._queue: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._ties = 0

    def at(self, when: float, act: Callable[..., None], *args: Any) -> None:
        """Do this at that time; in the order of asking among equals."""
        self._ties += 1
        heapq.heappush(self._queue, (max(when, self.now), self._ties, act, args))

    def after(self, delay_s: float, act: Callable[..., None], *args: Any) -> None:
        """Do this in a while."""
        self.at(self.now + delay_s, act, *args)

    def turn(self) -> bool:
        """Do the next thing; False when there is none."""
        if not self._queue:
            return False
        self.now, _, act, args = heapq.heappop(self._queue)
        act(*args)
        return True

    def lag(self, usual_s: float) -> float:
        """How long a message between two parts takes; in crowded worlds, now and then much longer."""
        rng = self.rng
        if self.plan.crowded and rng.random() < 0.02:
            return rng.uniform(usual_s, 0.3)
        return usual_s * rng.uniform(0.3, 1.7)

    def tell(self, fact: Fact) -> None:
        """Put a fact on record and show it to the checkers."""
        self.history.append(fact)
        self.counts[fact.what] += 1
        if fact.what == "published":
            self.published.add(fact.task)
        elif fact.what == "outcome":
            self.ended.add(fact.task)
            for act in self.waiters.pop(fact.task, ()):
                self.after(self.lag(0.001), act)
        for watcher in self.watchers:
            watcher.see(self, fact)

    def violation(self, text: str) -> None:
        """A rule was broken."""
        self.violations.append(f"at {self.now:.4f} s: {text}")

    def _ready_at(self, when: float) -> None:
        self.at(when + self.lag(0.0005), self.ring)

    def ring(self) -> None:
        """Something is there: whoever is hungry may claim."""
        if self.takers is not None:
            self.takers()

    def _store_tells(
        self,
        what: str,
        node: int = 0,
        task: str = "",
        receipt: Receipt | None = None,
        state: str = "",
        number: float = 0.0,
        flag: bool = False,
    ) -> None:
        self.tell(Fact(self.now, what, node, 0, task, 0, receipt, state, number, flag))
