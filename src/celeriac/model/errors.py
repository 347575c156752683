"""The whole exception tree. Names and meanings are Celery's where it has one.

Three leaves per boundary say who must act: ``...Unavailable`` (try again), ``...Rejected`` (this will
never work), ``...Misconfigured`` (fix the configuration).
"""

from __future__ import annotations

from datetime import datetime
from typing import Any


class CeleriacError(Exception):
    """Base of every error of this package."""


CeleryError = CeleriacError


class CeleriacWarning(UserWarning):
    """Base of every warning of this package."""


class AlwaysEagerIgnored(CeleriacWarning):
    """`send_task` does not run eagerly: it has no code to run."""


class NoEffectWarning(CeleriacWarning):
    """A setting or option is known and accepted, and changes nothing here. The message says what is in its place."""


class BlockingCallWarning(CeleriacWarning):
    """A call that blocks was made on an event loop, which has a call of its own for it. Shown in development only."""


class ImproperlyConfigured(CeleriacError):
    """A setting, address or option is wrong. The message names it and the fix."""


class UnknownOption(CeleriacError, TypeError):
    """An option whose name is close to a known one: most likely a typo. Nothing was sent."""


class NotRegistered(CeleriacError, KeyError):
    """No task of that name is registered in this app."""

    def __str__(self) -> str:
        return f"task {self.args[0]!r} is not registered" if self.args else "task is not registered"


class QueueNotFound(CeleriacError, KeyError):
    """The queue is not in `task_queues`, and `task_create_missing_queues` is off."""

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else "queue not found"


class EncodeError(CeleriacError):
    """A value cannot be serialized."""


class DecodeError(CeleriacError):
    """Bytes are not what their content type says."""


class ContentDisallowed(DecodeError):
    """The content type is not in the accept list."""


class OperationalError(CeleriacError):
    """A server could not be reached or did not do what it was asked to."""


class BrokerUnavailable(OperationalError):
    """The broker cannot be used now; trying again later may work."""


class BrokerRejected(OperationalError):
    """The broker refuses this; trying again will not help."""


class BrokerMisconfigured(ImproperlyConfigured):
    """The broker cannot work as configured."""


class BackendError(CeleriacError):
    """Base of the errors of result backends."""


class BackendUnavailable(BackendError, OperationalError):
    """The backend cannot be used now; trying again later may work."""


class BackendRejected(BackendError, OperationalError):
    """The backend refuses this; trying again will not help."""


class BackendMisconfigured(BackendError, ImproperlyConfigured):
    """The backend cannot work as configured."""


class TimeoutError(CeleriacError, OSError):  # noqa: A001 - Celery's public name
    """The result did not arrive in time. The task goes on."""


class TaskError(CeleriacError):
    """Base of what concerns one task."""


class TaskPredicate(CeleriacError):
    """Base of what a task raises to say what shall become of it; not an error of the task."""


class Retry(TaskPredicate):
    """The task is to run again; raised by `Task.retry`.

    :param message: why, for people
    :param exc: the exception that caused it
    :param when: seconds from now, or the moment
    """

    def __init__(
        self,
        message: str | None = None,
        exc: BaseException | str | None = None,
        when: datetime | float | None = None,
        is_eager: bool = False,
        sig: Any = None,
    ) -> None:
        self.message = message
        self.exc = exc
        self.when = when
        self.is_eager = is_eager
        self.sig = sig
        super().__init__(message, exc, when)

    def humanize(self) -> str:
        """When it runs again, in words."""
        if isinstance(self.when, (int, float)):
            return f"in {self.when}s"
        return f"at {self.when}"

    def __str__(self) -> str:
        if self.message:
            return self.message
        if self.exc:
            return f"Retry {self.humanize()}: {self.exc!r}"
        return f"Retry {self.humanize()}"


class Ignore(TaskPredicate):
    """Leave the task's state as it is; the message is done with."""


class Reject(TaskPredicate):
    """Give the message back: to the queue (`requeue`), or to the dead letters."""

    def __init__(self, reason: object = None, requeue: bool = False) -> None:
        self.reason = reason
        self.requeue = requeue
        super().__init__(reason, requeue)

    def __str__(self) -> str:
        return f"reject requeue={self.requeue}: {self.reason}"


class MaxRetriesExceededError(TaskError):
    """No retries are left."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.task_args: Any = kwargs.pop("task_args", ())
        self.task_kwargs: Any = kwargs.pop("task_kwargs", {})
        super().__init__(*args, **kwargs)


class IncompleteStream(TaskError):
    """A tree of results was walked to one that has not ended; what came of it is not known yet."""


class TaskRevokedError(TaskError):
    """The task was revoked, expired or terminated, so there is no result."""


class UnpickleableExceptionWrapper(TaskError):
    """Stands for an exception that cannot be serialized; keeps its name and text.

    :param exc_module: module of the original class
    :param exc_cls_name: its name
    :param exc_args: its arguments, as text where they could not be kept
    """

    def __init__(self, exc_module: str, exc_cls_name: str, exc_args: Any, text: str | None = None) -> None:
        self.exc_module = exc_module
        self.exc_cls_name = exc_cls_name
        self.exc_args = exc_args
        self.text = text or f"{exc_cls_name}{exc_args!r}"
        super().__init__(exc_module, exc_cls_name, exc_args, self.text)

    def __str__(self) -> str:
        return self.text


class SecurityError(CeleriacError):
    """Something looks like an attack and was refused."""


class SoftTimeLimitExceeded(Exception):
    """Raised inside a task when its soft time limit is over: clean up and end."""

    def __str__(self) -> str:
        return f"SoftTimeLimitExceeded{self.args}"


class TimeLimitExceeded(Exception):
    """The hard time limit was over; the task was killed. `args[0]` is the limit in seconds."""

    def __str__(self) -> str:
        return f"TimeLimitExceeded{self.args}"


class WorkerLostError(Exception):
    """The process that ran the task died."""


class Terminated(Exception):
    """The task was terminated on request."""


class WorkerShutdown(SystemExit):
    """Ends the worker warmly; `code` is its exit code."""


class WorkerTerminate(SystemExit):
    """Ends the worker at once; `code` is its exit code."""


# Tracebacks and pickles name them where users import them from.
for _class in tuple(globals().values()):
    if isinstance(_class, type) and issubclass(_class, BaseException) and _class.__module__ == __name__:
        _class.__module__ = "celeriac.exceptions"
