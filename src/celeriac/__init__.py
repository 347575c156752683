"""Celeriac: a distributed task queue. Tasks are sent, run and answered; nothing is lost when a process is killed."""

from __future__ import annotations

from celeriac.app import Celeriac, Celery
from celeriac.canvas import Signature, chain, chord, chunks, group, maybe_signature, signature, subtask, xmap, xstarmap
from celeriac.current import current_app, current_task
from celeriac.result import AsyncResult, EagerResult, GroupResult, ResultSet
from celeriac.shared import shared_task
from celeriac.task import CoroutineTask, Task

__version__ = "0.1.0"

__all__ = [
    "AsyncResult",
    "Celeriac",
    "Celery",
    "CoroutineTask",
    "EagerResult",
    "GroupResult",
    "ResultSet",
    "Signature",
    "Task",
    "__version__",
    "chain",
    "chord",
    "chunks",
    "current_app",
    "current_task",
    "group",
    "maybe_signature",
    "shared_task",
    "signature",
    "subtask",
    "xmap",
    "xstarmap",
]
