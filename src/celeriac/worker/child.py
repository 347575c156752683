"""A child process: sets itself up and runs jobs until the node is done with it."""

from __future__ import annotations

import logging
import mmap
import os
import signal
import socket
from collections.abc import Mapping
from types import FrameType

from msgspec import Struct

from celeriac.core.engine.effects import Final
from celeriac.model.context import Place
from celeriac.model.run import Performed, Runnable
from celeriac.pools.host import Allowance, Host, MarkOf, Performer, Sockets
from celeriac.pools.marks import RECORD_BYTES, Marks
from celeriac.wire.frames import JobFrame
from celeriac.worker.config import WorkerConfig
from celeriac.worker.env import Env, Seat
from celeriac.worker.perform import perform
from celeriac.worker.process import die_with_parent, name_process, prefer_for_oom


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


def make_performer(tasks: Mapping[str, Runnable], seat: Seat) -> Performer:
    """The function that runs one job of these tasks on this seat."""

    def performer(job: JobFrame) -> Performed:
        conclude = None if job.conclude is None else Final(*job.conclude)
        try:
            return perform(tasks, job.message, seat, redelivered=job.redelivered, conclude=conclude)
        finally:
            seat.early = None

    return performer


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


def child_main(
    child: int,
    parent_pid: int,
    data: socket.socket,
    control: socket.socket,
    marks: Marks,
    tasks: Mapping[str, Runnable],
    config: WorkerConfig,
) -> None:
    """Be child number `child` of processes; returns when the node says leave."""
    be_child(Post(child, "prefork", child), parent_pid, Sockets(data, control), marks, tasks, config)


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
    seat = Seat(env)
    host = Host(sockets, MarkOf(marks, post.record), make_performer(tasks, seat), seat.break_in, allowance)
    env.on_started = host.keep
    seat.waiting = host.waiting

    def on_end(signum: int, _frame: FrameType | None) -> None:
        # A terminal or a service manager signals every process of the group: what that means is for the main process
        # to decide, which lets running tasks finish. Only a task that is to be terminated ends by it.
        if host.is_asked_to_stop():
            signal.signal(signum, signal.SIG_DFL)
            os.kill(os.getpid(), signum)

    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT, signal.SIGHUP):
        signal.signal(signum, on_end)
    host.serve()
