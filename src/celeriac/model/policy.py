"""What the parts below the front know of a registered task and of the worker's settings."""

from __future__ import annotations

from msgspec import Struct


class TaskPolicy(Struct, frozen=True, gc=False):
    """The settled options of one task that matter to a node. None: not said; the worker's default holds."""

    name: str
    time_limit_s: float | None = None
    soft_time_limit_s: float | None = None
    acks_late: bool | None = None
    """False: at most once, acknowledged at its start. None and True: acknowledged after the run."""
    acks_on_failure: bool | None = None
    """False: a failed run is buried."""
    acks_on_timeout: bool | None = None
    """False: a run over its hard limit goes back to the queue."""
    reject_on_worker_lost: bool | None = None
    """False together with ``acks_late=True``: the first crash is final. Otherwise crashes are retried."""
    ignore_result: bool = False
    track_started: bool | None = None
    """Whether a STARTED record is written when the body begins."""
    store_errors_even_if_ignored: bool = False
    expires_s: float | None = None
    pool: str | None = None
    """The pool it wants to run in. None, or one that the worker lacks: the worker's default pool."""


class PoolPolicy(Struct, frozen=True, gc=False):
    """One of a worker's pools: children of one kind."""

    name: str
    """`prefork`, `threads`, `asyncio` or `solo`."""
    children: int = 1
    slots: int = 1
    """Per child."""
    kills: bool = True
    """True if a hard interrupt kills the child at once (one slot per child, a process of its own)."""
    on_demand: bool = False
    """Its children are started at the first task that wants them; then they stay."""


class EnginePolicy(Struct, frozen=True, gc=False):
    """The worker's settings that its engine decides by. Durations in seconds."""

    pools: tuple[PoolPolicy, ...] = (PoolPolicy("prefork"),)
    """The first one is the default: it takes what wants no other."""
    time_limit_s: float | None = None
    soft_time_limit_s: float | None = None
    prefetch_multiplier: int | None = None
    """None: adaptive. n: exactly n per slot, never handed back. 0: as many as `depth_max`."""
    task_unknown: str = "park"
    """`park`, or `fail` for Celery's FAILURE NotRegistered."""
    crash_limit: int = 3
    """So many crashes of one task, and it is a dead letter."""
    crash_delays_s: tuple[float, ...] = (0.0, 1.0)
    """Pause before the retry after the first, second, ... crash; the last one repeats."""
    reserve_s: float = 0.1
    """Adaptive prefetch reserves about as much work as the pool finishes in this time."""
    depth_max: int = 512
    """Most jobs in flight per child."""
    batch_max: int = 256
    """Most messages asked for at once: bounds the length of one transaction."""
    overrun_s: float = 0.05
    """A job that runs longer than this gets the jobs behind it recalled."""
    hand_back_s: float = 0.08
    """Recalled jobs that find no slot by this time after the blocking job began go back to the broker."""
    interrupt_wait_s: float = 1.0
    """How long a hard interrupt may take before the child is killed."""
    respawn_max_s: float = 10.0
    """Longest pause before starting a child anew that keeps dying at its start."""
    aside_max: int = 2048
    """Several pools: so many messages a second may be handed back because their own pool is full, not more. The node sees
    half as many past a full pool."""
    alone_s: float = 1.0
    """A task that must run alone and finds no place is delivered again after this time, longer after each delivery."""
    extra_max: int = 64
    """Most children of one pool that may stand in for those whose tasks wait for results."""
