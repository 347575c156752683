"""Waiting for a result inside a task: when it is allowed, and what it tells the pool."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar

from celeriac.model.context import get_worker_run

_may_join: ContextVar[bool] = ContextVar("celeriac_may_join", default=False)

E_WOULD_BLOCK = (
    "Never call result.get() within a task: it may wait for a slot that it occupies itself. Let a retry or another "
    "task go on with the result; if you are sure, use allow_join_result() or disable_sync_subtasks=False."
)

_NOTHING_TO_TELL: AbstractContextManager[None] = nullcontext()


@contextmanager
def allow_join_result() -> Iterator[None]:
    """Inside, waiting for results within a task is allowed."""
    token = _may_join.set(True)
    try:
        yield
    finally:
        _may_join.reset(token)


@contextmanager
def denied_join_result() -> Iterator[None]:
    """Inside, waiting for results within a task is refused, also where it was allowed."""
    token = _may_join.set(False)
    try:
        yield
    finally:
        _may_join.reset(token)


def assert_will_not_block() -> None:
    """Raise RuntimeError if the caller is inside a task and may not wait."""
    if not _may_join.get() and get_worker_run() is not None:
        raise RuntimeError(E_WOULD_BLOCK)


def waiting() -> AbstractContextManager[None]:
    """To be entered around a wait that is not answered at once: inside a task, its pool learns that the task's slot is
    free for others meanwhile. Raises RuntimeError where nobody else could run what is waited for."""
    run = get_worker_run()
    enter = None if run is None else getattr(run, "waiting", None)
    return _NOTHING_TO_TELL if enter is None else enter()
