"""Commands to nodes on the command line: each is made of its declaration in `control.commands`."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import click
from msgspec import Struct

from celeriac.cli import fields
from celeriac.cli.admin import missing_file
from celeriac.cli.failure import EXIT_CONFIG, EXIT_FAILED, EXIT_UNAVAILABLE, EXIT_USAGE, Failure
from celeriac.cli.invocation import Invocation
from celeriac.cli.verb import GlobalsAfterVerb, Verb, check_verb
from celeriac.control.asking import Answers
from celeriac.control.commands import Argument, Command, Kind, commands_of, find_command

if TYPE_CHECKING:
    from celeriac.app import Celeriac

DEFAULT_TIMEOUT_S = 1.0
_TIMEOUT_MAX_S = 3600.0


class Asking(Struct, frozen=True):
    """Whom to ask, for how long, and how to show it."""

    timeout_s: float = DEFAULT_TIMEOUT_S
    destination: tuple[str, ...] | None = None
    wants_json: bool = False


class Heard(Struct, frozen=True):
    """What nodes answered, by name."""

    answers: Mapping[str, Any]
    replies: int
    listeners: int | None

    @property
    def exit_code(self) -> int:
        """1 if a node could not do what it was asked."""
        return EXIT_FAILED if any(error_of(answer) for answer in self.answers.values()) else 0


def error_of(answer: Any) -> str | None:
    """What a node says it could not do; None if it could."""
    error = answer.get("error") if isinstance(answer, dict) else None
    return None if error is None else str(error)


def asking_options(command: Any) -> Any:
    """The options of all verbs that ask nodes."""
    for option in (
        click.option("-j", "--json", "wants_json", is_flag=True, help="Print JSON: an object with a key per node."),
        click.option(
            "-d",
            "--destination",
            type=fields.NAMES,
            metavar="A,B",
            help="Only these nodes: their names as `celeriac status` shows them.",
        ),
        click.option(
            "-t",
            "--timeout",
            "timeout_s",
            type=click.FloatRange(min=0, max=_TIMEOUT_MAX_S),
            metavar="SECONDS",
            help=f"Wait so long for nodes that do not answer at once; {DEFAULT_TIMEOUT_S:g} if not said.",
        ),
    ):
        command = option(command)
    return command


def asking_of(*words: Mapping[str, Any]) -> Asking:
    """From parsed options; what was said later wins."""
    merged: dict[str, Any] = {"timeout_s": None, "destination": None, "wants_json": False}
    for some in words:
        merged.update({name: some[name] for name in merged if some.get(name)})
        if some.get("timeout_s") is not None:
            merged["timeout_s"] = some["timeout_s"]
    timeout_s = DEFAULT_TIMEOUT_S if merged["timeout_s"] is None else merged["timeout_s"]
    destination = merged["destination"]
    return Asking(timeout_s, None if destination is None else tuple(destination), merged["wants_json"])


def check_reachable(app: Celeriac, asking: Asking) -> None:
    """Raise Failure if nodes cannot be asked through this broker, or there can be none."""
    facts = app.make_broker().facts
    if not facts.shared:
        raise Failure(
            f"The broker {facts.name} lives inside one process: another program sees nothing of it.",
            "Use one that processes share, such as sqlite:///celeriac.db.",
            EXIT_CONFIG,
        )
    file = missing_file(app)
    if file is not None:  # looking would leave an empty database behind
        raise nobody(asking, f"there is no database {file} yet")


def nobody(asking: Asking, why: str = "") -> Failure:
    """No node has answered."""
    if asking.wants_json:
        click.echo("{}")
    hint = "Start one with `celeriac worker`, or wait longer with -t."
    return Failure(
        f"No nodes replied{f': {why}' if why else f' within {asking.timeout_s:g} s'}.", hint, EXIT_UNAVAILABLE
    )


def asked(app: Celeriac, command: str, arguments: dict[str, Any], asking: Asking) -> Heard:
    """Ask, and wait for the answers. Raises Failure if there are none."""
    check_reachable(app, asking)
    try:
        answers: Answers = app.control.ask(command, arguments, asking.destination, asking.timeout_s)
    except NotImplementedError as exc:
        raise Failure(f"{exc}.", "Use a broker that does, such as sqlite:///celeriac.db.", EXIT_CONFIG) from exc
    if not answers.replies:
        raise nobody(asking)
    found = {reply.node: reply.answer for reply in sorted(answers.replies, key=lambda reply: reply.node)}
    return Heard(found, len(answers.replies), answers.listeners)


def tell_missing(invocation: Invocation, heard: Heard, asking: Asking) -> None:
    """Say on standard error what is odd about who answered."""
    if invocation.quiet:
        return
    wanted = heard.listeners if asking.destination is None else len(asking.destination)
    missing = (wanted or 0) - heard.replies
    if missing > 0:
        nodes = "1 node" if missing == 1 else f"{missing} nodes"
        click.echo(f"{nodes} did not answer within {asking.timeout_s:g} s.", err=True)
    doubles = heard.replies - len(heard.answers)
    if doubles > 0:
        click.echo("Several nodes have the same name: give each its own with `celeriac worker -n`.", err=True)


def print_json(heard: Heard) -> None:
    """An object with a key per node."""
    click.echo(json.dumps(heard.answers, ensure_ascii=False, indent=2, default=repr))


Run = Callable[[Invocation, Command, dict[str, Any], Asking], int]
"""Does what one command asks for, and returns the exit code."""


class RemoteGroup(GlobalsAfterVerb, click.Group):
    """A verb whose verbs are the commands of one kind."""

    kind: Kind
    run: Run

    def list_commands(self, ctx: click.Context) -> list[str]:
        """As they are declared."""
        return [command.name for command in commands_of(self.kind)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Made of its declaration."""
        command = find_command(cmd_name)
        if command is None or command.kind != self.kind:
            return None
        return _verb_of(command, self.run)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """With a hint for a command that is not there, or is of the other kind."""
        command = find_command(args[0])
        if command is not None and command.kind != self.kind:
            hint = f"Write `celeriac {command.kind} {command.name}`."
            raise Failure(f"`{command.name}` is no command of `{self.kind}`.", hint, EXIT_USAGE)
        if command is None:
            check_verb(args[0], self.list_commands(ctx))
        return super().resolve_command(ctx, args)


def remote_group(kind: Kind, doc: str, epilog: str, run: Run) -> RemoteGroup:
    """The verb for commands of one kind."""

    @click.group(
        name=kind,
        cls=RemoteGroup,
        epilog=epilog,
        help=doc,
        invoke_without_command=True,
        subcommand_metavar="COMMAND ...",
    )
    @asking_options
    @click.option("-l", "--list", "wants_list", is_flag=True, help="Print the names of the commands.")
    @click.pass_context
    def group(ctx: click.Context, /, wants_list: bool, **_words: Any) -> None:
        if wants_list:
            for command in commands_of(kind):
                click.echo(command.name)
            ctx.exit()
        if ctx.invoked_subcommand is None:
            click.echo(ctx.get_help())

    assert isinstance(group, RemoteGroup)
    group.kind = kind
    group.run = run
    return group


def _verb_of(command: Command, run: Run) -> click.Command:
    names = [argument.name for argument in command.arguments if not argument.is_hidden]

    @click.pass_context
    def callback(ctx: click.Context, /, **words: Any) -> int:
        group_words = ctx.parent.params if ctx.parent is not None else {}
        arguments = {name: words[name] for name in names if words[name] not in {None, ()}}
        asking = asking_of(group_words, words)
        invocation: Invocation = ctx.obj
        return run(invocation, command, {name: _plain(value) for name, value in arguments.items()}, asking)

    made: Any = callback
    for argument in reversed(command.arguments):
        if not argument.is_hidden:
            made = _parameter(argument)(made)
    return click.command(name=command.name, cls=Verb, help=command.help)(asking_options(made))


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _parameter(argument: Argument) -> Callable[[Any], Any]:
    if argument.is_option:
        name = f"--{argument.name.replace('_', '-')}"
        if argument.kind == "flag":
            return click.option(name, argument.name, is_flag=True, help=argument.help)
        shown = f"{argument.help.rstrip('.')}; {argument.default} if not said."
        return click.option(name, argument.name, metavar="NAME", help=shown)
    metavar = "ID" if argument.name in {"task_id", "ids"} else argument.name.upper()
    if argument.kind == "texts":
        shown = f"{metavar}..." if argument.is_required else f"[{metavar}]..."
        return click.argument(argument.name, nargs=-1, required=argument.is_required, metavar=shown)
    return click.argument(argument.name, required=argument.is_required, metavar=metavar)
