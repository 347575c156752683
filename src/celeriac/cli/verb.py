"""What all verbs have in common."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from typing import Any

import click
from msgspec import Struct

from celeriac.cli.failure import EXIT_USAGE, Failure

DID_YOU_MEAN_CUTOFF = 0.6
"""How alike two words must be for one to be offered for the other (1 is equal)."""

_BEFORE_THE_VERB = {
    "-A": "-A proj",
    "--app": "--app proj",
    "-b": "-b URL",
    "--broker": "--broker URL",
    "--result-backend": "--result-backend URL",
    "--config": "--config MODULE",
    "--workdir": "--workdir FOLDER",
    "-C": "-C",
    "--no-color": "--no-color",
    "-q": "-q",
    "--quiet": "--quiet",
    "--version": "--version",
}


class Errand(Struct, frozen=True):
    """What is left to do when the words have been read, outside of the parser: run a worker for days."""

    run: Callable[[], int]


class GlobalsAfterVerb(click.Command):
    """Explains an option that stands behind the verb and belongs before it."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """As the parser does it, with that one error replaced."""
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as exc:
            form = _BEFORE_THE_VERB.get(exc.option_name)
            if form is None or ctx.parent is None:
                raise
            root, verb = ctx.find_root().command_path, ctx.command_path.partition(" ")[2]
            raise click.UsageError(
                f"{exc.option_name} belongs before the verb: {root} {form} {_verb_only(verb, root)} ...", ctx
            ) from exc


def _verb_only(verb: str, root: str) -> str:
    """`python -m celeriac worker` has its program's name in three words."""
    return verb.removeprefix(root.partition(" ")[2]).strip()


def check_verb(name: str, known: Iterable[str]) -> None:
    """Raise Failure, with the nearest name, if there is no such verb. Options pass."""
    names = list(known)
    if name in names or name.startswith("-"):
        return
    near = difflib.get_close_matches(name, names, n=1, cutoff=DID_YOU_MEAN_CUTOFF)
    hint = f"Did you mean `{near[0]}`?" if near else f"The verbs are {', '.join(names)}."
    raise Failure(f"There is no verb {name!r}.", hint, EXIT_USAGE)


class Verb(GlobalsAfterVerb):
    """A command of the program."""


def given(options: dict[str, Any]) -> dict[str, Any]:
    """Those options that were said."""
    return {name: value for name, value in options.items() if value is not None}
