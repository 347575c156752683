"""What running a task needs to know of it; the front's `Task` satisfies it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from msgspec import Struct

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


class Runnable(Protocol):
    """A registered task, as `core.execute` runs it.

    The hooks are user code; what they raise never changes what became of the task, but for `before_start`,
    whose error fails it.
    """

    name: str
    throws: tuple[type[BaseException], ...]
    track_started: bool | None
    resultrepr_maxsize: int

    @property
    def policy(self) -> TaskPolicy:
        """The options a node decides by, settled."""
        ...

    def perform(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """Run the body (with automatic retries applied); a coroutine is returned as such."""
        ...

    def before_start(self, task_id: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None: ...

    def on_success(self, retval: Any, task_id: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None: ...

    def on_failure(
        self, exc: BaseException, task_id: str, args: Sequence[Any], kwargs: Mapping[str, Any], einfo: Any
    ) -> None: ...

    def on_retry(
        self, exc: BaseException, task_id: str, args: Sequence[Any], kwargs: Mapping[str, Any], einfo: Any
    ) -> None: ...

    def after_return(
        self,
        status: str,
        retval: Any,
        task_id: str,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        einfo: Any,
    ) -> None: ...
