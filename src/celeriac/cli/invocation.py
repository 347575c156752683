"""What stands before the verb, and the app that it names."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from msgspec import Struct

from celeriac.cli.failure import EXIT_SOFTWARE, EXIT_USAGE, Failure

if TYPE_CHECKING:
    from celeriac.app import Celeriac


class Invocation(Struct, frozen=True):
    """The words before the verb. `app_source` is the option or variable that named the app."""

    app_path: str = ""
    app_source: str = "-A"
    config: str = ""
    """Module with settings."""
    quiet: bool = False
    color: bool | None = None
    """False: never; None: on a terminal."""
    app: Any = None
    """An app handed in by a program that runs the command line itself."""


def load_app(invocation: Invocation) -> Celeriac:
    """The app of ``-A``, made current; without one the default app, with a word about it on standard error."""
    if invocation.app is not None:
        app: Celeriac = invocation.app
        return app
    if not invocation.app_path:
        return _default_app(invocation)
    from celeriac.cli.find_app import AppNotFound, find_app

    try:
        app = find_app(invocation.app_path)
    except AppNotFound as exc:
        message = f"{invocation.app_source} {invocation.app_path}: {exc.message}"
        raise Failure(message, exc.hint, EXIT_SOFTWARE if exc.details else EXIT_USAGE, exc.details) from exc
    app.set_current()
    _read_settings(app, invocation.config)
    return app


def _read_settings(app: Celeriac, config: str = "") -> None:
    """Have the app's configuration read now: what is wrong with it is told before anything else is done."""
    from celeriac.cli.find_app import here_first, users_traceback
    from celeriac.settings_source import read_source, resolve

    try:
        with here_first():
            if config:
                app.add_defaults(read_source(resolve(config)))
            len(app.conf)
    except ImportError as exc:
        raise Failure(
            f"The app's configuration could not be imported: {exc}",
            "Correct what is given to config_from_object, or --config.",
            EXIT_SOFTWARE,
            users_traceback(exc),
        ) from exc


def _default_app(invocation: Invocation) -> Celeriac:
    from celeriac.current import get_current_app

    app = get_current_app()
    _read_settings(app)
    if not invocation.quiet and not os.environ.get("CELERY_BROKER_URL"):
        where = Path.cwd()
        click.echo(f"No -A given: using an app of its own, whose database is celeriac.db in {where}.", err=True)
    return app


def notice(invocation: Invocation, text: str) -> None:
    """A line on standard error that is no error; not with ``-q``."""
    if not invocation.quiet:
        click.echo(click.style(text, fg="yellow"), err=True)


def again(words: str) -> str:
    """A command to copy: this program and app, with other words behind them."""
    ctx = click.get_current_context(silent=True)
    if ctx is None:
        return f"celeriac {words}"
    root = ctx.find_root()
    invocation = root.obj
    parts = [root.command_path]
    if isinstance(invocation, Invocation) and invocation.app_path and invocation.app_source == "-A":
        parts += ["-A", shlex.quote(invocation.app_path)]
    return " ".join([*parts, words])
