from __future__ import annotations

import contextvars
import json
import time
from datetime import datetime, timedelta, timezone
from types import SimpleNamespace

import pytest

from celeriac import Celeriac
from celeriac.exceptions import (
    BrokerUnavailable,
    CeleriacWarning,
    EncodeError,
    ImproperlyConfigured,
    NotRegistered,
    QueueNotFound,
    UnknownOption,
)
from celeriac.wire.protocol2 import decode_request


@pytest.fixture
def add(app: Celeriac):
    @app.task
    def add(x, y=1, *, z=0):
        return x + y + z

    return add


def only(messages: list):
    assert len(messages) == 1
    return decode_request(messages[0])


def test_delay_sends_positional_and_keyword_arguments(app, add, peek):
    result = add.delay(2, y=3)
    fields = only(peek(app))
    assert (fields.id, fields.task, list(fields.args), fields.kwargs) == (result.id, add.name, [2], {"y": 3})
    assert fields.root_id == result.id
    assert fields.parent_id is None
    assert fields.origin.startswith("gen")


def test_ids_are_plain_and_grow_with_time(add):
    ids = [add.delay(1).id for _ in range(50)]
    assert ids == sorted(ids)
    assert len(set(ids)) == 50


def test_a_given_task_id_is_kept(app, add, peek):
    assert add.apply_async((1,), task_id="mine").id == "mine"
    assert only(peek(app)).id == "mine"


@pytest.mark.parametrize(
    ("args", "kwargs", "words"),
    [
        ((), {}, "missing a required argument: 'x'"),
        ((1, 2, 3), {}, "too many positional arguments"),
        ((1,), {"w": 1}, "unexpected keyword argument 'w'"),
        ((1,), {"x": 1}, "multiple values for argument 'x'"),
    ],
)
def test_arguments_that_do_not_fit_are_refused_before_anything_is_sent(app, add, peek, args, kwargs, words):
    with pytest.raises(TypeError, match=words):
        add.apply_async(args, kwargs)
    assert peek(app) == []


def test_keyword_only_arguments_are_understood(app, add, peek):
    add.delay(1, z=4)
    assert only(peek(app)).kwargs == {"z": 4}


def test_containers_of_arguments_must_be_a_list_and_a_mapping(add):
    with pytest.raises(TypeError, match="must be a list or tuple"):
        add.apply_async("ab")
    with pytest.raises(TypeError, match="must be a mapping"):
        add.apply_async((1,), [("y", 1)])


def test_typing_false_and_strict_typing_false_switch_the_check_off(app, peek):
    @app.task(typing=False)
    def loose(x):
        return x

    loose.delay(1, 2, 3)
    other = Celeriac("loose", broker=app.conf.broker_url, strict_typing=False, set_as_current=False)

    @other.task
    def looser(x):
        return x

    looser.delay()
    assert len(peek(app)) == 2


def test_countdown_and_eta_delay_a_message(app, add, peek):
    before = time.time()
    add.apply_async((1,), countdown=100)
    eta = only(peek(app)).eta
    assert before + 100 <= eta.timestamp() <= time.time() + 100
    app.sender.broker().purge("celery")
    moment = datetime(2099, 1, 2, 3, tzinfo=timezone(timedelta(hours=2)))
    add.apply_async((1,), eta=moment)
    assert only(peek(app)).eta == moment


def test_an_eta_without_a_zone_is_in_the_apps_zone(app, add, peek):
    app.conf.timezone = "America/New_York"
    add.apply_async((1,), eta=datetime(2099, 1, 2, 3))  # noqa: DTZ001 - without a zone on purpose
    assert only(peek(app)).eta == datetime(2099, 1, 2, 8, tzinfo=timezone.utc)


def test_without_utc_an_eta_without_a_zone_is_in_the_machines_own(app, add, peek, monkeypatch):
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        app.conf.enable_utc = False
        add.apply_async((1,), eta=datetime(2099, 1, 2, 3))  # noqa: DTZ001 - without a zone on purpose
        assert only(peek(app)).eta == datetime(2099, 1, 1, 18, tzinfo=timezone.utc)
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize("countdown", [0, None])
def test_a_countdown_of_nothing_is_at_once(app, add, peek, countdown):
    add.apply_async((1,), countdown=countdown)
    assert only(peek(app)).eta is None


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"countdown": -(2**31) - 1}, ValueError, "countdown"),
        ({"countdown": 1e12}, ValueError, "countdown.*9999"),
        ({"countdown": "5"}, TypeError, "countdown='5' is not a number"),
        ({"countdown": True}, TypeError, "countdown"),
        ({"countdown": 5, "eta": datetime(2099, 1, 1)}, TypeError, "both given"),  # noqa: DTZ001 - without a zone on purpose
        ({"eta": 5}, TypeError, "eta=5 is not a datetime"),
        ({"expires": "soon"}, TypeError, "expires"),
        ({"priority": 10}, ValueError, "priority=10 is out of 0 to 9"),
        ({"priority": -1}, ValueError, "priority"),
        ({"priority": "urgent"}, ValueError, "'urgent' is none of"),
        ({"priority": 1.5}, TypeError, "priority"),
        ({"queue": 5}, TypeError, "queue"),
        ({"headers": [1]}, TypeError, "headers"),
        ({"task_id": 5}, TypeError, "task_id"),
        ({"time_limit": 0}, ValueError, "time_limit"),
        ({"soft_time_limit": "x"}, TypeError, "soft_time_limit"),
        ({"serializer": "morse"}, EncodeError, "morse"),
        ({"link": object()}, TypeError, "link"),
        ({"retries": "x"}, TypeError, "retries='x' is not a whole number"),
        ({"retries": -1}, ValueError, "retries"),
        ({"group_index": "x"}, TypeError, "group_index"),
        ({"retry_policy": {"max_retry": 1}}, ValueError, "max_retry"),
    ],
)
def test_a_wrong_option_is_refused_by_name_and_nothing_is_sent(app, add, peek, options, error, words):
    with pytest.raises(error, match=words):
        add.apply_async((1,), **options)
    assert peek(app) == []


@pytest.mark.parametrize(
    ("typo", "meant"), [("countdwon", "countdown"), ("prioirty", "priority"), ("expire", "expires")]
)
def test_an_option_close_to_a_known_one_is_refused_with_that_name(app, add, peek, typo, meant):
    with pytest.raises(UnknownOption, match=f"did you mean '{meant}'"):
        add.apply_async((1,), **{typo: 3})
    assert peek(app) == []


def test_other_unknown_options_are_properties_of_the_message(app, add, peek):
    add.apply_async((1,), MessageGroupId="g1", delivery_mode=1)
    assert json.loads(peek(app)[0].properties) == {"MessageGroupId": "g1", "delivery_mode": 1}


def test_headers_limits_names_and_reprs_travel(app, add, peek):
    add.apply_async(
        (1,),
        headers={"tenant": "a"},
        time_limit=10,
        soft_time_limit=5,
        shadow="other",
        argsrepr="(***)",
        ignore_result=True,
        priority="high",
        group_id="g",
        group_index=2,
    )
    fields = only(peek(app))
    assert fields.headers == {"tenant": "a"}
    assert (fields.time_limit_s, fields.soft_time_limit_s, fields.shadow, fields.argsrepr) == (10, 5, "other", "(***)")
    assert (fields.ignore_result, fields.priority, fields.group, fields.group_index) == (True, "high", "g", 2)


def test_an_expiry_is_relative_or_a_moment_and_none_clears_the_tasks_own(app, peek):
    @app.task(expires=60)
    def short():
        return None

    before = time.time()
    short.delay()
    short.apply_async(expires=None)
    short.apply_async(expires=datetime(2099, 1, 1))  # noqa: DTZ001 - without a zone on purpose
    own, cleared, moment = (decode_request(message).expires for message in peek(app))
    assert before + 60 <= own.timestamp() <= time.time() + 60
    assert cleared is None
    assert moment == datetime(2099, 1, 1, tzinfo=timezone.utc)


def test_an_expiry_in_the_past_is_said_and_sent(app, add, peek):
    with pytest.warns(CeleriacWarning, match="in the past"):
        add.apply_async((1,), expires=datetime(2001, 1, 1))  # noqa: DTZ001 - without a zone on purpose
    assert only(peek(app)).expires.year == 2001


def test_what_cannot_be_encoded_is_refused_with_the_place(app, add, peek):
    with pytest.raises(EncodeError, match=r"args\[0\]"):
        add.delay(object())
    assert peek(app) == []


def test_a_body_over_the_limit_is_refused_with_size_and_limit(app, add, peek):
    app.conf.task_body_bytes_max = 1000
    with pytest.raises(EncodeError, match=r"bytes encoded, over the limit of 1000 \(setting task_body_bytes_max\)"):
        add.delay("x" * 2000)
    add.delay("x")
    assert len(peek(app)) == 1


def test_options_of_the_call_win_over_the_task_over_the_route_over_settings(app, peek):
    app.conf.task_default_priority = 1
    app.conf.task_routes = {"front.*": {"queue": "routed", "priority": 2, "time_limit": 9}}

    @app.task(name="front.a", priority=3)
    def a():
        return None

    a.delay()
    routed = decode_request(peek(app, "routed")[0])
    assert (routed.priority, routed.time_limit_s) == (3, 9)
    a.apply_async(queue="called", priority=4)
    assert decode_request(peek(app, "called")[0]).priority == 4
    a.apply_async(queue=None, priority=None)
    assert decode_request(peek(app, "routed")[1]).priority == 3


def test_a_changed_setting_or_attribute_holds_from_the_next_send(app, add, peek):
    add.delay(1)
    app.conf.task_default_queue = "second"
    add.delay(1)
    add.queue = "third"
    add.delay(1)
    assert [len(peek(app, queue)) for queue in ("celery", "second", "third")] == [1, 1, 1]


def test_exact_routes_win_over_patterns_and_routers_are_asked_in_order(app, peek):
    asked = []

    def by_argument(name, args, kwargs, options, task=None, **_):
        asked.append((name, args, task))
        return "big" if args and args[0] > 10 else None

    app.conf.task_routes = [by_argument, {"r.*": "glob", "r.exact": {"queue": "exact"}}]

    @app.task(name="r.exact")
    def exact(n):
        return n

    @app.task(name="r.other")
    def other(n):
        return n

    exact.delay(11)
    exact.delay(1)
    other.delay(1)
    assert [len(peek(app, queue)) for queue in ("big", "exact", "glob")] == [1, 1, 1]
    assert asked[0] == ("r.exact", (11,), exact)


def test_a_router_that_is_none_is_refused_by_name(app, add):
    app.conf.task_routes = ["no.such.router"]
    with pytest.raises(ImproperlyConfigured, match=r"no\.such\.router"):
        add.delay(1)


def test_without_creation_of_queues_an_undefined_one_is_refused(app, add, peek):
    app.conf.update(task_create_missing_queues=False, task_queues=[SimpleNamespace(name="a"), "celery"])
    add.apply_async((1,), queue="a")
    with pytest.raises(QueueNotFound, match="'b' is not in task_queues"):
        add.apply_async((1,), queue="b")
    assert len(peek(app, "a")) == 1


def test_a_routing_key_means_the_queue_bound_with_it(app, add, peek):
    app.conf.task_queues = {"video": {"routing_key": "media.video"}}
    add.apply_async((1,), routing_key="media.video")
    assert len(peek(app, "video")) == 1


def test_send_task_needs_no_code_and_takes_options_of_a_known_task(app, peek):
    app.send_task("somewhere.else", (1,), {"k": 2}, queue="q")
    fields = decode_request(peek(app, "q")[0])
    assert (fields.task, list(fields.args), fields.kwargs) == ("somewhere.else", [1], {"k": 2})

    @app.task(name="known", priority=7)
    def known(x):
        return x

    app.send_task("known", ("not", "checked"))
    assert decode_request(peek(app)[0]).priority == 7


def test_a_batch_leaves_at_its_end_as_one(app, add, peek, monkeypatch):
    published = []
    broker = app.sender.broker()
    monkeypatch.setattr(broker, "publish", lambda messages: published.append([message.id for message in messages]))
    with app.batch():
        first = add.delay(1)
        with app.batch():
            second = add.delay(2)
        assert published == []
        with pytest.raises(RuntimeError, match="has not been sent"):
            first.get(timeout=1)
    assert published == [[first.id, second.id]]


def test_a_batch_that_raises_sends_nothing(app, add, peek):
    with pytest.raises(KeyError), app.batch():
        add.delay(1)
        raise KeyError("stop")
    assert peek(app) == []
    add.delay(2)
    assert len(peek(app)) == 1


def test_what_outlives_a_batch_sends_at_once(app, add, peek):
    with app.batch():
        add.delay(1)
        later = contextvars.copy_context()  # as a thread or coroutine started here has it
        later.run(add.delay, 2)
        assert peek(app) == []
    assert len(peek(app)) == 2
    later.run(add.delay, 3)
    assert len(peek(app)) == 3


def test_what_outlives_a_failed_batch_sends_at_once(app, add, peek):
    with pytest.raises(KeyError), app.batch():
        later = contextvars.copy_context()
        raise KeyError("stop")
    later.run(add.delay, 3)
    with app.batch():
        later.run(add.delay, 4)
    assert len(peek(app)) == 2


def test_a_batch_of_one_app_does_not_hold_what_another_sends(app, add, peek):
    other = Celeriac("other", broker="memory://front-other", set_as_current=False)

    @other.task
    def elsewhere():
        return None

    with app.batch(), other.batch():
        add.delay(1)
        elsewhere.delay()
        assert peek(app) == []
        assert peek(other) == []
    assert len(peek(app)) == len(peek(other)) == 1
    other.close()


class Broken:
    """A broker that is unavailable for so many publishes."""

    def __init__(self, times: int) -> None:
        self.times = times
        self.tried = 0

    def publish(self, messages) -> None:
        self.tried += 1
        if self.tried <= self.times:
            raise BrokerUnavailable("down")

    def close(self) -> None: ...


def test_a_send_is_repeated_while_the_broker_is_unavailable(app, add):
    broker = app.sender._broker = Broken(2)
    add.delay(1)
    assert broker.tried == 3


def test_after_the_retries_the_caller_sees_that_the_broker_is_unavailable(app, add):
    broker = app.sender._broker = Broken(100)
    with pytest.raises(BrokerUnavailable):
        add.apply_async((1,), retry_policy={"max_retries": 1, "interval_start": 0})
    assert broker.tried == 2
    with pytest.raises(BrokerUnavailable):
        add.apply_async((1,), retry=False)
    assert broker.tried == 3


def test_retries_of_a_send_end_with_the_connection_timeout(app, add):
    app.conf.broker_connection_timeout = 0.3
    broker = app.sender._broker = Broken(10**6)
    started = time.monotonic()
    with pytest.raises(BrokerUnavailable):
        add.apply_async((1,), retry_policy={"max_retries": None, "interval_step": 0.1, "interval_max": 0.1})
    assert 2 <= broker.tried <= 10
    assert time.monotonic() - started < 10


def test_an_unknown_task_is_no_task_of_the_app(app):
    with pytest.raises(NotRegistered, match=r"no\.such"):
        app.tasks["no.such"]
