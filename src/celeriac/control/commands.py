"""What a node can be asked and what it can be told: every command, declared once.

The node, the client's methods and the command line all read these declarations; how a request travels is another
matter (`control.words` and `control.asking`).
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any, Literal

from msgspec import Struct

Kind = Literal["inspect", "control"]
"""`inspect` commands only look; `control` commands change something."""

_CLOSE = 0.6
"""How alike two names must be for one to be offered for the other (1 is equal)."""
_TRUE = frozenset({"1", "true", "yes", "on"})
_FALSE = frozenset({"0", "false", "no", "off", ""})


class BadArguments(ValueError):
    """A command was given something it does not take. The text names it."""


class Argument(Struct, frozen=True):
    """One argument of a command."""

    name: str
    kind: Literal["text", "texts", "flag"]
    """`text` is one word, `texts` are any number of them, `flag` is true or false."""
    help: str = ""
    default: Any = None
    is_required: bool = False
    is_option: bool = False
    """On the command line it is an option, not a word at its place."""
    is_hidden: bool = False
    """Of no use to people."""


class Command(Struct, frozen=True):
    """One command. Its name and its arguments' names are Celery's."""

    name: str
    kind: Kind
    help: str
    arguments: tuple[Argument, ...] = ()
    aliases: tuple[str, ...] = ()
    is_visible: bool = True
    """Listed for people."""


_SAFE = Argument(
    "safe", "flag", "Accepted for Celery's sake: arguments are always shown as text.", False, is_hidden=True
)
_IDS = Argument("task_id", "texts", "Ids of tasks.", is_required=True)
_SIGNAL = Argument("signal", "text", "What to end it with.", "SIGTERM", is_option=True)

_DECLARED = (
    Command("ping", "inspect", "Ask who is there."),
    Command("active", "inspect", "Tasks that run now.", (_SAFE,), ("dump_active",)),
    Command("reserved", "inspect", "Tasks that a node holds and has not begun.", (_SAFE,), ("dump_reserved",)),
    Command(
        "scheduled",
        "inspect",
        "Tasks that wait for their time, in the node's queues.",
        (_SAFE,),
        ("dump_schedule",),
    ),
    Command("revoked", "inspect", "Ids of tasks that the node knows as revoked.", (), ("dump_revoked",)),
    Command(
        "registered",
        "inspect",
        "Names of the tasks that a node can run.",
        (
            Argument("taskinfoitems", "texts", "Attributes of the tasks to show, such as rate_limit."),
            Argument("builtins", "flag", "Those of the package too.", False, is_option=True),
        ),
        ("dump_tasks",),
    ),
    Command("stats", "inspect", "Numbers: tasks done, processes, memory, uptime."),
    Command("active_queues", "inspect", "The queues a node takes from."),
    Command(
        "query_task",
        "inspect",
        "Who has these tasks, and whether they run.",
        (Argument("ids", "texts", "Ids of tasks.", is_required=True),),
    ),
    Command("report", "inspect", "Versions and settings of a node, as text."),
    Command(
        "conf",
        "inspect",
        "The settings of a node, without secrets.",
        (Argument("with_defaults", "flag", "Also those that nobody has set.", False, is_option=True),),
        ("dump_conf",),
    ),
    Command("shutdown", "control", "End workers; what runs may finish."),
    Command(
        "revoke",
        "control",
        "Tasks must not run.",
        (
            _IDS,
            Argument("terminate", "flag", "End it if it runs.", False, is_option=True),
            _SIGNAL,
            Argument("stored", "flag", "The sender has marked them in the store.", False, is_hidden=True),
        ),
    ),
    Command(
        "terminate",
        "control",
        "Tasks must not run; those that run are ended.",
        (
            Argument("signal", "text", "What to end it with, such as SIGTERM.", is_required=True),
            _IDS,
            Argument("stored", "flag", "The sender has marked them in the store.", False, is_hidden=True),
        ),
    ),
)

COMMANDS: Mapping[str, Command] = {command.name: command for command in _DECLARED}
"""All of them, by name, in the order in which people are shown them."""

_ALIASES: Mapping[str, Command] = {alias: command for command in _DECLARED for alias in command.aliases}


def find_command(name: str) -> Command | None:
    """The command of that name or alias."""
    return COMMANDS.get(name) or _ALIASES.get(name)


def commands_of(kind: Kind) -> list[Command]:
    """Those of one kind that people are shown."""
    return [command for command in _DECLARED if command.kind == kind and command.is_visible]


def nearest(name: str, names: Iterable[str]) -> str | None:
    """The name that was meant, most likely."""
    close = difflib.get_close_matches(name, list(names), n=1, cutoff=_CLOSE)
    return close[0] if close else None


def checked_arguments(command: Command, given: Mapping[str, Any]) -> dict[str, Any]:
    """All arguments of a command: those given, checked, and the defaults. Raises BadArguments."""
    declared = {argument.name: argument for argument in command.arguments}
    for name in given:
        if name not in declared:
            near = nearest(name, declared)
            known = f"; did you mean {near!r}?" if near else f"; it takes {', '.join(declared) or 'no arguments'}"
            raise BadArguments(f"{command.name} has no argument {name!r}{known}")
    settled: dict[str, Any] = {}
    for argument in command.arguments:
        value = given.get(argument.name)
        if value is None:
            if argument.is_required:
                raise BadArguments(f"{command.name} needs {argument.name!r}: {argument.help}")
            value = argument.default
        else:
            value = _checked(command, argument, value)
        settled[argument.name] = [] if value is None and argument.kind == "texts" else value
    return settled


def _checked(command: Command, argument: Argument, value: Any) -> Any:
    if argument.kind == "flag":
        # Celery's clients send text here now and then.
        text = str(value).lower()
        if text in _TRUE | _FALSE:
            return text in _TRUE
        raise BadArguments(f"{command.name}: {argument.name}={value!r} is neither true nor false")
    if argument.kind == "text":
        if isinstance(value, (str, int)) and not isinstance(value, bool):
            return str(value)
        raise BadArguments(f"{command.name}: {argument.name}={value!r} is no text")
    values = [value] if isinstance(value, str) else value
    if not isinstance(values, (list, tuple)) or not all(isinstance(one, str) for one in values):
        raise BadArguments(f"{command.name}: {argument.name}={value!r} is no list of texts")
    if argument.is_required and not values:
        raise BadArguments(f"{command.name} needs {argument.name!r}: {argument.help}")
    return list(values)
