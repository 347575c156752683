"""Very many tasks at once in one worker."""

from __future__ import annotations

import importlib
import sys
import time

from integration.worker.conftest import SCALE, eventually

from .stage import Stage

_TASKS = """
import asyncio

from jobs import app


@app.task
async def nap(seconds: float) -> float:
    await asyncio.sleep(seconds)
    return seconds
"""


def many_waits_at_once(stage: Stage, *, tasks: int, wait_s: float, within_s: float) -> float:
    """So many coroutines, each waiting for a while, are done by one worker within `within_s`, each once and with its
    result. Returns how long it took, from the first send."""
    (stage.folder / "crowd.py").write_text(_TASKS)
    sys.modules.pop("crowd", None)
    nap = importlib.import_module("crowd").nap
    worker = stage.start("-P", "asyncio", "--async-slots", str(tasks), "-I", "crowd")
    assert nap.delay(0.0).get(timeout=10 * SCALE) == 0.0
    began_at = time.monotonic()
    with stage.jobs.app.batch():
        sent = [nap.delay(wait_s) for _ in range(tasks)]
    eventually(lambda: stage.waiting() == 0, within_s)
    took_s = time.monotonic() - began_at
    print(f"{tasks} waits of {wait_s:g} s: {took_s:.2f} s")
    assert took_s >= wait_s, "nobody waited"
    assert stage.states()["SUCCESS"] == tasks + 1
    assert sent[-1].get(timeout=5 * SCALE) == wait_s
    assert stage.count("dead") == 0
    assert worker.stop() == 0
    return took_s
