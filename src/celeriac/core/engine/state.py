"""What a node knows: its children, the jobs it holds, and its clock of alarms.

Plain mutable data that `step` alone touches. A job that this node has claimed is a `Flight`, and is at any moment in
exactly one place: in the flights of a child, in a line of its pool, or (at most once, its child gone) among those
awaiting the confirmation of their acknowledgement.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Mapping
from itertools import chain
from math import inf
from typing import NamedTuple

from msgspec import Struct, field

from celeriac.core.engine.effects import Effect, Exit, Final, SettleItem, Take
from celeriac.core.engine.events import Arrival
from celeriac.model.message import Head, Receipt, Verdict
from celeriac.model.policy import EnginePolicy, PoolPolicy, TaskPolicy

INNOCENT_S = 5.0
"""A child that was told to break off one job and dies within this time died of that: what else ran in it is innocent."""
NEIGHBOURS_S = 5.0
"""How long the neighbours of a job that does not end may finish before their child is killed."""
RETIRE_WAIT_S = 5.0
"""How long an empty child may take to end by itself before it is killed."""
CONCLUDE_WAIT_S = 5.0
"""How long a failure path may wait for a child to run it before the bare final state is settled."""
CONCLUDE_TRIES_MAX = 3
"""So many children may die over the failure path of one linked task before the bare final state is settled."""
ALONE_MAX = 4
"""So many children of a pool may run tasks alone that have killed their children before: one after the other is slow,
and each is a process."""
ALONE_WAIT_S = 1.0
"""How long such a task may wait here for a child of its own: as long as one takes to start, and some runs."""
START_WAIT_S = 1.0
"""How long messages may wait here for the first child of a pool that is started by them."""
LINGER_S = 5.0
"""How long a child without a purpose stays, in case there is one again: starting one for each wait would cost more."""
CONFIRM_WAIT_S = 1.0
"""How long an ending node waits for acknowledgements under way once its grace is over."""
UNKNOWN_NOTE_S = 60.0
"""A task name that nobody here knows is noted this often."""
UNKNOWN_NAMES_MAX = 1000
"""So many unknown names are remembered; beyond it the memory of having noted them starts anew."""

EPSILON_S = 1e-6
"""Sums of floats may miss by less than this."""

SOFT = 0
HARD = 1
KILL = 2
"""A hard interrupt had no effect in time."""
END = 3
"""A child that should be gone is not."""
SPARE = 4
"""A child may have had no purpose for long enough."""


class Flight(Struct, gc=False):
    """One job in this node's hands."""

    seq: int
    arrival: Arrival
    head: Head
    task: TaskPolicy
    once: bool = False
    """At most once: acknowledged before it begins."""
    acked: bool = False
    """Acknowledged: nothing is left to settle but its result."""
    confirming: bool = False
    sent_at: float = 0.0
    started_at: float | None = None
    recalled: bool = False
    release_at: float = inf
    """When it goes back to the broker (or, concluding, is settled bare) if it is still in the backlog."""
    lost: bool = False
    """The claim is no longer ours: whatever comes of it is dropped."""
    broken: bool = False
    """It was told to end."""
    cancel: str | None = None
    """Cancelled before it was seen to begin: "" means only if it has not begun; else the signal to end it by."""
    final: Final | None = None
    """What becomes of it when its child dies; for a concluding flight what it concludes with."""
    verdict: Verdict | None = None
    """Set for a concluding flight: the verdict that was reached before."""
    waiting: bool = False
    """It runs, but only waits for the result of another task: its slot is free for others."""
    tries: int = 0
    """Concluding: how many children have died over it."""

    @property
    def concluding(self) -> bool:
        """True for the failure path of a task whose own child is gone."""
        return self.verdict is not None

    @property
    def receipt(self) -> Receipt | None:
        """What to settle it by; None when it is acknowledged already."""
        return None if self.acked else self.arrival.delivery.receipt


class Child:
    """A process that runs jobs, in order, in one or more slots."""

    __slots__ = (
        "alone",
        "avg_s",
        "awaiting",
        "base",
        "blocked",
        "broken_at",
        "condemned",
        "depth",
        "done",
        "failures",
        "flights",
        "home",
        "id",
        "killed",
        "leaving",
        "look_at",
        "progress_at",
        "proven",
        "recalls",
        "replace",
        "resting",
        "rests_from",
        "retired",
        "seen",
        "slots",
        "up",
        "waits",
    )

    def __init__(self, child: int, home: Pool, failures: int, *, alone: bool = False) -> None:
        self.id = child
        self.home = home
        self.alone = alone
        """It runs one job at a time, of those that have killed their children before."""
        self.base = 0
        """Its slots while no job in it waits."""
        self.slots = 0
        """How many of its flights can run: jobs that wait for results occupy none."""
        self.waits = 0
        """How many of its jobs wait for the results of others."""
        self.up = False
        self.leaving = False
        """It is given nothing more."""
        self.replace = not alone
        """Another is started when it dies."""
        self.resting = False
        """Whether it still has a purpose is looked at from time to time."""
        self.rests_from = -inf
        """Since when it is one that nobody needs, while it has nothing to do."""
        self.retired = False
        """It was asked to end."""
        self.killed = False
        self.condemned = False
        """A job in it does not end: it is killed as soon as its neighbours are through."""
        self.proven = False
        """It has finished something."""
        self.failures = failures
        """How many children before it, in its place, died without proving anything."""
        self.flights: dict[int, Flight] = {}
        """In the order of dispatch: the first `slots` of them run, the others wait."""
        self.awaiting = 0
        """How many flights keep a slot until their acknowledgement is confirmed."""
        self.seen = 0
        """How many flights were seen to begin."""
        self.done = 0
        """How many have finished in this step."""
        self.avg_s: float | None = None
        """Seconds per job, smoothed, while it had work."""
        self.depth = 1
        self.blocked = False
        """All its slots are in jobs that overrun."""
        self.progress_at = 0.0
        """When it last finished a job, or was given one while a slot was idle."""
        self.look_at = inf
        """When to look at it again."""
        self.broken_at = -inf
        """When it was last told to break off a job."""
        self.recalls: deque[tuple[int, ...]] = deque()
        """Recalls that it has not answered."""

    @property
    def pool(self) -> str:
        """The name of its pool."""
        return self.home.name


class Pool:
    """Children of one kind, and what waits for them."""

    __slots__ = (
        "alone",
        "backlog",
        "dormant",
        "hosts",
        "name",
        "noted_at",
        "once_share",
        "policy",
        "shared",
        "spares",
        "started_at",
        "suspects",
        "target",
    )

    def __init__(self, policy: PoolPolicy, *, on_demand: bool) -> None:
        self.policy = policy
        self.name = policy.name
        self.shared = not policy.kills and policy.name != "solo"
        """Several jobs may be in one process: that of a solo pool is the node's own, and runs one at a time."""
        self.target = policy.children
        self.dormant = on_demand
        """True until the first task wants this pool."""
        self.started_at = -inf
        """When it awoke."""
        self.hosts: list[Child] = []
        """The children that take what comes."""
        self.spares: list[Child] = []
        """Those that stood in for children whose jobs waited; they finish what they have, and are given nothing."""
        self.alone: list[Child] = []
        """Those that run suspects, one at a time each."""
        self.backlog: deque[Flight] = deque()
        """Held, but in no child; mostly empty."""
        self.suspects: deque[Flight] = deque()
        """Like the backlog, for jobs that must have a process to themselves."""
        self.once_share = 0.0
        """Which part of the latest arrivals promises at most once, smoothed."""
        self.noted_at = -inf
        """When it was last noted that more jobs wait than others can stand in for."""


class Start(NamedTuple):
    """A child that is to be started."""

    at: float
    pool: Pool
    failures: int
    """So far, in that place."""
    alone: bool = False


class State:
    """Everything one node's engine knows."""

    __slots__ = (
        "alarms",
        "aside",
        "aside_at",
        "asked",
        "children",
        "code",
        "confirming",
        "ends_at",
        "exited",
        "home",
        "learning",
        "lines",
        "look_at",
        "mixed",
        "next_child",
        "next_seq",
        "over",
        "pinned",
        "policy",
        "pools",
        "refill_at",
        "rest_at",
        "spawns",
        "stopping",
        "tasks",
        "unknown_noted",
        "waits_note_at",
        "waits_noted",
        "wake_at",
    )

    def __init__(self, policy: EnginePolicy, tasks: Mapping[str, TaskPolicy]) -> None:
        self.policy = policy
        self.tasks = tasks
        self.pinned = policy.prefetch_multiplier is not None
        # The default pool is never started on demand: it is by its hunger that anything comes.
        self.pools = {pool.name: Pool(pool, on_demand=pool.on_demand and n > 0) for n, pool in enumerate(policy.pools)}
        assert len(self.pools) == len(policy.pools) > 0, "a worker has pools of different names"
        self.home = next(iter(self.pools.values()))
        """The default pool."""
        self.mixed = len(self.pools) > 1
        self.lines = tuple(line for pool in self.pools.values() for line in (pool.backlog, pool.suspects))
        """All places where jobs wait that are in no child."""
        self.children: dict[int, Child] = {}
        self.spawns: list[Start] = []
        """Children to start."""
        self.confirming: dict[Receipt, Flight] = {}
        self.alarms: list[tuple[float, int, int, int]] = []
        """A heap of (when, kind, child, seq)."""
        self.learning: list[Child] = []
        """Children that have finished something in this step."""
        self.look_at = inf
        """When to look at children again: the earliest of theirs."""
        self.asked = 0
        """The limit of the Take that is out."""
        self.aside = policy.aside_max / 2
        """How many messages may be set aside now, as of `aside_at`."""
        self.aside_at = -inf
        self.rest_at = -inf
        """Before this, nothing is asked for past a full pool."""
        self.refill_at = inf
        """When enough of them may be set aside again to ask for more, if that is what the node waits for."""
        self.next_seq = 1
        self.next_child = 1
        self.stopping = False
        self.over = False
        """The grace is over."""
        self.ends_at = inf
        self.waits_note_at = inf
        """When to say that all that still runs waits for others, if that is so until then."""
        self.waits_noted = False
        self.code = 0
        self.exited = False
        self.unknown_noted: dict[str, float] = {}
        self.wake_at: float | None = None

    @property
    def backlog(self) -> list[Flight]:
        """All that is held, but in no child."""
        return list(chain.from_iterable(self.lines))

    def pool_of(self, task: TaskPolicy) -> Pool:
        """Where a task runs: in the pool that it wants, or, where there is none of that name, in the default one."""
        name = task.pool
        return self.home if name is None else self.pools.get(name, self.home)

    def line_of(self, flight: Flight) -> deque[Flight]:
        """Where a job waits that is in no child."""
        pool = self.pool_of(flight.task)
        return pool.suspects if flight.verdict is None and self.is_suspect(flight, pool) else pool.backlog

    def is_suspect(self, flight: Flight, pool: Pool) -> bool:
        """True if this job must have a process to itself.

        When a process that hosts many jobs dies by itself, nobody knows which of them did it, and each that ran counts
        a crash. So that this never makes a dead letter of an innocent one, the last run that a task is granted is a run
        alone: what dies then has killed itself. (With a crash limit of 1 there is no run to spare for that.)
        """
        return pool.shared and flight.arrival.delivery.crashes >= max(1, self.policy.crash_limit - 1)

    def take_seq(self) -> int:
        """The next number of a job."""
        seq = self.next_seq
        self.next_seq = seq + 1
        return seq

    def alarm(self, at: float, kind: int, child: int, seq: int = 0) -> None:
        """Look at this job or child at that time."""
        heapq.heappush(self.alarms, (at, kind, child, seq))

    def idle(self) -> bool:
        """True if the node holds no job at all."""
        held = any(self.lines) or any(child.flights for child in self.children.values())
        return not held and not self.confirming


class Out(Struct):
    """The effects of one step, collected."""

    effects: list[Effect] = field(default_factory=list[Effect])
    items: list[SettleItem] = field(default_factory=list[SettleItem])
    take: Take | None = None
    exit: Exit | None = None
