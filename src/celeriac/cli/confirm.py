"""Asking before what cannot be undone."""

from __future__ import annotations

import sys

import click

from celeriac.cli.failure import EXIT_USAGE, Failure


def confirm(question: str, flag: str) -> None:
    """Ask on a terminal; elsewhere refuse, naming the flag that stands for yes. Raises Failure, click.Abort."""
    if not sys.stdin.isatty():
        raise Failure(f"{question} There is nobody to ask.", f"Say yes with {flag}.", EXIT_USAGE)
    click.confirm(question, abort=True)
