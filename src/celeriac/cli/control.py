"""``celeriac control``: tell nodes what to do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from celeriac.cli.failure import EXIT_CONFIG, EXIT_USAGE, Failure
from celeriac.cli.invocation import Invocation, load_app
from celeriac.cli.remote import (
    Asking,
    Heard,
    asked,
    check_reachable,
    error_of,
    print_json,
    remote_group,
    tell_missing,
)
from celeriac.control.commands import Command

if TYPE_CHECKING:
    from celeriac.app import Celeriac

_DOC = "Tell nodes what to do."

_EPILOG = """
\b
Examples:
  celeriac -A proj control revoke ID ID              these must not run
  celeriac -A proj control revoke ID --terminate     nor go on running
  celeriac -A proj control shutdown -d w1@box        end one worker; its tasks may finish
  celeriac -A proj control shutdown                  end all workers

\b
Exit code: 0 done, 1 a node could not, 69 no nodes replied. What is revoked stays so, also where no node replied.
"""


def _run(invocation: Invocation, command: Command, arguments: dict[str, Any], asking: Asking) -> int:
    app = load_app(invocation)
    if command.name in {"revoke", "terminate"}:
        heard = _revoke(app, command, arguments, asking)
    else:
        heard = asked(app, command.name, arguments, asking)
    if asking.wants_json:
        print_json(heard)
    else:
        for node, answer in heard.answers.items():
            error = error_of(answer)
            said = click.style(f"error: {error}", fg="red") if error else answer.get("ok", answer)
            click.echo(f"{click.style(node, bold=True)}: {said}")
    tell_missing(invocation, heard, asking)
    return heard.exit_code


control = remote_group("control", _DOC, _EPILOG, _run)


def _revoke(app: Celeriac, command: Command, arguments: dict[str, Any], asking: Asking) -> Heard:
    """It is marked in the store too, so it holds whether a node replies or not."""
    terminate = command.name == "terminate" or arguments.get("terminate", False)
    try:
        check_reachable(app, asking)
        replies = app.control.revoke(
            arguments["task_id"],
            asking.destination,
            terminate,
            arguments.get("signal", "SIGTERM"),
            reply=True,
            timeout=asking.timeout_s,
        )
    except ValueError as exc:
        raise Failure(f"{exc}.", "Correct --signal.", EXIT_USAGE) from exc
    except NotImplementedError as exc:
        raise Failure(f"{exc}.", "Use a broker that does, such as sqlite:///celeriac.db.", EXIT_CONFIG) from exc
    if not replies and not asking.wants_json:
        click.echo("Marked as revoked. No nodes replied; those that start later know of it.", err=True)
    found = {node: answer for reply in replies or () for node, answer in reply.items()}
    return Heard(dict(sorted(found.items())), len(replies or ()), None)
