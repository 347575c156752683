"""Room for the marks of every child that may live at once."""

from __future__ import annotations

from celeriac.model.policy import EnginePolicy, PoolPolicy
from celeriac.worker.node_process import records_needed


def test_a_worker_of_processes_fits_one_page_unit():
    assert 8 * 4 <= records_needed(EnginePolicy(pools=(PoolPolicy("prefork", children=8),))) <= 1024


def test_each_pool_counts():
    prefork, large = PoolPolicy("prefork", children=2), PoolPolicy("asyncio", slots=1000, kills=False)
    alone = records_needed(EnginePolicy(pools=(prefork,)))
    assert records_needed(EnginePolicy(pools=(prefork, large))) >= alone + 4 * 1000
