"""A child process: sets itself up and runs jobs until the node is done with it."""

from __future__ import annotations

import inspect
import logging
import mmap
import os
import signal
from collections.abc import Mapping
from functools import partial
from types import FrameType

from msgspec import Struct

from celeriac.model.context import Place
from celeriac.model.run import Runnable
from celeriac.pools.host import SOFT_SIGNAL, Allowance, Host, MarkOf, Sockets
from celeriac.pools.kinds import facts_of, records_of
from celeriac.pools.marks import RECORD_BYTES, Marks
from celeriac.pools.roster import Stand
from celeriac.pools.threads import ThreadsHost
from celeriac.wire.frames import JobFrame
from celeriac.worker.config import WorkerConfig
from celeriac.worker.env import Env
from celeriac.worker.perform import JobSeat
from celeriac.worker.process import die_with_parent, name_process, prefer_for_oom

_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT, signal.SIGHUP)


def make_env(config: WorkerConfig, tasks: Mapping[str, Runnable]) -> Env:
    """What all runs of this process share."""
    place = Place(
        hostname=config.hostname,
        loglevel=getattr(logging, config.loglevel.upper(), logging.WARNING),
        logfile=config.logfile,
        time_limit_s=config.policy.time_limit_s,
        soft_time_limit_s=config.policy.soft_time_limit_s,
    )
    return Env(place, config.results, tasks=tasks)


def map_marks(fd: int, offset: int, size: int) -> Marks:
    """The marks of all children, in shared memory."""
    return Marks(mmap.mmap(fd, size, mmap.MAP_SHARED, offset=offset), size // RECORD_BYTES)


class Post(Struct, frozen=True):
    """Where a child stands."""

    place: int
    """Its number to the owner of processes and in logs."""
    pool: str
    record: int
    """The first of its slots' records in the marks."""


def be_child(
    post: Post, parent_pid: int, sockets: Sockets, marks: Marks, tasks: Mapping[str, Runnable], config: WorkerConfig
) -> None:
    """Be the child of this post, whose pool is one of `config.policy.pools`; returns when the node says leave."""
    die_with_parent(parent_pid)
    name_process(f"celeriac-{post.place + 1}")
    prefer_for_oom()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    allowance = Allowance(config.tasks_per_child_max, config.memory_per_child_max_kib)
    env = make_env(config, tasks)
    facts = facts_of(next(pool for pool in config.policy.pools if pool.name == post.pool))
    if facts.by_signal:
        _serve_alone(sockets, MarkOf(marks, post.record), tasks, env, allowance)
        return
    # Limits and terminations come as orders. What a terminal or a service manager sends to every process of the group
    # is for the main process to decide.
    for signum in (*_ENDING, SOFT_SIGNAL):
        signal.signal(signum, _unheeded)
    stand = Stand(marks, post.record, records_of(facts), facts.slots_per_child)
    if post.pool == "asyncio":
        from celeriac.pools.asyncio_host import AsyncioHost
        from celeriac.pools.places import Bench

        bench = Bench(partial(JobSeat, tasks, env), partial(_is_coroutine, _coroutines_of(tasks)))
        host: AsyncioHost | ThreadsHost = AsyncioHost(sockets, stand, bench, allowance)
    else:
        host = ThreadsHost(sockets, stand, partial(JobSeat, tasks, env), allowance)
    env.on_started = host.keep
    host.serve()


def _serve_alone(sockets: Sockets, mark: MarkOf, tasks: Mapping[str, Runnable], env: Env, allowance: Allowance) -> None:
    """One job at a time, which has the process to itself."""
    seat = JobSeat(tasks, env)
    host = Host(sockets, mark, seat.perform, seat.break_in, allowance)
    env.on_started = host.keep
    seat.waiting = host.waiting

    def on_end(signum: int, _frame: FrameType | None) -> None:
        # A terminal or a service manager signals every process of the group: what that means is for the main process
        # to decide, which lets running tasks finish. Only a task that is to be terminated ends by it.
        if host.is_asked_to_stop():
            signal.signal(signum, signal.SIG_DFL)
            os.kill(os.getpid(), signum)

    for signum in _ENDING:
        signal.signal(signum, on_end)
    host.serve()


def _unheeded(_signum: int, _frame: FrameType | None) -> None:
    """Unlike a signal that is ignored, this is not inherited by programs that a task starts."""


def _coroutines_of(tasks: Mapping[str, Runnable]) -> frozenset[str]:
    """The names of tasks whose bodies are coroutine functions."""
    return frozenset(name for name, task in tasks.items() if inspect.iscoroutinefunction(getattr(task, "run", None)))


def _is_coroutine(names: frozenset[str], job: JobFrame) -> bool:
    """True if this job's body runs on the loop; else, and for hooks alone, it is a thread that runs it."""
    return job.message.task in names and job.conclude is None
