"""``celeriac shell``: Python with the app at hand."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import click

from celeriac.cli.failure import EXIT_USAGE, Failure
from celeriac.cli.invocation import Invocation, load_app
from celeriac.cli.verb import Verb

if TYPE_CHECKING:
    from celeriac.app import Celeriac

_EPILOG = """
\b
Examples:
  celeriac -A proj shell
  >>> add.delay(2, 3).get()
  echo 'print(sorted(app.tasks))' | celeriac -A proj shell --python

\b
At hand: app (also as celery), the tasks by the last part of their names, AsyncResult, and what workflows are built
of: chain, chord, group, signature, chunks, xmap, xstarmap, as far as this version has them.
"""

_CANVAS = ("chain", "chord", "chunks", "group", "signature", "subtask", "xmap", "xstarmap")
_PACKAGES = {"ipython": "IPython", "bpython": "bpython"}
"""What must be installed for each kind of shell that Python does not bring."""


@click.command(cls=Verb, epilog=_EPILOG)
@click.option("-P", "--python", "kind", flag_value="python", help="Plain Python.")
@click.option("-I", "--ipython", "kind", flag_value="ipython", help="IPython.")
@click.option("-B", "--bpython", "kind", flag_value="bpython", help="bpython.")
@click.option("-T", "--without-tasks", is_flag=True, help="Do not put the tasks at hand.")
@click.pass_obj
def shell(invocation: Invocation, /, kind: str | None, without_tasks: bool) -> int:
    """Start Python with the app and its tasks at hand: IPython or bpython if they are installed, else plain Python."""
    app = load_app(invocation)
    if kind is None:
        kind = _best()
    elif kind in _PACKAGES and importlib.util.find_spec(_PACKAGES[kind]) is None:
        hint = f"Install it in this environment ({sys.prefix}), or use --python."
        raise Failure(f"{_PACKAGES[kind]} is not installed.", hint, EXIT_USAGE)
    names = namespace(app, with_tasks=not without_tasks)
    banner = "" if invocation.quiet else _banner(app, names)
    _SHELLS[kind](names, banner)
    return 0


def _best() -> str:
    """What is installed; a pipe gets plain Python."""
    if sys.stdin.isatty():
        for kind, package in _PACKAGES.items():
            if importlib.util.find_spec(package) is not None:
                return kind
    return "python"


def namespace(app: Celeriac, with_tasks: bool = True) -> dict[str, Any]:
    """What is at hand in the shell. Tasks of the same last name: the first one, by full name, has it."""
    names: dict[str, Any] = {}
    if with_tasks:
        tasks: Mapping[str, Any] = app.load_tasks()
        for name in sorted(tasks, reverse=True):
            short = name.rpartition(".")[2]
            if short.isidentifier():
                names[short] = tasks[name]
    package = importlib.import_module("celeriac")
    canvas = _canvas()
    for name in _CANVAS:
        found = getattr(canvas, name, None) if canvas is not None else None
        if found is not None:
            names[name] = found
    for name in package.__all__:
        if not name.startswith("_"):
            names.setdefault(name, getattr(package, name))
    # Last: a task of one of these names must not hide it.
    return {**names, "app": app, "celery": app}


def _canvas() -> Any:
    """The module of workflows, where this version has it."""
    if importlib.util.find_spec("celeriac.canvas") is None:
        return None
    return importlib.import_module("celeriac.canvas")


def _banner(app: Celeriac, names: Iterable[str]) -> str:
    canvas = ", ".join(name for name in _CANVAS if name in set(names))
    return f"Python {sys.version.split()[0]}, {app!r}\nAt hand: app, its tasks, AsyncResult{f', {canvas}' if canvas else ''}"


def _python(names: dict[str, Any], banner: str) -> None:
    import code

    if sys.stdin.isatty():
        _complete(names)
    else:
        # Words from a pipe: nothing but what they print.
        banner, sys.ps1, sys.ps2 = "", "", ""
    code.interact(banner=banner, local=names, exitmsg="")


def _complete(names: dict[str, Any]) -> None:
    """The tab key completes names, where Python was built with it."""
    try:
        readline: Any = importlib.import_module("readline")
    except ImportError:
        return
    import rlcompleter

    readline.set_completer(rlcompleter.Completer(names).complete)
    readline.parse_and_bind("tab: complete")


def _ipython(names: dict[str, Any], banner: str) -> None:
    ipython: Any = importlib.import_module("IPython")
    config: Any = importlib.import_module("traitlets.config").Config()
    config.TerminalInteractiveShell.banner1 = f"{banner}\n"
    ipython.start_ipython(argv=[], user_ns=names, config=config)


def _bpython(names: dict[str, Any], banner: str) -> None:
    bpython: Any = importlib.import_module("bpython")
    bpython.embed(locals_=names, banner=banner)


_SHELLS: dict[str, Callable[[dict[str, Any], str], None]] = {
    "python": _python,
    "ipython": _ipython,
    "bpython": _bpython,
}
