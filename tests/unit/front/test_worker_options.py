from __future__ import annotations

import os

import pytest

from celeriac import Celeriac
from celeriac.backends.memory import MemoryBackend
from celeriac.brokers.memory import MemoryBroker
from celeriac.cli.worker import without_effect
from celeriac.exceptions import BackendMisconfigured, ImproperlyConfigured
from celeriac.model.policy import TaskPolicy
from celeriac.worker.config import Home, WorkerConfig, with_pools_of


def make(**settings) -> Celeriac:
    return Celeriac("options", set_as_current=False, **{"broker": "memory://options", **settings})


def test_an_app_is_a_home_for_workers():
    home: Home = make()
    assert isinstance(home.make_broker(), MemoryBroker)
    assert isinstance(home.make_backend(), MemoryBackend)
    assert "celeriac.no.such" not in home.load_tasks()


def test_without_settings_and_options_the_safe_defaults_hold():
    config = make().worker_config()
    assert config.queues == ("celery",)
    assert [pool.name for pool in config.policy.pools] == ["prefork"]
    assert config.policy.pools[0].children >= 1
    assert config.policy.prefetch_multiplier is None
    assert (config.policy.task_unknown, config.policy.crash_limit) == ("park", 3)
    assert (config.lease_s, config.grace_s, config.start) == (6.0, 25.0, "auto")
    assert (config.results.serializer, config.results.accept, config.results.expires_s) == ("json", ("json",), 86400)
    assert config.hostname.startswith("celery@")


def test_settings_become_options_and_options_win_over_settings():
    app = make(
        worker_concurrency=3,
        task_time_limit=60,
        task_soft_time_limit=50,
        worker_prefetch_multiplier=1,
        worker_max_tasks_per_child=10,
        worker_max_memory_per_child=1000,
        worker_shutdown_grace_s=0,
        task_unknown="fail",
        task_track_started=True,
        result_extended=True,
        task_body_bytes_max=99,
        task_queues=["a", "b"],
    )
    config = app.worker_config()
    assert config.queues == ("a", "b")
    policy = config.policy
    assert (policy.pools[0].children, policy.time_limit_s, policy.soft_time_limit_s) == (3, 60, 50)
    assert (policy.prefetch_multiplier, policy.task_unknown) == (1, "fail")
    assert (config.tasks_per_child_max, config.memory_per_child_max_kib, config.grace_s) == (10, 1000, 0.0)
    assert (config.results.track_started, config.results.extended, config.results.body_bytes_max) == (True, True, 99)
    config = app.worker_config(
        concurrency=5,
        queues="x, y",
        exclude_queues=["y"],
        time_limit=7,
        grace_s=1.5,
        hostname="me@here",
        loglevel="INFO",
    )
    assert (config.policy.pools[0].children, config.policy.time_limit_s, config.grace_s) == (5, 7, 1.5)
    assert (config.queues, config.hostname, config.loglevel) == (("x",), "me@here", "INFO")


@pytest.mark.parametrize("name", ["a\nb@c", "w\x1b[31m@h", "w\u2028@h", "w\udc80@h"])
def test_the_name_of_a_node_can_be_printed(name: str):
    with pytest.raises(ImproperlyConfigured, match=r"node's name \(-n, --hostname\) 'w?a?.* cannot be printed"):
        make().worker_config(hostname=name)


@pytest.mark.parametrize(
    ("pools", "concurrency", "async_slots", "without"),
    [
        ("solo", 5, None, ["-c"]),
        ("solo", 1, None, []),
        ("solo", 5, 5, ["-c", "--async-slots"]),
        ("threads", 5, 5, ["--async-slots"]),
        ("prefork,threads", None, 5, ["--async-slots"]),
        ("asyncio", 5, 5, ["-c"]),
        ("asyncio", 5, None, []),
        ("asyncio", None, 5, []),
        ("prefork,asyncio", 5, 5, []),
        (None, 5, 5, []),
    ],
)
def test_options_that_the_chosen_pools_have_no_use_for_are_told(pools, concurrency, async_slots, without):
    config = make().worker_config(pool=pools, concurrency=concurrency, async_slots=async_slots)
    assert [option for option, _ in without_effect(config, concurrency, async_slots)] == without
    if pools is not None:
        in_settings = make(worker_pool=pools).worker_config(concurrency=concurrency, async_slots=async_slots)
        assert [option for option, _ in without_effect(in_settings, concurrency, async_slots)] == without


def shape(config: WorkerConfig) -> list[tuple[str, int, int]]:
    """(name, children, slots) of each pool."""
    return [(pool.name, pool.children, pool.slots) for pool in config.policy.pools]


def test_solo_has_one_slot():
    config = make(worker_pool="solo", worker_concurrency=8).worker_config()
    assert config.is_solo
    assert shape(config) == [("solo", 1, 1)]


@pytest.mark.parametrize(
    ("options", "pools"),
    [
        ({"pool": "prefork", "concurrency": 3}, [("prefork", 3, 1)]),
        ({"pool": "threads", "concurrency": 3}, [("threads", 1, 3)]),
        ({"pool": "asyncio"}, [("asyncio", 1, 1000)]),
        ({"pool": "asyncio", "concurrency": 3}, [("asyncio", 1, 3)]),
        ({"pool": "asyncio", "concurrency": 3, "async_slots": 7}, [("asyncio", 1, 7)]),
        ({"pool": "prefork,asyncio", "concurrency": 3}, [("prefork", 3, 1), ("asyncio", 1, 1000)]),
        (
            {"pool": "asyncio,threads", "concurrency": 3, "async_slots": 7},
            [("asyncio", 1, 7), ("threads", 1, 3)],
        ),
        ({"pool": "threads , processes,threads", "concurrency": 2}, [("threads", 1, 2), ("prefork", 2, 1)]),
        ({"pool": "celery.concurrency.thread:TaskPool", "concurrency": 2}, [("threads", 1, 2)]),
        ({"pool": "celery.concurrency.prefork.TaskPool", "concurrency": 2}, [("prefork", 2, 1)]),
        ({"pool": "SOLO"}, [("solo", 1, 1)]),
    ],
)
def test_pools_are_chosen_by_name_and_the_first_is_the_default(options: dict, pools: list):
    config = make().worker_config(**options)
    assert shape(config) == pools
    assert [pool.kills for pool in config.policy.pools] == [pool[0] == "prefork" for pool in pools]
    assert not any(pool.on_demand for pool in config.policy.pools)
    settings = {"worker_pool": options["pool"], "worker_concurrency": options.get("concurrency")}
    if "async_slots" not in options:
        assert shape(make(**settings).worker_config()) == pools


def test_threads_without_a_number_are_one_per_core():
    assert shape(make().worker_config(pool="threads")) == [("threads", 1, os.cpu_count())]


def test_pools_that_tasks_ask_for_are_added_where_nobody_chose_the_pools():
    app = make(worker_concurrency=3, worker_async_slots=50)

    @app.task
    def plain() -> None: ...

    def policies() -> list[TaskPolicy]:
        return [task.policy for task in app.tasks.values()]

    assert shape(with_pools_of(app.worker_config(), policies())) == [("prefork", 3, 1)]

    @app.task
    async def coroutine() -> None: ...

    config = with_pools_of(app.worker_config(), policies())
    assert shape(config) == [("prefork", 3, 1), ("asyncio", 1, 50)]
    assert [pool.on_demand for pool in config.policy.pools] == [False, True]

    @app.task(pool="threads")
    def on_thread() -> None: ...

    config = with_pools_of(app.worker_config(), policies())
    assert shape(config) == [("prefork", 3, 1), ("asyncio", 1, 50), ("threads", 1, 3)]
    assert with_pools_of(config, policies()) == config
    for chosen in ("prefork", "prefork,asyncio"):
        config = app.worker_config(pool=chosen)
        assert with_pools_of(config, policies()) == config
    app.conf.worker_pool = "prefork"
    assert shape(with_pools_of(app.worker_config(), policies())) == [("prefork", 3, 1)]


def test_the_pool_of_a_task_is_its_option_or_asyncio_for_a_coroutine():
    app = make()

    async def coroutine() -> None: ...

    def function() -> None: ...

    assert app.task(name="a")(function).policy.pool is None
    assert app.task(name="b")(coroutine).policy.pool == "asyncio"
    assert app.task(name="c", bind=True)(coroutine).policy.pool == "asyncio"
    for pool in ("prefork", "threads", "asyncio"):
        assert app.task(name=f"f {pool}", pool=pool)(function).policy.pool == pool
        assert app.task(name=f"c {pool}", pool=pool)(coroutine).policy.pool == pool


def test_a_pool_that_is_none_is_refused_where_the_task_is_defined():
    app = make()
    with pytest.raises(
        ValueError, match=r"task t: pool='thread' is no pool of a task: did you mean 'threads'.*prefork"
    ):
        app.task(name="t", pool="thread")(lambda: None)
    with pytest.raises(ValueError, match="pool=3 is no pool of a task: there are 'prefork', 'threads', 'asyncio'"):
        app.task(name="u", pool=3)(lambda: None)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"pool": "thread"}, "no pool 'thread'. Did you mean threads"),
        ({"pool": "gevent"}, "'gevent' is not there yet"),
        ({"pool": "celery.concurrency.eventlet:TaskPool"}, "'eventlet' is not there yet"),
        ({"pool": "my.pools:TaskPool"}, "no pool 'my.pools:TaskPool'"),
        ({"pool": ","}, "no pool is named"),
        ({"pool": "solo,threads"}, "name it alone"),
        ({"async_slots": 1_000_000}, "worker_async_slots 1000000: from 1 to 20000"),
        ({"concurrency": 0}, "at least 1 slot"),
        ({"queues": "a", "exclude_queues": "a"}, "no queue left"),
    ],
)
def test_an_option_that_cannot_be_is_refused(options: dict, words: str):
    with pytest.raises(ImproperlyConfigured, match=words):
        make().worker_config(**options)


def test_an_unknown_option_is_refused():
    with pytest.raises(TypeError, match="no option 'conurrency'"):
        make().worker_config(conurrency=1)


def test_without_creation_of_queues_a_worker_cannot_consume_undefined_ones():
    with pytest.raises(Exception, match="'b' is not in task_queues"):
        make(task_create_missing_queues=False, task_queues=["a"]).worker_config(queues="b")


def test_a_backend_is_an_address_an_alias_a_dotted_class_or_a_class():
    path = "celeriac.backends.memory.MemoryBackend"
    for backend in ("memory://named", path, MemoryBackend):
        assert isinstance(make(backend=backend).make_backend(), MemoryBackend)
    aliased = make(backend="mine://named", override_backends={"mine": path})
    assert isinstance(aliased.make_backend(), MemoryBackend)
    with pytest.raises(BackendMisconfigured, match=r"mine://.*memory://, sqlite://"):
        make(backend="mine://named").make_backend()
    with pytest.raises(BackendMisconfigured, match=r"cannot load no\.such\.Class"):
        make(backend="mine://named", override_backends={"mine": "no.such.Class"}).make_backend()


def test_the_backend_follows_the_broker_where_it_can():
    assert make().make_backend().facts.store_id == "memory://options"
    assert make(backend="disabled").make_backend() is None


def test_several_addresses_come_later():
    with pytest.raises(ImproperlyConfigured, match="several addresses"):
        make(broker="memory://a;memory://b").make_broker()
    assert make(broker=["memory://a"]).make_broker().facts.store_id == "memory://a"
