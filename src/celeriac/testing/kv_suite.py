"""The conformance suite of stores of keys and values: backends that are a `Kv`, and a `KvAtomic`.

::

    class TestMyKv(KvSuite):
        adapter = MyBackend  # constructed as MyBackend(url, options), a Backend too

        def new_url(self, folder: Path) -> str:
            return f"mine://localhost/{folder.name}"

What is said in `celeriac.testing.broker_suite` about facts, scale, assertions and levels holds here too. Where a backend has the
verbs of `Kv` alone, tests of the atomic ones are skipped.
"""

from __future__ import annotations

from celeriac.testing import needed as _needed  # first, for it says what to install
from celeriac.testing.kv_atomic import Changing, Crowding
from celeriac.testing.kv_costs import Costs
from celeriac.testing.kv_histories import Histories
from celeriac.testing.kv_keeping import Keeping


class KvSuite(Keeping, Changing, Crowding, Histories, Costs):
    """All of the contract: examples, model, concurrency, deaths and costs."""

    pytest_version = _needed.PYTEST
    """Of the pytest that runs it."""
