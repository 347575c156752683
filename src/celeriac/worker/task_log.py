"""What the log says of a task: one constant text per event, structured fields beside it.

Every record has ``action`` (a stable name, such as ``task.succeeded``) and ``data`` (the fields). Values are
only put into words if the level is on. A log that cannot be written never costs a task.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from celeriac.model import states
from celeriac.model.call import RequestFields
from celeriac.model.message import Head
from celeriac.model.run import Outcome, Runnable
from celeriac.wire.exceptions import text_of
from celeriac.wire.saferepr import saferepr

logger = logging.getLogger("celeriac.worker.task")

LOG_RECEIVED = "Task %(name)s[%(id)s] received"
LOG_SUCCESS = "Task %(name)s[%(id)s] succeeded in %(runtime).6fs: %(return_value)s"
LOG_FAILURE = "Task %(name)s[%(id)s] raised unexpected: %(exc)s\n%(traceback)s"
LOG_EXPECTED = "Task %(name)s[%(id)s] raised expected: %(exc)s"
LOG_RETRY = "Task %(name)s[%(id)s] retry: %(exc)s"
LOG_IGNORED = "Task %(name)s[%(id)s] ignored"
LOG_REJECTED = "Task %(name)s[%(id)s] rejected: %(exc)s"
LOG_NOT_RESENT = "Task %(name)s[%(id)s] raised Retry without calling retry(): nothing was sent again"
LOG_HOOK = "Task %(name)s[%(id)s]: its hook %(hook)s raised %(exc)s; the state of the task stands"
LOG_ERRBACK = "Task %(name)s[%(id)s] failed, and its error callback %(errback)s as well: %(exc)s"
LOG_UNREADABLE = "Message %(id)s of task %(name)s cannot be run and is a dead letter: %(exc)s"

_ASIDE_MAX = 65_536
"""So many messages that were set aside are remembered; beyond it some are told of again."""


def task_received(head: Head, eta_at: float | None = None) -> None:
    """A message for a task has come to this node."""
    if logger.isEnabledFor(logging.INFO):
        data = {"id": head.id, "name": head.shadow or head.task, "args": head.argsrepr, "kwargs": head.kwargsrepr}
        _write(logging.INFO, "task.received", LOG_RECEIVED, data | {"eta": eta_at})


class Received:
    """Says of each message once that it has come, however often this node sets it aside and gets it again."""

    def __init__(self) -> None:
        self._aside: set[str] = set()

    def came(self, head: Head) -> None:
        """This node has it, perhaps again."""
        if self._aside and head.id in self._aside:
            self._aside.discard(head.id)
        else:
            task_received(head)

    def set_aside(self, task_id: str) -> None:
        """It has not begun, and will come again."""
        if len(self._aside) >= _ASIDE_MAX:
            self._aside.clear()
        self._aside.add(task_id)


def task_ended(task: Runnable, fields: RequestFields, outcome: Outcome, resent: bool = True) -> None:
    """A run has ended as `outcome`. `resent` is False if a retry was raised that nobody sent."""
    state = outcome.state
    if state == states.SUCCESS:
        if logger.isEnabledFor(logging.INFO):
            value = saferepr(outcome.value, task.resultrepr_maxsize)
            data = _data(fields, runtime=outcome.runtime_s, return_value=value)
            _write(logging.INFO, "task.succeeded", LOG_SUCCESS, data)
    elif state == states.FAILURE:
        _failed(task, fields, outcome)
    elif state == states.RETRY:
        if logger.isEnabledFor(logging.INFO):
            data = _data(fields, runtime=outcome.runtime_s, exc=_text(outcome.raised), traceback=outcome.traceback)
            _write(logging.INFO, "task.retry", LOG_RETRY, data)
        if not resent:
            _write(logging.WARNING, "task.retry_not_sent", LOG_NOT_RESENT, _data(fields))
    elif state == states.IGNORED:
        if logger.isEnabledFor(logging.INFO):
            _write(logging.INFO, "task.ignored", LOG_IGNORED, _data(fields, runtime=outcome.runtime_s))
    elif logger.isEnabledFor(logging.WARNING):
        _write(logging.WARNING, "task.rejected", LOG_REJECTED, _data(fields, exc=_text(outcome.raised)))


def _failed(task: Runnable, fields: RequestFields, outcome: Outcome) -> None:
    expected = isinstance(outcome.error, task.throws)
    level = logging.INFO if expected else logging.ERROR
    if not logger.isEnabledFor(level):
        return
    data = _data(
        fields,
        runtime=outcome.runtime_s,
        exc=text_of(outcome.error) if outcome.error is not None else "",
        traceback=(outcome.traceback or "").rstrip(),
    )
    if expected:
        _write(level, "task.raised_expected", LOG_EXPECTED, data)
    else:
        _write(level, "task.raised", LOG_FAILURE, data)


def hook_failed(fields: RequestFields, hook: str, error: BaseException) -> None:
    """A hook of the task raised; that changes nothing for the task."""
    if logger.isEnabledFor(logging.ERROR):
        data = _data(fields, hook=hook, exc=text_of(error))
        _write(logging.ERROR, "task.hook_failed", LOG_HOOK, data, error)


def errback_failed(fields: RequestFields, errback: str, error: BaseException) -> None:
    """An error callback raised, or cannot be sent; the task is a failure all the same."""
    if logger.isEnabledFor(logging.ERROR):
        data = _data(fields, errback=errback, exc=text_of(error))
        _write(logging.ERROR, "task.errback_failed", LOG_ERRBACK, data, error)


def message_unreadable(message_id: str, task: str, error: BaseException) -> None:
    """The body of a message cannot be decoded."""
    if logger.isEnabledFor(logging.ERROR):
        data = {"id": message_id, "name": task, "exc": text_of(error)}
        _write(logging.ERROR, "task.unreadable", LOG_UNREADABLE, data)


def message_refused(fields: RequestFields, error: BaseException) -> None:
    """A message was understood and is not run."""
    _write(logging.ERROR, "task.refused", LOG_UNREADABLE, _data(fields, exc=_text(error)))


def _text(error: BaseException | None) -> str:
    try:
        return str(error)[:1024]
    except Exception:  # noqa: BLE001 - __str__ is user code
        return type(error).__name__


def _data(fields: RequestFields, **more: Any) -> dict[str, Any]:
    return {
        "id": fields.id,
        "name": fields.shadow or fields.task,
        "args": fields.argsrepr,
        "kwargs": fields.kwargsrepr,
        **more,
    }


def _write(level: int, action: str, text: str, data: Mapping[str, Any], error: BaseException | None = None) -> None:
    with suppress(Exception):  # a handler is user code; whatever it raises, the task counts more
        logger.log(level, text, data, exc_info=error, extra={"action": action, "data": data})
