"""How log lines look: for people, with the task they belong to, or as JSON."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any

import msgspec

from celeriac.model.context import get_current_run
from celeriac.wire.saferepr import saferepr

FORMAT = "[%(asctime)s: %(levelname)s/%(processName)s] %(message)s"
TASK_FORMAT = "[%(asctime)s: %(levelname)s/%(processName)s] %(task_name)s[%(task_id)s]: %(message)s"
"""Both are the defaults that Celery's users have their log readers set up for."""

NO_TASK = "???"
"""Name and id of the task in a line that no task wrote."""

_RESET = "\x1b[0m"
_COLORS: Mapping[int, str] = {
    logging.DEBUG: "\x1b[34m",
    logging.WARNING: "\x1b[33m",
    logging.ERROR: "\x1b[31m",
    logging.CRITICAL: "\x1b[1;35m",
}


class ColorFormatter(logging.Formatter):
    """A formatter that may colour a line by its level.

    :param use_color: False for files and pipes
    """

    def __init__(self, fmt: str | None = None, use_color: bool = True) -> None:
        super().__init__(fmt)
        self.use_color = use_color

    def format(self, record: logging.LogRecord) -> str:
        """The line, or lines, of a record."""
        text = super().format(record)
        color = _COLORS.get(record.levelno) if self.use_color else None
        return text if color is None else f"{color}{text}{_RESET}"


class TaskFormatter(ColorFormatter):
    """Knows ``%(task_name)s`` and ``%(task_id)s`` of the task that wrote the record, for handlers of your own."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, or lines, of a record."""
        name, task_id = current_task_names()
        values = record.__dict__
        values.setdefault("task_name", name)
        values.setdefault("task_id", task_id)
        return super().format(record)


class JsonFormatter(logging.Formatter):
    """One JSON object per record and line: time, level, logger, process, pid, message; `action` and `data` where
    the record has them, task and task_id inside a task, exception where there is one."""

    def __init__(self, hostname: str = "") -> None:
        super().__init__()
        self._hostname = hostname
        self._encode = msgspec.json.Encoder(enc_hook=saferepr).encode

    def format(self, record: logging.LogRecord) -> str:
        """The line of a record."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, timezone.utc).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "process": record.processName,
            "pid": record.process,
            "message": record.getMessage(),
        }
        if self._hostname:
            line["hostname"] = self._hostname
        name, task_id = current_task_names()
        if task_id != NO_TASK:
            line["task"], line["task_id"] = name, task_id
        for extra in ("action", "data"):
            if extra in record.__dict__:
                line[extra] = record.__dict__[extra]
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        if record.stack_info:
            line["stack"] = record.stack_info
        try:
            return self._encode(line).decode()
        except (ValueError, TypeError, RecursionError, OverflowError):
            # Keys that are no text, surrogates, cycles: in words, then.
            return self._encode({key: _plain(value) for key, value in line.items()}).decode()


def _plain(value: object) -> str:
    text = value if isinstance(value, str) else saferepr(value)
    return text.encode("utf-8", "backslashreplace").decode()


def current_task_names() -> tuple[str, str]:
    """Name and id of the task that the calling code runs in."""
    run = get_current_run()
    if run is None:
        return NO_TASK, NO_TASK
    return run.task.name, run.context.id or NO_TASK
