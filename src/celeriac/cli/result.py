"""``celeriac result``: what became of a task."""

from __future__ import annotations

from typing import Any

import click

from celeriac.cli.answer import Answer, as_json, look, show
from celeriac.cli.invocation import Invocation, again, load_app
from celeriac.cli.letters import find_letter
from celeriac.cli.verb import Verb
from celeriac.model.states import PENDING

_EPILOG = """
\b
Examples:
  celeriac -A proj result ID
  celeriac -A proj result ID --wait 30
  celeriac -A proj result ID --traceback

\b
Exit code: 0 success, 1 the task failed, 75 there is no result (yet).
"""


@click.command(cls=Verb, epilog=_EPILOG)
@click.argument("task_id", metavar="ID")
@click.option("-t", "--task", hidden=True, help="Name of the task; not needed.")
@click.option("--traceback", is_flag=True, help="Print the traceback of a task that failed.")
@click.option("--wait", "wait_s", type=click.FloatRange(min=0), metavar="SECONDS", help="Wait so long for it.")
@click.option("--json", "wants_json", is_flag=True, help="Print the answer as a JSON object.")
@click.pass_obj
def result(invocation: Invocation, /, **words: Any) -> int:
    """Print what the task ID returned, or why it failed."""
    app = load_app(invocation)
    answer = look(app.AsyncResult(words["task_id"]), words["wait_s"])
    if words["wants_json"]:
        click.echo(as_json(answer))
        return answer.exit_code
    show(answer, words["traceback"])
    _tell_why(app, answer)
    return answer.exit_code


def _tell_why(app: Any, answer: Answer) -> None:
    """A task without a result may lie among the dead letters: then that is the reason."""
    if answer.state != PENDING:
        return
    letter = find_letter(app, answer.id)
    if letter is None:
        return
    state = "parked" if letter.parked else "a dead letter"
    click.echo(f"It is {state} in the queue {letter.message.queue}: {letter.reason}", err=True)
    click.echo(f"Try it again with: {again(f'queues revive {answer.id}')}", err=True)
