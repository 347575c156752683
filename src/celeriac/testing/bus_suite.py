"""The conformance suite of buses.

::

    class TestMyBus(BusSuite):
        adapter = MyBroker  # constructed as MyBroker(url, options), opened and closed as a broker
        shared = True  # other processes reach the same bus

        def new_url(self, folder: Path) -> str:
            return f"mine://localhost/{folder.name}"

What is said in `celeriac.testing.broker_suite` about scale, assertions and levels holds here too.
"""

from __future__ import annotations

from celeriac.testing import needed as _needed  # first, for it says what to install
from celeriac.testing.bus_costs import Costs
from celeriac.testing.bus_hearing import Hearing


class BusSuite(Hearing, Costs):
    """All of the contract: examples, concurrency, deaths and costs."""

    pytest_version = _needed.PYTEST
    """Of the pytest that runs it."""
