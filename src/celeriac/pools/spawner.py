"""How a node gets children: somebody else (the main process) starts, kills and reaps them."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from typing import Protocol, Union

from msgspec import Struct


class Spawned(Struct, frozen=True):
    """A child process exists; the two sockets lead to it."""

    child: int
    pid: int
    data: socket.socket
    control: socket.socket


class Exited(Struct, frozen=True):
    """A child process is gone and reaped. `status` is for people: "signal 9 (SIGKILL)", "exit code 3"."""

    child: int
    pid: int
    status: str


class Signalled(Struct, frozen=True):
    """The worker got a signal to shut down; `name` as "SIGTERM"."""

    name: str


News = Union[Spawned, Exited, Signalled]


class Spawner(Protocol):
    """The one who owns processes. Its methods are called on the node's thread and never block for long."""

    def fileno(self) -> int:
        """Readable when `receive` has news."""
        ...

    def receive(self) -> Sequence[News]:
        """What happened; empty when nothing did. Raises EOFError when the owner is gone."""
        ...

    def share_marks(self, fd: int, offset: int, size: int) -> None:
        """Let children map this part of the file as their marks. Before the first `spawn`."""
        ...

    def spawn(self, child: int, pool: str, record: int) -> None:
        """Start a child of this pool, whose slots are marked from this record on; `Spawned` follows, later `Exited`."""
        ...

    def kill(self, child: int, signum: int) -> None:
        """Send a signal to a child, if it still lives."""
        ...
