"""What tasks print, as log lines."""

from __future__ import annotations

import io
import logging
import threading
from contextlib import suppress
from typing import Any, TextIO

_LINE_CHARS_MAX = 8192
"""A longer line without an end is logged in pieces."""


class _Pending(threading.local):
    """Per thread: what was printed without a line end, and whether a line of ours is being logged."""

    text = ""
    logging = False


class RedirectedStream(io.TextIOBase):
    """Stands for `sys.stdout` or `sys.stderr`: each line that is printed becomes a log record.

    What is printed while such a record is being written (by a handler) goes to the stream behind, so that
    nothing goes round in circles. Closing it does nothing: it belongs to the worker, not to the task.

    :param logger: takes the lines
    :param level: with this level
    :param original: the stream behind
    """

    def __init__(self, logger: logging.Logger, level: int, original: TextIO) -> None:
        super().__init__()
        self.original = original
        self._logger = logger
        self._level = level
        self._pending = _Pending()

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """UTF-8: log lines are text."""
        return "utf-8"

    @property
    def errors(self) -> str:  # type: ignore[override]
        """What cannot be written is escaped."""
        return "backslashreplace"

    @property
    def buffer(self) -> Any:
        """The bytes side of the stream behind: what is written there is not logged."""
        return self.original.buffer

    def writable(self) -> bool:
        """True."""
        return True

    def isatty(self) -> bool:
        """False: a log is no terminal."""
        return False

    def fileno(self) -> int:
        """The descriptor of the stream behind."""
        return self.original.fileno()

    def write(self, text: str, /) -> int:
        """Log the lines that `text` completes; keep the rest until its line ends, or `flush`."""
        pending = self._pending
        if pending.logging:
            with suppress(OSError, ValueError, AttributeError):
                self.original.write(text)
            return len(text)
        *lines, rest = (pending.text + text).split("\n")
        if len(rest) > _LINE_CHARS_MAX:
            lines.append(rest)
            rest = ""
        pending.text = rest
        for line in lines:
            self._log(line)
        return len(text)

    def flush(self) -> None:
        """Log what has no line end yet."""
        pending = self._pending
        if pending.text and not pending.logging:
            text, pending.text = pending.text, ""
            self._log(text)

    def close(self) -> None:
        """Nothing: tasks after this one print too."""
        self.flush()

    def _log(self, line: str) -> None:
        line = line.rstrip()
        if not line:
            return
        pending = self._pending
        pending.logging = True
        try:
            with suppress(Exception):  # a handler is user code; printing never fails a task
                self._logger.log(self._level, "%s", line, extra={"action": "task.printed"})
        finally:
            pending.logging = False


def stream_behind(stream: TextIO) -> TextIO:
    """The real stream where `stream` is redirected to the log: for what is no log line, such as a banner."""
    return stream.original if isinstance(stream, RedirectedStream) else stream
