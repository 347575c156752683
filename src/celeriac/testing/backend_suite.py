"""The conformance suite of result backends. No adapter is supported before it passes.

Write a test file of a few lines for an adapter, and run it with pytest::

    class TestMyBackend(BackendSuite):
        adapter = MyBackend  # constructed as MyBackend(url, options)

        def new_url(self, folder: Path) -> str:
            return f"mine://localhost/{folder.name}"

What is said in `celeriac.testing.broker_suite` about facts, scale and assertions holds here too.
"""

from __future__ import annotations

from celeriac.testing import needed as _needed  # noqa: F401 - first, for it says what to install
from celeriac.testing.backend_histories import Histories
from celeriac.testing.backend_keeping import Keeping
from celeriac.testing.backend_waiting import Crowding, Watching


class BackendSuite(Keeping, Watching, Crowding, Histories):
    """All of the contract: examples, facts, model, concurrency and faults."""
