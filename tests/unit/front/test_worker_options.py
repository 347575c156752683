from __future__ import annotations

import pytest

from celeriac import Celeriac
from celeriac.backends.memory import MemoryBackend
from celeriac.brokers.memory import MemoryBroker
from celeriac.exceptions import BackendMisconfigured, ImproperlyConfigured
from celeriac.worker.config import Home


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
    assert config.pool == "prefork"
    assert config.policy.children >= 1
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
    assert (policy.children, policy.time_limit_s, policy.soft_time_limit_s) == (3, 60, 50)
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
    assert (config.policy.children, config.policy.time_limit_s, config.grace_s) == (5, 7, 1.5)
    assert (config.queues, config.hostname, config.loglevel) == (("x",), "me@here", "INFO")


def test_solo_has_one_slot():
    assert make(worker_pool="solo", worker_concurrency=8).worker_config().policy.children == 1


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"pool": "threads"}, "'threads': this version has prefork and solo"),
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
