"""The store of one process: queues, claims and dead letters in plain Python, under one lock.

Nothing here is durable. Leases, attempts, fencing, delays and dead letters follow the same rules as in
the stores that are, so a program may be developed and tested here and moved to those.
"""

from __future__ import annotations

import heapq
import itertools
import os
import threading
import time
from collections.abc import Iterable, Sequence

from celeriac.model.clock import SystemClock
from celeriac.model.errors import BrokerUnavailable
from celeriac.model.message import Ack, Bury, Claim, Delivery, Message, Receipt, Release, Settled, Settlement
from celeriac.model.ports import Clock
from celeriac.stores.levels import check_placeable
from celeriac.stores.memory_bells import MemoryBell
from celeriac.stores.memory_bus import MemoryTopics
from celeriac.stores.memory_kv import MemoryKv
from celeriac.stores.memory_results import MemoryResults

# A waiting taker looks again after this long even if nobody woke it: clocks may be moved by hand.
_LOOK_AGAIN_S = 0.25


class Held:
    """One message in the store, with what changes about it."""

    __slots__ = ("attempt", "crashes", "due_at", "key", "level", "message", "published_at")

    def __init__(self, key: int, level: int, message: Message, published_at: float) -> None:
        self.key = key
        self.level = level
        self.message = message
        self.published_at = published_at
        self.attempt = 0
        self.crashes = 0
        self.due_at: float | None = None


class Buried:
    """A dead letter: the message, why, and when."""

    __slots__ = ("at", "held", "parked", "reason")

    def __init__(self, held: Held, bury: Bury, at: float) -> None:
        self.held = held
        self.reason = bury.reason
        self.parked = bury.parked
        self.at = at


class Line:
    """One queue: what is ready, by level and age, and what is not yet due."""

    __slots__ = ("delayed", "paused", "ready")

    def __init__(self) -> None:
        self.ready: list[tuple[int, int]] = []
        """Heap of (minus level, key)."""
        self.delayed: list[tuple[float, int]] = []
        """Heap of (due, key)."""
        self.paused = False


class Flag:
    """A cancellation: in force until `until_at`, and for every message published before that."""

    __slots__ = ("keep_s", "until_at", "upto")

    def __init__(self, until_at: float, keep_s: float, upto: int) -> None:
        self.until_at = until_at
        self.keep_s = keep_s
        self.upto = upto
        """The largest key there was: everything up to it is covered, whatever the clock did meanwhile."""


class MemoryStore:
    """Queues, results and topics that share one lock. Made by `named`, one per name and process."""

    def __init__(self, name: str, clock: Clock) -> None:
        self.name = name
        self.clock = clock
        self._reset()

    def _reset(self) -> None:
        self.lock = threading.RLock()
        self.woken = threading.Condition(self.lock)
        self.lines: dict[str, Line] = {}
        self.waiting: dict[int, Held] = {}
        self.claimed: dict[int, tuple[Held, int]] = {}
        self.dead: dict[int, Buried] = {}
        self.flags: dict[str, Flag] = {}
        self.results = MemoryResults(self.lock, self.clock)
        self.topics = MemoryTopics(self.lock)
        self.kv = MemoryKv(self.lock, self.clock)
        self.version = 0
        """Grows with each change that could give a taker something."""
        for bell in getattr(self, "bells", ()):
            bell.close()
        self.bells: set[MemoryBell] = set()
        self._leases: dict[int, float] = {}
        self.last_key = 0
        self._turn = 0

    def wake(self) -> None:
        """Have every taker look; the caller holds the lock."""
        self.version += 1
        self.woken.notify_all()
        for bell in self.bells:
            bell.ring()

    def publish(self, messages: Sequence[Message]) -> None:
        """Take all of `messages` in, or none and raise BrokerRejected."""
        levels = [check_placeable(message) for message in messages]
        with self.lock:
            self._insert(messages, levels)
            self.wake()

    def _insert(self, messages: Iterable[Message], levels: Iterable[int]) -> None:
        now = self.clock.wall()
        for message, level in zip(messages, levels):  # noqa: B905 - same length by construction
            self.last_key += 1
            held = Held(self.last_key, level, message, now)
            self.place(held, message.eta_at if message.eta_at is not None and message.eta_at > now else None)

    def place(self, held: Held, due_at: float | None) -> None:
        """Let `held` wait in its queue; its key keeps its old place there."""
        line = self.line(held.message.queue)
        held.due_at = due_at
        self.waiting[held.key] = held
        if due_at is None:
            heapq.heappush(line.ready, (-held.level, held.key))
        else:
            heapq.heappush(line.delayed, (due_at, held.key))

    def line(self, queue: str) -> Line:
        """The queue of that name, declared if it is new."""
        line = self.lines.get(queue)
        if line is None:
            line = self.lines[queue] = Line()
        return line

    def take(self, holder: Holder, claim: Claim, wait_s: float) -> list[Delivery]:
        """Claim for `holder`, waiting up to `wait_s` for the first message."""
        deadline = time.monotonic() + wait_s
        with self.woken:
            while True:
                holder.check_open()
                deliveries = self._claim(holder, claim)
                left_s = deadline - time.monotonic()
                if deliveries or left_s <= 0:
                    return deliveries
                self.woken.wait(min(left_s, self._idle_s(claim.queues)))
                if not holder.is_open:
                    return []

    def _idle_s(self, queues: Sequence[str]) -> float:
        """How long nothing can change without somebody notifying."""
        idle_s = _LOOK_AGAIN_S
        for name in queues:
            line = self.lines.get(name)
            if line is not None and line.delayed:
                idle_s = min(idle_s, line.delayed[0][0] - self.clock.wall())
        if self._leases:
            idle_s = min(idle_s, min(self._leases.values()) - self.clock.monotonic())
        return max(idle_s, 0.001)

    def _claim(self, holder: Holder, claim: Claim) -> list[Delivery]:
        self.return_expired()
        deliveries: list[Delivery] = []
        queues = claim.queues
        if not queues or claim.limit <= 0:
            return deliveries
        # Each call begins with another queue, so that a full one never starves its neighbours.
        self._turn += 1
        start = self._turn % len(queues)
        for name in queues[start:] + queues[:start]:
            line = self.lines.get(name)
            if line is None or line.paused:
                continue
            self.promote(line)
            while line.ready and len(deliveries) < claim.limit:
                deliveries.append(self._hand_over(holder, heapq.heappop(line.ready)[1]))
        if deliveries:
            self._leases[holder.id] = self.clock.monotonic() + holder.lease_s
        return deliveries

    def promote(self, line: Line) -> None:
        """Make ready what has become due."""
        now = self.clock.wall()
        while line.delayed and line.delayed[0][0] <= now:
            held = self.waiting[heapq.heappop(line.delayed)[1]]
            held.due_at = None
            heapq.heappush(line.ready, (-held.level, held.key))

    def _hand_over(self, holder: Holder, key: int) -> Delivery:
        held = self.waiting.pop(key)
        held.attempt += 1
        self.claimed[key] = (held, holder.id)
        flag = self.flags.get(held.message.id) if self.flags else None
        cancelled = flag is not None and self.in_force(flag, held)
        return Delivery(held.message, Receipt(key, held.attempt), held.crashes, held.attempt > 1, cancelled)

    def in_force(self, flag: Flag, held: Held) -> bool:
        """Whether a cancellation covers this message: it had not run out when the message came."""
        return held.key <= flag.upto or held.published_at < flag.until_at

    def settle(self, holder: Holder, settlements: Sequence[Settlement], then_take: Claim | None) -> Settled:
        """Carry out all that is not stale, then claim, as one step. Raises BrokerRejected, and then
        nothing was done."""
        levels = [[check_placeable(message) for message in each.follow_ups] for each in settlements]
        stale: list[Receipt] = []
        with self.lock:
            holder.check_open()
            for settlement, its_levels in zip(settlements, levels):  # noqa: B905 - same length
                if settlement.receipt is not None and not self._conclude(holder, settlement.receipt, settlement):
                    stale.append(settlement.receipt)
                    continue
                self.results.write(settlement.records)
                self._insert(settlement.follow_ups, its_levels)
            deliveries = self._claim(holder, then_take) if then_take is not None else []
            # A node hears its own rings too: none for acks, which give no taker anything.
            if any(one.follow_ups or isinstance(one.verdict, Release) for one in settlements):
                self.wake()
        return Settled(tuple(stale), tuple(deliveries))

    def _conclude(self, holder: Holder, receipt: Receipt, settlement: Settlement) -> bool:
        """Carry out a verdict; False if the receipt is not held."""
        if not self.holds(holder, receipt):
            return False
        held, _ = self.claimed.pop(int(receipt.key))
        verdict = settlement.verdict
        now = self.clock.wall()
        if isinstance(verdict, Ack):
            self.left(held)
        elif isinstance(verdict, Bury):
            held.crashes += verdict.crashed
            self.dead[held.key] = Buried(held, verdict, now)
        else:
            held.crashes += verdict.crashed
            self.place(held, now + verdict.after_s if verdict.after_s > 0 else None)
        return True

    def left(self, held: Held) -> None:
        """The message is gone for good: its cancellation, if any, runs out from now on."""
        flag = self.flags.get(held.message.id) if self.flags else None
        if flag is not None and self.in_force(flag, held):
            flag.until_at = self.clock.wall() + flag.keep_s

    def holds(self, holder: Holder, receipt: Receipt) -> bool:
        """Whether `holder` still has this very delivery."""
        claim = self.claimed.get(receipt.key) if isinstance(receipt.key, int) else None
        return claim is not None and claim[1] == holder.id and claim[0].attempt == receipt.attempt

    def extend(self, holder: Holder, receipts: Sequence[Receipt], lease_s: float) -> list[Receipt]:
        """Renew the holder's lease; return the receipts it has no more."""
        with self.lock:
            holder.check_open()
            self.return_expired()
            if holder.id in self._leases:
                self._leases[holder.id] = self.clock.monotonic() + lease_s
            return [receipt for receipt in receipts if not self.holds(holder, receipt)]

    def return_expired(self) -> int:
        """Give back what holders had whose lease is over, uncounted; return how many."""
        now = self.clock.monotonic()
        over = {holder for holder, until in self._leases.items() if until <= now}
        if not over:
            return 0
        for holder in over:
            del self._leases[holder]
        back = [held for held, holder in self.claimed.values() if holder in over]
        for held in back:
            del self.claimed[held.key]
            self.place(held, None)
        if back:
            self.wake()
        return len(back)

    def expire_flags(self) -> None:
        """Forget cancellations that have run out and cover no message that is still here."""
        now = self.clock.wall()
        over = {task_id for task_id, flag in self.flags.items() if flag.until_at <= now}
        if over:
            living = itertools.chain(self.waiting.values(), (held for held, _ in self.claimed.values()))
            over.difference_update(held.message.id for held in living)
            for task_id in over:
                del self.flags[task_id]


class Holder:
    """One broker object, as the store knows it: who holds a claim."""

    _ids = itertools.count(1)

    def __init__(self, lease_s: float) -> None:
        self.id = next(self._ids)
        self.lease_s = lease_s
        self.is_open = False

    def check_open(self) -> None:
        """Raises BrokerUnavailable on a broker that was not opened."""
        if not self.is_open:
            raise BrokerUnavailable("the memory broker is closed; call open() first")


_stores: dict[str, MemoryStore] = {}
_stores_lock = threading.Lock()


def named(name: str, clock: Clock | None = None) -> MemoryStore:
    """The store of that name in this process; `clock` counts when it is made."""
    with _stores_lock:
        store = _stores.get(name)
        if store is None:
            store = _stores[name] = MemoryStore(name, clock or SystemClock())
        return store


def _empty_in_child() -> None:
    """A forked child starts with empty stores and fresh locks: what its parent queued is its parent's."""
    global _stores_lock
    _stores_lock = threading.Lock()
    for store in _stores.values():
        store._reset()  # noqa: SLF001 - our own object


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_empty_in_child)
