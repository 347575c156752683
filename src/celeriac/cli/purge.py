"""``celeriac purge``: delete what waits."""

from __future__ import annotations

from typing import Any

import click

from celeriac.cli import fields
from celeriac.cli.admin import configured_queues, opened_admin
from celeriac.cli.confirm import confirm
from celeriac.cli.invocation import Invocation, load_app
from celeriac.cli.verb import Verb

_EPILOG = """
\b
Examples:
  celeriac -A proj purge            asks first
  celeriac -A proj purge -f         does not ask
  celeriac -A proj purge -Q mail

Running tasks and dead letters stay (see `celeriac queues drop`).
"""


@click.command(cls=Verb, epilog=_EPILOG)
@click.option("-f", "--force", is_flag=True, help="Do not ask.")
@click.option(
    "-Q", "--queues", type=fields.NAMES, metavar="A,B", help="These queues. [default: all that the app names]"
)
@click.option("-X", "--exclude-queues", type=fields.NAMES, metavar="A,B", help="All but these.")
@click.pass_obj
def purge(invocation: Invocation, /, **words: Any) -> int:
    """Delete the messages that wait in the queues, ready and delayed. There is no undo."""
    app = load_app(invocation)
    names = configured_queues(app, words["queues"], words["exclude_queues"])
    with opened_admin(app) as broker:
        depths = broker.depth()
        waiting = {depth.queue: depth.ready + depth.delayed for depth in depths}
        total = sum(waiting.get(name, 0) for name in names)
        if not words["force"]:
            confirm(f"Delete {_messages(total)} from {', '.join(names)} for good?", "-f")
        count = sum(broker.purge(name) for name in names)
    click.echo(f"Deleted {_messages(count)} from {', '.join(names)}.")
    _tell_others({name: number for name, number in waiting.items() if number and name not in names}, words)
    return 0


def _messages(count: int) -> str:
    return f"{count:,} message{'' if count == 1 else 's'}"


def _tell_others(others: dict[str, int], words: dict[str, Any]) -> None:
    """Queues that the app does not name are left alone, and that should not go unnoticed."""
    if others and not words["queues"] and not words["exclude_queues"]:
        click.echo(f"Left alone, as the app does not name them: {', '.join(others)}. Name them with -Q.", err=True)
