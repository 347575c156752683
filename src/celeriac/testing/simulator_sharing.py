"""What must never happen where tasks share processes, pools, or a workflow: more checkers of safety."""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from math import inf

from celeriac.model.message import Receipt
from celeriac.testing.simulator_world import Fact, Watcher, World

_CONCLUDE_TRIES = 3
"""So many children may die over the failure path of a task; then nobody is asked any more."""
_ASIDE_MORE = 256
"""What a node may hand back beyond its budget: what it held when a pool lost its room without warning, and at its end."""


class LinkedEndsAreTold:
    """A task with links ends in a child, which tells those who depend on it; never by its bare final state.

    But for those that were acknowledged at their start: once its node has to go, nobody may be given them again.
    """

    def __init__(self) -> None:
        self._deaths: Counter[str] = Counter()

    def see(self, world: World, fact: Fact) -> None:
        """Take in one fact."""
        if fact.what in {"crashed", "cut"} and fact.flag:
            self._deaths[fact.task] += 1
        elif fact.what == "outcome" and fact.flag:
            plan = world.tasks[fact.task]
            if plan.linked and plan.kind != "once" and not plan.fault and self._deaths[fact.task] < _CONCLUDE_TRIES:
                world.violation(f"{fact.task} has links, and nobody told them of its end: {fact.state}")

    def end(self, world: World) -> None:
        """Nothing is left to judge."""


class NeighboursAreInnocent:
    """Nothing becomes a dead letter by a crash in company: then another one may have done it."""

    def __init__(self) -> None:
        self._company: dict[str, float] = {}
        """How many ran in the process that the task crashed with last; 0 if its node died."""

    def see(self, world: World, fact: Fact) -> None:
        """Take in one fact."""
        if fact.what == "crashed" and not fact.flag:
            self._company[fact.task] = fact.number
        elif fact.what == "buried" and not fact.flag and self._company.get(fact.task, 0) > 1:
            plan = world.tasks[fact.task]
            if not plan.fault and plan.course != "fail":
                world.violation(f"{fact.task} is buried, and {self._company[fact.task]:g} ran where it crashed")

    def end(self, world: World) -> None:
        """Nothing is left to judge."""


class InItsPool:
    """A task runs in the pool that it wants, if there is one, and else in the default pool."""

    def __init__(self) -> None:
        self._pools: dict[tuple[int, int], str] = {}

    def see(self, world: World, fact: Fact) -> None:
        """Take in one fact."""
        if fact.what == "spawn":
            self._pools[fact.node, fact.child] = fact.state
        elif fact.what in {"began", "concluding"}:
            wanted = world.plan.pool_of(world.tasks[fact.task]).name
            if self._pools[fact.node, fact.child] != wanted:
                world.violation(f"{fact.task} runs in a child of {self._pools[fact.node, fact.child]}, not of {wanted}")

    def end(self, world: World) -> None:
        """Nothing is left to judge."""


class EndedAsTold:
    """A run that the node told to end is SUCCESS, if it was through with it; else what the node ended it for."""

    def __init__(self) -> None:
        self._told: dict[tuple[int, int, int], str] = {}
        self._ended: dict[Receipt, str] = {}

    def see(self, world: World, fact: Fact) -> None:
        """Take in one fact."""
        run = (fact.node, fact.child, fact.seq)
        if fact.what == "interrupt" and fact.state == "terminate":
            self._told.setdefault(run, "REVOKED")
        elif fact.what == "interrupt" and fact.state == "hard":
            self._told.setdefault(run, "FAILURE")
        elif fact.what == "ended" and fact.receipt is not None and run in self._told:
            self._ended[fact.receipt] = self._told[run]
        elif fact.what == "outcome" and fact.receipt is not None:
            told = self._ended.get(fact.receipt, "")
            if told and fact.state not in {told, "SUCCESS"}:
                world.violation(f"{fact.task} was told to end as {told}, and is {fact.state}")

    def end(self, world: World) -> None:
        """Nothing is left to judge."""


class AsideWithinBudget:
    """A node does not go in circles: what it hands back because a pool is full is bounded, and not put off for long."""

    def __init__(self) -> None:
        self._crashes: dict[str, float] = {}
        self._lately: defaultdict[int, deque[float]] = defaultdict(deque)

    def see(self, world: World, fact: Fact) -> None:
        """Take in one fact."""
        if fact.what == "counted":
            self._crashes[fact.task] = fact.number
        elif fact.what == "aside":
            policy = world.plan.policy
            if self._crashes.get(fact.task, 0) >= max(1, policy.crash_limit - 1):
                return  # waits for a process to itself
            if fact.number:
                world.violation(f"{fact.task} was set aside for {fact.number:.2f} s, where no other node finds it")
            lately = self._lately[fact.node]
            lately.append(fact.at)
            while lately[0] <= fact.at - 1.0:
                lately.popleft()
            if len(lately) > policy.aside_max + _ASIDE_MORE:
                world.violation(f"node {fact.node} set {len(lately)} messages aside within a second")

    def end(self, world: World) -> None:
        """Nothing is left to judge."""


class OneAtATime:
    """In a pool of one child with one slot, no task begins while another one does something.

    Those that wait do nothing. But nobody can keep one from going on whose result has come, nor take back at once what
    was on its way to a child; and what a child holds in reserve it runs, so this is judged where nothing is reserved.
    """

    def __init__(self) -> None:
        self._active: dict[tuple[int, int], tuple[int, float]] = {}
        """Per node and child: which job runs there, and since when it does something; inf while it waits."""

    def see(self, world: World, fact: Fact) -> None:
        """Take in one fact."""
        place = (fact.node, fact.child)
        if fact.what in {"began", "concluding"}:
            self._judge(world, fact)
            self._active[place] = (fact.seq, fact.at)
        elif fact.what in {"waits", "resumes"} and place in self._active:
            self._active[place] = (fact.seq, inf if fact.what == "waits" else fact.at)
        elif fact.what in {"ended", "cut", "crashed"} and self._active.get(place, (0, 0.0))[0] == fact.seq:
            self._active.pop(place, None)

    def _judge(self, world: World, fact: Fact) -> None:
        policy, faults = world.plan.policy, world.plan.faults
        (pool, *others) = policy.pools
        if others or not pool.kills or pool.children > 1 or policy.prefetch_multiplier != 1:
            return
        if any(fault.kind == "resize" for fault in faults):
            return
        on_its_way_s = 0.7 if world.plan.crowded else 0.01
        for (node, child), (seq, since) in self._active.items():
            if node == fact.node and child != fact.child and fact.at - since > on_its_way_s:
                world.violation(f"{fact.task} began while job {seq} ran in child {child}, which has the only slot")

    def end(self, world: World) -> None:
        """Nothing is left to judge."""


def sharing_checkers() -> list[Watcher]:
    """One of each."""
    return [
        LinkedEndsAreTold(),
        NeighboursAreInnocent(),
        InItsPool(),
        EndedAsTold(),
        AsideWithinBudget(),
        OneAtATime(),
    ]
