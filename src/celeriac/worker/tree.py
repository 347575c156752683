"""The process tree: what the main process and its node say to each other.

One packet socket, one msgpack value per packet; descriptors travel beside it. The main process owns processes
(it forks, signals and reaps them), the node owns the work.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from collections.abc import Sequence
from typing import Union

import msgspec
from msgspec import Struct

from celeriac.pools.spawner import Exited, News, Signalled, Spawned

_PACKET_BYTES = 1 << 16
_DESCRIPTORS_MAX = 2
_KIND = socket.SOCK_SEQPACKET if hasattr(os, "pidfd_open") else socket.SOCK_DGRAM


class SpawnChild(Struct, frozen=True, array_like=True, tag="spawn"):
    """Node: start a child of this pool; it marks its jobs from this record on."""

    child: int
    pool: str
    record: int


class SignalChild(Struct, frozen=True, array_like=True, tag="signal"):
    """Node: send this signal to this child."""

    child: int
    signum: int


class ShareMarks(Struct, frozen=True, array_like=True, tag="marks"):
    """Node, with a descriptor: the marks of children are this part of that file."""

    offset: int
    size: int


class Ready(Struct, frozen=True, array_like=True, tag="ready"):
    """Node: connected, taking."""


class ChildSpawned(Struct, frozen=True, array_like=True, tag="spawned"):
    """Main, with two descriptors (data, control): the child lives."""

    child: int
    pid: int


class ChildExited(Struct, frozen=True, array_like=True, tag="exited"):
    """Main: the child is reaped."""

    child: int
    pid: int
    status: str


class GotSignal(Struct, frozen=True, array_like=True, tag="got"):
    """Main: a shutdown signal arrived."""

    name: str


FromNode = Union[SpawnChild, SignalChild, ShareMarks, Ready]
FromMain = Union[ChildSpawned, ChildExited, GotSignal]

_encode = msgspec.msgpack.Encoder().encode
_from_node = msgspec.msgpack.Decoder(FromNode)
_from_main = msgspec.msgpack.Decoder(FromMain)


def tree_sockets() -> tuple[socket.socket, socket.socket]:
    """(main's end, node's end)."""
    return socket.socketpair(socket.AF_UNIX, _KIND)


def exit_status(wait_status: int) -> str:
    """How a process ended, for people, from what `waitpid` returned."""
    if os.WIFSIGNALED(wait_status):
        number = os.WTERMSIG(wait_status)
        with contextlib.suppress(ValueError):
            return f"signal {number} ({signal.Signals(number).name})"
        return f"signal {number}"
    return f"exit code {os.waitstatus_to_exitcode(wait_status)}"


class MainEnd:
    """The main process's end of the line to its node."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        sock.setblocking(False)

    def fileno(self) -> int:
        """Readable when the node said something."""
        return self._sock.fileno()

    def receive(self) -> tuple[FromNode, list[int]] | None:
        """The next word of the node with its descriptors, or None if there is none. Raises EOFError when the
        node closed its end."""
        try:
            data, descriptors, _, _ = socket.recv_fds(self._sock, _PACKET_BYTES, _DESCRIPTORS_MAX)
        except (BlockingIOError, InterruptedError):
            return None
        except OSError as exc:
            raise EOFError from exc
        if not data:
            raise EOFError
        return _from_node.decode(data), descriptors

    def send(self, word: FromMain, descriptors: Sequence[int] = ()) -> None:
        """Tell the node; a node that is gone hears nothing, which its death then explains."""
        with contextlib.suppress(OSError):
            self._sock.setblocking(True)
            try:
                socket.send_fds(self._sock, [_encode(word)], list(descriptors))
            finally:
                self._sock.setblocking(False)

    def close(self) -> None:
        """Close the line."""
        self._sock.close()


class TreeSpawner:
    """The node's end: a `pools.spawner.Spawner` whose processes the main process owns."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        sock.setblocking(False)

    def fileno(self) -> int:
        """Readable when the main process said something."""
        return self._sock.fileno()

    def receive(self) -> Sequence[News]:
        """All that the main process said until now. Raises EOFError when it is gone."""
        news: list[News] = []
        while True:
            try:
                data, descriptors, _, _ = socket.recv_fds(self._sock, _PACKET_BYTES, _DESCRIPTORS_MAX)
            except (BlockingIOError, InterruptedError):
                return news
            except OSError as exc:
                raise EOFError from exc
            if not data:
                raise EOFError
            word = _from_main.decode(data)
            if isinstance(word, ChildSpawned):
                data_fd, control_fd = descriptors
                news.append(
                    Spawned(word.child, word.pid, socket.socket(fileno=data_fd), socket.socket(fileno=control_fd))
                )
            elif isinstance(word, ChildExited):
                news.append(Exited(word.child, word.pid, word.status))
            else:
                news.append(Signalled(word.name))

    def share_marks(self, fd: int, offset: int, size: int) -> None:
        """Let children map this part of the file."""
        self._send(ShareMarks(offset, size), [fd])

    def spawn(self, child: int, pool: str, record: int) -> None:
        """Ask for a child of this pool, whose slots are marked from this record on."""
        self._send(SpawnChild(child, pool, record))

    def kill(self, child: int, signum: int) -> None:
        """Ask for a signal to a child."""
        self._send(SignalChild(child, signum))

    def ready(self) -> None:
        """Tell that this node takes work."""
        self._send(Ready())

    def _send(self, word: FromNode, descriptors: Sequence[int] = ()) -> None:
        try:
            self._sock.setblocking(True)
            socket.send_fds(self._sock, [_encode(word)], list(descriptors))
        except OSError as exc:
            raise EOFError from exc
        finally:
            self._sock.setblocking(False)
