"""What people should know of a worker's pools, in the log: before it takes work, said once; and which child is meant."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from celeriac.core.engine.effects import Note
from celeriac.model.policy import EnginePolicy, TaskPolicy
from celeriac.pools.hosted import HostedPool
from celeriac.worker.log_setup import name_in_log

log = logging.getLogger("celeriac.worker")

_NAMES_MAX = 5
_LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40, "critical": 50}


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


def write_note(note: Note, pool: HostedPool) -> None:
    """Log what the engine has to say. A child, which it knows by a running number, is told by the name that the child
    has in its own log lines, and by its process id."""
    fields: dict[str, Any] = {}
    for name, value in note.fields.items():
        found = pool.whereabouts(value) if name == "child" else None
        if found is None:
            fields[name] = value
        else:
            fields.update(child=name_in_log(found.pool, found.place), pid=found.pid)
    facts = ", ".join(f"{name}: {value}" for name, value in fields.items())
    log.log(_LEVELS[note.level], "%s [%s]", note.text, facts, extra={"action": note.action, "data": fields})


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
