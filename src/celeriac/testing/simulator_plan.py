"""What happens in one simulated cluster: drawn from a seed, plain frozen values."""

from __future__ import annotations

import random
from typing import Literal

from msgspec import Struct

from celeriac.model.policy import EnginePolicy, PoolPolicy, TaskPolicy

TASKS = {
    policy.name: policy
    for policy in (
        TaskPolicy("late"),
        TaskPolicy("once", acks_late=False),
        TaskPolicy("final", acks_late=True, reject_on_worker_lost=False),
        TaskPolicy("quiet", ignore_result=True),
        TaskPolicy("back", acks_late=True, acks_on_timeout=False),
    )
}
"""The registered tasks of every simulated node, one per kind of promise."""

HEALTHY_AT_S = 14.0
"""From here on nothing goes wrong any more: what is left must come to its end."""

Course = Literal["ok", "fail", "crash", "crash_once", "hang", "retry"]
FaultKind = Literal[
    "kill_child",
    "kill_node",
    "kill_all",
    "hang",
    "jump",
    "stop",
    "outage",
    "resize",
    "cancel",
    "terminate",
    "steal",
    "slow_commits",
]


class TaskPlan(Struct, frozen=True, gc=False):
    """One task: when it is published and what its body does."""

    id: str
    task: str
    at: float
    duration_s: float
    course: Course = "ok"
    stubborn: bool = False
    """It catches soft limits and, where it shares its process, hard ones."""
    hogs: bool = False
    """Nothing else in its process gets a turn while it runs, not even the reader of recalls."""
    soft_s: float | None = None
    hard_s: float | None = None
    delay_s: float = 0.0
    expires_in_s: float | None = None
    fault: bool = False
    """Its head cannot be read."""


class Fault(Struct, frozen=True, gc=False):
    """One thing that goes wrong, or that an operator does. `a` and `b` choose the victim and the extent."""

    at: float
    kind: FaultKind
    a: int
    b: float


class Plan(Struct, frozen=True, gc=False):
    """One cluster and its fate."""

    seed: int
    policy: EnginePolicy
    nodes: int
    tasks: tuple[TaskPlan, ...]
    faults: tuple[Fault, ...]
    lease_s: float
    deaths_are_seen: bool
    """The store learns of a node's death at once, not only by its lease."""
    max_tasks_per_child: int | None
    crowded: bool
    """Links between the parts are slow now and then."""


def plan_of(seed: int) -> Plan:
    """The plan of a seed; the same for ever on every machine, as long as this function stays as it is."""
    rng = random.Random(seed)
    slots = rng.choice((1, 1, 1, 1, 2, 4, 8))
    nodes = rng.choice((1, 1, 2, 2, 3))
    policy = EnginePolicy(
        pools=(PoolPolicy("prefork", rng.choice((1, 1, 2, 2, 3)), slots, kills=slots == 1),),
        prefetch_multiplier=rng.choice((None, None, None, None, None, 0, 1, 4)),
        task_unknown=rng.choice(("park", "park", "fail")),
    )
    tasks = tuple(_task(rng, number) for number in range(rng.choice((3, 12, 30, 30, 60))))
    tasks += _burst(random.Random(-1 - seed))
    calm = rng.random() < 0.25
    faults = () if calm else tuple(_fault(rng) for _ in range(rng.choice((1, 2, 4, 8))))
    return Plan(
        seed=seed,
        policy=policy,
        nodes=nodes,
        tasks=tasks,
        faults=tuple(sorted(faults, key=lambda fault: fault.at)),
        lease_s=6.0,
        deaths_are_seen=rng.random() < 0.5,
        max_tasks_per_child=rng.choice((None, None, None, 1, 5)),
        crowded=rng.random() < 0.3,
    )


def _burst(rng: random.Random) -> tuple[TaskPlan, ...]:
    """Now and then so many tiny tasks at once that they flow in batches."""
    if rng.random() > 0.08:
        return ()
    at = rng.uniform(0.3, 6.0)
    hogs = rng.random() < 0.3
    return tuple(
        TaskPlan(f"b{number}", "late", at, rng.uniform(1e-5, 2e-3), hogs=hogs and number == 50)
        for number in range(rng.choice((150, 400)))
    )


def _task(rng: random.Random, number: int) -> TaskPlan:
    name = rng.choices(("late", "once", "final", "quiet", "back", "unknown"), (60, 18, 6, 8, 5, 3))[0]
    length = rng.choices(("tiny", "short", "medium", "long"), (50, 25, 20, 5))[0]
    duration_s = {
        "tiny": rng.uniform(1e-5, 1e-3),
        "short": rng.uniform(0.005, 0.045),
        "medium": rng.uniform(0.06, 0.5),
        "long": rng.uniform(1.0, 4.0),
    }[length]
    course: Course = rng.choices(("ok", "fail", "crash", "crash_once", "hang", "retry"), (78, 6, 4, 4, 4, 4))[0]
    soft_s = hard_s = None
    if course == "hang" or rng.random() < 0.1:
        hard_s = rng.choice((0.03, 0.3, 1.0, 2.0))
        soft_s = rng.choice((None, hard_s / 2))
    delayed = rng.random() < 0.1
    return TaskPlan(
        id=f"t{number}",
        task=name,
        at=rng.choice((0.3, 0.5, 1.0, 3.0)) if rng.random() < 0.7 else rng.uniform(0.0, 8.0),
        duration_s=duration_s,
        course=course,
        stubborn=rng.random() < 0.3,
        hogs=rng.random() < 0.05,
        soft_s=soft_s,
        hard_s=hard_s,
        delay_s=rng.uniform(0.1, 3.0) if delayed else 0.0,
        expires_in_s=rng.uniform(0.05, 3.0) if rng.random() < 0.05 else None,
        fault=rng.random() < 0.01,
    )


def _fault(rng: random.Random) -> Fault:
    kinds: tuple[FaultKind, ...] = (
        "kill_child",
        "kill_node",
        "kill_all",
        "hang",
        "jump",
        "stop",
        "outage",
        "resize",
        "cancel",
        "terminate",
        "steal",
        "slow_commits",
    )
    kind = rng.choices(kinds, (22, 8, 3, 8, 4, 14, 7, 8, 8, 8, 6, 4))[0]
    return Fault(at=rng.uniform(0.2, 9.0), kind=kind, a=rng.randrange(1 << 16), b=rng.random())
