from pathlib import Path

from celeriac.backends.sqlite import SqliteBackend
from celeriac.brokers.sqlite import SqliteBroker
from celeriac.testing.backend_suite import BackendSuite
from celeriac.testing.broker_suite import BrokerSuite
from celeriac.testing.bus_suite import BusSuite
from celeriac.testing.kv_suite import KvSuite
from conformance.probes import SqliteProbe


class _Sqlite:
    bad_urls = ("sqlite:///{folder}/missing/q.db", "sqlite://", "sqlite:///{folder}")

    def new_url(self, folder: Path) -> str:
        return f"sqlite:///{folder}/q.db"

    def cost_probe(self, adapter):
        return SqliteProbe(adapter)


class TestSqliteBroker(_Sqlite, BrokerSuite):
    adapter = SqliteBroker
    backend_adapter = SqliteBackend


class TestSqliteBackend(_Sqlite, BackendSuite):
    adapter = SqliteBackend


class TestSqliteBus(_Sqlite, BusSuite):
    adapter = SqliteBroker
    shared = True


class TestSqliteKv(_Sqlite, KvSuite):
    adapter = SqliteBackend
