"""``celeriac worker``: from the words of the command line to a running worker."""

from __future__ import annotations

import importlib
import os
import signal
import socket
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import click
from msgspec import structs

from celeriac import __version__
from celeriac.cli import fields
from celeriac.cli.banner import BannerFacts, Look, compose, database_file
from celeriac.cli.extra_settings import read_settings
from celeriac.cli.failure import EXIT_CONFIG, EXIT_SOFTWARE, Failure
from celeriac.cli.find_app import here_first, users_traceback
from celeriac.cli.invocation import Invocation, load_app, notice
from celeriac.cli.node_name import node_name
from celeriac.cli.probe import Probe
from celeriac.cli.verb import Errand, Verb, given
from celeriac.cli.worker_child import apply_extras
from celeriac.model.errors import CeleriacError
from celeriac.stores_of import backend_url, broker_url
from celeriac.worker.config import RESTARTED, UNREACHABLE, UNREACHABLE_HINT, WorkerConfig, with_pools_of

if TYPE_CHECKING:
    from celeriac.app import Celeriac

_EPILOG = """
\b
Examples:
  celeriac -A proj worker                     a process per core
  celeriac -A proj worker -c 4 -l info        four, and a line per task
  celeriac -A proj worker -P threads -c 50    fifty threads in one process
  celeriac -A proj worker -Q mail,celery      only these queues
  celeriac -A proj worker -n w1@%h            a second worker on one machine
  celeriac -A proj worker -- worker.prefetch_multiplier=1 task_crash_limit=5

To stop it: TERM or Ctrl-C once lets running tasks finish (see --grace) and hands
everything else back; the signal again hastens it. A kill -9 loses nothing either.
"""

_WITHOUT_MEANING = {
    "without_gossip": ("--without-gossip", "workers do not gossip here"),
    "without_mingle": ("--without-mingle", "workers need not ask each other at their start here"),
    "without_heartbeat": ("--without-heartbeat", "leases are always renewed; no heartbeat is sent as an event"),
    "heartbeat_interval": ("--heartbeat-interval", "leases are renewed by worker_lease_s"),
    "optimization": ("-O", "a task goes to a process that is free, always"),
    "statedb": ("-S", "revoked tasks are remembered by the broker"),
    "disable_prefetch": ("--disable-prefetch", "what waits behind a long task goes to a free process by itself"),
    "task_events": ("-E", "events come in a later version"),
}
"""Options of Celery that are taken and do nothing, with the reason that is shown."""

_NOT_YET = {
    "detach": ("-D", "Run it under systemd, supervisord or nohup; then it needs no --detach."),
    "beat": ("-B", "Start the worker without it; periodic tasks come in a later version."),
    "autoscale": ("--autoscale", "Give the largest number with -c: an idle process costs next to nothing."),
    "pidfile": ("--pidfile", "A service manager knows the process it started."),
    "uid": ("--uid", "Start it as that user."),
    "gid": ("--gid", "Start it as that group."),
    "umask": ("--umask", "Set it before the start."),
    "schedule_filename": ("-s", "Periodic tasks come in a later version."),
    "scheduler": ("--scheduler", "Periodic tasks come in a later version."),
    "executable": ("--executable", "Start the worker with that Python."),
}
"""Options of Celery whose silence would do harm: refused, with what to do in their place."""


_COUNT = click.IntRange(min=1)
_SECONDS = click.FloatRange(min=0, min_open=True)


def _silent(command: Any) -> Any:
    """Add the options that are known and do nothing."""
    for names, is_flag in (
        (("-E", "--task-events"), True),
        (("--without-gossip",), True),
        (("--without-mingle",), True),
        (("--without-heartbeat",), True),
        (("--heartbeat-interval",), False),
        (("-O", "--optimization"), False),
        (("-S", "--statedb"), False),
        (("--disable-prefetch",), True),
        (("-D", "--detach"), True),
        (("-B", "--beat"), True),
        (("--autoscale",), False),
        (("--pidfile",), False),
        (("--uid",), False),
        (("--gid",), False),
        (("--umask",), False),
        (("-s", "--schedule-filename"), False),
        (("--scheduler",), False),
        (("--executable",), False),
    ):
        command = click.option(*names, is_flag=is_flag, hidden=True, default=None)(command)
    return command


@click.command(cls=Verb, epilog=_EPILOG)
@click.option("-n", "--hostname", metavar="NAME", help="Name of this node; %h host, %n its first part, %d its domain.")
@click.option("-c", "--concurrency", type=_COUNT, metavar="N", help="How many tasks at once. [default: one per core]")
@click.option(
    "-P",
    "--pool",
    type=fields.POOL_NAMES,
    metavar="A,B",
    help="prefork, threads, asyncio or solo; of several, the first is the default. [default: prefork, and what tasks need]",
)
@click.option("--async-slots", type=_COUNT, metavar="N", help="How many coroutines at once. [default: 1000]")
@click.option("-Q", "--queues", type=fields.NAMES, metavar="A,B", help="Take from these queues only.")
@click.option("-X", "--exclude-queues", type=fields.NAMES, metavar="A,B", help="Take from all but these.")
@click.option("-I", "--include", type=fields.NAMES, metavar="M,N", help="Import these modules too.")
@click.option(
    "-l", "--loglevel", type=fields.LEVEL, default="WARNING", metavar="LEVEL", help="debug, info, warning ..."
)
@click.option("-f", "--logfile", metavar="FILE", help="Write the log there; %n in it is the node's name, %i the child.")
@click.option("--log-json", is_flag=True, default=None, help="A JSON object per line of the log.")
@click.option("--time-limit", type=_SECONDS, metavar="SECONDS", help="A task that runs longer is killed.")
@click.option(
    "--soft-time-limit", type=_SECONDS, metavar="SECONDS", help="One that runs longer gets SoftTimeLimitExceeded."
)
@click.option("--max-tasks-per-child", type=_COUNT, metavar="N", help="Replace a process after so many tasks.")
@click.option("--max-memory-per-child", type=_COUNT, metavar="KIB", help="Replace a process that has grown so large.")
@click.option(
    "--prefetch-multiplier",
    type=click.IntRange(min=0),
    metavar="N",
    help="Reserve exactly N tasks per process. [default: as many as finish soon]",
)
@click.option(
    "--grace",
    type=click.FloatRange(min=0),
    metavar="SECONDS",
    help="How long a stop lets running tasks go on. [default: 25]",
)
@click.option("--purge", "--discard", is_flag=True, help="Delete what waits in the queues first.")
@_silent
@click.argument("settings", nargs=-1, type=click.UNPROCESSED, metavar="[-- SETTING=VALUE ...]")
@click.pass_obj
def worker(invocation: Invocation, /, **words: Any) -> Errand:
    """Run tasks from the queues until told to stop."""
    # From here on, until the worker has handlers of its own.
    signal.signal(signal.SIGTERM, _end_before_the_start)
    _answer_for_silent(invocation, words)
    extra = read_settings(words["settings"])
    app = load_app(invocation)
    apply_extras(app, extra, words["include"] or ())
    return Errand(lambda: _run(invocation, app, words))


def _end_before_the_start(_signum: int, _frame: FrameType | None) -> None:
    """Told to stop while the app is still being imported: nothing was taken, so all is well.

    At once and without an exception, which the user's modules might catch.
    """
    os._exit(0)


def _answer_for_silent(invocation: Invocation, words: dict[str, Any]) -> None:
    for word, (option, hint) in _NOT_YET.items():
        if words[word] is not None:
            raise Failure(f"{option} is not there yet.", hint, 2)
    for word, (option, why) in _WITHOUT_MEANING.items():
        if words[word] is not None:
            notice(invocation, f"{option} has no effect: {why}.")


def without_effect(config: WorkerConfig, concurrency: int | None, async_slots: int | None) -> Iterator[tuple[str, str]]:
    """Which of these options do nothing for the pools of this worker, each with the reason."""
    names = [pool.name for pool in config.policy.pools]
    if config.is_solo and concurrency is not None and concurrency > 1:
        yield "-c", "solo runs one task at a time; for more, use -P prefork or -P threads"
    if names == ["asyncio"] and concurrency is not None and async_slots is not None:
        yield "-c", "--async-slots says how many coroutines run at once, and there is no other pool"
    if async_slots is not None and "asyncio" not in names and not config.adds_pools:
        how = "" if config.is_solo else f"; add it with -P {','.join(names)},asyncio"
        yield "--async-slots", f"this worker has no asyncio pool{how}"


def _run(invocation: Invocation, app: Celeriac, words: dict[str, Any]) -> int:
    # For the worker's whole life, not only while the app is looked for: modules that are named in settings, and
    # imports inside tasks, are found as with `python -m celeriac`.
    with here_first():
        config = _config(invocation, app, words)
        for option, why in without_effect(config, words["concurrency"], words["async_slots"]):
            notice(invocation, f"{option} has no effect: {why}.")
        # What waits when a worker starts itself anew is not what was there when a person started it.
        restarted = os.environ.pop(RESTARTED, "")
        purge = config.queues if words["purge"] and not restarted else None
        if invocation.quiet and purge is None:
            _tasks(app)
        else:
            config = structs.replace(config, banner=_banner(invocation, app, config, purge))
        from celeriac.worker.main import run_worker

        return run_worker(app, config)


def _banner(invocation: Invocation, app: Celeriac, config: WorkerConfig, purge: Sequence[str] | None) -> str:
    """The text, after asking the broker what it is; empties the queues of `purge`."""
    address = broker_url(app.conf)
    database = database_file(address)
    # Looked at before the probe, which makes it.
    is_new = database is not None and not Path(database).exists()
    probe = Probe(app, purge)
    try:
        # What takes longest is done while the other process asks.
        importlib.import_module("celeriac.worker.main")
        tasks = _tasks(app)
        answer = probe.answer()
    finally:
        probe.end()
    if not answer.shared and config.is_solo:
        notice(invocation, "The broker lives in one process: no other program can send to this worker.")
    elif not answer.shared:
        raise Failure(UNREACHABLE, UNREACHABLE_HINT, EXIT_CONFIG)
    facts = BannerFacts(
        version=__version__,
        app=_app_in_words(invocation, app),
        broker=address,
        durability=answer.durability,
        backend=_backend_address(app),
        tasks=tasks,
        database=database,
        database_is_new=is_new,
        purged=answer.purged,
    )
    config = with_pools_of(config, (task.policy for task in app.tasks.values()))
    return compose(config, facts, Look(_is_colored(invocation)))


def _config(invocation: Invocation, app: Celeriac, words: dict[str, Any]) -> WorkerConfig:
    hostname = node_name(words["hostname"], socket.gethostname())
    options = given(
        {
            "hostname": hostname,
            "loglevel": words["loglevel"],
            "logfile": words["logfile"],
            **{name: words[name] for name in _PASSED_ON},
        }
    )
    own = given({"grace_s": words["grace"], "log_json": words["log_json"], "log_color": invocation.color})
    if invocation.app is not None:
        # A child started anew could not find an app that was handed in.
        own["start"] = "fork"
    config = app.worker_config(**options)
    return structs.replace(
        config,
        app_path=invocation.app_path,
        workdir=str(Path.cwd()),
        quiet=invocation.quiet,
        **own,
    )


_PASSED_ON = (
    "concurrency",
    "pool",
    "async_slots",
    "queues",
    "exclude_queues",
    "time_limit",
    "soft_time_limit",
    "max_tasks_per_child",
    "max_memory_per_child",
    "prefetch_multiplier",
)


def _tasks(app: Celeriac) -> list[str]:
    """Names of the user's tasks, after importing all that the app names."""
    try:
        registry = app.load_tasks()
    except CeleriacError:
        raise
    except Exception as exc:
        raise Failure(
            f"A module of tasks could not be imported: {type(exc).__name__}: {exc}",
            "Correct the module, or take it out of `imports` and `include`.",
            EXIT_SOFTWARE,
            users_traceback(exc),
        ) from exc
    return sorted(name for name in registry if not name.startswith(("celery.", "celeriac.")))


def _app_in_words(invocation: Invocation, app: Celeriac) -> str:
    name = str(app.main or "default")
    return f"{name} ({invocation.app_path})" if invocation.app_path not in {"", name} else name


def _backend_address(app: Celeriac) -> str | None:
    url = str(backend_url(app.conf))
    return None if url.partition(":")[0] == "disabled" else url


def _is_colored(invocation: Invocation) -> bool:
    return invocation.color is not False and sys.stderr.isatty()
