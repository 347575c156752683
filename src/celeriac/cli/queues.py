"""``celeriac queues``: what waits and why, and what to do about it."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import click

from celeriac.cli import as_data, fields
from celeriac.cli.admin import missing_file, opened_admin
from celeriac.cli.confirm import confirm
from celeriac.cli.failure import EXIT_FAILED, EXIT_USAGE, Failure
from celeriac.cli.followers import forget_failures
from celeriac.cli.invocation import Invocation, again, load_app
from celeriac.cli.letters import LETTERS_MAX, Selection, chosen, in_portions
from celeriac.cli.verb import GlobalsAfterVerb, Verb, check_verb
from celeriac.model.message import Depth
from celeriac.model.ports import BrokerAdmin

if TYPE_CHECKING:
    from celeriac.app import Celeriac

_SHOWN = 20
"""How many messages or letters are shown unless more are asked for: about a screen."""

_EPILOG = """
\b
Examples:
  celeriac -A proj queues                      how many wait, run, are dead
  celeriac -A proj queues peek celery          the next messages
  celeriac -A proj queues dead --search Timeout
  celeriac -A proj queues revive ID ID
  celeriac -A proj queues revive --task proj.mail
  celeriac -A proj queues dead --ids -n 0 | celeriac -A proj queues drop -f -
  celeriac -A proj queues pause mail           workers leave it alone, until:
  celeriac -A proj queues resume mail

\b
ready    waits for a worker
delayed  not due yet
running  a worker has it
dead     given up, with the reason; revive tries it again
parked   no worker knew the task's name; runs when one does
paused   nothing is taken from the queue
"""


class _Queues(GlobalsAfterVerb, click.Group):
    """A verb that does something by itself, with verbs of its own."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        check_verb(args[0], self.commands)
        return super().resolve_command(ctx, args)


@click.group(cls=_Queues, invoke_without_command=True, epilog=_EPILOG, subcommand_metavar="[VERB] ...")
@click.option("-Q", "--queues", "names", type=fields.NAMES, metavar="A,B", help="Only these.")
@click.option("--json", "wants_json", is_flag=True, help="Print JSON.")
@click.pass_context
def queues(ctx: click.Context, /, names: Sequence[str] | None, wants_json: bool) -> int | None:
    """Show queues and dead letters; pause, resume, revive, drop."""
    if ctx.invoked_subcommand is not None:
        return None
    invocation: Invocation = ctx.obj
    app = load_app(invocation)
    if _has_nothing(app, wants_json):
        return 0
    with opened_admin(app) as broker:
        depths = broker.depth(names or ())
    if wants_json:
        click.echo(as_data.dump([as_data.of_depth(depth) for depth in depths]))
        return 0
    if not depths:
        click.echo("There are no queues yet: nothing was sent, or it was sent to another broker.")
        return 0
    from celeriac.cli.show import page, show_depths

    show_depths(page(invocation, time.time()), depths)
    _advise(invocation, depths)
    return 0


def _has_nothing(app: Celeriac, wants_json: bool) -> bool:
    """True, and said, if there is nothing to look at; looking would leave an empty database behind."""
    file = missing_file(app)
    if file is None:
        return False
    click.echo(f"There is no database {file} yet: nothing was ever sent to it.", err=True)
    if wants_json:
        click.echo("[]")
    return True


def _advise(invocation: Invocation, depths: Sequence[Depth]) -> None:
    if invocation.quiet or not sys.stdout.isatty():
        return
    if any(depth.dead or depth.parked for depth in depths):
        click.echo(f"\nWhy dead or parked: {again('queues dead')}")
    if any(depth.paused for depth in depths):
        click.echo(f"\nTo let a paused queue run: {again('queues resume QUEUE')}")


_LIMIT = click.option(
    "-n",
    "--limit",
    metavar="N",
    type=click.IntRange(min=0),
    default=_SHOWN,
    show_default=True,
    help="How many at most; 0 for all.",
)
_AS_JSON = click.option("--json", "wants_json", is_flag=True, help="Print JSON.")


@queues.command(cls=Verb)
@click.argument("queue")
@_LIMIT
@_AS_JSON
@click.pass_obj
def peek(invocation: Invocation, /, queue: str, limit: int, wants_json: bool) -> int:
    """Show the next messages of QUEUE, in the order of delivery. Nothing is taken."""
    app = load_app(invocation)
    if _has_nothing(app, wants_json):
        return 0
    with opened_admin(app) as broker:
        _check_known(broker, queue)
        waiting = broker.peek(queue, limit or LETTERS_MAX)
    if wants_json:
        click.echo(as_data.dump([as_data.of_waiting(one) for one in waiting]))
        return 0
    if not waiting:
        click.echo(f"The queue {queue} is empty.")
        return 0
    from celeriac.cli.show import page, show_waiting

    show_waiting(page(invocation, time.time()), waiting)
    return 0


@queues.command(cls=Verb)
@click.argument("queue", required=False)
@click.option("--task", metavar="NAME", help="Only this task's.")
@click.option("--search", metavar="TEXT", help="Only with this text in id, task, arguments or reason.")
@_LIMIT
@click.option("--ids", "wants_ids", is_flag=True, help="Print the ids alone, for `revive -` and `drop -`.")
@_AS_JSON
@click.pass_obj
def dead(invocation: Invocation, /, **words: Any) -> int:
    """Show dead and parked letters, newest first, with the reason."""
    limit = words["limit"] or LETTERS_MAX
    selection = Selection(words["queue"], words["task"], words["search"])
    app = load_app(invocation)
    if _has_nothing(app, words["wants_json"]):
        return 0
    with opened_admin(app) as broker:
        # One more than is shown tells whether there are more.
        letters = chosen(broker, selection, min(limit + 1, LETTERS_MAX))
        total = sum(depth.dead + depth.parked for depth in broker.depth()) if len(letters) > limit else len(letters)
    shown = letters[:limit]
    if words["wants_json"]:
        click.echo(as_data.dump([as_data.of_letter(letter) for letter in shown]))
        return 0
    if words["wants_ids"]:
        for letter in shown:
            click.echo(letter.message.id)
        return 0
    if not shown:
        click.echo("No dead letters." if selection.is_everything else "No dead letters like that.")
        return 0
    from celeriac.cli.show import page, show_letters

    show_letters(page(invocation, time.time()), shown)
    if len(letters) > limit:
        count = f"of {total:,} " if selection.is_everything else ""
        click.echo(f"Shown: the newest {limit} {count}(-n 0 shows all).", err=True)
    return 0


def _selecting(command: Any) -> Any:
    """The ways to say which letters."""
    for option in (
        click.option("--search", metavar="TEXT", help="Those with this text in id, task, arguments or reason."),
        click.option("--task", metavar="NAME", help="Those of this task."),
        click.option("--queue", metavar="QUEUE", help="Those of this queue."),
        click.option("--all", "everything", is_flag=True, help="All of them."),
        click.argument("ids", nargs=-1, metavar="[ID]... | -"),
    ):
        command = option(command)
    return command


@queues.command(cls=Verb)
@_selecting
@click.pass_obj
def revive(invocation: Invocation, /, **words: Any) -> int:
    """Put dead letters back on their queues, their crashes forgotten. Ids can come from standard input with -."""
    app = load_app(invocation)
    with opened_admin(app) as broker:
        ids, by_id = _ids(broker, words)
        wanted = frozenset(ids)
        # With the letters' own failures, those go that they have brought upon the tasks behind them.
        forget_failures(app, [letter for letter in broker.dead(None, LETTERS_MAX) if letter.message.id in wanted])
        count = in_portions(broker.revive, ids)
    return _tell("Revived", count, ids, by_id)


@queues.command(cls=Verb)
@_selecting
@click.option("-f", "--force", is_flag=True, help="Do not ask.")
@click.pass_obj
def drop(invocation: Invocation, /, **words: Any) -> int:
    """Delete dead letters for good. Ids can come from standard input with -."""
    with opened_admin(load_app(invocation)) as broker:
        ids, by_id = _ids(broker, words)
        if not by_id and ids and not words["force"]:
            confirm(f"Delete {_letters(len(ids))} for good?", "-f")
        count = in_portions(broker.drop, ids)
    return _tell("Dropped", count, ids, by_id)


def _ids(broker: BrokerAdmin, words: dict[str, Any]) -> tuple[list[str], bool]:
    """The ids that are meant, and whether they were given one by one."""
    given_ids: list[str] = []
    for word in words["ids"]:
        if word == "-":
            given_ids.extend(sys.stdin.read().split())
        else:
            given_ids.append(word)
    selection = Selection(words["queue"], words["task"], words["search"])
    by_rule = words["everything"] or not selection.is_everything
    if words["ids"] and by_rule:
        raise Failure("Ids and a rule were given.", "Give either ids, or --all, --queue, --task, --search.", EXIT_USAGE)
    if words["ids"]:
        return list(dict.fromkeys(given_ids)), True
    if not by_rule:
        raise Failure(
            "Which dead letters?",
            "Give ids (`queues dead` shows them), or --all, --queue QUEUE, --task NAME, --search TEXT.",
            EXIT_USAGE,
        )
    return [letter.message.id for letter in chosen(broker, selection)], False


def _tell(done: str, count: int, ids: Sequence[str], by_id: bool) -> int:
    click.echo(f"{done} {_letters(count)}.")
    missing = len(ids) - count
    if missing > 0 and by_id:
        what = "1 id is" if missing == 1 else f"{missing:,} ids are"
        raise Failure(f"{what} no dead letter's.", f"`{again('queues dead')}` shows those there are.", EXIT_FAILED)
    return 0


def _letters(count: int) -> str:
    return f"{count:,} dead letter{'' if count == 1 else 's'}"


@queues.command(cls=Verb)
@click.argument("names", nargs=-1, required=True, metavar="QUEUE...")
@click.pass_obj
def pause(invocation: Invocation, /, names: Sequence[str]) -> int:
    """Stop deliveries from QUEUE, for all workers, until it is resumed. Running tasks go on."""
    return _set_paused(invocation, names, lambda broker, name: broker.pause(name, True), "Paused")


@queues.command(cls=Verb)
@click.argument("names", nargs=-1, required=True, metavar="QUEUE...")
@click.pass_obj
def resume(invocation: Invocation, /, names: Sequence[str]) -> int:
    """Let workers take from QUEUE again."""
    return _set_paused(invocation, names, lambda broker, name: broker.pause(name, False), "Resumed")


def _set_paused(
    invocation: Invocation, names: Sequence[str], act: Callable[[BrokerAdmin, str], None], done: str
) -> int:
    with opened_admin(load_app(invocation)) as broker:
        for name in names:
            _check_known(broker, name)
            act(broker, name)
            click.echo(f"{done} {name}.")
    return 0


def _check_known(broker: BrokerAdmin, queue: str) -> None:
    """A queue that nobody has used is most likely a typo; say so, but do as asked."""
    known = [depth.queue for depth in broker.depth()]
    if queue not in known:
        there = f" There are: {', '.join(known)}." if known else ""
        click.echo(f"Nothing was ever sent to a queue {queue!r}.{there}", err=True)
