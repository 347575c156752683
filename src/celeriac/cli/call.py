"""``celeriac call``: send one task."""

from __future__ import annotations

import difflib
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import click

from celeriac.cli import fields
from celeriac.cli.answer import as_json, look, show
from celeriac.cli.failure import EXIT_NOT_YET, EXIT_USAGE, Failure
from celeriac.cli.invocation import Invocation, again, load_app, notice
from celeriac.cli.verb import DID_YOU_MEAN_CUTOFF, Verb, given

if TYPE_CHECKING:
    from celeriac.app import Celeriac
    from celeriac.result import AsyncResult

_EPILOG = """
\b
Examples:
  celeriac -A proj call proj.add -a '[2, 3]'              prints the id
  celeriac -A proj call proj.add -a '[2, 3]' --wait 10    and the result
  celeriac -A proj call proj.mail -k '{"to": "x@y.z"}' --countdown 60
  celeriac -A proj call proj.mail --eta 2030-01-01T08:00:00 --expires 3600

\b
Exit code with --wait: 0 success, 1 the task failed, 75 no result in time.
"""


@click.command(cls=Verb, epilog=_EPILOG)
@click.argument("name")
@click.option("-a", "--args", type=fields.JSON_LIST, metavar="JSON", help="Positional arguments: '[2, 3]'")
@click.option("-k", "--kwargs", type=fields.JSON_OBJECT, metavar="JSON", help="Arguments by name: '{\"x\": 2}'")
@click.option("--queue", metavar="NAME", help="Send it to this queue.")
@click.option("--countdown", type=float, metavar="SECONDS", help="Not before so many seconds have passed.")
@click.option("--eta", type=fields.MOMENT, metavar="TIME", help="Not before then: 2030-01-01T08:00:00Z")
@click.option("--expires", type=fields.SECONDS_OR_MOMENT, metavar="TIME", help="Not after then, or so many seconds.")
@click.option("--priority", type=fields.IMPORTANCE, metavar="P", help="0 to 9 (larger first), high, normal, low.")
@click.option("--serializer", metavar="NAME", help="json (default), or another that workers accept.")
@click.option("--id", "task_id", metavar="ID", help="The task's id, in place of a new one.")
@click.option("--wait", "wait_s", type=click.FloatRange(min=0), metavar="SECONDS", help="Wait so long for the result.")
@click.option("--traceback", is_flag=True, help="With --wait: print the traceback of a task that failed.")
@click.option("--json", "wants_json", is_flag=True, help="With --wait: print the answer as JSON.")
@click.pass_obj
def call(invocation: Invocation, /, **words: Any) -> int:
    """Send the task NAME, and print its id; with --wait its result too."""
    app = load_app(invocation)
    options = given({name: words[name] for name in ("queue", "countdown", "eta", "expires", "priority", "serializer")})
    if words["task_id"] is not None:
        options["task_id"] = words["task_id"]
    _check_times(options)
    result = _send(invocation, app, words["name"], words["args"] or [], words["kwargs"] or {}, options)
    if words["wait_s"] is None:
        click.echo(result.id)
        return 0
    if not words["wants_json"]:
        click.echo(result.id)
    answer = look(result, words["wait_s"])
    if words["wants_json"]:
        click.echo(as_json(answer))
    elif answer.exit_code == EXIT_NOT_YET:
        raise Failure(
            f"No result within {words['wait_s']:g} s (state {answer.state}).",
            f"Does a worker take from that queue? Look again with: {again(f'result {answer.id} --wait 10')}",
            EXIT_NOT_YET,
        )
    else:
        show(answer, words["traceback"])
    return answer.exit_code


def _check_times(options: dict[str, Any]) -> None:
    if "eta" in options and "countdown" in options:
        raise Failure("--eta and --countdown both say when to start.", "Give one of them.", EXIT_USAGE)
    eta, expires = options.get("eta"), options.get("expires")
    if isinstance(expires, float) and isinstance(eta, datetime):
        expires = datetime.now(eta.tzinfo) + timedelta(seconds=expires)
    if isinstance(eta, datetime) and isinstance(expires, datetime) and expires <= eta:
        raise Failure(
            "It would expire before it may start.", "Give a later --expires, or an earlier --eta.", EXIT_USAGE
        )


def _send(
    invocation: Invocation, app: Celeriac, name: str, args: list[Any], kwargs: dict[str, Any], options: dict[str, Any]
) -> AsyncResult[Any]:
    """By its task, if the app has it: then its own options hold and the arguments are checked; else by name alone."""
    if invocation.app_path or invocation.app is not None:
        tasks = app.load_tasks()
        if name in tasks:
            return _call_known(tasks[name], args, kwargs, options)
        _tell_unknown(invocation, name, list(tasks))
    result: AsyncResult[Any] = app.send_task(name, tuple(args), kwargs, **options)
    return result


def _call_known(task: Any, args: list[Any], kwargs: dict[str, Any], options: dict[str, Any]) -> AsyncResult[Any]:
    try:
        result: AsyncResult[Any] = task.apply_async(tuple(args), kwargs, **options)
    except TypeError as exc:
        raise Failure(
            f"{task.name} does not take these arguments: {exc}",
            "Give positional arguments with -a '[...]' and those by name with -k '{...}'.",
            EXIT_USAGE,
        ) from exc
    return result


def _tell_unknown(invocation: Invocation, name: str, known: list[str]) -> None:
    near = difflib.get_close_matches(name, known, n=1, cutoff=DID_YOU_MEAN_CUTOFF)
    meant = f" Did you mean {near[0]}?" if near else ""
    notice(
        invocation,
        f"This app has no task {name!r}: it is sent all the same, and waits for a worker that has it.{meant}",
    )
