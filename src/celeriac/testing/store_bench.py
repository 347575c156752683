"""What the suites of all stores share: the hooks a subclass fills in, a fresh store for each test, and its clients.

Hooks are plain attributes and methods, and tests take no fixtures, so that a suite can also be run without pytest
(`celeriac.testing.faults.run_test`).
"""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, ClassVar

import pytest

from celeriac.testing.client_program import Site
from celeriac.testing.clients import Client, adapter_path, scale, wait_until

LONG_LEASE_S = 30.0
"""No lease ends by itself within a test that does not want it to."""
PROMPT_S = 2.0
"""What happens "at once" or "promptly" happens within this, times the scale: far above any adapter's latency, far
below the waits that would be the alternative."""
LONG_WAIT_S = 20.0
"""A wait that only a wake-up ends within the bound of a test."""
NEVER_S = 3600.0
"""A delay that is not over within any test."""
_ROUNDS = 6


class StoreBench:
    """A suite's hooks. Set by a subclass: the adapter, and where a fresh store of it is."""

    adapter: ClassVar[type[Any]]
    """The class under test, constructed as ``adapter(url, options)``, importable by other processes."""
    options: ClassVar[Mapping[str, Any]] = {}
    """Further options for the constructor; plain values."""
    same_histories: ClassVar[bool] = False
    """Whether the random histories are the same each time, and shown as they are: for tests of the suite itself."""
    bad_urls: ClassVar[Sequence[str]] = ()
    """Addresses that cannot work; ``{folder}`` stands for an empty folder."""

    def new_url(self, folder: Path) -> str:
        """The address of a fresh, empty store; `folder` is the test's own and goes away after it."""
        raise NotImplementedError("say where a fresh store is: override new_url")

    def cost_probe(self, adapter: Any) -> Any:
        """What counts the round trips of this open adapter (`celeriac.testing.costs.CostProbe`); None: nothing does,
        and tests of costs are skipped."""
        return None

    def setup_method(self) -> None:
        """Make the address of a fresh store."""
        self._stack = ExitStack()
        # A test that failed may leave threads at work in the folder: its own failure is what should be shown.
        folder = tempfile.TemporaryDirectory(prefix="celeriac-suite-", ignore_cleanup_errors=True)
        self.folder = Path(self._stack.enter_context(folder))
        self.url = self.fresh_url()

    def teardown_method(self) -> None:
        """Close everything, the youngest first."""
        self._stack.close()

    def fresh_url(self) -> str:
        """The address of another fresh store."""
        return self.new_url(Path(tempfile.mkdtemp(dir=self.folder)))

    def open_adapter(self, adapter: type[Any], url: str, lease_s: float = LONG_LEASE_S) -> Any:
        """An adapter, open, closed after the test."""
        made = adapter(url, self.options_with(lease_s))
        made.open()
        self._stack.callback(made.close)
        return made

    def options_with(self, lease_s: float) -> dict[str, Any]:
        """What adapters are constructed with."""
        return {"lease_s": lease_s, "connect_timeout_s": 4.0, **self.options}

    def client(self, lease_s: float = LONG_LEASE_S, adapter: type[Any] | None = None) -> Client:
        """Another process with an adapter on the same store, still starting; closed after the test."""
        client = Client(Site(adapter_path(adapter or self.adapter), self.url, self.options_with(lease_s)))
        self._stack.callback(client.close)
        return client

    def assert_releases(self, adapter: type[Any], use: Callable[[Any], object]) -> None:
        """Opening, using and closing again and again leaves neither descriptors nor threads behind."""

        def once() -> None:
            made = adapter(self.url, self.options_with(LONG_LEASE_S))
            made.open()
            try:
                use(made)
            finally:
                made.close()

        once()  # what is kept for the whole process comes with the first use
        before = held_resources()
        for _ in range(_ROUNDS):
            once()
        # Threads may need a moment to end.
        wait_until(
            lambda: all(now <= then for now, then in zip(held_resources(), before, strict=True)),
            PROMPT_S * scale(),
            lambda: f"descriptors and threads are released: {before} before, {held_resources()} after {_ROUNDS} rounds",
        )

    def needs(self, holds: bool, why: str) -> None:
        """Skip the test, saying why, unless a condition holds."""
        if not holds:
            pytest.skip(f"{self.adapter.__name__}: {why}")


def held_resources() -> tuple[int, int]:
    """How many descriptors are open and how many threads run."""
    return len(os.listdir("/proc/self/fd")), threading.active_count()
