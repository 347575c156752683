"""The broker inside one process: ``memory://`` or ``memory://name``. Nothing survives the process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from celeriac.model.facts import BrokerFacts
from celeriac.model.message import (
    Claim,
    DeadLetter,
    Delivery,
    Depth,
    Message,
    Receipt,
    Settled,
    Settlement,
    Waiting,
    WaitingState,
)
from celeriac.model.ports import Subscription
from celeriac.model.urls import parse_url
from celeriac.stores import memory_admin
from celeriac.stores.memory import Holder, named
from celeriac.stores.memory_bells import MemoryBell

DEFAULT_LEASE_S = 6.0


class MemoryBroker:
    """Broker, BrokerAdmin, Bus and Pollable on the memory store of the url's name.

    Options: ``lease_s``; ``clock``, for tests that own the time.
    """

    def __init__(self, url: str, options: Mapping[str, Any]) -> None:
        name = parse_url(url).host or ""
        self._store = named(name, options.get("clock"))
        self._holder = Holder(float(options.get("lease_s", DEFAULT_LEASE_S)))
        self._bell: MemoryBell | None = None
        self._seen_version = -1
        self._facts = BrokerFacts(
            name="memory",
            lease="timed",
            durability="none",
            shared=False,
            ordered=True,
            priorities=10,
            delays=True,
            batch_is_atomic=True,
            atomic_commit=True,
            claims_in_settle=True,
            counts_crashes=True,
            cancels=True,
            store_id=f"memory://{name}",
        )

    @property
    def facts(self) -> BrokerFacts:
        """What this broker can do."""
        return self._facts

    def open(self) -> None:
        """Ready to use. Idempotent."""
        self._holder.is_open = True

    def close(self) -> None:
        """Wake and refuse callers. Claims stay until their lease ends. Idempotent."""
        self.listen(())
        with self._store.woken:
            self._holder.is_open = False
            self._store.woken.notify_all()

    def publish(self, messages: Sequence[Message]) -> None:
        """Store all of `messages`, or raise BrokerRejected and store none."""
        self._holder.check_open()
        self._store.publish(messages)

    def take(self, queues: Sequence[str], limit: int, wait_s: float) -> Sequence[Delivery]:
        """Claim up to `limit`; return as soon as there is one, or empty after about `wait_s`."""
        return self._store.take(self._holder, Claim(tuple(queues), limit), wait_s)

    def settle(self, settlements: Sequence[Settlement], then_take: Claim | None = None) -> Settled:
        """Verdicts, records, follow-ups and the next claim as one step."""
        return self._store.settle(self._holder, settlements, then_take)

    def extend(self, receipts: Sequence[Receipt], lease_s: float) -> Sequence[Receipt]:
        """Renew the lease on everything held here; return what is no longer held."""
        return self._store.extend(self._holder, receipts, lease_s)

    def depth(self, queues: Sequence[str] = ()) -> Sequence[Depth]:
        """Counts per queue, sorted by name."""
        return memory_admin.depth(self._store, queues)

    def peek(self, queue: str, limit: int, state: WaitingState | None = None) -> Sequence[Waiting]:
        """The next messages in the order of delivery; those of one state if `state` names it."""
        return memory_admin.peek(self._store, queue, limit, state)

    def purge(self, queue: str) -> int:
        """Delete what is ready or delayed; return how many."""
        return memory_admin.purge(self._store, queue)

    def dead(self, queue: str | None, limit: int) -> Sequence[DeadLetter]:
        """Dead and parked letters, newest first."""
        return memory_admin.dead(self._store, queue, limit)

    def revive(self, ids: Sequence[str] = (), *, parked_tasks: Sequence[str] = ()) -> int:
        """Put dead letters back with crashes forgotten; return how many."""
        return memory_admin.revive(self._store, ids, parked_tasks)

    def drop(self, ids: Sequence[str]) -> int:
        """Delete dead letters for good; return how many."""
        return memory_admin.drop(self._store, ids)

    def pause(self, queue: str, paused: bool) -> None:
        """Stop or resume deliveries from a queue."""
        memory_admin.pause(self._store, queue, paused)

    def cancel(self, ids: Sequence[str], keep_s: float = 86400.0) -> None:
        """Mark tasks as cancelled; their parked letters go back on their queues."""
        memory_admin.cancel(self._store, ids, keep_s)

    def publish_topic(self, topic: str, data: bytes) -> int:
        """Send to all present subscribers; how many there are."""
        self._holder.check_open()
        return self._store.topics.publish(topic, data)

    def subscribe(self, topics: Sequence[str]) -> Subscription:
        """From now on collect what is published to `topics`."""
        self._holder.check_open()
        return self._store.topics.subscribe(topics)

    def listen(self, queues: Sequence[str]) -> int | None:
        """A descriptor that becomes readable when there may be something; no queues: stop listening."""
        if self._bell is not None:
            memory_admin.unlisten(self._store, self._bell)
            self._bell = None
        if not queues:
            return None
        self._bell = memory_admin.listen(self._store, queues)
        return self._bell.fileno()

    def heard(self) -> bool:
        """Clear the bell; call it before looking. False if it was not rung."""
        return self._bell is not None and self._bell.heard()

    def changed(self) -> bool:
        """Whether anything was added since the last call."""
        version = memory_admin.version(self._store)
        changed = version != self._seen_version
        self._seen_version = version
        return changed

    def next_due_at(self, queues: Sequence[str]) -> float | None:
        """When the next delayed message becomes due (wall clock), or None."""
        return memory_admin.next_due_at(self._store, queues)

    def ring(self, queue: str) -> None:
        """Wake another listener of this queue."""
        memory_admin.ring(self._store, queue)
