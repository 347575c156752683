"""What every test of a bus stands on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, cast

from celeriac.model.ports import Bus, Subscription
from celeriac.testing.clients import Call, scale, wait_until
from celeriac.testing.store_bench import LONG_WAIT_S, PROMPT_S, StoreBench

Pair = tuple[str, bytes]
"""Topic and data."""


class BusBench(StoreBench):
    """A bus opened on a fresh store."""

    shared: ClassVar[bool] = False
    """True if other processes reach the same bus."""

    def setup_method(self) -> None:
        """Open a bus on a fresh store."""
        super().setup_method()
        self.bus = cast("Bus", self.open_adapter(self.adapter, self.url))

    def subscribe(self, *topics: str, bus: Bus | None = None) -> Subscription:
        """An open ear, closed after the test."""
        subscription = (bus or self.bus).subscribe(topics)
        self._stack.callback(subscription.close)
        return subscription

    def hear(self, ear: Subscription, count: int) -> list[Pair]:
        """So many messages, and no more than those."""
        got: list[Pair] = []

        def enough() -> bool:
            got.extend(ear.receive(0.05))
            return len(got) >= count

        wait_until(enough, PROMPT_S * scale(), lambda: f"{count} messages are heard; {len(got)} came")
        assert len(got) == count, f"heard {got}"
        return got

    def assert_silent(self, ear: Subscription, because: str) -> None:
        """Nothing is heard."""
        got = list(ear.receive(0.05))
        assert not got, f"{because}, yet {got} was heard"

    def blocked(self, ear: Subscription) -> Call[Sequence[Pair]]:
        """A receive under way on another thread, which only a message ends in time."""
        call: Call[Sequence[Pair]] = Call(lambda: ear.receive(LONG_WAIT_S * scale()))
        call.settle_in()
        return call
