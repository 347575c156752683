"""What a node shows of itself to remote control.

The node's thread only copies references (`look`); what is made of them is made on another thread.
"""

from __future__ import annotations

import os
import resource
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timezone
from itertools import islice
from typing import Any, NamedTuple

from msgspec import Struct

from celeriac.core.engine.events import Now
from celeriac.core.engine.state import Flight, State
from celeriac.model.message import Delivery, Head, Message, Waiting
from celeriac.model.policy import EnginePolicy
from celeriac.model.urls import parse_url

SHOWN_MAX = 2000
"""So many tasks of a kind are shown at most: what is asked often must not cost megabytes."""
_SCHEDULED_PRIORITY = 6
"""What Celery says of all its timers."""
_PRIORITIES = {None: 0, "low": 0, "normal": 0, "high": 0}
"""Named priorities stand for no number of Celery's."""


class Held(NamedTuple):
    """One task in a node's hands."""

    delivery: Delivery
    head: Head
    started_at: float | None
    """Monotonic; None: it has not begun."""
    acked: bool
    pid: int | None


class Sight(Struct, frozen=True):
    """A node at one moment."""

    now: Now
    running: tuple[Held, ...]
    waiting: tuple[Held, ...]
    running_count: int
    waiting_count: int
    pids: tuple[int, ...]
    totals: Mapping[str, int]
    """Tasks finished since the node began, by name."""
    stopping: bool
    """It ends as soon as what runs is done."""
    pid: int
    """The node's own process."""
    room: int
    """How many messages it would hold if it could get them."""


def look(state: State, pids: Mapping[int, int], totals: Mapping[str, int], now: Now) -> Sight:
    """Copy what the engine holds; on the node's own thread, so quick."""
    running: list[Held] = []
    waiting: list[Held] = []
    running_count = waiting_count = 0
    for child in state.children.values():
        pid = pids.get(child.id)
        running_count += child.seen
        waiting_count += len(child.flights) - child.seen
        if len(running) < SHOWN_MAX or len(waiting) < SHOWN_MAX:
            for flight in child.flights.values():
                if flight.started_at is not None:
                    running.append(_held(flight, pid))
                else:
                    waiting.append(_held(flight, None))
    waiting_count += len(state.backlog)
    waiting += [_held(flight, None) for flight in islice(state.backlog, SHOWN_MAX)]
    return Sight(
        now=now,
        running=tuple(running[:SHOWN_MAX]),
        waiting=tuple(waiting[:SHOWN_MAX]),
        running_count=running_count,
        waiting_count=waiting_count,
        pids=tuple(pids.values()),
        totals={name: count for name, count in totals.items() if count},
        stopping=state.stopping,
        pid=os.getpid(),
        room=running_count + waiting_count + state.asked,
    )


def _held(flight: Flight, pid: int | None) -> Held:
    return Held(flight.arrival.delivery, flight.head, flight.started_at, flight.acked, pid)


def task_info(held: Held, node: str, now: Now) -> dict[str, Any]:
    """A task as `active` and `reserved` show it; its arguments as the text that came with it."""
    started_at = None if held.started_at is None else now.wall - (now.monotonic - held.started_at)
    return {
        **_described(held.head, held.delivery.message, node),
        "time_start": started_at,
        "acknowledged": held.acked,
        "delivery_info": _delivery_info(held.delivery.message, held.delivery.redelivered),
        "worker_pid": held.pid,
    }


def _described(head: Head, message: Message, node: str) -> dict[str, Any]:
    return {
        "id": head.id,
        "name": head.shadow or head.task,
        "args": head.argsrepr,
        "kwargs": head.kwargsrepr,
        "type": message.task or head.task,
        "hostname": node,
    }


def _delivery_info(message: Message, redelivered: bool) -> dict[str, Any]:
    priority = message.priority
    return {
        "exchange": "",
        "routing_key": message.queue,
        "priority": priority if isinstance(priority, int) else _PRIORITIES.get(priority, 0),
        "redelivered": redelivered,
    }


def scheduled_info(waiting: Waiting, head: Head, node: str) -> dict[str, Any]:
    """A delayed message as `scheduled` shows it."""
    due_at = waiting.due_at or 0.0
    return {
        "eta": datetime.fromtimestamp(due_at, timezone.utc).isoformat(),
        "priority": _SCHEDULED_PRIORITY,
        "request": {
            **_described(head, waiting.message, node),
            "time_start": None,
            "acknowledged": False,
            "delivery_info": _delivery_info(waiting.message, waiting.attempt > 0),
            "worker_pid": None,
        },
    }


def query(sight: Sight, ids: Iterable[str], node: str) -> dict[str, Any]:
    """Of these tasks, those that the node has, with what it does with them."""
    wanted = set(ids)
    found: dict[str, Any] = {}
    for state, helds in (("active", sight.running), ("reserved", sight.waiting)):
        for held in helds:
            if held.head.id in wanted:
                found[held.head.id] = [state, task_info(held, node, sight.now)]
    return found


def pool_facts(policy: EnginePolicy, sight: Sight, tasks_per_child_max: int | None) -> dict[str, Any]:
    """The pool as `stats` shows it; several pools are told one by one beside their sum."""
    pools = [{"name": pool.name, "children": pool.children, "slots": pool.slots} for pool in policy.pools]
    return {
        "implementation": "celeriac:" + "+".join(pool.name for pool in policy.pools),
        "max-concurrency": sum(pool.children * pool.slots for pool in policy.pools),
        "processes": list(sight.pids),
        "max-tasks-per-child": tasks_per_child_max or "N/A",
        "put-guarded-by-semaphore": False,
        "timeouts": [policy.soft_time_limit_s or 0, policy.time_limit_s or 0],
        "pools": pools,
    }


def broker_facts(name: str, store_id: str) -> dict[str, Any]:
    """The broker as `stats` shows it, without its password."""
    url = parse_url(store_id) if "://" in store_id else parse_url(f"{name}://")
    return {
        "transport": name,
        "hostname": url.host or None,
        "port": url.port,
        "userid": url.user or None,
        # A file is named as it is in the address.
        "virtual_host": (store_id.partition("://")[2] if url.host is None else url.path) or None,
    }


def usage() -> dict[str, float]:
    """What the node's own process has used."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return {name.removeprefix("ru_"): getattr(used, name) for name in dir(used) if name.startswith("ru_")}


def queue_record(name: str) -> dict[str, Any]:
    """A queue as `active_queues` shows it."""
    exchange = {
        "name": name,
        "type": "direct",
        "arguments": None,
        "durable": True,
        "passive": False,
        "auto_delete": False,
        "delivery_mode": None,
        "no_declare": False,
    }
    unset = ("queue_arguments", "binding_arguments", "consumer_arguments", "alias", "no_declare", "expires")
    limits = ("message_ttl", "max_length", "max_length_bytes", "max_priority")
    return {
        "name": name,
        "exchange": exchange,
        "routing_key": name,
        "durable": True,
        "exclusive": False,
        "auto_delete": False,
        "no_ack": False,
        "bindings": [],
        **dict.fromkeys((*unset, *limits)),
    }


_TASK_ITEMS = ("exchange", "routing_key", "rate_limit")
"""Attributes that `registered` shows where it is not told which."""
_BUILT_IN = ("celery.", "celeriac.")


def registered_lines(tasks: Mapping[str, Any], items: Iterable[str], builtins: bool) -> Iterator[str]:
    """Names of tasks, each with those of its attributes that are set."""
    shown = tuple(items) or _TASK_ITEMS
    for name in sorted(tasks):
        if builtins or not name.startswith(_BUILT_IN):
            values = ((item, getattr(tasks[name], item, None)) for item in shown)
            told = " ".join(f"{item}={value}" for item, value in values if value is not None)
            yield f"{name} [{told}]" if told else name
