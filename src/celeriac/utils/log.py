"""Loggers for tasks, under Celery's names."""

from __future__ import annotations

import logging

from celeriac.worker.log_format import ColorFormatter, TaskFormatter
from celeriac.worker.logs import PACKAGE_LOGGER, TASK_LOGGER, level_of

__all__ = ["ColorFormatter", "TaskFormatter", "get_logger", "get_task_logger", "mlevel"]

RESERVED = frozenset({PACKAGE_LOGGER, TASK_LOGGER, "celery", "celery.task"})
"""Names that are ours (and Celery's): a task's logger of that name would be its own parent."""


def get_logger(name: str | logging.Logger) -> logging.Logger:
    """The logger of that name."""
    return logging.getLogger(name) if isinstance(name, str) else name


def get_task_logger(name: str) -> logging.Logger:
    """A logger for use in tasks, usually ``get_task_logger(__name__)``: its lines name the running task.

    It is the logger `name` with ``celeriac.task`` as its parent. Raises RuntimeError for a name that is ours.
    """
    if name in RESERVED:
        raise RuntimeError(f"{name!r} is a name of the task queue's own loggers; use get_task_logger(__name__)")
    logger = logging.getLogger(name)
    task_logger = logging.getLogger(TASK_LOGGER)
    ancestor: logging.Logger | None = logger
    while ancestor is not None and ancestor is not task_logger:
        ancestor = ancestor.parent
    if ancestor is None:
        logger.parent = task_logger
    return logger


def mlevel(level: str | int | None) -> int:
    """A log level as a number; 0 for none."""
    return level_of(level) if level else 0
