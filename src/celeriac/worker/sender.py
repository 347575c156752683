"""The sending side of one process: a broker opened at the first send, publish retries, and batches.

Safe in threads. A forked child starts anew: it shares no broker, lock or origin with its parent.
"""

from __future__ import annotations

import os
import socket
import threading
import time
import weakref
from collections.abc import Callable, Collection, Sequence
from contextvars import ContextVar, Token
from typing import TYPE_CHECKING, TypeVar

from celeriac.model.message import Message
from celeriac.model.ports import Broker
from celeriac.model.shield import shield
from celeriac.worker.retries import LAST_START, NO_RETRIES, PublishRetries, publish_retries

if TYPE_CHECKING:
    from celeriac.worker.door import Door

T = TypeVar("T")

__all__ = ["NO_RETRIES", "Batch", "BatchBlock", "PublishRetries", "Sender", "current_batch", "publish_retries"]


class Batch:
    """Messages that leave together when the `with` block ends. Threads and coroutines started inside belong to it as
    long as it is open; what they send later goes at once."""

    def __init__(self, sender: Sender, outer: Batch | None) -> None:
        self.sender = sender
        self.outer = outer
        self.retries = NO_RETRIES
        self._lock = threading.Lock()
        self._messages: list[Message] = []
        self._is_open = True

    def add(self, message: Message, retries: PublishRetries) -> bool:
        """Keep a message; False if the batch has ended, and does not."""
        return self.add_all((message,), retries)

    def add_all(self, messages: Sequence[Message], retries: PublishRetries) -> bool:
        """Keep messages; False if the batch has ended, and does not."""
        with self._lock:
            if self._is_open:
                self._messages.extend(messages)
                self.retries = retries
            return self._is_open

    @property
    def is_open(self) -> bool:
        """True until its block ends."""
        return self._is_open

    def holds(self, task_ids: Collection[str]) -> bool:
        """True if it is open and keeps one of these tasks."""
        with self._lock:
            return self._is_open and any(message.id in task_ids for message in self._messages)

    def end(self) -> list[Message]:
        """What it kept; from now on it keeps nothing."""
        with self._lock:
            self._is_open = False
            return self._messages


_batch: ContextVar[Batch | None] = ContextVar("celeriac_batch", default=None)

current_batch: Callable[[], Batch | None] = _batch.get
"""The innermost batch that the caller is in, of whatever sender."""


class BatchBlock:
    """The block of a batch: ``with app.batch():``, on an event loop ``async with app.batch():``.

    What this thread (or coroutine) sends inside leaves at the end, as one publish; if it raises, nothing is sent. A
    batch inside a batch joins the outer one.
    """

    def __init__(self, sender: Sender) -> None:
        self._sender = sender
        self._begun: list[tuple[Batch, Token[Batch | None]] | None] = []

    def _end(self, error: object) -> Batch | None:
        begun = self._begun.pop()
        if begun is None:
            return None
        batch, token = begun
        _batch.reset(token)
        if error is not None:
            batch.end()
            return None
        return batch

    def __enter__(self) -> None:
        self._begun.append(self._sender.begin_batch())

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        batch = self._end(error)
        if batch is not None:
            self._sender.send_batch(batch)

    async def __aenter__(self) -> None:
        self.__enter__()

    async def __aexit__(self, kind: object, error: object, trace: object) -> None:
        batch = self._end(error)
        if batch is not None:
            await self._sender.asend_batch(batch)


class Sender:
    """Publishes messages of one app in this process.

    :param make_broker: returns a new, closed broker
    """

    def __init__(self, make_broker: Callable[[], Broker]) -> None:
        self._make_broker = make_broker
        self.generation = 0
        """Grows when what was settled with this sender no longer holds: after a fork, and when it was closed."""
        self._reset()
        _alive.add(self)

    def _reset(self) -> None:
        self._lock = threading.Lock()
        self._broker: Broker | None = None
        self.origin = f"gen{os.getpid()}@{socket.gethostname()}"
        self.generation += 1
        self._door: Door | None = None

    def broker(self) -> Broker:
        """This process's broker, opened. Raises BrokerUnavailable, BrokerMisconfigured."""
        broker = self._broker
        if broker is None:
            with self._lock:
                broker = self._broker
                if broker is None:
                    broker = self._make_broker()
                    broker.open()
                    self._broker = broker
        return broker

    def send(self, message: Message, retries: PublishRetries) -> None:
        """Publish, or keep until the end of the batch the caller is in.

        Raises BrokerUnavailable when the broker stayed unavailable, BrokerRejected, BrokerMisconfigured.
        """
        if current_batch() is not None:
            batch = self._own_batch()
            if batch is not None and batch.add(message, retries):
                return
        began_at = time.monotonic()
        # As `_attempt`, without the call: this is on the way of every message.
        guard = shield.mine
        guard.inside += 1
        try:
            try:
                if guard.threat is not None:
                    guard.look()
                (self._broker or self.broker()).publish((message,))
            finally:
                guard.inside -= 1
                if guard.threat is not None:
                    guard.out()
        except retries.errors as exc:
            self._publish_again([message], retries, exc, began_at)

    def send_many(self, messages: Sequence[Message], retries: PublishRetries) -> None:
        """Publish all of them as one, or keep them until the end of the batch the caller is in; raises as `send`."""
        if not messages:
            return
        if current_batch() is not None:
            batch = self._own_batch()
            if batch is not None and batch.add_all(messages, retries):
                return
        self._publish(list(messages), retries)

    async def asend(self, message: Message, retries: PublishRetries) -> None:
        """`send` for coroutines: the loop goes on meanwhile. What is sent at the same time leaves together."""
        if current_batch() is not None:
            batch = self._own_batch()
            if batch is not None and batch.add(message, retries):
                return
        await (self._door or self._make_door()).send((message,), retries)

    async def sending(self, call: Callable[[], T]) -> T:
        """What `call` returns, when the broker has all that it sends: as one, and without blocking the loop.

        Inside a batch, what it sends leaves with that. Raises what `call` raises, and then nothing is sent; else as
        `send`.
        """
        begun = self.begin_batch()
        if begun is None:
            return call()
        batch, token = begun
        try:
            made = call()
        except BaseException:
            batch.end()
            raise
        finally:
            _batch.reset(token)
        await self.asend_batch(batch)
        return made

    def _make_door(self) -> Door:
        from celeriac.worker.door import Door  # brings asyncio

        with self._lock:
            if self._door is None:
                self._door = Door(self.broker)
            return self._door

    def is_unsent(self, task_ids: Collection[str]) -> bool:
        """True if the caller is inside a batch that still holds one of these tasks."""
        batch = self._own_batch()
        return batch is not None and batch.holds(task_ids)

    def begin_batch(self) -> tuple[Batch, Token[Batch | None]] | None:
        """Keep what the caller sends from now on, until `end_batch`; None if a batch does so already."""
        batch = self._own_batch()
        if batch is not None and batch.is_open:
            return None
        batch = Batch(self, _batch.get())
        return batch, _batch.set(batch)

    def send_batch(self, batch: Batch) -> None:
        """Publish what it kept."""
        messages = batch.end()
        if messages:
            self._publish(messages, batch.retries)

    async def asend_batch(self, batch: Batch) -> None:
        """`send_batch` for coroutines."""
        messages = batch.end()
        if messages:
            await (self._door or self._make_door()).send(messages, batch.retries)

    def close(self) -> None:
        """Close the broker, when what coroutines have handed over is sent; the next send opens one anew."""
        if self._door is not None:
            self._door.close()
        with self._lock:
            broker, self._broker = self._broker, None
            self.generation += 1
        if broker is not None:
            broker.close()

    def _own_batch(self) -> Batch | None:
        batch = _batch.get()
        while batch is not None and batch.sender is not self:
            batch = batch.outer
        return batch

    def _publish(self, messages: list[Message], retries: PublishRetries) -> None:
        began_at = time.monotonic()
        try:
            self._attempt(messages)
        except retries.errors as exc:
            self._publish_again(messages, retries, exc, began_at)

    def _attempt(self, messages: list[Message]) -> None:
        """Publish. No time limit breaks in halfway: it would leave a broker half opened, or a lock held for ever."""
        guard = shield.mine
        guard.enter()
        try:
            self.broker().publish(messages)
        finally:
            guard.leave()

    def _publish_again(
        self, messages: list[Message], retries: PublishRetries, error: BaseException, began_at: float
    ) -> None:
        retry = 0
        while retries.max_retries is None or retry < retries.max_retries:
            pause_s = retries.pause_s(retry)
            if time.monotonic() + pause_s - began_at > retries.patience_s * LAST_START:
                break
            time.sleep(pause_s)
            retry += 1
            try:
                self._attempt(messages)
            except retries.errors as exc:
                error = exc
            else:
                return
        raise error


_alive: weakref.WeakSet[Sender] = weakref.WeakSet()


def _start_anew() -> None:
    """In a forked child: what the parent opened is not ours, and a lock may be held by a thread that is not here."""
    _batch.set(None)
    for sender in list(_alive):
        sender._reset()  # noqa: SLF001 - our own object


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_anew)
