"""What a client does, timed in a process of its own: `python -m bench.client celeriac|celery COMMAND N`.

Prints one JSON object. Runs under the environment of either system, so it imports nothing else of ours.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import json
import sys
import time
from datetime import datetime, timedelta, timezone
from typing import Any

WARM_UP = 10
SENDERS = 200
"""Coroutines that send at the same time."""
GROUP = 1_000
"""Members of one group."""
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


def fill_coroutine(tasks: Any, n: int) -> dict[str, float]:
    """Prefill with coroutines whose results are ignored."""
    return _fill(tasks.app, tasks.coroutine, n, {})


def naps(tasks: Any, n: int) -> dict[str, float]:
    """Send waits of a second; when that began, on the system's monotonic clock."""
    began = time.monotonic()
    with _batch(tasks.app):
        for _ in range(n):
            tasks.nap.delay(1.0)
    return {"began": began}


def asend(tasks: Any, n: int) -> dict[str, float]:
    """`await adelay()` from many coroutines at once."""

    async def some(count: int) -> None:
        for _ in range(count):
            await tasks.stored.adelay()

    async def crowd() -> dict[str, float]:
        await some(WARM_UP)
        began, cpu = time.perf_counter(), time.process_time()
        await asyncio.gather(*(some(n // SENDERS) for _ in range(SENDERS)))
        count = n // SENDERS * SENDERS
        return {"tasks": count, "seconds": time.perf_counter() - began, "cpu_s": time.process_time() - cpu}

    return asyncio.run(crowd())


def groups(tasks: Any, n: int) -> dict[str, float]:
    """Groups of a thousand, built and sent."""
    group = importlib.import_module(type(tasks.app).__module__.partition(".")[0]).group
    group(tasks.stored.s() for _ in range(WARM_UP)).apply_async()
    began, cpu = time.perf_counter(), time.process_time()
    for _ in range(n // GROUP):
        group(tasks.stored.s() for _ in range(GROUP)).apply_async()
    count = n // GROUP * GROUP
    return {"tasks": count, "seconds": time.perf_counter() - began, "cpu_s": time.process_time() - cpu}


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
    "fill_coroutine": fill_coroutine,
    "naps": naps,
    "asend": asend,
    "groups": groups,
    "roundtrip": roundtrip,
}


def main() -> None:
    """Run one command."""
    system, command, count = sys.argv[1:4]
    tasks = importlib.import_module("bench.tasks" if system == "celeriac" else "bench.celery_tasks")
    print(json.dumps(COMMANDS[command](tasks, int(count))))


if __name__ == "__main__":
    main()
