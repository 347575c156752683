"""Tables and ages for people. The only module that loads `rich`, and only verbs that print tables load it."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import Literal

from msgspec import Struct
from rich.console import Console
from rich.table import Table
from rich.text import Text

from celeriac.cli.invocation import Invocation
from celeriac.cli.letters import arguments
from celeriac.model.message import DeadLetter, Depth, Message, Waiting

_MINUTE_S = 60
_HOUR_S = 3600
_DAY_S = 86400
_ARGUMENTS_MAX = 80
"""So many characters of the arguments are shown; ``--json`` has them all."""
_NAME_MAX = 60
"""Longer names of queues are shortened; ``--json`` has them whole."""
_PIPE_WIDTH = 160
"""Width of tables that go into a pipe or a file, where nobody can widen the window."""


class Page(Struct, frozen=True):
    """Where output goes, and the moment that ages count from."""

    console: Console
    now: float


def page(invocation: Invocation, now: float) -> Page:
    """Standard output, with colours where it is a terminal and nobody objects."""
    width = None if sys.stdout.isatty() else _PIPE_WIDTH
    color_system: Literal["auto"] | None = None if invocation.color is False else "auto"
    console = Console(color_system=color_system, highlight=False, width=width)
    return Page(console, now)


def table(*columns: tuple[str, bool]) -> Table:
    """Columns by title; True aligns numbers to the right."""
    made = Table(box=None, pad_edge=False, header_style="bold")
    for title, is_number in columns:
        made.add_column(title, justify="right" if is_number else "left", no_wrap=is_number, overflow="fold")
    return made


def count(number: int, style: str = "") -> Text:
    """A number; a dash for none."""
    return Text(f"{number:,}", style=style) if number else Text("-", style="dim")


def show_depths(to: Page, depths: Sequence[Depth]) -> None:
    """A line per queue, and what to do about what is not well."""
    rows = table(
        ("queue", False),
        ("ready", True),
        ("delayed", True),
        ("running", True),
        ("dead", True),
        ("parked", True),
        ("", False),
    )
    for depth in depths:
        rows.add_row(
            Text(short(depth.queue)),
            count(depth.ready),
            count(depth.delayed),
            count(depth.claimed),
            count(depth.dead, "red"),
            count(depth.parked, "yellow"),
            Text("paused", style="yellow") if depth.paused else "",
        )
    to.console.print(rows)


def short(name: str) -> str:
    """A name that fits a column."""
    return name if len(name) <= _NAME_MAX else f"{name[: _NAME_MAX - 3]}..."


def show_waiting(to: Page, waiting: Sequence[Waiting]) -> None:
    """Messages in the order in which they will be delivered."""
    rows = table(("id", False), ("task", False), ("state", False), ("prio", True), ("tries", True))
    for one in waiting:
        message = one.message
        rows.add_row(
            Text(message.id, no_wrap=True),
            Text(_call(message)),
            Text(_state(one, to.now)),
            Text("-" if message.priority is None else str(message.priority)),
            count(one.attempt),
        )
    to.console.print(rows)


def _call(message: Message) -> str:
    """The task with its arguments, shortened: a screen is for many."""
    text = arguments(message)
    if len(text) > _ARGUMENTS_MAX:
        text = f"{text[:_ARGUMENTS_MAX]}..."
    return f"{message.task}{text}"


def _state(one: Waiting, now: float) -> str:
    if one.state == "delayed" and one.due_at is not None:
        return f"due in {span(one.due_at - now)}" if one.due_at > now else "due"
    return {"ready": "ready", "delayed": "delayed", "claimed": "running"}[one.state]


def show_letters(to: Page, letters: Iterable[DeadLetter]) -> None:
    """Two lines per letter: what it is, and why it lies here."""
    for letter in letters:
        message = letter.message
        head = Text()
        head.append(message.id, style="bold")
        head.append(f"  {_call(message)}")
        tail = [short(message.queue), f"{span(to.now - letter.buried_at)} ago"]
        if letter.crashes:
            tail.append(f"{letter.crashes} crash{'' if letter.crashes == 1 else 'es'}")
        head.append(f"  {', '.join(tail)}", style="dim")
        to.console.print(head, soft_wrap=True)
        why = Text("    ")
        why.append("parked: " if letter.parked else "", style="yellow")
        why.append(letter.reason, style="yellow" if letter.parked else "red")
        to.console.print(why, soft_wrap=True)


def span(seconds: float) -> str:
    """A duration in words of one unit: 45 s, 12 min, 3 h, 5 days."""
    if seconds < 1:
        return "1 s"
    if seconds < _MINUTE_S:
        return f"{seconds:.0f} s"
    if seconds < _HOUR_S:
        return f"{seconds / _MINUTE_S:.0f} min"
    if seconds < _DAY_S:
        return f"{seconds / _HOUR_S:.0f} h"
    days = round(seconds / _DAY_S)
    return f"{days} day{'' if days == 1 else 's'}"
