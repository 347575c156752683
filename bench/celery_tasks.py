"""The same tasks on Celery, tuned in its favour: a long prefetch, and no remote control beside the tasks."""

from __future__ import annotations

import os

from celery import Celery

from bench.stamp import here

STORE = os.environ.get("BENCH_STORE", "redis://127.0.0.1:6379/0")
app = Celery("bench", broker=STORE, backend=STORE)
app.conf.update(
    worker_prefetch_multiplier=64, worker_enable_remote_control=False, broker_connection_retry_on_startup=True
)
stamp = here()


@app.task(ignore_result=True)
def ignored() -> None:
    """Do nothing, keep no result."""
    stamp.mark()


@app.task
def stored() -> None:
    """Do nothing, keep the result."""
    stamp.mark()
