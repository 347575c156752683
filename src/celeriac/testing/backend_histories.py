"""The model test of the suite of result backends."""

from __future__ import annotations

from celeriac.testing.backend_bench import BackendBench
from celeriac.testing.histories import run_histories

_STEPS = 20


class Histories(BackendBench):
    """Level two of the suite."""

    def test_random_histories_agree_with_the_reference(self) -> None:
        """See `celeriac.testing.backend_machine`."""
        run_histories("celeriac.testing.backend_machine:BackendMachine", self, _STEPS, same=self.same_histories)
