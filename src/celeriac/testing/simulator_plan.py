"""What happens in one simulated cluster: drawn from a seed, plain frozen values."""

from __future__ import annotations

import random
from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from celeriac.model.policy import EnginePolicy, PoolPolicy, TaskPolicy

POOLS = (None, "prefork", "threads", "asyncio")
"""What a simulated task may want; where it is not there, it runs in the default pool."""


def _registered(pool: str | None) -> list[TaskPolicy]:
    end = f"@{pool}" if pool else ""
    return [
        TaskPolicy("late" + end, pool=pool),
        TaskPolicy("once" + end, acks_late=False, pool=pool),
        TaskPolicy("final" + end, acks_late=True, reject_on_worker_lost=False, pool=pool),
        TaskPolicy("quiet" + end, ignore_result=True, pool=pool),
        TaskPolicy("back" + end, acks_late=True, acks_on_timeout=False, pool=pool),
    ]


TASKS = {policy.name: policy for pool in POOLS for policy in _registered(pool)}
"""The registered tasks of every simulated node, one per kind of promise and pool."""

HEALTHY_AT_S = 14.0
"""From here on nothing goes wrong any more: what is left must come to its end."""

MIXED_FROM = 1_000_000
"""From this seed on, clusters have several pools or slots, tasks that wait for others, and messages with links."""

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
    linked: bool = False
    """Others depend on its end."""
    waits_for: tuple[str, ...] = ()
    """In the middle of its body it sends these tasks, and waits until all of them have ended."""
    sent_by: str = ""
    """The task that sends this one; nobody else does."""

    @property
    def kind(self) -> str:
        """Its promise: its name without its pool."""
        return self.task.partition("@")[0]


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

    def pool_of(self, task: TaskPlan) -> PoolPolicy:
        """Where a task runs."""
        wanted = task.task.partition("@")[2]
        return next((pool for pool in self.policy.pools if pool.name == wanted), self.policy.pools[0])


def plan_of(seed: int) -> Plan:
    """The plan of a seed; the same for ever on every machine, as long as this function stays as it is."""
    if seed >= MIXED_FROM:
        return mixed_plan_of(seed)
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


def mixed_plan_of(seed: int) -> Plan:
    """Like `plan_of`, for the second family of clusters."""
    rng = random.Random(seed)
    policy = EnginePolicy(
        pools=_pools(rng),
        prefetch_multiplier=rng.choice((None, None, None, None, None, None, 0, 1, 4)),
        task_unknown=rng.choice(("park", "fail")),
        aside_max=rng.choice((512, 512, 64)),
    )
    names = [pool.name for pool in policy.pools]
    tasks = [_placed(rng, _task(rng, number), names) for number in range(rng.choice((3, 12, 30, 60, 120)))]
    for number in range(rng.choice((0, 0, 1, 4, 12))):
        tasks += _family(rng, f"p{number}", names, rng.choice((1, 1, 2, 3)))
    calm = rng.random() < 0.4
    faults = () if calm else tuple(_fault(rng) for _ in range(rng.choice((1, 2, 4))))
    return Plan(
        seed=seed,
        policy=policy,
        nodes=rng.choice((1, 1, 1, 2)),
        tasks=tuple(tasks),
        faults=tuple(sorted(faults, key=lambda fault: fault.at)),
        lease_s=6.0,
        deaths_are_seen=rng.random() < 0.5,
        max_tasks_per_child=rng.choice((None, None, None, None, 1, 5)),
        crowded=rng.random() < 0.2,
    )


def _pools(rng: random.Random) -> tuple[PoolPolicy, ...]:
    prefork = PoolPolicy("prefork", rng.choice((1, 1, 2, 3)))
    threads = PoolPolicy("threads", rng.choice((1, 1, 2)), rng.choice((1, 2, 4, 8)), kills=False)
    asyncio = PoolPolicy("asyncio", 1, rng.choice((4, 20, 100)), kills=False, on_demand=rng.random() < 0.7)
    pools = ((prefork, asyncio), (prefork, asyncio, threads), (threads, asyncio), (prefork,), (threads,), (asyncio,))
    return rng.choices(pools, (40, 20, 10, 10, 12, 8))[0]


def _placed(rng: random.Random, task: TaskPlan, pools: list[str]) -> TaskPlan:
    """The task with a wish for a pool, maybe, and with links, maybe."""
    wish = rng.choice((None, *pools, "threads"))
    name = f"{task.task}@{wish}" if wish and task.task != "unknown" else task.task
    course = task.course
    if course == "crash" and rng.random() < 0.5:
        course = "ok"  # where many share a process, few crashes are trouble enough
    return replace(task, task=name, course=course, hogs=False, linked=rng.random() < 0.25)


def _family(rng: random.Random, name: str, pools: list[str], depth: int, sent_by: str = "") -> list[TaskPlan]:
    """A task, and those that it waits for, and those that they wait for."""
    members: list[TaskPlan] = []
    waits_for: list[str] = []
    if depth:
        for number in range(rng.choice((1, 1, 2, 3))):
            waits_for.append(f"{name}.{number}")
            members += _family(rng, waits_for[-1], pools, depth - 1, name)
    wish = rng.choice((None, *pools))
    hard_s = rng.choice((0.3, 1.5)) if rng.random() < 0.1 else None
    parent = TaskPlan(
        id=name,
        task=f"late@{wish}" if wish else "late",
        at=rng.choice((0.3, 0.5, 1.0)),
        duration_s=rng.choice((0.001, 0.02, 0.2)),
        course=rng.choices(("ok", "crash_once"), (95, 5))[0],
        hard_s=hard_s,
        linked=rng.random() < 0.25,
        waits_for=tuple(waits_for),
        sent_by=sent_by,
    )
    return [parent, *members]
