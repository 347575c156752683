"""``celeriac report``: what a bug report needs, without secrets."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Iterator
from importlib import metadata
from typing import TYPE_CHECKING, Any

import click
import msgspec

from celeriac import __version__
from celeriac.cli.admin import missing_file, opened_admin
from celeriac.cli.banner import database_file
from celeriac.cli.failure import EXIT_UNAVAILABLE, Failure
from celeriac.cli.invocation import Invocation, load_app
from celeriac.cli.verb import Verb
from celeriac.model.errors import CeleriacError
from celeriac.model.urls import mask_url
from celeriac.stores_of import broker_url

if TYPE_CHECKING:
    from celeriac.app import Celeriac

_PACKAGES = ("msgspec", "click", "rich")
_TASKS_MAX = 200
"""A report is read by people."""


@click.command(cls=Verb)
@click.pass_obj
def report(invocation: Invocation) -> int:
    """Print what a bug report needs: versions, settings, queues. Passwords and keys are left out."""
    app = load_app(invocation)
    failed = False
    for title, lines in (
        ("software", _software()),
        ("app", _app(invocation, app)),
        ("settings", _settings(app)),
        ("broker", _broker(app)),
        ("results", _backend(app)),
        ("queues", _queues(app)),
    ):
        click.echo(f"{title}:")
        try:
            for line in lines:
                click.echo(f"  {line}")
        except (CeleriacError, Failure) as exc:
            failed = True
            click.echo(f"  not available: {exc}")
    return EXIT_UNAVAILABLE if failed else 0


def _software() -> Iterator[str]:
    yield f"celeriac: {__version__} ({os.path.dirname(os.path.dirname(__file__))})"  # noqa: PTH120
    yield f"python: {platform.python_version()} {platform.python_implementation()} ({sys.executable})"
    yield f"platform: {platform.platform()}, {os.cpu_count()} cores"
    for name in _PACKAGES:
        yield f"{name}: {metadata.version(name)}"


def _app(invocation: Invocation, app: Celeriac) -> Iterator[str]:
    yield f"name: {app.main or 'default'}{f' (-A {invocation.app_path})' if invocation.app_path else ''}"
    try:
        names = sorted(name for name in app.load_tasks() if not name.startswith(("celery.", "celeriac.")))
    except Exception as exc:  # noqa: BLE001 - see below
        # A report that cannot be made because of the bug would be of no use.
        yield f"tasks: importing them raised {type(exc).__name__}: {exc}"
        return
    shown = ", ".join(names[:_TASKS_MAX])
    yield f"tasks ({len(names)}): {shown or '-'}{' ...' if len(names) > _TASKS_MAX else ''}"


def _settings(app: Celeriac) -> Iterator[str]:
    text = app.conf.humanize(with_defaults=False, censored=True)
    yield from text.splitlines() or ("all as by default",)


def _facts(facts: Any) -> Iterator[str]:
    for name, value in msgspec.structs.asdict(facts).items():
        yield f"{name}: {mask_url(value) if isinstance(value, str) else value}"


def _broker(app: Celeriac) -> Iterator[str]:
    address = broker_url(app.conf)
    yield f"address: {mask_url(address)}"
    file = database_file(address)
    if file:
        yield f"file: {file}"
    yield from _facts(app.make_broker().facts)


def _backend(app: Celeriac) -> Iterator[str]:
    backend = app.make_backend()
    if backend is None:
        yield "disabled"
        return
    yield from _facts(backend.facts)


def _queues(app: Celeriac) -> Iterator[str]:
    if missing_file(app):
        yield "the database is not there yet"
        return
    with opened_admin(app) as broker:
        depths = broker.depth()
    for depth in depths:
        counts = ", ".join(
            f"{name} {value}" for name, value in msgspec.structs.asdict(depth).items() if name != "queue"
        )
        yield f"{depth.queue}: {counts}"
    if not depths:
        yield "none"
