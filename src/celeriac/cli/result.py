"""``celeriac result``: what became of a task."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import Any

import click

from celeriac.cli.answer import Answer, as_json, look, show, state_line
from celeriac.cli.invocation import Invocation, again, load_app
from celeriac.cli.letters import find_letter
from celeriac.cli.verb import Verb
from celeriac.model.errors import TimeoutError as ResultTimeoutError
from celeriac.model.states import PENDING, READY_STATES

_EPILOG = """
\b
Examples:
  celeriac -A proj result ID
  celeriac -A proj result ID --wait 30
  celeriac -A proj result ID --traceback
  celeriac -A proj result ID --follow                each state as it comes, until the end
  celeriac -A proj result ID --follow --json         a line of JSON for each

\b
Exit code: 0 success, 1 the task failed, 75 there is no result (yet), 130 stopped with Ctrl-C (the task goes on).
"""


@click.command(cls=Verb, epilog=_EPILOG)
@click.argument("task_id", metavar="ID")
@click.option("-t", "--task", hidden=True, help="Name of the task; not needed.")
@click.option("--traceback", is_flag=True, help="Print the traceback of a task that failed.")
@click.option("--wait", "wait_s", type=click.FloatRange(min=0), metavar="SECONDS", help="Wait so long for it.")
@click.option("-f", "--follow", is_flag=True, help="Tell each state and progress as it comes, until the end.")
@click.option("--json", "wants_json", is_flag=True, help="Print the answer as a JSON object.")
@click.pass_obj
def result(invocation: Invocation, /, **words: Any) -> int:
    """Print what the task ID returned, or why it failed."""
    app = load_app(invocation)
    handle = app.AsyncResult(words["task_id"])
    wait_s = words["wait_s"]
    answer = _follow(handle, wait_s, words["wants_json"]) if words["follow"] else look(handle, wait_s)
    if words["wants_json"]:
        click.echo(as_json(answer))
        return answer.exit_code
    show(answer, words["traceback"])
    _tell_why(app, answer)
    return answer.exit_code


def _follow(handle: Any, wait_s: float | None, wants_json: bool) -> Answer:
    """Tell each state on the way; what is known at the end, or after `wait_s`."""

    def tell(state: str, value: Any, traceback: str | None) -> None:
        if state in READY_STATES:
            return  # told by the caller, as without --follow
        if wants_json:
            click.echo(as_json(Answer(handle.id, state, value, traceback, None)))
        else:
            click.echo(f"{time.strftime('%H:%M:%S')}  {state_line(state, value)}", err=True)

    def on_message(meta: dict[str, Any]) -> None:
        tell(meta["status"], meta["result"], meta.get("traceback"))

    if handle.state == PENDING:
        tell(PENDING, None, None)
    with suppress(ResultTimeoutError):
        handle.get(timeout=wait_s, propagate=False, on_message=on_message)
    return look(handle)


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
