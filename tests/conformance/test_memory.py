from pathlib import Path

from celeriac.backends.memory import MemoryBackend
from celeriac.brokers.memory import MemoryBroker
from celeriac.testing.backend_suite import BackendSuite
from celeriac.testing.broker_suite import BrokerSuite
from celeriac.testing.bus_suite import BusSuite
from celeriac.testing.kv_suite import KvSuite
from conformance.probes import MemoryProbe


class _Memory:
    def new_url(self, folder: Path) -> str:
        return f"memory://{folder.name}"

    def cost_probe(self, adapter):
        return MemoryProbe(adapter)


class TestMemoryBroker(_Memory, BrokerSuite):
    adapter = MemoryBroker
    backend_adapter = MemoryBackend


class TestMemoryBackend(_Memory, BackendSuite):
    adapter = MemoryBackend


class TestMemoryBus(_Memory, BusSuite):
    adapter = MemoryBroker


class TestMemoryKv(_Memory, KvSuite):
    adapter = MemoryBackend
