"""The embedded broker: a SQLite file, ``sqlite:///relative.db`` or ``sqlite:////absolute.db``.

Survives the death of every process; with ``durability="power"`` the loss of power too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from celeriac.model.errors import BrokerMisconfigured, BrokerUnavailable
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
from celeriac.stores import sqlite_admin
from celeriac.stores.faults import StoreFault
from celeriac.stores.sqlite_bells import Listener, bell_of
from celeriac.stores.sqlite_files import path_of
from celeriac.stores.sqlite_nodes import UNIT_BYTES, Holder
from celeriac.stores.sqlite_shared import store_at
from celeriac.stores.sqlite_sweep import Sweeper
from celeriac.stores.sqlite_topics import SqliteSubscription, publish_topic

DEFAULT_LEASE_S = 6.0
DEFAULT_TIMEOUT_S = 4.0
_DAY_S = 86400.0
_DURABILITIES = ("process", "power")


class SqliteBroker:
    """Broker, BrokerAdmin, Bus, Pollable and Nodes on one SQLite file.

    Options: ``lease_s``, ``connect_timeout_s``, ``durability`` (``"process"`` or ``"power"``),
    ``dead_expires_s``.
    """

    def __init__(self, url: str, options: Mapping[str, Any]) -> None:
        path = path_of(url)
        durability = options.get("durability", "process")
        if durability not in _DURABILITIES:
            raise BrokerMisconfigured(f"durability={durability!r} is unknown; use one of {_DURABILITIES}")
        self._store = store_at(
            path, float(options.get("connect_timeout_s", DEFAULT_TIMEOUT_S)), durable=durability == "power"
        )
        self._holder = Holder(path, float(options.get("lease_s", DEFAULT_LEASE_S)), self._store.oid)
        self._store.holders.add(self._holder)
        self._sweeper = Sweeper(self._store, float(options.get("dead_expires_s", 30 * _DAY_S)))
        self._listener: Listener | None = None
        self._seen_version = -1
        self._rung = False
        self._facts = BrokerFacts(
            name="sqlite",
            lease="timed",
            durability=durability,
            shared=True,
            ordered=True,
            priorities=10,
            delays=True,
            batch_is_atomic=True,
            atomic_commit=True,
            claims_in_settle=True,
            counts_crashes=True,
            cancels=True,
            store_id=f"sqlite://{path}",
        )

    @property
    def facts(self) -> BrokerFacts:
        """What this broker can do."""
        return self._facts

    def open(self) -> None:
        """Check the place, create or migrate the file. Idempotent."""
        self._store.open(id(self))
        self._holder.is_open = True

    def close(self) -> None:
        """Close files and bells. Claims stay until their lease ends. Idempotent."""
        if not self._holder.is_open:
            return
        self._holder.is_open = False
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        try:
            if self._holder.node:
                # A lease that cannot be given back now simply ends.
                with suppress(*StoreFault):
                    self._store.main.write(self._holder.leave)
            self._holder.drop_files()
        finally:
            self._store.close(id(self))

    def _check_open(self) -> None:
        if not self._holder.is_open:
            raise BrokerUnavailable("the SQLite broker is closed; call open() first")

    def publish(self, messages: Sequence[Message]) -> None:
        """Store all of `messages` in one transaction, or raise and store none."""
        if not self._holder.is_open:
            self._check_open()
        self._store.publish(messages)

    def take(self, queues: Sequence[str], limit: int, wait_s: float) -> Sequence[Delivery]:
        """Claim up to `limit`; return as soon as there is one, or empty after about `wait_s`."""
        if not self._holder.is_open:
            self._check_open()
        wish = Claim(tuple(queues), limit)
        if self._rung:
            # The bell says that there is something: no use in looking before claiming.
            self._rung = False
            got = self._store.take(self._holder, wish, look_first=False)
            if got or wait_s <= 0:
                return got
        return self._store.take_waiting(self._holder, wish, wait_s, self._sweeper.sweep_sometimes)

    def settle(self, settlements: Sequence[Settlement], then_take: Claim | None = None) -> Settled:
        """Verdicts, records, follow-ups and the next claim as one transaction."""
        if not self._holder.is_open:
            self._check_open()
        return self._store.settle(self._holder, settlements, then_take)

    def extend(self, receipts: Sequence[Receipt], lease_s: float) -> Sequence[Receipt]:
        """Renew the lease on everything held here; return what is no longer held."""
        self._check_open()
        return self._store.extend(self._holder, receipts, lease_s)

    # ---------------------------------------------------------------- BrokerAdmin

    def depth(self, queues: Sequence[str] = ()) -> Sequence[Depth]:
        """Counts per queue, sorted by name."""
        self._check_open()
        return self._store.main.read(lambda conn: sqlite_admin.depth(conn, queues))

    def peek(self, queue: str, limit: int, state: WaitingState | None = None) -> Sequence[Waiting]:
        """The next messages in the order of delivery; those of one state if `state` names it."""
        self._check_open()
        return self._store.main.read(lambda conn: sqlite_admin.peek(conn, queue, limit, state))

    def purge(self, queue: str) -> int:
        """Delete what is ready or delayed; return how many."""
        self._check_open()
        total = 0
        while count := self._store.main.write(lambda conn: sqlite_admin.purge(conn, queue)):
            total += count
        return total

    def dead(self, queue: str | None, limit: int) -> Sequence[DeadLetter]:
        """Dead and parked letters, newest first."""
        self._check_open()
        return self._store.main.read(lambda conn: sqlite_admin.dead(conn, queue, limit))

    def revive(self, ids: Sequence[str] = (), *, parked_tasks: Sequence[str] = ()) -> int:
        """Put dead letters back with crashes and failure forgotten; return how many."""
        self._check_open()
        if not ids and not self._store.main.read(sqlite_admin.anything_parked):
            return 0
        queues = self._store.main.write(lambda conn: sqlite_admin.revive(conn, ids, parked_tasks))
        for queue in set(queues):
            self.ring(queue)
        return len(queues)

    def drop(self, ids: Sequence[str]) -> int:
        """Delete dead letters for good; return how many."""
        self._check_open()
        return self._store.main.write(lambda conn: sqlite_admin.drop(conn, ids))

    def pause(self, queue: str, paused: bool) -> None:
        """Stop or resume deliveries from a queue."""
        self._check_open()
        self._store.main.write(lambda conn: sqlite_admin.pause(conn, queue, paused))
        self.ring(queue)

    def cancel(self, ids: Sequence[str], keep_s: float = _DAY_S) -> None:
        """Mark tasks as cancelled; their parked letters go back on their queues."""
        self._check_open()
        queues = self._store.main.write(lambda conn: sqlite_admin.cancel(conn, ids, keep_s))
        for queue in set(queues):
            self.ring(queue)

    # ---------------------------------------------------------------- Bus

    def publish_topic(self, topic: str, data: bytes) -> int:
        """Send to all present subscribers; how many there are."""
        self._check_open()
        return publish_topic(self._store, topic, data)

    def subscribe(self, topics: Sequence[str]) -> Subscription:
        """From now on collect what is published to `topics`."""
        self._check_open()
        return SqliteSubscription(self._store, topics)

    # ---------------------------------------------------------------- Pollable

    def listen(self, queues: Sequence[str]) -> int | None:
        """A descriptor that becomes readable when one of `queues` was rung for; no queues: stop listening."""
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        if queues:
            self._listener = self._store.bells.listen([bell_of(name) for name in queues])
        return None if self._listener is None else self._listener.fileno()

    def heard(self) -> bool:
        """Clear the bells; call it before looking. False if another listener was faster."""
        self._rung = self._listener is not None and self._listener.heard()
        return self._rung

    def changed(self) -> bool:
        """Whether anybody else has committed since the last call."""
        version = self._store.data_version()
        changed = version != self._seen_version
        self._seen_version = version
        return changed

    def next_due_at(self, queues: Sequence[str]) -> float | None:
        """When the next delayed message becomes due (wall clock), or None."""
        return self._store.main.read(lambda conn: sqlite_admin.next_due_at(conn, queues))

    def ring(self, queue: str) -> None:
        """Wake another listener of this queue."""
        self._store.bells.ring(bell_of(queue))

    # ---------------------------------------------------------------- Nodes

    @property
    def marks_offset(self) -> int:
        """Where in the file that `join` returned the marks begin; a multiple of the page size."""
        return max(self._holder.region, 0) * UNIT_BYTES

    def join(self, marks_bytes: int) -> int | None:
        """Register as a holder whose death is seen at once; return a descriptor of the marks, which begin at
        `marks_offset`. The descriptor stays this broker's: map it, do not close it."""
        self._check_open()
        return self._store.main.write(lambda conn: self._holder.join(conn, marks_bytes))

    def is_joined(self) -> bool:
        """False once the file that tells others that we live is not the one we hold."""
        return self._holder.is_joined()

    def sweep(self) -> int:
        """Take back what dead holders had, expire what is due; return how many messages came back."""
        self._check_open()
        return self._sweeper.sweep()
