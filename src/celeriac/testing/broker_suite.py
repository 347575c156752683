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
"""

from __future__ import annotations

from celeriac.testing import needed as _needed  # noqa: F401 - first, for it says what to install
from celeriac.testing.broker_claims import Claims
from celeriac.testing.broker_crowd import Crowds
from celeriac.testing.broker_deaths import Deaths
from celeriac.testing.broker_delivering import Delivering
from celeriac.testing.broker_histories import Histories
from celeriac.testing.broker_settling import Settling
from celeriac.testing.broker_tools import Tools
from celeriac.testing.broker_waiting import Waiting


class BrokerSuite(Delivering, Settling, Waiting, Tools, Claims, Histories, Crowds, Deaths):
    """All of the contract: examples, facts, model, concurrency and faults."""
