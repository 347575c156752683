"""A broker in a hundred lines of plain Python: what the contract allows, for the model tests.

`ReferenceBroker` stores nothing for anybody. It is told what was done to a real broker and what that answered, says
whether the contract allows the answer (AssertionError if not), and keeps the state that follows. Where the contract
leaves a choice (how many messages a take returns, from which of its queues) the real broker chooses.

Time does not pass here: a delay is for ever, so only verbs move a message.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from celeriac.model.facts import BrokerFacts
from celeriac.model.message import Ack, Bury, Delivery, Depth, Message, Receipt, Settlement

_NAMES = {"low": 2, "normal": 5, "high": 8, None: 5}
"""Only the order counts."""


@dataclass
class Entry:
    """One message in the store."""

    message: Message
    place: int
    """In the order of publishing."""
    state: Literal["ready", "delayed", "claimed", "dead", "parked"] = "ready"
    receipt: Receipt | None = None
    """Of the last delivery; held if the state is `claimed`."""
    crashes: int = 0
    loose: bool = False
    """True once its place among its equals is no longer fixed by the contract: it was revived."""


@dataclass
class ReferenceBroker:
    """The state a broker with these facts must be in."""

    facts: BrokerFacts
    entries: dict[str, Entry] = field(default_factory=dict)
    paused: set[str] = field(default_factory=set)
    cancelled: set[str] = field(default_factory=set)
    receipts: list[Receipt] = field(default_factory=list)
    """All that were ever given out."""
    _places: int = 0

    def publish(self, messages: Iterable[Message]) -> None:
        """The broker has accepted these."""
        for message in messages:
            self._places += 1
            assert message.id not in self.entries, "the model needs ids that are unique"
            self.entries[message.id] = Entry(
                message, self._places, "delayed" if message.eta_at is not None else "ready"
            )

    def deliverable(self, queues: Sequence[str]) -> list[Entry]:
        """What a take from these queues may get."""
        open_queues = set(queues) - self.paused
        return [each for each in self.entries.values() if each.state == "ready" and each.message.queue in open_queues]

    def delivered(self, queues: Sequence[str], limit: int, deliveries: Sequence[Delivery], must: bool = True) -> None:
        """The broker has answered a take with these."""
        assert len(deliveries) <= limit, f"{len(deliveries)} deliveries for a limit of {limit}"
        if must and self.deliverable(queues):
            assert deliveries, "nothing came though messages are ready"
        for delivery in deliveries:
            self._deliver(delivery, queues)

    def _deliver(self, delivery: Delivery, queues: Sequence[str]) -> None:
        name = delivery.message.id
        entry = self.entries.get(name)
        assert entry is not None, f"{name} was delivered, but it is not in the store"
        ready = self.deliverable(queues)
        assert entry in ready, f"{name} was delivered, but it is {entry.state} or its queue was not asked or is paused"
        rivals = [each for each in ready if each.message.queue == entry.message.queue and each is not entry]
        for rival in rivals:
            assert self.level(rival) <= self.level(entry), f"{rival.message.id} goes before {name} by priority"
            same_level = self.level(rival) == self.level(entry)
            if self.facts.ordered and same_level and not (rival.loose or entry.loose):
                assert rival.place > entry.place, f"{rival.message.id} was published before {name}"
        assert delivery.message.body == entry.message.body, f"the body of {name} changed"
        old = entry.receipt
        assert delivery.receipt not in self.receipts, f"the receipt of {name} was given out before"
        if old is not None and old.key == delivery.receipt.key:
            assert delivery.receipt.attempt > old.attempt, f"the attempts of {name} do not grow"
        assert delivery.crashes == entry.crashes, f"{name} shows {delivery.crashes} crashes, not {entry.crashes}"
        assert delivery.cancelled == (self.facts.cancels and name in self.cancelled), f"{name}: wrong cancellation"
        if old is None:
            assert not delivery.redelivered, f"{name} was never delivered before"
        elif not entry.loose:
            assert delivery.redelivered, f"{name} was delivered before"
        entry.receipt = delivery.receipt
        entry.state = "claimed"
        self.receipts.append(delivery.receipt)

    def level(self, entry: Entry) -> int:
        """The larger goes first."""
        if self.facts.priorities < 3:
            return 0
        priority = entry.message.priority
        return priority if isinstance(priority, int) else _NAMES[priority]

    def holder_of(self, receipt: Receipt) -> Entry | None:
        """The message this receipt holds now, if any."""
        for entry in self.entries.values():
            if entry.state == "claimed" and entry.receipt == receipt:
                return entry
        return None

    def settle(self, settlements: Sequence[Settlement]) -> list[Receipt]:
        """Carry the settlements out; return those that must be reported as stale."""
        stale: list[Receipt] = []
        for settlement in settlements:
            if settlement.receipt is not None:
                entry = self.holder_of(settlement.receipt)
                if entry is None:
                    stale.append(settlement.receipt)
                    continue
                self._conclude(entry, settlement)
            self.publish(settlement.follow_ups)
        return stale

    def _conclude(self, entry: Entry, settlement: Settlement) -> None:
        verdict = settlement.verdict
        if isinstance(verdict, Ack):
            del self.entries[entry.message.id]
        elif isinstance(verdict, Bury):
            entry.state = "parked" if verdict.parked else "dead"
        else:
            entry.crashes += verdict.crashed and self.facts.counts_crashes
            entry.state = "delayed" if verdict.after_s > 0 else "ready"

    def lost(self, receipts: Sequence[Receipt]) -> list[Receipt]:
        """Those of `receipts` that hold nothing."""
        return [receipt for receipt in receipts if self.holder_of(receipt) is None]

    def held(self) -> list[Receipt]:
        """The receipts that hold a message now."""
        return [each.receipt for each in self.entries.values() if each.state == "claimed" and each.receipt is not None]

    def late(self) -> list[Receipt]:
        """Receipts from earlier deliveries of what is held now."""
        held = set(self.held())
        keys = {receipt.key for receipt in held}
        return [receipt for receipt in self.receipts if receipt.key in keys and receipt not in held]

    def purge(self, queue: str) -> int:
        """Delete what waits in `queue`; how many it is."""
        gone = [
            name
            for name, each in self.entries.items()
            if each.message.queue == queue and each.state in ("ready", "delayed")
        ]
        for name in gone:
            del self.entries[name]
        return len(gone)

    def dead(self) -> list[str]:
        """Ids of dead and parked letters."""
        return [name for name, each in self.entries.items() if each.state in ("dead", "parked")]

    def revive(self, ids: Iterable[str]) -> int:
        """Dead letters with these ids are ready again; how many it is."""
        chosen = set(ids) & set(self.dead())
        for name in chosen:
            entry = self.entries[name]
            entry.state, entry.crashes, entry.loose = "ready", 0, True
        return len(chosen)

    def cancel(self, name: str) -> None:
        """This task is cancelled; if it was parked, it is ready again."""
        self.cancelled.add(name)
        if self.facts.cancels and self.entries[name].state == "parked":
            self.revive([name])

    def drop(self, ids: Iterable[str]) -> int:
        """Delete dead letters with these ids; how many it is."""
        chosen = set(ids) & set(self.dead())
        for name in chosen:
            del self.entries[name]
        return len(chosen)

    def depth(self, queue: str) -> Depth:
        """The counts of one queue."""
        states = [each.state for each in self.entries.values() if each.message.queue == queue]
        return Depth(
            queue,
            ready=states.count("ready"),
            delayed=states.count("delayed"),
            claimed=states.count("claimed"),
            dead=states.count("dead"),
            parked=states.count("parked"),
            paused=queue in self.paused,
        )
