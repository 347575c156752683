"""The broker: six verbs on the shelf."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from celeriac.model.facts import BrokerFacts
from celeriac.model.ids import random_id
from celeriac.model.message import Ack, Bury, Claim, Delivery, Message, Receipt, Settled, Settlement
from celeriac_shelf.shelf import Held, Shelf, ShelfRejected, ShelfUnavailable, State, hear, keep_records, lease_now

LEVELS = {"low": 2, "normal": 5, None: 5, "high": 8}
# A claim whose holder died comes back without anybody ringing: takers look for it this often.
LOOK_AGAIN_S = 0.25


class ShelfBroker:
    """A `Broker` on a folder. Options: ``lease_s``, ``connect_timeout_s``."""

    def __init__(self, url: str, options: Mapping[str, Any]) -> None:
        self._shelf = Shelf(url, float(options.get("connect_timeout_s", 4.0)))
        self._lease_s = float(options.get("lease_s", 6.0))
        self._holder = ""
        self._turn = 0
        self.facts = BrokerFacts(
            name="shelf",
            lease="timed",
            durability="process",
            shared=True,
            ordered=True,
            priorities=10,
            delays=True,
            batch_is_atomic=True,
            atomic_commit=True,
            claims_in_settle=True,
            counts_crashes=True,
            cancels=False,
            store_id=f"shelf://{self._shelf.path}",
        )

    def open(self) -> None:
        """Make the folder, and be a new holder of claims."""
        if not self._holder:
            self._shelf.open()
            self._holder = random_id()

    def close(self) -> None:
        """End all waiting. Claims stay until their lease is over."""
        if self._holder:
            self._holder = ""
            self._shelf.ring()

    def _me(self) -> str:
        if not self._holder:
            raise ShelfUnavailable("the shelf is closed; call open() first")
        return self._holder

    # ---------------------------------------------------------------- publish

    def publish(self, messages: Sequence[Message]) -> None:
        """Store all of `messages`, or raise and store none."""
        self._me()
        if messages:
            with self._shelf.changing() as state:
                _place(state, messages)
            self._shelf.ring()

    # ---------------------------------------------------------------- take

    def take(self, queues: Sequence[str], limit: int, wait_s: float) -> Sequence[Delivery]:
        """Claim what is there, waiting for the first message."""
        deadline = time.monotonic() + wait_s
        claim, me = Claim(tuple(queues), limit), self._me()
        deliveries = self._look_and_claim(me, claim)
        if deliveries or wait_s <= 0:
            return deliveries
        with self._shelf.bell() as bell:
            # Look again, now that whoever publishes rings for us.
            while not (deliveries := self._look_and_claim(me, claim)):
                left_s = deadline - time.monotonic()
                if left_s <= 0 or self._holder != me:
                    break
                hear(bell, min(left_s, self._idle_s(claim)))
        return deliveries

    def _look_and_claim(self, me: str, claim: Claim) -> list[Delivery]:
        """Look without the lock, for that is cheap, and claim with it."""
        state = self._shelf.read()
        if not _expired(state) and not any(_ready(state, queue) for queue in claim.queues):
            return []
        with self._shelf.changing() as state:
            return self._claim(state, me, claim)

    def _idle_s(self, claim: Claim) -> float:
        """How long nothing can become ready without a ring."""
        messages, now = self._shelf.read().messages.values(), time.time()
        due = [held.due_at - now for held in messages if held.message.queue in claim.queues and held.due_at > now]
        return min([LOOK_AGAIN_S, *due])

    def _claim(self, state: State, me: str, claim: Claim) -> list[Delivery]:
        """Claim and lease, as part of one change."""
        for holder in _expired(state):
            del state.leases[holder]
            for held in state.messages.values():
                if held.holder == holder:
                    held.holder = ""  # it was held, not run: no crash is counted
        deliveries: list[Delivery] = []
        # Each claim begins with another queue, so that none is starved.
        self._turn += 1
        start = self._turn % max(1, len(claim.queues))
        for queue in claim.queues[start:] + claim.queues[:start]:
            for key in _ready(state, queue)[: claim.limit - len(deliveries)]:
                held = state.messages[key]
                held.holder = me
                held.attempt += 1
                receipt = Receipt(key, held.attempt)
                deliveries.append(Delivery(held.message, receipt, held.crashes, redelivered=held.attempt > 1))
        if deliveries:
            state.leases[me] = lease_now() + self._lease_s
        return deliveries

    # ---------------------------------------------------------------- settle and extend

    def settle(self, settlements: Sequence[Settlement], then_take: Claim | None = None) -> Settled:
        """Verdicts, records, follow-ups and the next claim as one change."""
        me = self._me()
        stale: list[Receipt] = []
        with self._shelf.changing() as state:
            for settlement in settlements:
                if settlement.receipt is not None:
                    if not _holds(state, me, settlement.receipt):
                        stale.append(settlement.receipt)
                        continue
                    _conclude(state, settlement.receipt, settlement)
                keep_records(state, settlement.records)
                _place(state, settlement.follow_ups)
            deliveries = self._claim(state, me, then_take) if then_take is not None else []
        self._shelf.ring()
        return Settled(tuple(stale), tuple(deliveries))

    def extend(self, receipts: Sequence[Receipt], lease_s: float) -> Sequence[Receipt]:
        """Renew the lease on all that is held here; return what is not."""
        me = self._me()
        with self._shelf.changing() as state:
            if me in state.leases and me not in _expired(state):
                state.leases[me] = lease_now() + lease_s
            return [receipt for receipt in receipts if not _holds(state, me, receipt)]


# ---------------------------------------------------------------- rules, each on a state that is locked


def _place(state: State, messages: Iterable[Message]) -> None:
    for message in messages:
        state.last_key += 1
        state.messages[state.last_key] = Held(message, _level(message), message.eta_at or 0.0)


def _level(message: Message) -> int:
    priority = message.priority
    if isinstance(priority, int) and 0 <= priority <= 9:
        return priority
    if isinstance(priority, int) or priority not in LEVELS:
        raise ShelfRejected(f"message {message.id!r}: priority={priority!r}; use 0 to 9, low, normal or high")
    return LEVELS[priority]


def _ready(state: State, queue: str) -> list[int]:
    """Keys of what can be claimed, higher priority first, then in the order of publishing."""
    now = time.time()
    free = [
        (-held.level, key)
        for key, held in state.messages.items()
        if held.message.queue == queue and not held.holder and not held.buried and held.due_at <= now
    ]
    return [key for _, key in sorted(free)]


def _expired(state: State) -> list[str]:
    now = lease_now()
    return [holder for holder, until in state.leases.items() if until <= now]


def _holds(state: State, me: str, receipt: Receipt) -> bool:
    """Whether this very delivery is still ours: the attempt counts, too."""
    held = state.messages.get(int(receipt.key))
    return held is not None and held.holder == me and held.attempt == receipt.attempt and me not in _expired(state)


def _conclude(state: State, receipt: Receipt, settlement: Settlement) -> None:
    key, verdict = int(receipt.key), settlement.verdict
    held = state.messages[key]
    held.holder = ""
    if isinstance(verdict, Ack):
        del state.messages[key]
    elif isinstance(verdict, Bury):
        held.buried = verdict.reason or "no reason was given"
        held.crashes += verdict.crashed
    else:
        held.crashes += verdict.crashed
        held.due_at = time.time() + verdict.after_s if verdict.after_s > 0 else 0.0
