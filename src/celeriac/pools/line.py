"""A child of many slots and its node: the two sockets between them, for many threads."""

from __future__ import annotations

import errno
import select
import socket
import threading
from collections.abc import Callable
from typing import Protocol

from celeriac.pools.host import Sockets
from celeriac.wire.frames import Break, FrameReader, FromChild, JobFrame, Jobs, Leave, RecallJobs, pack

_RECEIVE_BYTES = 1 << 18


class Orders(Protocol):
    """What the node may ask over the control socket. Called on the thread that hears it."""

    def recall(self, seqs: frozenset[int] | None) -> None:
        """Give these back (all, if None), as far as they have not begun."""
        ...

    def leave(self) -> None:
        """Begin nothing more."""
        ...

    def break_in(self, order: Break) -> None:
        """Break into one running job."""
        ...

    def tend(self) -> float | None:
        """Go on with what could not be done at once. In how many seconds again; None: when there are new orders."""
        ...


class Line:
    """Both sockets. Every method may be called by any thread, but for `receive`, whose callers take turns."""

    def __init__(self, sockets: Sockets) -> None:
        self.data, self._control = sockets
        self._reader = FrameReader(from_child=False)
        self._lock = threading.Lock()
        self._out = bytearray()

    def send(self, data: bytes) -> None:
        """Send, after all that was put by. Raises OSError when the node is gone."""
        with self._lock:
            if not self._out:
                self.data.sendall(data)
                return
            out, self._out = self._out, bytearray()
            self.data.sendall(out + data)

    def tell(self, frame: FromChild) -> None:
        """Send one frame."""
        self.send(pack(frame))

    def put_by(self, data: bytes) -> bool:
        """Keep it for the next `send` or `flush`; True if it is the first."""
        with self._lock:
            is_first = not self._out
            self._out += data
            return is_first

    def flush(self) -> None:
        """Send what was put by."""
        with self._lock:
            if self._out:
                data, self._out = self._out, bytearray()
                self.data.sendall(data)

    def receive(self) -> list[JobFrame] | None:
        """What the node has sent, without waiting; None when it is gone. Raises OSError when the socket is closed."""
        try:
            data = self.data.recv(_RECEIVE_BYTES, socket.MSG_DONTWAIT)
        except (BlockingIOError, InterruptedError):
            return []
        except OSError as exc:
            if exc.errno == errno.EBADF:
                raise  # a task has closed what is not its own
            return None
        if not data:
            return None
        return [job for frame in self._reader.feed(data) if isinstance(frame, Jobs) for job in frame.jobs]

    def wake(self) -> None:
        """Let whoever waits for data look: nothing more will come."""
        try:
            self.data.shutdown(socket.SHUT_RD)
        except OSError:
            return

    def listen(self, orders: Orders, failed: Callable[[BaseException], None]) -> threading.Thread:
        """Start the thread that hears orders, until the node is gone. An error of its own goes to `failed`."""

        def target() -> None:
            try:
                self._listen(orders)
            except OSError:
                return  # the node is gone, which its other socket tells too
            except BaseException as exc:  # noqa: BLE001 - a child that hears no orders must end
                failed(exc)

        thread = threading.Thread(target=target, name="orders", daemon=True)
        thread.start()
        return thread

    def _listen(self, orders: Orders) -> None:
        reader = FrameReader(from_child=False)
        poller = select.poll()
        poller.register(self._control, select.POLLIN)
        wait_s: float | None = None
        while True:
            if poller.poll(None if wait_s is None else max(1, round(wait_s * 1000))):
                data = self._control.recv(_RECEIVE_BYTES)
                if not data:
                    return
                # Where a body keeps everybody else from running, what has ended before is told now.
                self.flush()
                for frame in reader.feed(data):
                    if isinstance(frame, RecallJobs):
                        orders.recall(frozenset(frame.seqs))
                    elif isinstance(frame, Break):
                        orders.break_in(frame)
                    elif isinstance(frame, Leave):
                        orders.leave()
            wait_s = orders.tend()
