"""What a client does, timed in a process of its own: `python -m bench.client celeriac|celery COMMAND N`.

Prints one JSON object. Runs under the environment of either system, so it imports nothing else of ours.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import sys
import time
from datetime import datetime, timedelta, timezone
from typing import Any

WARM_UP = 10
BATCH = 10_000
"""Messages per `app.batch()`: what a bulk job sends at a time."""


def _batch(app: Any) -> Any:
    """A batch where the system has them."""
    return app.batch() if hasattr(app, "batch") else contextlib.nullcontext()


def send(tasks: Any, n: int) -> dict[str, float]:
    """`delay()` one by one."""
    for _ in range(WARM_UP):
        tasks.stored.delay()
    began, cpu = time.perf_counter(), time.process_time()
    for _ in range(n):
        tasks.stored.delay()
    return {"tasks": n, "seconds": time.perf_counter() - began, "cpu_s": time.process_time() - cpu}


def batch(tasks: Any, n: int) -> dict[str, float]:
    """`delay()` inside `app.batch()`."""
    return _fill(tasks.app, tasks.stored, n, {})


def fill_ignored(tasks: Any, n: int) -> dict[str, float]:
    """Prefill the queue with tasks whose results are ignored."""
    return _fill(tasks.app, tasks.ignored, n, {})


def fill_eta(tasks: Any, n: int) -> dict[str, float]:
    """Prefill with tasks due next week."""
    return _fill(tasks.app, tasks.ignored, n, {"eta": datetime.now(timezone.utc) + timedelta(days=7)})


def _fill(app: Any, task: Any, n: int, options: dict[str, Any]) -> dict[str, float]:
    warm_up = 0 if options else min(WARM_UP, n - 1)
    for _ in range(warm_up):
        task.apply_async(**options)
    n -= warm_up
    began, cpu = time.perf_counter(), time.process_time()
    left = n
    while left > 0:
        with _batch(app):
            for _ in range(min(left, BATCH)):
                task.apply_async(**options)
        left -= BATCH
    return {"tasks": n, "seconds": time.perf_counter() - began, "cpu_s": time.process_time() - cpu}


def roundtrip(tasks: Any, n: int) -> dict[str, Any]:
    """`delay().get()`, one after another, on an idle worker."""
    for _ in range(WARM_UP):
        tasks.stored.delay().get(timeout=30)
    took = []
    for _ in range(n):
        began = time.perf_counter()
        tasks.stored.delay().get(timeout=30)
        took.append(time.perf_counter() - began)
    took.sort()
    return {"p50_ms": took[len(took) // 2] * 1e3, "p99_ms": took[int(len(took) * 0.99)] * 1e3}


COMMANDS = {
    "send": send,
    "batch": batch,
    "fill_ignored": fill_ignored,
    "fill_stored": batch,
    "fill_eta": fill_eta,
    "roundtrip": roundtrip,
}


def main() -> None:
    """Run one command."""
    system, command, count = sys.argv[1:4]
    tasks = importlib.import_module("bench.tasks" if system == "celeriac" else "bench.celery_tasks")
    print(json.dumps(COMMANDS[command](tasks, int(count))))


if __name__ == "__main__":
    main()
