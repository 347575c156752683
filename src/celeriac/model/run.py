"""What running a task needs to know of it, and what came of it. The front's `Task` satisfies `Runnable`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Protocol

from msgspec import Struct

from celeriac.model.message import Message, Record, Verdict
from celeriac.model.policy import TaskPolicy


class ResultPolicy(Struct, frozen=True):
    """How results are written."""

    serializer: str = "json"
    accept: tuple[str, ...] = ("json",)
    """Content types that task messages may have (`accept_content`)."""
    expires_s: float | None = 86400.0
    extended: bool = False
    track_started: bool = False
    body_bytes_max: int | None = None
    """Largest result or message body in bytes (`task_body_bytes_max`); None: no limit of ours."""


class ExceptionInfo:
    """An exception with its traceback as text: the `einfo` of hooks.

    :param exception: what was raised
    :param traceback: the traceback as text, as `str` of this shows it
    """

    def __init__(self, exception: BaseException, traceback: str, internal: bool = False) -> None:
        self.exception = exception
        self.type = type(exception)
        self.traceback = traceback
        self.internal = internal

    @property
    def tb(self) -> TracebackType | None:
        """The live traceback, as long as the hooks run; it is released after them."""
        return self.exception.__traceback__

    def __str__(self) -> str:
        return self.traceback

    def __repr__(self) -> str:
        return f"<ExceptionInfo: {self.type.__name__}>"


class Outcome(Struct, frozen=True):
    """What became of one run.

    `state` is SUCCESS, FAILURE, RETRY, IGNORED or REJECTED. `value` is what the body returned. `error` is what
    a reader of the result sees (for RETRY the cause of the retry), `raised` what left the body.
    """

    state: str
    value: Any = None
    error: BaseException | None = None
    raised: BaseException | None = None
    einfo: ExceptionInfo | None = None
    runtime_s: float = 0.0

    @property
    def traceback(self) -> str | None:
        """The traceback as text, if something was raised."""
        return None if self.einfo is None else self.einfo.traceback


class Performed(Struct, frozen=True, gc=False):
    """What became of one job, with all that must be committed with it, encoded."""

    state: str
    verdict: Verdict
    runtime_s: float = 0.0
    records: tuple[Record, ...] = ()
    follow_ups: tuple[Message, ...] = ()


class Follows(Protocol):
    """What a workflow asks of a registered task."""

    @property
    def takes_errors(self) -> bool:
        """True if, as an error callback, it is called in place, with request, exception and traceback."""
        ...

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the body as a plain function."""
        ...

    def follow_up(self, name: str, args: Sequence[Any], kwargs: Mapping[str, Any], options: dict[str, Any]) -> Message:
        """The message of a call of `name`, a task of the same app, that follows from the present run. Nothing is sent.
        Raises what sending it would raise."""
        ...

    def add_trail(self, result: Any) -> Any:
        """Record a result, or what `as_tuple` would say of it, as a child of the present run."""
        ...


class Runnable(Follows, Protocol):
    """A registered task, as `core.execute` runs it.

    The hooks are user code; what they raise never changes what became of the task, but for `before_start`,
    whose error fails it.
    """

    name: str
    throws: tuple[type[BaseException], ...]
    resultrepr_maxsize: int

    @property
    def own_hooks(self) -> frozenset[str]:
        """The names of those hooks below that the task defines; no other is called."""
        ...

    @property
    def policy(self) -> TaskPolicy:
        """The options a node decides by, settled."""
        ...

    def perform(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """Run the body (with automatic retries applied); a coroutine is returned as such."""
        ...

    def before_start(self, task_id: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        """Before the body, in its time limits."""
        ...

    def on_success(self, retval: Any, task_id: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        """After a success, its result being encoded."""
        ...

    def on_failure(
        self, exc: BaseException, task_id: str, args: Sequence[Any], kwargs: Mapping[str, Any], einfo: Any
    ) -> None:
        """After a failure."""
        ...

    def on_retry(
        self, exc: BaseException, task_id: str, args: Sequence[Any], kwargs: Mapping[str, Any], einfo: Any
    ) -> None:
        """After a run that asked for another one; `exc` is the reason."""
        ...

    def after_return(
        self,
        status: str,
        retval: Any,
        task_id: str,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        einfo: Any,
    ) -> None:
        """Last of all, for SUCCESS and FAILURE. `einfo` is None."""
        ...
