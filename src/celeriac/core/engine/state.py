"""What a node knows: its children, the jobs it holds, and its clock of alarms.

Plain mutable data that `step` alone touches. A job that this node has claimed is a `Flight`, and is at any moment in
exactly one place: in the flights of a child, in the backlog, or (at most once, its child gone) among those
awaiting the confirmation of their acknowledgement.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Mapping
from math import inf

from msgspec import Struct, field

from celeriac.core.engine.effects import Effect, Exit, Final, SettleItem, Take
from celeriac.core.engine.events import Arrival
from celeriac.model.message import Head, Receipt, Verdict
from celeriac.model.policy import EnginePolicy, TaskPolicy

INNOCENT_S = 5.0
"""A child that was told to break off one job and dies within this time died of that: what else ran in it is innocent."""
NEIGHBOURS_S = 5.0
"""How long the neighbours of a job that does not end may finish before their child is killed."""
RETIRE_WAIT_S = 5.0
"""How long an empty child may take to end by itself before it is killed."""
CONCLUDE_WAIT_S = 5.0
"""How long a failure path may wait for a child to run it before the bare final state is settled."""
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
        "avg_s",
        "awaiting",
        "blocked",
        "broken_at",
        "condemned",
        "depth",
        "done",
        "failures",
        "flights",
        "id",
        "killed",
        "leaving",
        "look_at",
        "progress_at",
        "proven",
        "recalls",
        "replace",
        "retired",
        "seen",
        "slots",
        "up",
    )

    def __init__(self, child: int, failures: int) -> None:
        self.id = child
        self.slots = 0
        self.up = False
        self.leaving = False
        """It is given nothing more."""
        self.replace = True
        """Another is started when it dies."""
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


class State:
    """Everything one node's engine knows."""

    __slots__ = (
        "alarms",
        "asked",
        "backlog",
        "children",
        "code",
        "confirming",
        "ends_at",
        "exited",
        "learning",
        "look_at",
        "next_child",
        "next_seq",
        "once_share",
        "over",
        "pinned",
        "policy",
        "spawns",
        "stopping",
        "target",
        "tasks",
        "unknown_noted",
        "wake_at",
    )

    def __init__(self, policy: EnginePolicy, tasks: Mapping[str, TaskPolicy]) -> None:
        self.policy = policy
        self.tasks = tasks
        self.pinned = policy.prefetch_multiplier is not None
        self.children: dict[int, Child] = {}
        self.target = policy.pools[0].children
        self.spawns: list[tuple[float, int]] = []
        """Children to start: (when, failures so far in that place)."""
        self.backlog: deque[Flight] = deque()
        """Held, but in no child; mostly empty."""
        self.confirming: dict[Receipt, Flight] = {}
        self.alarms: list[tuple[float, int, int, int]] = []
        """A heap of (when, kind, child, seq)."""
        self.learning: list[Child] = []
        """Children that have finished something in this step."""
        self.look_at = inf
        """When to look at children again: the earliest of theirs."""
        self.asked = 0
        """The limit of the Take that is out."""
        self.once_share = 0.0
        """Which part of the latest arrivals promises at most once, smoothed."""
        self.next_seq = 1
        self.next_child = 1
        self.stopping = False
        self.over = False
        """The grace is over."""
        self.ends_at = inf
        self.code = 0
        self.exited = False
        self.unknown_noted: dict[str, float] = {}
        self.wake_at: float | None = None

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
        return not (self.backlog or self.confirming or any(child.flights for child in self.children.values()))


class Out(Struct):
    """The effects of one step, collected."""

    effects: list[Effect] = field(default_factory=list[Effect])
    items: list[SettleItem] = field(default_factory=list[SettleItem])
    take: Take | None = None
    exit: Exit | None = None
