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


class EnginePolicy(Struct, frozen=True, gc=False):
    """The worker's settings that its engine decides by. Durations in seconds."""

    children: int = 1
    slots_per_child: int = 1
    pool_kills: bool = True
    """True if a hard interrupt kills the child at once (one slot per child)."""
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
