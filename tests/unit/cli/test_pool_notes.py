"""What the log says of a worker's pools before it takes work."""

from __future__ import annotations

import logging

import pytest

from celeriac.model.policy import EnginePolicy, PoolPolicy, TaskPolicy
from celeriac.worker.pool_notes import tell_of_pools


def told(
    caplog: pytest.LogCaptureFixture, pools: str, *tasks: TaskPolicy, soft_time_limit_s: float | None = None
) -> list[tuple[int, str]]:
    caplog.clear()
    made = tuple(PoolPolicy(name) for name in pools.split(","))
    with caplog.at_level(logging.INFO, "celeriac.worker"):
        tell_of_pools(EnginePolicy(pools=made, soft_time_limit_s=soft_time_limit_s), tasks)
    return [(record.levelno, record.getMessage()) for record in caplog.records]


def test_a_prefork_worker_has_nothing_to_tell(caplog: pytest.LogCaptureFixture):
    assert told(caplog, "prefork", TaskPolicy("t", soft_time_limit_s=1)) == []


def test_threads_are_told_to_hold_soft_limits_loosely_and_loudly_where_one_is_set(caplog: pytest.LogCaptureFixture):
    for pools in ("threads", "prefork,threads", "asyncio"):
        ((level, text),) = told(caplog, pools)
        assert level == logging.INFO
        assert "cannot break into a blocking call" in text
    ((level, _),) = told(caplog, "threads", soft_time_limit_s=5)
    assert level == logging.WARNING
    ((level, text),) = told(caplog, "prefork,threads", TaskPolicy("slow", soft_time_limit_s=1, pool="threads"))
    assert level == logging.WARNING
    assert "(slow)" in text
    ((level, _),) = told(caplog, "prefork,threads", TaskPolicy("own", soft_time_limit_s=1))
    assert level == logging.INFO


def test_tasks_whose_pool_is_absent_are_named(caplog: pytest.LogCaptureFixture):
    tasks = [TaskPolicy(f"t{number}", pool="asyncio") for number in range(9)]
    ((_, text),) = told(caplog, "prefork", *tasks)
    assert text.startswith("tasks that want the pool asyncio run in prefork")
    assert text.endswith("t0, t1, t2, t3, t4 and 4 more")
    assert told(caplog, "prefork,asyncio", *tasks) == []
    assert told(caplog, "solo", *tasks) == []
