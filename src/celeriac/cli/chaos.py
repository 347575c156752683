"""``celeriac chaos``: the shipped proof that nothing is lost when processes are killed."""

from __future__ import annotations

import os
import re
import secrets
import shlex
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Any

import click

from celeriac.cli.failure import EXIT_FAILED, EXIT_USAGE, Failure
from celeriac.cli.invocation import Invocation, load_app, notice
from celeriac.cli.verb import Errand, Verb
from celeriac.stores_of import broker_url
from celeriac.testing.chaos import Outcome, Plan, Progress, as_json, run
from celeriac.testing.chaos_cast import COMMAND, ChaosError
from celeriac.testing.chaos_tasks import TASKS_OF_POOL

if TYPE_CHECKING:
    from rich.console import Console

    _ParamType = click.ParamType[Any]
else:
    # Only newer releases of click have a type of values there.
    _ParamType = click.ParamType

_EPILOG = """
\b
Examples:
  celeriac chaos                                     50,000 tasks, 8 workers, a kill each second
  celeriac chaos --tasks 2000 --workers 2 --kill-each 300ms
  celeriac -A proj chaos --tasks 5000                in the database of proj, on a queue of its own

Tasks are sent to a queue of its own while one process after the other is killed with SIGKILL:
children, nodes, main processes. Without -A or -b it works in a temporary folder.

\b
lost             accepted, and without a final state at the end
completed twice  more than one final record was committed for a task
begun again      runs more than one: what a kill interrupts is run again
recovery         from a kill until all that the process had is at work again or done

\b
Exit code: 0 nothing was lost, nothing completed twice, recovery p99 below --recovery-max; else 1.
"""
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|)")
_UNITS_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "": 1.0}
_SHOW_EACH_S = 0.2


class _Duration(_ParamType):
    """A span of time above nothing: 300ms, 1s, 2m, 1.5."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Seconds."""
        if isinstance(value, float):
            return value
        match = _DURATION.fullmatch(str(value).strip())
        seconds = float(match[1]) * _UNITS_S[match[2]] if match else 0.0
        if not seconds:
            text = f"{value!r} is no time. Write 300ms, 1s, 2m, or a number of seconds."
            raise click.BadParameter(text, ctx=ctx, param=param)
        return seconds


_DURATION_TYPE = _Duration()
_COUNT = click.IntRange(min=1)


@click.command(cls=Verb, epilog=_EPILOG)
@click.option("--tasks", type=_COUNT, default=50_000, show_default=True, metavar="N", help="How many tasks.")
@click.option("--workers", type=_COUNT, default=8, show_default=True, metavar="N", help="How many workers.")
@click.option(
    "-c", "--concurrency", type=_COUNT, default=2, show_default=True, metavar="N", help="Tasks at once per worker."
)
@click.option(
    "-P",
    "--pool",
    type=click.Choice(sorted(TASKS_OF_POOL)),
    default="prefork",
    show_default=True,
    help="What runs the tasks; mixed: coroutines and others in one worker.",
)
@click.option(
    "--kill-each",
    "kill_each_s",
    type=_DURATION_TYPE,
    default="1s",
    show_default=True,
    metavar="TIME",
    help="Kill a process about so often.",
)
@click.option(
    "--task-time",
    "task_s",
    type=_DURATION_TYPE,
    default="10ms",
    show_default=True,
    metavar="TIME",
    help="How long a task takes on average.",
)
@click.option(
    "--recovery-max",
    "recovery_max_s",
    type=_DURATION_TYPE,
    default="10s",
    show_default=True,
    metavar="TIME",
    help="Bound on the recovery's p99.",
)
@click.option(
    "--patience",
    "patience_s",
    type=_DURATION_TYPE,
    default="60s",
    show_default=True,
    metavar="TIME",
    help="Without any completion for so long, what is not done is lost.",
)
@click.option("--seed", type=int, metavar="N", help="The same seed kills in the same order. [default: a new one]")
@click.option("--keep", is_flag=True, help="Keep logs, notes and database; after a failure they are kept anyway.")
@click.option("--worker-command", metavar="WORDS", hidden=True, help="What starts a worker, in place of celeriac.")
@click.option("--json", "wants_json", is_flag=True, help="Print the report as a JSON object.")
@click.pass_context
def chaos(
    ctx: click.Context, /, wants_json: bool, worker_command: str | None, seed: int | None, **words: Any
) -> Errand:
    """Prove that nothing is lost: run tasks while processes are killed at random."""
    invocation: Invocation = ctx.obj
    plan = Plan(
        url=_address(ctx, invocation),
        seed=secrets.randbelow(1_000_000) if seed is None else seed,
        command=tuple(shlex.split(worker_command)) if worker_command else COMMAND,
        **words,
    )
    return Errand(lambda: _run(invocation, plan, wants_json))


def _address(ctx: click.Context, invocation: Invocation) -> str:
    """The database that -A or -b names on the command line; empty without. What the environment says is for the user's
    programs, and nobody wants a proof there by accident."""
    said = click.core.ParameterSource.COMMANDLINE
    root = ctx.find_root()
    url = ""
    if root.get_parameter_source("broker") is said or root.get_parameter_source("app") is said:
        url = broker_url(load_app(invocation).conf)
        if not url.startswith("sqlite:"):
            raise Failure(
                f"chaos cannot see in {url.partition(':')[0]} whether a completion was recorded twice.",
                "Give the address of a SQLite file with -b, or leave out -A: then it makes one.",
                EXIT_USAGE,
            )
    for name in [name for name in os.environ if name.startswith("CELERY_")]:
        # It would outrank the proof's own settings, in its workers, too.
        del os.environ[name]
    return url


def _run(invocation: Invocation, plan: Plan, wants_json: bool) -> int:
    # As at Ctrl-C: processes and files are gone before it ends.
    before = signal.signal(signal.SIGTERM, _interrupt)
    begun_at = time.monotonic()
    try:
        with _progress(invocation, plan, wants_json) as watch:
            outcome = run(plan, watch)
    except ChaosError as exc:
        raise Failure(str(exc), "Correct that, and try again.") from exc
    except KeyboardInterrupt:
        after = f"Broken off after {time.monotonic() - begun_at:.1f} s"
        notice(invocation, f"{after}: nothing is proven. Its processes and its files are gone.")
        raise
    finally:
        signal.signal(signal.SIGTERM, before)
    if wants_json:
        click.echo(as_json(outcome, plan))
    else:
        _show(invocation, plan, outcome)
    return 0 if outcome.report.passed else EXIT_FAILED


def _interrupt(_signum: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


@contextmanager
def _progress(invocation: Invocation, plan: Plan, wants_json: bool) -> Iterator[Callable[[Progress], object]]:
    """Shows how far it is, on standard error, where that is a terminal."""
    if not invocation.quiet and not wants_json:
        click.echo(
            f"{_counted(plan.tasks, 'task')} on {_counted(plan.workers, 'worker')} of {plan.concurrency} ({plan.pool}), "
            f"a kill each {plan.kill_each_s:g} s, seed {plan.seed}",
            err=True,
        )
    if invocation.quiet or not sys.stderr.isatty():
        yield lambda _progress: None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar

    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("done, {task.fields[kills]} kills"), TimeElapsedColumn())
    shown_at = 0.0
    with Bar(*columns, console=_console(invocation, error=True), transient=True) as bar:
        row = bar.add_task("", total=plan.tasks, kills=0)

        def watch(progress: Progress) -> None:
            nonlocal shown_at
            if time.monotonic() - shown_at >= _SHOW_EACH_S:
                shown_at = time.monotonic()
                bar.update(row, completed=min(progress.done, plan.tasks), kills=progress.kills)

        yield watch


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def _console(invocation: Invocation, *, error: bool = False) -> Console:
    from rich.console import Console

    return Console(stderr=error, highlight=False, color_system=None if invocation.color is False else "auto")


def _show(invocation: Invocation, plan: Plan, outcome: Outcome) -> None:
    """The report as lines for people."""
    from rich.table import Table
    from rich.text import Text

    report = outcome.report
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(justify="left", style="bold")
    table.add_column(justify="right")
    table.add_column(style="dim")
    kills = ", ".join(f"{count} {kind}" for kind, count in sorted(report.kills.items())) or "none"
    rows = (
        ("tasks sent", f"{report.sent:,}", f"{report.sent / max(report.duration_s, 0.001):,.0f} a second"),
        ("lost", f"{report.lost:,}", ""),
        ("completed twice", f"{report.doubled:,}", ""),
        ("begun again", f"{report.runs_more:,}", f"runs more than one, of {report.repeated:,} tasks"),
        ("given up", f"{report.given_up:,}", "killed three times: dead letters"),
        ("kills", f"{sum(report.kills.values()):,}", f"{kills}; {report.kills_felt} hit work"),
        ("recovery p50", _seconds(report.recovery_p50_s), ""),
        ("recovery p99", _seconds(report.recovery_p99_s), f"worst {_seconds(report.recovery_worst_s)}"),
        ("duration", _seconds(report.duration_s), f"seed {plan.seed}"),
    )
    for title, value, beside in rows:
        is_bad = title in {"lost", "completed twice"} and value != "0"
        table.add_row(title, Text(value, style="bold red" if is_bad else ""), Text(beside))
    console = _console(invocation)
    console.print(table)
    for problem in report.problems:
        console.print(Text(problem, style="red"))
    if outcome.folder:
        notice(invocation, f"Logs, notes and database are kept in {outcome.folder}")
    console.print(Text("PASSED", style="bold green") if report.passed else Text("FAILED", style="bold red"))


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f} s"
