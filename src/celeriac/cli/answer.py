"""What became of a task, as text and as an exit code."""

from __future__ import annotations

import json
from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click
from msgspec import Struct

from celeriac.cli.failure import EXIT_FAILED, EXIT_NOT_YET
from celeriac.cli.invocation import again
from celeriac.model.errors import TimeoutError as ResultTimeoutError
from celeriac.model.states import PENDING, READY_STATES, SUCCESS

if TYPE_CHECKING:
    from celeriac.result import AsyncResult


class Answer(Struct, frozen=True):
    """One look at a result."""

    id: str
    state: str
    value: Any
    """What it returned, or the exception."""
    traceback: str | None
    date_done: datetime | None

    @property
    def exit_code(self) -> int:
        """0 for a success, 1 for a failure, 75 while there is no answer."""
        if self.state == SUCCESS:
            return 0
        return EXIT_FAILED if self.state in READY_STATES else EXIT_NOT_YET


def look(result: AsyncResult[Any], wait_s: float | None = None) -> Answer:
    """Read the result; with `wait_s` wait for it so long at most."""
    if wait_s is not None:
        with suppress(ResultTimeoutError):
            result.get(timeout=wait_s, propagate=False)
    state = str(result.state)
    traceback = result.traceback
    date_done = result.date_done
    return Answer(
        id=str(result.id),
        state=state,
        value=result.result,
        traceback=None if traceback is None else str(traceback),
        date_done=date_done if isinstance(date_done, datetime) else None,
    )


def show(answer: Answer, with_traceback: bool) -> None:
    """Print it for people: a value to standard output, everything else to standard error."""
    if answer.state == SUCCESS:
        click.echo(answer.value if isinstance(answer.value, str) else repr(answer.value))
        return
    if with_traceback and answer.traceback:
        click.echo(answer.traceback.rstrip("\n"))
    if answer.state not in READY_STATES:
        click.echo(_not_ready(answer), err=True)
        return
    click.echo(f"{answer.state}: {_error_in_words(answer.value)}", err=True)
    if answer.traceback and not with_traceback:
        click.echo(f"The traceback: {again(f'result {answer.id} --traceback')}", err=True)


def _not_ready(answer: Answer) -> str:
    if answer.state == PENDING:
        return f"{answer.id} has no result: it waits, it runs, it was forgotten, or there is no such task."
    meta = "" if answer.value is None else f" {answer.value!r}"
    return f"{answer.id} is not ready: {answer.state}{meta}"


def state_line(state: str, value: Any) -> str:
    """A state on the way, with its data."""
    if value is None:
        return state
    return f"{state}  {_error_in_words(value) if isinstance(value, BaseException) else repr(value)}"


def _error_in_words(error: Any) -> str:
    if isinstance(error, BaseException):
        text = str(error)
        return f"{type(error).__name__}: {text}" if text else type(error).__name__
    return repr(error)


def as_json(answer: Answer) -> str:
    """It as one JSON object; what JSON does not know stands as Python would show it."""
    failed = isinstance(answer.value, BaseException)
    return json.dumps(
        {
            "id": answer.id,
            "state": answer.state,
            "ready": answer.state in READY_STATES,
            "result": _error_in_words(answer.value) if failed else answer.value,
            "traceback": answer.traceback,
            "date_done": None if answer.date_done is None else answer.date_done.isoformat(),
        },
        default=repr,
        ensure_ascii=False,
    )
