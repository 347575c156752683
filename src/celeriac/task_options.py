"""What a task can be told, and what it can do around its body: options and hooks, with Celery's names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from celeriac.model.errors import MaxRetriesExceededError, OperationalError

HOOKS = ("before_start", "on_success", "on_failure", "on_retry", "after_return")
"""What is called in the worker around a body."""


class TaskOptions:
    """Options are attributes, on the class or given to the decorator. Those without a value here have, unset, the one
    of a setting (`settled.FROM_SETTINGS`). Hooks do nothing unless a subclass defines them.
    """

    abstract: ClassVar[bool] = False

    max_retries: int | None = 3
    """How many retries there may be; None: no limit."""
    default_retry_delay: float = 180
    autoretry_for: Sequence[type[BaseException]] = ()
    dont_autoretry_for: Sequence[type[BaseException]] = ()
    retry_kwargs: Mapping[str, Any] | None = None
    retry_backoff: bool | float = False
    retry_backoff_max: float = 600
    retry_jitter: bool = True
    throws: tuple[type[BaseException], ...] = ()
    """Expected exceptions: logged without a traceback, the state is FAILURE all the same."""
    typing: bool | None = None
    """False: arguments are not checked at the call. None: as the app says (`strict_typing`)."""
    resultrepr_maxsize: int = 1024
    trail: bool = True
    send_events: bool = True
    time_limit: float | None = None
    soft_time_limit: float | None = None
    expires: float | None = None
    queue: str | None = None
    pool: str | None = None
    """Where it runs in a worker: "prefork", "threads" or "asyncio". None: a coroutine function in the asyncio pool, any
    other in the worker's default pool. A worker without that pool runs it in its default one."""

    serializer: str
    compression: str | None
    rate_limit: str | float | None
    priority: int | str | None
    ignore_result: bool
    track_started: bool | None
    acks_late: bool | None
    acks_on_failure: bool | None
    acks_on_timeout: bool | None
    reject_on_worker_lost: bool | None
    store_eager_result: bool
    store_errors_even_if_ignored: bool

    MaxRetriesExceededError = MaxRetriesExceededError
    OperationalError = OperationalError

    def before_start(self, task_id: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        """Called in the worker before the body; what it raises fails the task."""

    def on_success(self, retval: Any, task_id: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        """Called in the worker after a success."""

    def on_failure(
        self, exc: BaseException, task_id: str, args: Sequence[Any], kwargs: Mapping[str, Any], einfo: Any
    ) -> None:
        """Called in a worker after a failure, also when the process that ran the body died."""

    def on_retry(
        self, exc: BaseException, task_id: str, args: Sequence[Any], kwargs: Mapping[str, Any], einfo: Any
    ) -> None:
        """Called in the worker when the task will run again."""

    def after_return(
        self, status: str, retval: Any, task_id: str, args: Sequence[Any], kwargs: Mapping[str, Any], einfo: Any
    ) -> None:
        """Called in the worker last of all, after SUCCESS and FAILURE."""

    def shadow_name(self, args: Sequence[Any], kwargs: Mapping[str, Any], options: Mapping[str, Any]) -> str | None:
        """Another name for logs and monitors; None: the task's own."""
        return None
