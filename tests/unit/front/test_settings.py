from __future__ import annotations

import sys
import threading
import types
import warnings
from datetime import timedelta

import pytest

from celeriac import Celeriac, Celery
from celeriac.exceptions import CeleriacWarning, ImproperlyConfigured
from celeriac.settings_source import parse_text, read_source
from celeriac.settings_table import OLD_NAMES, SETTINGS


def make(**settings) -> Celeriac:
    return Celeriac("settings", set_as_current=False, **settings)


def test_celery_is_the_same_class():
    assert Celery is Celeriac


def test_all_settings_of_celery_are_known_with_their_old_names():
    assert len(OLD_NAMES) == 198
    assert set(OLD_NAMES.values()) <= SETTINGS.keys()


def test_every_default_passes_its_own_check():
    app = make()
    for name, row in SETTINGS.items():
        app.conf[name] = type(row.default)(row.default) if isinstance(row.default, (dict, tuple)) else row.default


def test_a_setting_is_read_as_attribute_as_item_and_with_get():
    conf = make(task_default_queue="mine").conf
    assert conf.task_default_queue == conf["task_default_queue"] == conf.get("task_default_queue") == "mine"
    assert conf.get("no_such", 7) == 7
    with pytest.raises(AttributeError):
        _ = conf.no_such
    with pytest.raises(KeyError):
        conf["no_such"]


def test_what_is_changed_wins_over_what_is_configured_and_that_over_defaults():
    app = make()
    app.config_from_object({"task_default_queue": "configured", "result_serializer": "pickle"})
    app.conf.task_default_queue = "changed"
    assert app.conf.task_default_queue == "changed"
    assert app.conf.result_serializer == "pickle"
    assert app.conf.task_serializer == "json"
    assert app.conf.changes == {"task_default_queue": "changed"}
    assert app.conf.without_defaults() == {"task_default_queue": "changed", "result_serializer": "pickle"}


def test_added_defaults_stand_where_nothing_is_configured():
    app = make()
    app.add_defaults({"task_default_queue": "added", "own_thing": 1})
    app.add_defaults(lambda: {"own_other": 2})
    assert (app.conf.task_default_queue, app.conf.own_thing, app.conf.own_other) == ("added", 1, 2)
    app.conf.task_default_queue = "changed"
    assert app.conf.task_default_queue == "changed"


def test_a_configuration_is_read_at_the_first_use_and_with_force_at_once():
    app = make()
    app.config_from_object("no.such.module")
    with pytest.raises(ImportError):
        _ = app.conf.task_default_queue
    with pytest.raises(ImportError):
        make().config_from_object("no.such.module", force=True)
    quiet = make()
    quiet.config_from_object("no.such.module", silent=True)
    assert quiet.conf.task_default_queue == "celery"


def test_threads_wait_for_the_one_that_loads_and_the_configuration_itself_sees_none(monkeypatch: pytest.MonkeyPatch):
    app = make()
    entered, go_on = threading.Event(), threading.Event()
    seen = []

    class Slow:
        @property
        def task_default_queue(self) -> str:
            seen.append(app.conf.task_default_queue)
            entered.set()
            assert go_on.wait(10)
            return "slow"

    app.config_from_object(Slow())
    threads = [threading.Thread(target=lambda: seen.append(app.conf.task_default_queue)) for _ in range(3)]
    threads[0].start()
    assert entered.wait(10)
    for thread in threads[1:]:
        thread.start()
    go_on.set()
    for thread in threads:
        thread.join(timeout=10)
    assert seen == ["celery", "slow", "slow", "slow"]


def test_what_the_app_was_made_with_survives_a_new_configuration_and_later_changes_do_not():
    app = make(broker="memory://kept")
    assert app.conf.task_default_queue == "celery"
    app.conf.task_default_queue = "later"
    app.config_from_object({"result_serializer": "pickle"})
    assert app.conf.broker_url == "memory://kept"
    assert app.conf.task_default_queue == "celery"


class Config:
    task_default_queue = "from-class"
    _private = 1

    def helper(self) -> None: ...


def test_a_configuration_is_a_class_an_object_a_module_or_a_dotted_name(monkeypatch: pytest.MonkeyPatch):
    module = types.ModuleType("front_config")
    module.task_default_queue = "from-module"
    module.os = types
    monkeypatch.setitem(sys.modules, "front_config", module)
    module.Config = Config
    found = []
    for source in (Config, Config(), module, "front_config", "front_config:Config", "front_config.Config"):
        app = make()
        app.config_from_object(source)
        found.append(app.conf.task_default_queue)
    assert found == ["from-class", "from-class", "from-module", "from-module", "from-class", "from-class"]


def test_a_configuration_is_named_by_an_environment_variable(monkeypatch: pytest.MonkeyPatch):
    module = types.ModuleType("front_config")
    module.task_default_queue = "from-env"
    monkeypatch.setitem(sys.modules, "front_config", module)
    monkeypatch.setenv("FRONT_CONFIG", "front_config")
    app = make()
    assert app.config_from_envvar("FRONT_CONFIG")
    assert app.conf.task_default_queue == "from-env"
    assert not app.config_from_envvar("NO_SUCH", silent=True)
    with pytest.raises(ImproperlyConfigured, match="NO_SUCH is not set"):
        app.config_from_envvar("NO_SUCH")


def test_with_a_namespace_only_prefixed_names_count():
    app = make(namespace="CELERY")
    app.config_from_object({"CELERY_TASK_DEFAULT_QUEUE": "spaced", "DEBUG": True, "CELERY_MY_OWN": 3})
    assert app.conf.task_default_queue == "spaced"
    assert app.conf.my_own == 3
    assert "DEBUG" not in app.conf


def test_old_upper_case_names_are_read():
    app = make()
    app.config_from_object({"CELERY_DEFAULT_QUEUE": "old", "CELERYD_CONCURRENCY": 3})
    assert app.conf.task_default_queue == app.conf["CELERY_DEFAULT_QUEUE"] == "old"
    assert app.conf.worker_concurrency == 3


def test_old_and_new_names_in_one_source_are_refused_with_each_replacement():
    with pytest.raises(ImproperlyConfigured, match="CELERY_DEFAULT_QUEUE -> task_default_queue"):
        read_source({"CELERY_DEFAULT_QUEUE": "old", "worker_concurrency": 3})
    both = {"CELERY_DEFAULT_QUEUE": "old", "task_default_queue": "new"}
    assert read_source(both) == {"task_default_queue": "new"}


@pytest.mark.parametrize("name", ["task_defualt_queue", "broker_ulr", "CELERY_DEFALT_QUEUE"])
def test_a_name_close_to_a_known_one_is_refused_at_once(name: str):
    with pytest.raises(ImproperlyConfigured, match="did you mean"):
        read_source({name: "x"})
    with pytest.raises(ImproperlyConfigured, match="did you mean"):
        make().conf[name] = "x"


def test_a_mistyped_keyword_of_the_app_is_refused():
    with pytest.raises(ImproperlyConfigured, match="did you mean task_ignore_result"):
        make(task_ignore_resutl=True)


def test_a_far_name_is_the_users_own():
    assert make(my_company_flag=1).conf.my_company_flag == 1


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("task_always_eager", "true", "True or False; write it without quotes"),
        ("worker_concurrency", 2.5, "a whole number from 0, or None"),
        ("worker_concurrency", -1, "a whole number from 0"),
        ("worker_lease_s", "6", "a number of seconds from 0"),
        ("accept_content", "json", r"a list or tuple of texts; write \['json'\]"),
        ("task_default_priority", 10, "0 to 9, or low, normal or high"),
        ("task_unknown", "explode", "none of park, fail"),
        ("broker_transport_options", [1], "a mapping"),
        ("task_crash_limit", 0, "a whole number from 1"),
    ],
)
def test_a_value_of_a_wrong_type_is_refused_with_name_and_fix(name: str, value: object, words: str):
    with pytest.raises(ImproperlyConfigured, match=f"setting {name}.*{words}"):
        make().conf[name] = value


def test_durations_are_numbers_or_timedeltas():
    app = make(result_expires=timedelta(hours=1))
    assert app.conf.seconds("result_expires") == 3600
    app.conf.result_expires = 0
    assert app.conf.seconds("result_expires") is None
    assert app.worker_config().results.expires_s is None


def test_settings_without_effect_are_reported_once_with_what_replaces_them():
    app = make(worker_lost_wait=3.0, worker_soft_shutdown_timeout=4.0, beat_sync_every=1)
    with pytest.warns(CeleriacWarning, match="worker_soft_shutdown_timeout: worker_shutdown_grace_s") as seen:
        _ = app.conf.task_default_queue
    assert len(seen) == 1
    assert app.conf.without_effect()["beat_sync_every"] == "has no effect in this version yet"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert app.conf.worker_concurrency is None


def test_secrets_are_hidden_when_settings_are_shown():
    app = make(broker="sqlite://me:hidden@/x.db", security_key="hidden-too", my_api_token="and-this")
    with pytest.warns(CeleriacWarning):
        text = app.conf.humanize(with_defaults=True)
    assert "hidden" not in text
    assert "and-this" not in text
    assert "sqlite://me:**@/x.db" in text
    assert app.conf.table(censored=False)["my_api_token"] == "and-this"


def test_the_environment_wins_over_everything_configured(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("CELERY_BROKER_URL", "memory://environment")
    monkeypatch.setenv("CELERIAC_RESULT_BACKEND", "disabled")
    app = make(broker="memory://kept")
    assert app.conf.broker_url == "memory://environment"
    assert app.make_broker().facts.store_id == "memory://environment"
    assert app.make_backend() is None


def test_a_changed_default_container_stays_changed():
    app = make()
    app.conf.broker_transport_options["x"] = 1
    assert app.conf.broker_transport_options == {"x": 1}
    assert make().conf.broker_transport_options == {}


def test_a_group_and_a_name_find_a_setting():
    conf = make(worker_concurrency=4).conf
    assert conf.get_by_parts("worker", "concurrency") == 4
    assert conf.find_option("concurrency", "worker") == ("worker", "worker_concurrency", 4)
    assert conf.find_value_for_key("concurrency", "worker") == 4
    with pytest.raises(KeyError):
        conf.find_option("no_such", "worker")


def test_a_time_zone_that_no_one_knows_is_refused():
    assert str(make(timezone="Europe/London").timezone) == "Europe/London"
    with pytest.raises(ImproperlyConfigured, match="Nowhere/City"):
        _ = make(timezone="Nowhere/City").timezone


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("worker_concurrency", "8", 8),
        ("task_always_eager", "yes", True),
        ("worker_lease_s", "2.5", 2.5),
        ("imports", "a, b", ["a", "b"]),
        ("my_own", "(int)8", 8),
        ("my_own", "8", "8"),
        ("task_default_queue", "x", "x"),
    ],
)
def test_texts_of_a_command_line_become_values(name: str, text: str, value: object):
    assert parse_text(name, text) == value


def test_a_text_that_is_no_value_is_refused():
    with pytest.raises(ImproperlyConfigured, match="worker_concurrency: 'many'"):
        parse_text("worker_concurrency", "many")
