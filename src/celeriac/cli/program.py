"""The program: the options before the verb, and verbs that are loaded when they are called."""

from __future__ import annotations

import importlib
import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

import click

from celeriac import __version__
from celeriac.cli.failure import EXIT_FAILED, EXIT_INTERRUPTED, EXIT_USAGE, Failure, explain
from celeriac.cli.invocation import Invocation
from celeriac.cli.verb import Errand, GlobalsAfterVerb, check_verb
from celeriac.model.errors import CeleriacError, CeleriacWarning, NoEffectWarning
from celeriac.worker.config import RESTARTED

VERBS: dict[str, str] = {
    "worker": "Run tasks from the queues until told to stop.",
    "call": "Send one task, and print its id or its result.",
    "result": "Print what became of a task.",
    "status": "Show the nodes that are online.",
    "inspect": "Ask nodes what they do: ping, active, stats, ...",
    "control": "Tell nodes what to do: revoke, shutdown.",
    "queues": "Show queues and dead letters; pause, resume, revive, drop.",
    "purge": "Delete the messages that wait in the queues.",
    "chaos": "Prove that nothing is lost: run tasks while processes are killed.",
    "shell": "Start Python with the app and its tasks at hand.",
    "report": "Print what a bug report needs: versions, settings, queues.",
}
"""Each verb is the command of that name in the module of that name; its line in ``--help`` is here, unloaded."""

_HIDDEN = ("worker-child",)
"""Verbs that are not for people."""

_TELL_NO_EFFECT = ("worker", "report")
"""Verbs that tell which settings change nothing: who looks at queues all day need not read it each time."""

_LATER: dict[str, str] = {
    "amqp": "",
    "beat": "",
    "events": "",
    "graph": "",
    "list": "",
    "logtool": "",
    "migrate": "",
    "multi": "Start workers one by one, or under systemd or supervisord.",
    "upgrade": "",
}
"""Verbs of Celery that are still to come, with what helps until then."""

_EXAMPLES = """
\b
Examples:
  celeriac -A proj worker -l info         run tasks, and tell about each
  celeriac -A proj call proj.add -a '[2, 3]' --wait 5
  celeriac -A proj status                 which workers are there, and what they are at
  celeriac -A proj queues                 what waits, what is delayed, what is dead
  celeriac -A proj queues dead            why tasks were given up
  celeriac -A proj queues revive ID       try one of them again

Every option can come from the environment: CELERY_APP=proj, CELERY_WORKER_CONCURRENCY=4.
Options shown here stand before the verb, a verb's own after it: celeriac VERB --help.
"""


class _Verbs(GlobalsAfterVerb, click.Group):
    """Knows its verbs by name, and imports one when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in {*VERBS, *_HIDDEN}:
            return None
        name = cmd_name.replace("-", "_")
        command: click.Command = getattr(importlib.import_module(f"celeriac.cli.{name}"), name)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if name in _LATER:
            hint = _LATER[name] or f"The verbs that work: {', '.join(VERBS)}."
            raise Failure(f"`celeriac {name}` is not there yet.", hint, EXIT_USAGE)
        if name not in _HIDDEN:
            check_verb(name, VERBS)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The table of verbs, without importing any."""
        with formatter.section("Verbs"):
            formatter.write_dl(list(VERBS.items()))


def _show_version(ctx: click.Context, _param: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        click.echo(f"celeriac {__version__}")
        ctx.exit()


def _paint_nothing(ctx: click.Context, _param: click.Parameter, value: bool) -> None:
    if value or os.environ.get("NO_COLOR"):
        ctx.color = False
        # For what is printed after parsing, and by processes we start.
        os.environ["NO_COLOR"] = "1"


@click.group(
    cls=_Verbs,
    context_settings={"auto_envvar_prefix": "CELERY", "help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=_EXAMPLES,
    subcommand_metavar="VERB ...",
    invoke_without_command=True,
)
@click.option(
    "-A",
    "--app",
    metavar="NAME",
    envvar=["CELERY_APP", "APP"],
    help="The app: a module (proj), or a module and a name (proj.tasks:app).",
)
@click.option(
    "-b",
    "--broker",
    metavar="URL",
    envvar=["CELERY_BROKER", "CELERY_BROKER_URL", "BROKER_URL"],
    help="Address of the broker, in place of the app's: sqlite:///file.db",
)
@click.option(
    "--result-backend",
    metavar="URL",
    envvar=["CELERY_RESULT_BACKEND", "RESULT_BACKEND"],
    help="Address of the result backend, in place of the app's.",
)
@click.option(
    "--config",
    metavar="MODULE",
    envvar=["CELERY_CONFIG", "CELERY_CONFIG_MODULE", "CONFIG_MODULE"],
    help="Module with settings, for those that the app does not set.",
)
@click.option("--workdir", metavar="FOLDER", help="Change to this folder first.")
@click.option(
    "-C",
    "--no-color",
    is_flag=True,
    envvar=["CELERY_NO_COLOR"],
    expose_value=False,
    is_eager=True,
    callback=_paint_nothing,
    help="No colours, on a terminal neither.",
)
@click.option("-q", "--quiet", is_flag=True, help="No banner and no notices.")
@click.option("--loader", hidden=True)
@click.option("--skip-checks", is_flag=True, hidden=True)
@click.option(
    "--version", is_flag=True, expose_value=False, is_eager=True, callback=_show_version, help="Print the version."
)
@click.pass_context
def program(ctx: click.Context, /, **words: Any) -> None:
    """Send tasks, run them, and look after their queues.

    An app is a Python module with `app = Celeriac("name")` in it; -A says which.
    """
    if words["workdir"]:
        # A worker that has started itself anew is there already.
        _change_to("." if os.environ.get(RESTARTED) else words["workdir"])
    _export(words)
    # NO_COLOR counts when it is set to anything at all (no-color.org).
    color = False if os.environ.get("NO_COLOR") else None
    handed_in = ctx.obj
    ctx.obj = Invocation(
        app_path=words["app"] or "",
        config=words["config"] or "",
        app_source=_source(ctx),
        quiet=words["quiet"],
        color=color,
        app=handed_in,
    )
    if ctx.invoked_subcommand not in _TELL_NO_EFFECT:
        # Undone by `_notices`.
        warnings.simplefilter("ignore", NoEffectWarning)
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


def _change_to(folder: str) -> None:
    try:
        os.chdir(folder)
    except OSError as exc:
        raise Failure(
            f"--workdir {folder}: {exc.strerror or exc}.",
            "Name a folder that exists and that you may enter.",
            EXIT_USAGE,
        ) from exc
    here = str(Path.cwd())
    # `python -m` put the folder we came from first; imports are to come from the new one.
    if sys.path and sys.path[0] not in {"", here}:
        sys.path.insert(0, here)


def _export(words: dict[str, Any]) -> None:
    """Pass addresses on as environment: it outranks the app's own settings, and processes we start see it too."""
    for word, variable in (
        ("broker", "CELERY_BROKER_URL"),
        ("result_backend", "CELERY_RESULT_BACKEND"),
        ("config", "CELERY_CONFIG_MODULE"),
    ):
        if words[word]:
            os.environ[variable] = words[word]


def _source(ctx: click.Context) -> str:
    if ctx.get_parameter_source("app") is click.core.ParameterSource.ENVIRONMENT:
        return "CELERY_APP" if os.environ.get("CELERY_APP") else "APP"
    return "-A"


def run(argv: Sequence[str] | None, *, prog_name: str, app: Any = None) -> int:
    """Parse, do, and answer with the exit code. What a verb leaves to be done runs after parsing is over."""
    try:
        with _notices():
            answer = program.main(
                args=None if argv is None else list(argv), prog_name=prog_name, standalone_mode=False, obj=app
            )
            if isinstance(answer, Errand):
                answer = answer.run()
        # Here, and not when the interpreter ends: a reader that has gone is no error to shout about.
        sys.stdout.flush()
    except click.exceptions.Abort as exc:
        click.echo("Stopped.", err=True)
        return EXIT_INTERRUPTED if isinstance(exc.__cause__, KeyboardInterrupt) else EXIT_FAILED
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        _leave_the_pipe()
        return EXIT_FAILED
    except click.ClickException as exc:
        exc.show()
        return exc.exit_code
    except Failure as exc:
        exc.show()
        return exc.exit_code
    except CeleriacError as exc:
        failure = explain(exc)
        failure.show()
        return failure.exit_code
    return answer if isinstance(answer, int) else 0


@contextmanager
def _notices() -> Iterator[None]:
    """Print our own warnings as a line for people, without the place in the code; others as Python does."""
    usual = warnings.showwarning

    def show(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        if issubclass(category, CeleriacWarning):
            click.echo(f"Note: {message}", err=True)
        else:
            usual(message, category, filename, lineno, file, line)

    with warnings.catch_warnings():
        warnings.showwarning = show
        yield


def _leave_the_pipe() -> None:
    """The reader (such as `head`) has gone; keep the interpreter from writing to it once more at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
