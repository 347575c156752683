"""The model test of the suite of stores of keys and values."""

from __future__ import annotations

from celeriac.testing.histories import run_histories
from celeriac.testing.kv_bench import KvBench

_STEPS = 25


class Histories(KvBench):
    """Level two of the suite."""

    def test_random_histories_agree_with_the_reference(self) -> None:
        """See `celeriac.testing.kv_machine`."""
        run_histories("celeriac.testing.kv_machine:KvMachine", self, _STEPS, same=self.same_histories)
