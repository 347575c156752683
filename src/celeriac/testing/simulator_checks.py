"""What must never happen: checkers of safety, each independent of the engine and of the others."""

from __future__ import annotations

from collections import Counter, defaultdict
from math import inf

from celeriac.model.message import Receipt
from celeriac.testing.simulator_plan import TASKS
from celeriac.testing.simulator_world import Fact, Watcher, World


class NothingLost:
    """Every published task ends: with a final state, or among the dead or parked letters."""

    def __init__(self) -> None:
        self._published: set[str] = set()
        self._settled: set[str] = set()
        self._ended: set[str] = set()
        self._excused: set[str] = set()
        self._owed: dict[str, int] = {}
        """Acknowledged at their start, and the node that owes their outcome."""

    def see(self, world: World, fact: Fact) -> None:
        """Take in one fact."""
        what, task = fact.what, fact.task
        if what == "published":
            self._published.add(task)
            self._owed.pop(task, None)
        elif what == "outcome":
            self._settled.add(task)
            self._owed.pop(task, None)
        elif what in {"ended", "cut", "concluding"}:
            self._ended.add(task)
        elif what == "acked":
            if fact.flag:
                self._owed[task] = fact.node
            elif world.tasks[task].kind == "quiet":
                plan = world.tasks[task]
                if task not in self._ended and task not in world.store.cancelled and plan.expires_in_s is None:
                    world.violation(f"{task} was acknowledged but never ran")
                self._settled.add(task)
        elif what == "buried":
            self._settled.add(task)
        elif what == "node_killed":
            # At most once is the promise that such a task may be lost with its node, but never runs twice.
            gone = [owed for owed, node in self._owed.items() if node == fact.node]
            self._excused.update(gone)

    def end(self, world: World) -> None:
        """Judge."""
        for row in world.store.rows.values():
            if row.state in {"ready", "claimed"}:
                world.violation(f"{row.message.id} is still {row.state} at the end")
        for task in sorted(self._published - self._settled - self._excused):
            world.violation(f"{task} was published and came to no end")


class OneOutcome:
    """No task has two accepted outcomes, and no node settles one claim twice."""

    def __init__(self) -> None:
        self._outcomes: Counter[str] = Counter()
        self._settles: set[tuple[int, Receipt]] = set()
        self._lost: set[tuple[int, Receipt]] = set()

    def see(self, world: World, fact: Fact) -> None:
        """Take in one fact."""
        if fact.what == "outcome":
            self._outcomes[fact.task] += 1
            if self._outcomes[fact.task] > 1:
                world.violation(f"{fact.task} got a second outcome: {fact.state}")
        elif fact.what == "settle" and fact.receipt is not None:
            key = (fact.node, fact.receipt)
            if key in self._settles:
                world.violation(f"node {fact.node} settled claim {fact.receipt} twice")
            if key in self._lost:
                world.violation(f"node {fact.node} settled claim {fact.receipt}, which it knew it had lost")
            self._settles.add(key)
        elif fact.what == "knows_lost" and fact.receipt is not None:
            self._lost.add((fact.node, fact.receipt))

    def end(self, world: World) -> None:
        """Nothing is left to judge."""


class AtMostOnce:
    """What is acknowledged at its start begins once, and only after the acknowledgement was committed."""

    def __init__(self) -> None:
        self._acked: set[Receipt] = set()
        self._begun: Counter[str] = Counter()

    def see(self, world: World, fact: Fact) -> None:
        """Take in one fact."""
        if fact.what == "acked" and fact.flag and fact.receipt is not None:
            self._acked.add(fact.receipt)
        elif fact.what == "began" and world.tasks[fact.task].kind == "once":
            self._begun[fact.task] += 1
            allowed = 2 if world.tasks[fact.task].course == "retry" else 1
            if self._begun[fact.task] > allowed:
                world.violation(f"{fact.task} promises at most once and began again")
            if fact.receipt not in self._acked:
                world.violation(f"{fact.task} promises at most once and began before its acknowledgement")

    def end(self, world: World) -> None:
        """Nothing is left to judge."""


class JustVerdicts:
    """Crashes are counted only for what was running, and the final states have their causes."""

    def __init__(self) -> None:
        self._crashes: Counter[str] = Counter()
        self._cut: set[str] = set()
        self._ended: set[str] = set()
        self._failed: set[str] = set()

    def see(self, world: World, fact: Fact) -> None:
        """Take in one fact."""
        what, task = fact.what, fact.task
        if what == "crashed" and not fact.flag:
            self._crashes[task] += 1
        elif what == "cut":
            self._cut.add(task)
        elif what == "ended" and not fact.flag:
            self._ended.add(task)
        elif what == "counted":
            if fact.number > self._crashes[task]:
                world.violation(f"{task} was penalised for {fact.number:g} crashes, had {self._crashes[task]}")
        elif what == "buried" and not fact.flag:
            plan = world.tasks[task]
            limit = world.plan.policy.crash_limit
            if not plan.fault and plan.course != "fail" and self._crashes[task] < limit:
                world.violation(f"{task} was buried after {self._crashes[task]} crashes")
        elif what == "buried" and task and world.tasks[task].task in TASKS:
            world.violation(f"{task} was parked though its name is known")
        elif what == "outcome":
            self._judge(world, fact)

    def _judge(self, world: World, fact: Fact) -> None:
        task, plan = fact.task, world.tasks[fact.task]
        if fact.state == "FAILURE":
            self._failed.add(task)
        if fact.state == "SUCCESS" and task not in self._ended:
            world.violation(f"{task} succeeded without running")
        elif fact.state == "REVOKED":
            if task not in world.store.cancelled and plan.expires_in_s is None:
                world.violation(f"{task} is REVOKED, and nobody cancelled it")
        elif fact.state == "FAILURE" and plan.course in {"ok", "retry", "crash_once"} and plan.task in TASKS:
            crashes = self._crashes[task]
            if plan.fault or plan.hard_s is not None:
                return
            needed = {"once": 1, "final": 1}.get(plan.kind, world.plan.policy.crash_limit)
            if plan.kind == "once" and task in self._cut:
                return
            if crashes < needed:
                world.violation(f"{task} failed after {crashes} crashes without a fault of its own")

    def end(self, world: World) -> None:
        """What killed its process too often is kept as a dead letter, for people to look at."""
        dead = {row.message.id: row.crashes for row in world.store.rows.values() if row.state == "dead"}
        for task, crashes in dead.items():
            plan = world.tasks[task]
            if plan.course == "crash" and not plan.fault and crashes < world.plan.policy.crash_limit:
                world.violation(f"the dead letter of {task} counts {crashes} crashes")
        for task in sorted(self._failed - dead.keys()):
            plan = world.tasks[task]
            always = plan.course == "crash" and plan.kind in {"late", "quiet"} and plan.hard_s is None
            if always and not plan.fault:
                world.violation(f"{task} crashed too often, but is no dead letter")


class PatienceWithCrashes:
    """A task whose process dies is not given up, nor tried for ever."""

    def __init__(self) -> None:
        self._begun_crashes: Counter[str] = Counter()

    def see(self, world: World, fact: Fact) -> None:
        """Take in one fact."""
        if fact.what != "counted":
            return
        limit = world.plan.policy.crash_limit
        # The store itself counts when it sweeps after a dead node, whatever the number: hence one more.
        if fact.number > limit + 1:
            world.violation(f"{fact.task} crashed {fact.number:g} times and is tried still")

    def end(self, world: World) -> None:
        """Nothing is left to judge."""


class HandsOff:
    """Nodes that stop take nothing new, nodes that are gone do nothing."""

    def __init__(self) -> None:
        self._stopping: set[int] = set()
        self._gone: set[int] = set()
        self._acked: set[Receipt] = set()

    def see(self, world: World, fact: Fact) -> None:
        """Take in one fact."""
        what, node = fact.what, fact.node
        if what == "stopping":
            self._stopping.add(node)
        elif what in {"node_exited", "node_killed", "exit"}:
            self._gone.add(node)
        elif what == "left_behind":
            world.violation(f"node {node} ended and left claim {fact.receipt} to its lease")
        elif what == "acked" and fact.flag and fact.receipt is not None:
            self._acked.add(fact.receipt)
        elif node in self._gone and what in {"began", "run", "take", "spawn", "concluding"}:
            world.violation(f"node {node} is gone, but: {what} {fact.task}")
        elif node in self._stopping:
            if what == "take" and fact.number > 0:
                world.violation(f"node {node} stops, but asks for {fact.number:g} more")
            elif what == "run" and not fact.flag and fact.receipt not in self._acked:
                world.violation(f"node {node} stops, but hands {fact.task} to a child")
            elif what == "spawn":
                world.violation(f"node {node} stops, but starts a child")

    def end(self, world: World) -> None:
        """Nothing is left to judge."""


class Interrupts:
    """A run is told once of its soft limit and once of its hard one."""

    def __init__(self) -> None:
        self._told: set[tuple[int, int, int, str]] = set()

    def see(self, world: World, fact: Fact) -> None:
        """Take in one fact."""
        if fact.what == "interrupt":
            key = (fact.node, fact.child, fact.seq, fact.state)
            if key in self._told:
                world.violation(f"node {fact.node} interrupted job {fact.seq} ({fact.state}) twice")
            self._told.add(key)

    def end(self, world: World) -> None:
        """Nothing is left to judge."""


class CancelledStays:
    """What was cancelled does not begin any more, once word has got round."""

    _ROUND_S = 0.7
    """Word has got round: the slowest link, twice."""

    def __init__(self) -> None:
        self._at: dict[str, float] = defaultdict(lambda: inf)
        self._resumed_at: dict[int, float] = {}

    def see(self, world: World, fact: Fact) -> None:
        """Take in one fact."""
        if fact.what == "cancelled":
            self._at[fact.task] = min(self._at[fact.task], fact.at)
        elif fact.what in {"node_hung", "node_resumed"}:
            self._resumed_at[fact.node] = inf if fact.what == "node_hung" else fact.at
        elif fact.what == "began":
            known_at = max(self._at[fact.task], self._resumed_at.get(fact.node, 0.0)) + self._ROUND_S
            if fact.at > known_at and not any(plan.hogs for plan in world.plan.tasks):
                world.violation(f"{fact.task} began {fact.at - self._at[fact.task]:.2f} s after it was cancelled")

    def end(self, world: World) -> None:
        """Nothing is left to judge."""


def safety_checkers() -> list[Watcher]:
    """One of each."""
    return [
        NothingLost(),
        OneOutcome(),
        AtMostOnce(),
        JustVerdicts(),
        PatienceWithCrashes(),
        HandsOff(),
        Interrupts(),
        CancelledStays(),
    ]
