"""Children started by exec: a fresh interpreter that imports the app again, for apps that may not be forked.

What a forked child inherits in memory, an exec'ed one gets as descriptors and one environment variable.
"""

from __future__ import annotations

import os
import socket
import sys
from typing import NoReturn

import msgspec
from msgspec import Struct

from celeriac.model.errors import ImproperlyConfigured
from celeriac.pools.host import Sockets
from celeriac.worker.child import Post, be_child, map_marks
from celeriac.worker.config import Home, WorkerConfig
from celeriac.worker.log_setup import name_in_log, setup_logging

_ENVIRONMENT = "CELERIAC_CHILD"


class ChildSpec(Struct, frozen=True):
    """Which child, and its descriptors."""

    post: Post
    parent_pid: int
    data_fd: int
    control_fd: int
    marks_fd: int
    marks_offset: int
    marks_bytes: int


class _Orders(Struct, frozen=True):
    spec: ChildSpec
    config: WorkerConfig


def exec_child(config: WorkerConfig, spec: ChildSpec) -> NoReturn:
    """Replace this (forked) process by a child of its own making; never returns."""
    try:
        for fd in (spec.data_fd, spec.control_fd, spec.marks_fd):
            os.set_inheritable(fd, True)
        environment = dict(os.environ)
        environment[_ENVIRONMENT] = msgspec.json.encode(_Orders(spec, config)).decode()
        argv = [sys.executable, "-m", "celeriac", "-A", config.app_path]
        if config.workdir:
            argv += ["--workdir", config.workdir]
        os.execve(sys.executable, [*argv, "worker-child"], environment)  # noqa: S606 - our own program
    finally:
        os._exit(71)


def run_exec_child(home: Home) -> int:
    """Be the child that the environment describes; its exit code. For the hidden verb ``worker-child``."""
    text = os.environ.pop(_ENVIRONMENT, "")
    if not text:
        raise ImproperlyConfigured("worker-child is started by a worker, never by hand; use: celeriac worker")
    orders = msgspec.json.decode(text, type=_Orders)
    spec, config = orders.spec, orders.config
    post = spec.post
    setup_logging(config, name_in_log(post.pool, post.place), post.place + 1)
    tasks = home.load_tasks()
    marks = map_marks(spec.marks_fd, spec.marks_offset, spec.marks_bytes)
    os.close(spec.marks_fd)
    sockets = Sockets(socket.socket(fileno=spec.data_fd), socket.socket(fileno=spec.control_fd))
    be_child(post, spec.parent_pid, sockets, marks, tasks, config)
    return 0
