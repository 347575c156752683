"""The sending side of one process: a broker opened at the first send, publish retries, and batches.

Safe in threads. A forked child starts anew: it shares no broker, lock or origin with its parent.
"""

from __future__ import annotations

import os
import socket
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from msgspec import Struct

from celeriac.model.errors import BrokerUnavailable
from celeriac.model.message import Message
from celeriac.model.ports import Broker

_LAST_START = 0.9
"""The part of the patience in which a repetition may begin: one at its very end would only double the wait."""


class PublishRetries(Struct, frozen=True):
    """How often and how long a send is repeated while the broker is unavailable."""

    max_retries: int | None = 3
    """None: until `patience_s` is over."""
    interval_start_s: float = 0.0
    interval_step_s: float = 0.2
    interval_max_s: float = 1.0
    errors: tuple[type[BaseException], ...] = (BrokerUnavailable,)
    """Errors that are worth a repetition."""
    patience_s: float = 4.0
    """No repetition begins later than this after the first try began, so that the caller waits a bounded time."""

    def pause_s(self, retry: int) -> float:
        """How long to wait before repetition `retry`, counted from 0."""
        return max(0.0, min(self.interval_start_s + retry * self.interval_step_s, self.interval_max_s))


def publish_retries(policy: Mapping[str, Any], patience_s: float) -> PublishRetries:
    """Read Celery's `retry_policy`. Raises TypeError and ValueError naming the key."""
    known = {"max_retries", "interval_start", "interval_step", "interval_max", "retry_errors"}
    for name, value in policy.items():
        if name not in known:
            raise ValueError(f"retry_policy: unknown key {name!r}; known are {', '.join(sorted(known))}")
        if name != "retry_errors" and value is not None and (not isinstance(value, (int, float)) or value < 0):
            raise TypeError(f"retry_policy: {name}={value!r} is not a number from 0")
    return PublishRetries(
        max_retries=policy.get("max_retries", 3),
        interval_start_s=policy.get("interval_start") or 0.0,
        interval_step_s=policy.get("interval_step", 0.2) or 0.0,
        interval_max_s=policy.get("interval_max", 1.0) or 0.0,
        errors=(BrokerUnavailable, *(policy.get("retry_errors") or ())),
        patience_s=patience_s,
    )


NO_RETRIES = PublishRetries(max_retries=0)


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

    def holds(self, task_id: str) -> bool:
        """True if it is open and keeps this task."""
        with self._lock:
            return self._is_open and any(message.id == task_id for message in self._messages)

    def end(self) -> list[Message]:
        """What it kept; from now on it keeps nothing."""
        with self._lock:
            self._is_open = False
            return self._messages


_batch: ContextVar[Batch | None] = ContextVar("celeriac_batch", default=None)

current_batch: Callable[[], Batch | None] = _batch.get
"""The innermost batch that the caller is in, of whatever sender."""


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
        try:
            (self._broker or self.broker()).publish((message,))
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

    def is_unsent(self, task_id: str) -> bool:
        """True if the caller is inside a batch that still holds this task."""
        batch = self._own_batch()
        return batch is not None and batch.holds(task_id)

    @contextmanager
    def batch(self) -> Iterator[None]:
        """What this thread (or coroutine) sends inside leaves at the end, as one publish; if the block raises, nothing
        is sent. A batch inside a batch joins the outer one."""
        batch = self._own_batch()
        if batch is not None and batch.is_open:
            yield
            return
        batch = Batch(self, _batch.get())
        token = _batch.set(batch)
        try:
            yield
        except BaseException:
            batch.end()
            raise
        finally:
            _batch.reset(token)
        messages = batch.end()
        if messages:
            self._publish(messages, batch.retries)

    def close(self) -> None:
        """Close the broker; the next send opens one anew."""
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
            self.broker().publish(messages)
        except retries.errors as exc:
            self._publish_again(messages, retries, exc, began_at)

    def _publish_again(
        self, messages: list[Message], retries: PublishRetries, error: BaseException, began_at: float
    ) -> None:
        retry = 0
        while retries.max_retries is None or retry < retries.max_retries:
            pause_s = retries.pause_s(retry)
            if time.monotonic() + pause_s - began_at > retries.patience_s * _LAST_START:
                break
            time.sleep(pause_s)
            retry += 1
            try:
                self.broker().publish(messages)
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
