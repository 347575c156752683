"""What people should know of a worker's pools before it takes work: said once, in the log."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from celeriac.model.policy import EnginePolicy, TaskPolicy

log = logging.getLogger("celeriac.worker")

_NAMES_MAX = 5


def tell_of_pools(policy: EnginePolicy, tasks: Sequence[TaskPolicy]) -> None:
    """Log which limits do not hold everywhere, and which tasks do not run where they want to."""
    default = policy.pools[0].name
    names = {pool.name for pool in policy.pools}
    if "threads" in names or default == "asyncio":
        _tell_of_threads(policy, tasks, default)
    if default == "solo":
        return
    astray: dict[str, list[str]] = {}
    for task in tasks:
        if task.pool is not None and task.pool not in names:
            astray.setdefault(task.pool, []).append(task.name)
    for pool, wanting in sorted(astray.items()):
        log.info(
            "tasks that want the pool %s run in %s, for this worker has no such pool: %s",
            pool,
            default,
            _some(wanting),
            extra={"action": "pool_absent", "data": {"pool": pool, "instead": default, "tasks": len(wanting)}},
        )


def _tell_of_threads(policy: EnginePolicy, tasks: Sequence[TaskPolicy], default: str) -> None:
    limited = [
        task.name
        for task in tasks
        if task.soft_time_limit_s is not None
        and (task.pool == "threads" or (task.pool is None and default != "prefork"))
    ]
    is_limited = bool(limited) or policy.soft_time_limit_s is not None
    log.log(
        logging.WARNING if is_limited else logging.INFO,
        "a soft time limit cannot break into a blocking call of C code on a thread: there it is raised when the call "
        "returns; a hard limit ends the process%s",
        f" ({_some(limited)})" if limited else "",
        extra={"action": "soft_limits_on_threads", "data": {"tasks": len(limited)}},
    )


def _some(names: Sequence[str]) -> str:
    shown = sorted(names)[:_NAMES_MAX]
    more = len(names) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")
