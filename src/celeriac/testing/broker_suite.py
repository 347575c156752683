"""The conformance suite of brokers. No adapter is supported before it passes.

Write a test file of a few lines for an adapter, and run it with pytest::

    class TestMyBroker(BrokerSuite):
        adapter = MyBroker  # constructed as MyBroker(url, options)
        backend_adapter = MyBackend  # if it shares the store

        def new_url(self, folder: Path) -> str:
            return f"mine://localhost/{folder.name}"

The suite reads the declared facts and proves them, in both directions where that can be done: a fact
that is claimed must hold, and what is denied must not be there. Put
``pytest.register_assert_rewrite("celeriac.testing")`` into your ``conftest.py`` for readable failures, and
set ``CELERIAC_TEST_SCALE`` above 1 on slow machines: every bound is multiplied by it.

There are five levels, each a base class here: inherit from some of them alone to work on those. An adapter is *supported*
when it passes the first four, and *first-class* with the fifth, for which it says how its round trips are counted
(`celeriac.testing.costs.CostProbe`)::

        def cost_probe(self, adapter):
            return MyProbe(adapter)  # its count() tells the round trips of this adapter so far
"""

from __future__ import annotations

from celeriac.testing import needed as _needed  # first, for it says what to install
from celeriac.testing.broker_claims import Claims
from celeriac.testing.broker_costs import Costs
from celeriac.testing.broker_crowd import Crowds
from celeriac.testing.broker_deaths import Deaths
from celeriac.testing.broker_delivering import Delivering
from celeriac.testing.broker_histories import Histories
from celeriac.testing.broker_settling import Settling
from celeriac.testing.broker_tools import Tools
from celeriac.testing.broker_waiting import Waiting


class Examples(Delivering, Settling, Waiting, Tools, Claims):
    """Level one: each sentence of the contract, and each fact."""


class BrokerSuite(Examples, Histories, Crowds, Deaths, Costs):
    """All of the contract: examples and facts (1), model (2), concurrency (3), faults (4), costs (5)."""

    pytest_version = _needed.PYTEST
    """Of the pytest that runs it."""
