"""The command line: ``celeriac -A proj worker``, and the same as ``python -m celeriac``.

Nothing is imported before it is needed: ``--help`` loads no app, and no verb loads what another one prints with.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

PROGRAM = "celeriac"


def main(argv: Sequence[str] | None = None, *, prog_name: str = PROGRAM, app: Any = None) -> int:
    """Run the command line and return its exit code.

    `argv` are the words after the program's name (default: the process's own). `app` stands in for ``-A``: that is
    how a program starts its own worker.
    """
    from celeriac.cli.streams import open_missing_streams

    # Before anything opens a file or a socket, which would get the number of a missing stream.
    open_missing_streams()
    from celeriac.cli.program import run

    return run(argv, prog_name=prog_name, app=app)
