"""``celeriac inspect``: ask nodes what they do."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import click

from celeriac.cli.invocation import Invocation, load_app
from celeriac.cli.remote import Asking, Heard, asked, error_of, print_json, remote_group, tell_missing
from celeriac.control.commands import Command

_DOC = "Ask nodes what they do. Nothing is changed."

_EPILOG = """
\b
Examples:
  celeriac -A proj inspect ping                  who is there
  celeriac -A proj inspect active                what runs, since when, in which process
  celeriac -A proj inspect stats -d w1@box --json
  celeriac -A proj inspect query_task ID         who has this task
  celeriac -A proj inspect registered rate_limit

\b
Exit code: 0 all who replied could answer, 1 one could not, 69 no nodes replied.
"""

_TASKS = {"active": "No task runs.", "reserved": "No task is reserved.", "scheduled": "No task waits for its time."}
"""Commands whose answers are lists of tasks, and what is said when there are none."""


def _run(invocation: Invocation, command: Command, arguments: dict[str, Any], asking: Asking) -> int:
    app = load_app(invocation)
    heard = asked(app, command.name, arguments, asking)
    if asking.wants_json:
        print_json(heard)
    else:
        _show(invocation, command, heard)
    tell_missing(invocation, heard, asking)
    return heard.exit_code


inspect = remote_group("inspect", _DOC, _EPILOG, _run)


def _show(invocation: Invocation, command: Command, heard: Heard) -> None:
    failed = {node: error for node, answer in heard.answers.items() if (error := error_of(answer))}
    for node, error in failed.items():
        click.echo(f"{node}: {click.style('error', fg='red')}: {error}", err=True)
    answers = {node: answer for node, answer in heard.answers.items() if node not in failed}
    if command.name in _TASKS:
        _show_tasks(invocation, command, answers)
        return
    if command.name == "query_task":
        answers = {node: _held(answer) for node, answer in answers.items()}
    elif command.name == "active_queues":
        answers = {node: [queue.get("name") for queue in answer] for node, answer in answers.items()}
    for node, answer in answers.items():
        said = answer.get("ok") if isinstance(answer, dict) and set(answer) == {"ok"} else None
        if said is not None and "\n" not in str(said):
            click.echo(f"{click.style(node, bold=True)}: {said}")
            continue
        click.echo(f"{click.style(node, bold=True)}:")
        for line in _lines(answer if said is None else str(said)):
            click.echo(f"  {line}")


def _show_tasks(invocation: Invocation, command: Command, answers: dict[str, Any]) -> None:
    if not any(answers.values()):
        click.echo(_TASKS[command.name])
        return
    from celeriac.cli.show import page
    from celeriac.cli.show_nodes import show_scheduled, show_tasks

    to = page(invocation, time.time())
    if command.name == "scheduled":
        # Nodes of one queue show the same ones.
        unique = {entry["request"]["id"]: entry for entries in answers.values() for entry in entries}
        show_scheduled(to, sorted(unique.values(), key=lambda entry: str(entry["eta"])))
    else:
        show_tasks(to, [task for tasks in answers.values() for task in tasks], command.name == "active")


def _held(answer: dict[str, Any]) -> Any:
    return {task_id: f"{state} {info.get('name')}" for task_id, (state, info) in answer.items()} or "none of them"


def _lines(value: Any) -> Iterator[str]:
    """Nested data for people: a line per value, indented."""
    if isinstance(value, dict):
        for name, item in value.items():
            if isinstance(item, (dict, list)) and item:
                yield f"{name}:"
                yield from (f"  {line}" for line in _lines(item))
            else:
                yield f"{name}: {_plain(item)}"
    elif isinstance(value, list):
        for item in value:
            if isinstance(item, dict):
                yield ", ".join(f"{name}: {_plain(one)}" for name, one in item.items())
            else:
                yield _plain(item)
        if not value:
            yield "-"
    else:
        yield from str(value).splitlines()


def _plain(value: Any) -> str:
    if value is None or value in ({}, []):
        return "-"
    return f"{value:.3f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)
