"""Celeriac: a distributed task queue. Tasks are sent, run and answered; nothing is lost when a process is killed."""

from __future__ import annotations

from celeriac.app import Celeriac, Celery
from celeriac.current import current_app, current_task
from celeriac.result import AsyncResult, EagerResult
from celeriac.shared import shared_task
from celeriac.task import Task

__version__ = "0.1.0"

__all__ = [
    "AsyncResult",
    "Celeriac",
    "Celery",
    "EagerResult",
    "Task",
    "__version__",
    "current_app",
    "current_task",
    "shared_task",
]
