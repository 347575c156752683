from pathlib import Path

from celeriac.backends.memory import MemoryBackend
from celeriac.brokers.memory import MemoryBroker
from celeriac.testing.broker_suite import BrokerSuite


class TestMemoryBroker(BrokerSuite):
    adapter = MemoryBroker
    backend_adapter = MemoryBackend

    def new_url(self, folder: Path) -> str:
        return f"memory://{folder.name}"
