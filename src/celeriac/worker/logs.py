"""Logging of a worker's processes: where records go, how they look, and what tasks print.

`setup_logs` is called once per process, and once more in each child. Writing the log never ends a task: a
closed or broken output loses the line, not the work.
"""

from __future__ import annotations

import io
import logging
import os
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from logging.handlers import WatchedFileHandler
from typing import TYPE_CHECKING, Any, TextIO

from msgspec import Struct

from celeriac.model.errors import ImproperlyConfigured
from celeriac.worker.log_format import FORMAT, TASK_FORMAT, ColorFormatter, JsonFormatter, TaskFormatter
from celeriac.worker.redirect import RedirectedStream, stream_behind

PACKAGE_LOGGER = "celeriac"
TASK_LOGGER = "celeriac.task"
"""Parent of the loggers that tasks write to; its lines name the task."""
REDIRECT_LOGGER = "celeriac.redirected"
LEVELS: Mapping[str, int] = {
    "DEBUG": logging.DEBUG,
    "INFO": logging.INFO,
    "WARNING": logging.WARNING,
    "WARN": logging.WARNING,
    "ERROR": logging.ERROR,
    "CRITICAL": logging.CRITICAL,
    "FATAL": logging.CRITICAL,
}


class LogOptions(Struct, frozen=True):
    """How a process logs.

    An empty `format` or `task_format` is the default one. `color` None: on a terminal. `process` is what
    ``%(processName)s`` shows; `index` is the child's number, 0 for the processes above, for ``%i`` and ``%I``
    in `file`. Without `hijack_root`, handlers that the app has set up itself are left alone.
    """

    level: str | int = "WARNING"
    file: str | None = None
    format: str = ""
    task_format: str = ""
    color: bool | None = None
    json: bool = False
    redirect_stdouts: bool = True
    redirect_stdouts_level: str | int = "WARNING"
    hijack_root: bool = True
    hostname: str = ""
    process: str = "MainProcess"
    index: int = 0


def level_of(level: str | int) -> int:
    """The number of a level, by name (any case) or number. Raises ImproperlyConfigured."""
    if isinstance(level, int):
        return level
    found = LEVELS.get(level.strip().upper())
    if found is not None:
        return found
    if level.strip().isdigit():
        return int(level)
    names = ", ".join(name for name in LEVELS if name not in {"WARN", "FATAL"})
    raise ImproperlyConfigured(f"{level!r} is no log level; use one of {names}")


def file_name_of(pattern: str, hostname: str, index: int) -> str:
    """The log file of one process: ``%i`` its index, ``%I`` the index with a dash in front (nothing for 0),
    ``%h`` the node name, ``%n`` its part before the @, ``%d`` the part after it, ``%%`` a percent sign."""
    name, _, domain = hostname.partition("@")
    values = {
        "i": str(index),
        "I": f"-{index}" if index else "",
        "h": hostname,
        "n": name,
        "d": domain,
        "%": "%",
    }
    parts: list[str] = []
    rest = iter(pattern)
    for char in rest:
        if char == "%":
            code = next(rest, "")
            parts.append(values.get(code, char + code))
        else:
            parts.append(char)
    return "".join(parts)


def wants_color(option: bool | None, stream: TextIO | None, environ: Mapping[str, str]) -> bool:
    """Whether lines are coloured: never into a file (`stream` None), nor with NO_COLOR or on a dumb terminal;
    otherwise as the option says, and without one, on a terminal."""
    if stream is None or option is False or environ.get("NO_COLOR"):
        return False
    if option is True:
        return True
    try:
        return stream.isatty() and environ.get("TERM") != "dumb"
    except ValueError:  # closed
        return False


class _NamedProcess(logging.Filter):
    """Shows the process under the name it has here, which the interpreter does not know."""

    def __init__(self, process: str) -> None:
        super().__init__()
        self._process = process

    def filter(self, record: logging.LogRecord) -> bool:
        record.processName = self._process
        return True


def _handle_error(stream: TextIO | None) -> None:
    """Report a record that could not be written, if there is where to; never by way of `sys.stderr`, which
    may lead back here."""
    error = sys.exc_info()[1]
    if error is None or isinstance(error, OSError) or stream is None:
        return
    try:
        stream.write(f"a log record could not be written: {type(error).__name__}: {error}\n")
    except (OSError, ValueError):
        return


if TYPE_CHECKING:
    _Stream = logging.StreamHandler[TextIO]
else:
    _Stream = logging.StreamHandler


class _Terminal(_Stream):
    """Writes to a stream that may go away."""

    def close(self) -> None:
        """Release the stream if it is our own copy."""
        stream = self.stream
        super().close()
        if isinstance(stream, _OwnStream):
            with suppress(OSError):
                stream.close()

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        _handle_error(self.stream)


class _LogFile(WatchedFileHandler):
    """Writes to a file, opened anew when it was moved away."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        _handle_error(self.stream)


class _OwnStream(io.TextIOWrapper):
    """A stream on a descriptor that belongs to us."""


def _own_stderr() -> TextIO:
    """A descriptor of our own for the standard error, so that a task that closes its one does not close ours."""
    stderr = stream_behind(sys.stderr)
    try:
        raw = io.BufferedWriter(io.FileIO(os.dup(stderr.fileno()), "w"))
        return _OwnStream(raw, encoding="utf-8", errors="backslashreplace", line_buffering=True)
    except (OSError, ValueError, AttributeError):  # no descriptor: captured, or none at all
        return stderr


class _Installed:
    """What a set-up has changed in this process."""

    def __init__(self) -> None:
        self._undo: list[Callable[[], None]] = []

    def add(self, undo: Callable[[], None]) -> None:
        self._undo.append(undo)

    def undo(self) -> None:
        while self._undo:
            self._undo.pop()()


_installed = _Installed()


def setup_logs(options: LogOptions) -> Callable[[], None]:
    """Configure logging, and the redirection of what tasks print, in this process; return how to undo it.

    A second call replaces what the first one did. Raises ImproperlyConfigured for an unknown level or a log
    file that cannot be opened.
    """
    level = level_of(options.level)
    redirect_level = level_of(options.redirect_stdouts_level)
    handlers = _handlers(options)
    _installed.undo()
    root = logging.getLogger()
    if options.hijack_root or not root.handlers:
        _replace_handlers(root, [handlers[0]], level)
    task_logger = logging.getLogger(TASK_LOGGER)
    _replace_handlers(task_logger, [handlers[1]], level)
    _set(task_logger, "propagate", False)
    for handler in handlers:
        _installed.add(handler.close)
    if options.redirect_stdouts:
        _redirect(redirect_level)
    return _installed.undo


def _handlers(options: LogOptions) -> tuple[logging.Handler, logging.Handler]:
    """One handler for everything, one for the loggers of tasks."""
    made: list[logging.Handler] = []
    stream = _own_stderr() if options.file is None else None
    color = wants_color(options.color, stream, os.environ)
    for is_task in (False, True):
        handler: logging.Handler
        if stream is not None:
            handler = _Terminal(stream)
        else:
            handler = _open_file(file_name_of(options.file or "", options.hostname, options.index))
        handler.addFilter(_NamedProcess(options.process))
        handler.setFormatter(_formatter(options, is_task=is_task, color=color))
        made.append(handler)
    return made[0], made[1]


def _open_file(path: str) -> logging.Handler:
    try:
        return _LogFile(path, encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise ImproperlyConfigured(f"log file {path!r} cannot be opened: {error.strerror or error}") from error


def _formatter(options: LogOptions, *, is_task: bool, color: bool) -> logging.Formatter:
    if options.json:
        return JsonFormatter(options.hostname)
    if is_task:
        return TaskFormatter(options.task_format or TASK_FORMAT, use_color=color)
    return ColorFormatter(options.format or FORMAT, use_color=color)


def _replace_handlers(logger: logging.Logger, handlers: list[logging.Handler], level: int) -> None:
    before, level_before = logger.handlers[:], logger.level

    def undo() -> None:
        logger.handlers[:] = before
        logger.setLevel(level_before)

    logger.handlers[:] = handlers
    logger.setLevel(level)
    _installed.add(undo)


def _set(target: Any, name: str, value: object) -> None:
    before = getattr(target, name)
    setattr(target, name, value)
    _installed.add(lambda: setattr(target, name, before))


def _redirect(level: int) -> None:
    logger = logging.getLogger(REDIRECT_LOGGER)
    for name in ("stdout", "stderr"):
        _set(sys, name, RedirectedStream(logger, level, stream_behind(getattr(sys, name))))
