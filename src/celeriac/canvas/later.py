"""Names of workflows that come with a later release. Using one says so, and what to do instead."""

from __future__ import annotations

from typing import Any, NoReturn


def later(what: str, instead: str) -> str:
    """The text of the refusal."""
    return f"{what} comes with a later release; until then: {instead}"


def chord(*_args: Any, **_options: Any) -> NoReturn:
    """Comes with a later release. Raises NotImplementedError."""
    raise NotImplementedError(
        later("chord(header)(body)", "result = group(header).delay(); body.delay(result.get()), for instance in a task")
    )


def chunks(*_args: Any, **_options: Any) -> NoReturn:
    """Comes with a later release. Raises NotImplementedError."""
    raise NotImplementedError(later("chunks(task, it, n)", "group(task.s(*items) for items in it)"))


def xmap(*_args: Any, **_options: Any) -> NoReturn:
    """Comes with a later release. Raises NotImplementedError."""
    raise NotImplementedError(later("xmap(task, it)", "group(task.s(item) for item in it)"))


def xstarmap(*_args: Any, **_options: Any) -> NoReturn:
    """Comes with a later release. Raises NotImplementedError."""
    raise NotImplementedError(later("xstarmap(task, it)", "group(task.s(*items) for items in it)"))
