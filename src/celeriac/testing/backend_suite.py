"""The conformance suite of result backends. No adapter is supported before it passes.

Write a test file of a few lines for an adapter, and run it with pytest::

    class TestMyBackend(BackendSuite):
        adapter = MyBackend  # constructed as MyBackend(url, options)

        def new_url(self, folder: Path) -> str:
            return f"mine://localhost/{folder.name}"

What is said in `celeriac.testing.broker_suite` about facts, scale, assertions and levels holds here too.
"""

from __future__ import annotations

from celeriac.testing import needed as _needed  # first, for it says what to install
from celeriac.testing.backend_costs import Costs
from celeriac.testing.backend_histories import Histories
from celeriac.testing.backend_keeping import Keeping
from celeriac.testing.backend_standing import Standing
from celeriac.testing.backend_waiting import Crowding, Watching


class BackendSuite(Keeping, Watching, Standing, Crowding, Histories, Costs):
    """All of the contract: examples, facts, model, concurrency, faults and costs."""

    pytest_version = _needed.PYTEST
    """Of the pytest that runs it."""
