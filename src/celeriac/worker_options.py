"""From settings and command line to the options of one worker."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable
from typing import Any

from celeriac.core.route import Router
from celeriac.model.errors import ImproperlyConfigured
from celeriac.model.policy import EnginePolicy
from celeriac.model.run import ResultPolicy
from celeriac.pool_options import ChosenPools
from celeriac.settings import Settings
from celeriac.worker.config import WorkerConfig

_SHOWN_MAX = 80
"""Characters of what is wrong that an error shows."""


def worker_config(
    conf: Settings,
    router: Router,
    *,
    hostname: str | None = None,
    queues: Iterable[str] | str | None = None,
    exclude_queues: Iterable[str] | str | None = None,
    concurrency: int | None = None,
    pool: str | None = None,
    async_slots: int | None = None,
    prefetch_multiplier: int | None = None,
    time_limit: float | None = None,
    soft_time_limit: float | None = None,
    max_tasks_per_child: int | None = None,
    max_memory_per_child: int | None = None,
    grace_s: float | None = None,
    start: str | None = None,
    loglevel: str | int | None = None,
    logfile: str | None = None,
    log_json: bool | None = None,
    **others: Any,
) -> WorkerConfig:
    """Each option given wins over its setting; None means "not given". `others` are fields of WorkerConfig.
    Raises ImproperlyConfigured naming an option that is wrong."""
    chosen = ChosenPools(conf, pool, concurrency, async_slots)
    policy = EnginePolicy(
        pools=chosen.pools,
        time_limit_s=_first(time_limit, conf.seconds("task_time_limit")),
        soft_time_limit_s=_first(soft_time_limit, conf.seconds("task_soft_time_limit")),
        prefetch_multiplier=_first(prefetch_multiplier, conf["worker_prefetch_multiplier"]),
        task_unknown=conf["task_unknown"],
        crash_limit=conf["task_crash_limit"],
    )
    fields: dict[str, Any] = {
        "hostname": _hostname(hostname or f"celery@{socket.gethostname()}"),
        "queues": _queues(router, queues, exclude_queues),
        "policy": policy,
        "results": result_policy(conf),
        "adds_pools": chosen.adds,
        "added_threads": chosen.slots,
        "added_async_slots": chosen.async_slots,
        "start": start or conf["worker_start"],
        "workdir": os.getcwd(),  # noqa: PTH109 - text, for children that chdir back
        "lease_s": conf.seconds("worker_lease_s") or 6.0,
        "grace_s": _grace_s(conf, grace_s),
        "tasks_per_child_max": _first(max_tasks_per_child, conf["worker_max_tasks_per_child"]) or None,
        "memory_per_child_max_kib": _first(max_memory_per_child, conf["worker_max_memory_per_child"]) or None,
        "logfile": logfile,
        **_log_fields(conf, log_json),
    }
    if loglevel is not None:
        fields["loglevel"] = loglevel
    unknown = others.keys() - set(WorkerConfig.__struct_fields__)
    if unknown:
        raise TypeError(f"worker_config() has no option {min(unknown)!r}")
    return WorkerConfig(**{**fields, **others})


def _hostname(name: str) -> str:
    """The name of the node, which lines of logs and tables are made of."""
    if not name.isprintable():
        raise ImproperlyConfigured(
            f"the node's name (-n, --hostname) {name[:_SHOWN_MAX]!r} has characters that cannot be printed: leave them out"
        )
    return name


def _log_fields(conf: Settings, as_json: bool | None) -> dict[str, Any]:
    return {
        "log_format": conf["worker_log_format"],
        "task_log_format": conf["worker_task_log_format"],
        "redirect_stdouts": bool(conf["worker_redirect_stdouts"]),
        "redirect_stdouts_level": str(conf["worker_redirect_stdouts_level"]),
        "log_color": conf["worker_log_color"],
        "log_json": bool(_first(as_json, conf["worker_log_json"])),
    }


def result_policy(conf: Settings) -> ResultPolicy:
    """How results are written."""
    return ResultPolicy(
        serializer=conf["result_serializer"],
        accept=tuple(conf["accept_content"]),
        expires_s=conf.seconds("result_expires"),
        extended=bool(conf["result_extended"]),
        track_started=bool(conf["task_track_started"]),
        body_bytes_max=conf["task_body_bytes_max"],
    )


def _grace_s(conf: Settings, given: float | None) -> float | None:
    if given is not None:
        return given
    value = conf["worker_shutdown_grace_s"]
    # 0 is an answer here: hand everything back at once.
    return 0.0 if value == 0 else conf.seconds("worker_shutdown_grace_s")


def _queues(
    router: Router, chosen: Iterable[str] | str | None, excluded: Iterable[str] | str | None
) -> tuple[str, ...]:
    wanted = _names(chosen) or list(router.queues)
    without = set(_names(excluded))
    queues = tuple(dict.fromkeys(name for name in wanted if name not in without))
    for name in queues:
        router.queue_of({"queue": name})
    if not queues:
        raise ImproperlyConfigured("the worker has no queue left to consume from; check --queues and --exclude-queues")
    return queues


def _names(value: Iterable[str] | str | None) -> list[str]:
    items = value.split(",") if isinstance(value, str) else value or ()
    return [item.strip() for item in items if item.strip()]


def _first(*values: Any) -> Any:
    return next((value for value in values if value is not None), None)
