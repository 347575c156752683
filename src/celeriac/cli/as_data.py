"""Queues, messages and dead letters as plain data, for ``--json``."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

from celeriac.cli.letters import arguments
from celeriac.model.message import DeadLetter, Depth, Waiting


def dump(value: Any) -> str:
    """JSON for a pipe: one document, readable too."""
    return json.dumps(value, ensure_ascii=False, indent=2)


def of_depth(depth: Depth) -> dict[str, Any]:
    """Counts of one queue."""
    return {
        "queue": depth.queue,
        "ready": depth.ready,
        "delayed": depth.delayed,
        "running": depth.claimed,
        "dead": depth.dead,
        "parked": depth.parked,
        "paused": depth.paused,
    }


def of_waiting(one: Waiting) -> dict[str, Any]:
    """One message of a queue."""
    return {
        "id": one.message.id,
        "task": one.message.task,
        "arguments": arguments(one.message),
        "state": "running" if one.state == "claimed" else one.state,
        "due": _moment(one.due_at),
        "priority": one.message.priority,
        "attempt": one.attempt,
        "crashes": one.crashes,
    }


def of_letter(letter: DeadLetter) -> dict[str, Any]:
    """One dead letter."""
    return {
        "id": letter.message.id,
        "task": letter.message.task,
        "arguments": arguments(letter.message),
        "queue": letter.message.queue,
        "reason": letter.reason,
        "buried": _moment(letter.buried_at),
        "crashes": letter.crashes,
        "parked": letter.parked,
    }


def _moment(at: float | None) -> str | None:
    return None if at is None else datetime.fromtimestamp(at).astimezone().isoformat(timespec="seconds")
