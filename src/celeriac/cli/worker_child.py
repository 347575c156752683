"""``celeriac worker-child``: a child that its worker starts anew instead of forking it. Not for people."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click
import msgspec
from msgspec import Struct

from celeriac.cli.find_app import here_first
from celeriac.cli.invocation import Invocation, load_app
from celeriac.cli.verb import Errand, Verb

if TYPE_CHECKING:
    from celeriac.app import Celeriac

_VARIABLE = "CELERIAC_CHILD_EXTRAS"


class _Extras(Struct, frozen=True):
    settings: dict[str, Any]
    include: list[str]


def apply_extras(app: Celeriac, settings: dict[str, Any], include: Sequence[str]) -> None:
    """Settings and modules of the worker's command line, for this process and those it starts."""
    for name, value in settings.items():
        app.conf[name] = value
    if include:
        app.conf["include"] = (*app.conf["include"], *include)
    if settings or include:
        os.environ[_VARIABLE] = msgspec.json.encode(_Extras(settings, list(include))).decode()


@click.command("worker-child", cls=Verb, hidden=True)
@click.pass_obj
def worker_child(invocation: Invocation) -> Errand:
    """Be one child of a worker."""
    app = load_app(invocation)
    text = os.environ.get(_VARIABLE)
    if text:
        extras = msgspec.json.decode(text, type=_Extras)
        apply_extras(app, extras.settings, extras.include)

    def run() -> int:
        from celeriac.worker.exec_child import run_exec_child

        with here_first():
            return run_exec_child(app)

    return Errand(run)
