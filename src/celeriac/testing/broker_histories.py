"""The model test of the suite of brokers."""

from __future__ import annotations

from celeriac.testing.broker_bench import BrokerBench
from celeriac.testing.histories import run_histories

_STEPS = 40


class Histories(BrokerBench):
    """Level two of the suite."""

    def test_random_histories_agree_with_the_reference(self) -> None:
        """See `celeriac.testing.broker_machine`."""
        run_histories("celeriac.testing.broker_machine:BrokerMachine", self, _STEPS, same=self.same_histories)
