"""The benchmark's tasks on Celeriac."""

from __future__ import annotations

import asyncio
import os

from bench.stamp import here
from celeriac import Celeriac

STORE = os.environ.get("BENCH_STORE", "sqlite:///bench.db")
app = Celeriac("bench", broker=STORE, backend=STORE)
stamp = here()


@app.task(ignore_result=True)
def ignored() -> None:
    """Do nothing, keep no result."""
    stamp.mark()


@app.task
def stored() -> None:
    """Do nothing, keep the result."""
    stamp.mark()


@app.task(ignore_result=True)
async def coroutine() -> None:
    """Do nothing on the loop, keep no result."""
    stamp.mark()


@app.task(ignore_result=True)
async def nap(seconds: float) -> None:
    """Wait on the loop."""
    await asyncio.sleep(seconds)
    stamp.mark()
