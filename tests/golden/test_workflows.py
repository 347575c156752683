"""Workflows captured from real Celery: built here they are the same messages, but for ids that were drawn."""

from __future__ import annotations

import itertools
import json

import pytest

from celeriac import Celeriac
from celeriac.canvas import chain, group, signature
from celeriac.model.context import Place
from celeriac.model.message import Ack, Settlement
from celeriac.wire.signatures import mapping_of, node_of
from celeriac.worker.env import Env, Seat
from celeriac.worker.perform import perform
from golden import vector

_numbers = itertools.count()


class Tasks:
    """The tasks that were known when the vectors were captured."""

    def __init__(self, app):
        def fail():
            raise ValueError("boom", 42)

        self.add = app.task(name="t.add")(lambda x, y: x + y)
        self.mul = app.task(name="t.mul")(lambda x, y: x * y)
        self.noop = app.task(name="t.noop")(lambda: None)
        self.fail = app.task(name="t.fail")(fail)
        self.on_error = app.task(name="t.on_error")(lambda task_id: f"errback saw {task_id}")
        self.on_error3 = app.task(name="t.on_error3")(lambda request, exc, traceback: None)


@pytest.fixture
def app():
    app = Celeriac("t", broker=f"memory://golden-{next(_numbers)}")
    yield app
    app.close()


SENDS = {
    "chain-3": lambda t: (t.add.s(1, 2) | t.add.s(3) | t.mul.s(10)).delay(),
    "chain-link-error": lambda t: (t.add.s(1, 2) | t.add.s(3)).apply_async(link_error=t.on_error.s()),
    "chain-options": lambda t: chain(
        t.add.s(1, 2).set(priority=3), t.add.s(3).set(queue="other", countdown=10), t.mul.si(2, 2).set(expires=60)
    ).delay(),
    "group-3": lambda t: group(t.add.s(i, i) for i in range(3)).delay(),
    "chain-in-group": lambda t: group(t.add.s(0, 0) | t.add.s(9), t.mul.s(2, 2)).delay(),
    "group-last-in-chain": lambda t: chain(t.add.s(1, 1), group(t.add.s(10), t.add.s(20))).delay(),
    "link": lambda t: t.add.apply_async((1, 1), link=t.mul.s(5)),
    "link-many-and-errors": lambda t: t.add.apply_async(
        (1, 1),
        link=[t.mul.s(5), t.noop.si().set(queue="other")],
        link_error=[t.on_error.s(), t.on_error3.s()],
    ),
    "link-group": lambda t: t.add.apply_async((1, 1), link=group(t.mul.s(5), t.mul.s(6))),
    "immutable-chain": lambda t: (t.add.si(1, 1) | t.add.si(2, 2)).delay(),
}
COMPARED = ("task", "group", "group_index", "root_id", "parent_id", "retries")


class Names:
    """Drawn ids by the order of their first appearance."""

    def __init__(self):
        self._names = {}

    def __call__(self, value):
        if isinstance(value, dict):
            return {key: self(item) for key, item in value.items()}
        if isinstance(value, list):
            return [self(item) for item in value]
        if isinstance(value, str) and len(value) == 36 and value.count("-") == 4:
            return self._names.setdefault(value, f"id {len(self._names)}")
        return value


def told(messages):
    """What matters of messages: place and body, with ids named."""
    name, found = Names(), []
    for headers, body in messages:
        embed = body[2]
        embed["chain"] = embed["chain"] or None
        found.append(name([headers["id"], {key: headers[key] for key in COMPARED}, body[:2], sorted_keys(embed)]))
    return found


def sorted_keys(value):
    return json.loads(json.dumps(value, sort_keys=True))


def of_vector(name):
    return [(headers, body) for _, headers, body in vector.messages_of(vector.load(f"{name}.redis.json"))]


def of_messages(messages):
    return [(json.loads(message.headers), json.loads(message.body)) for message in messages]


@pytest.mark.parametrize("name", SENDS)
def test_a_workflow_is_sent_as_celery_sends_it(app, name):
    app.sender.broker()
    SENDS[name](Tasks(app))
    queued = [w.message for queue in ("celery", "other") for w in app.sender.broker().peek(queue, 100)]
    assert told(of_messages(queued)) == told(of_vector(name))


def test_groups_in_groups_are_numbered_through(app):
    """Celery repeats numbers here (0, 0, 1), which makes them useless as places."""
    t = Tasks(app)
    group(t.add.s(0, 0), group(t.add.s(1, 1), t.add.s(2, 2))).delay()
    ours = of_messages(waiting.message for waiting in app.sender.broker().peek("celery", 100))
    theirs = of_vector("group-in-group")
    assert [headers["group_index"] for headers, _ in ours] == [0, 1, 2]
    assert [headers["group_index"] for headers, _ in theirs] == [0, 0, 1]
    assert [body for _, body in ours] == [body for _, body in theirs]


@pytest.mark.parametrize("name", ["result-chain", "result-link", "result-link-error", "result-chain-failure"])
def test_a_worker_goes_on_as_celery_does(app, name):
    t = Tasks(app)
    captured = vector.messages_of(vector.load(f"{name}.redis.json"))
    broker = app.sender.broker()
    broker.publish([captured[0][0]])
    seat = Seat(Env(Place("n"), app.worker_config().results))
    followed = []
    while deliveries := broker.take(("celery",), 10, 0):
        for delivery in deliveries:
            ended = perform(app.tasks, delivery.message, seat)
            broker.settle([Settlement(delivery.receipt, Ack(), ended.records, ended.follow_ups)])
            followed += ended.follow_ups
    seat.close()
    assert t.add.name == "t.add"
    theirs = [(headers, body) for _, headers, body in captured]
    assert told([theirs[0], *of_messages(followed)]) == told(theirs)
    for write in vector.load(f"{name}.redis.json")["decoded"]["result_writes"]:
        value, known = write["value"], {delivery["id"] for delivery, _ in theirs[:1]}
        if value["task_id"] in known or name == "result-chain":
            meta = app.decode_result(app.backend.read((value["task_id"],))[0])
            assert meta.status == value["status"]
            assert told_children(meta.children) == told_children(value["children"])


@pytest.mark.parametrize("transport", ["redis", "amqp"])
def test_a_chain_of_protocol_1_is_callbacks_in_callbacks(app, transport):
    Tasks(app)
    ((message, _, _),) = vector.messages_of(vector.load(f"proto1-chain.{transport}.json"))
    broker = app.sender.broker()
    broker.publish([message])
    seat = Seat(Env(Place("n"), app.worker_config().results))
    while deliveries := broker.take(("celery",), 10, 0):
        for delivery in deliveries:
            ended = perform(app.tasks, delivery.message, seat)
            broker.settle([Settlement(delivery.receipt, Ack(), ended.records, ended.follow_ups)])
    seat.close()
    assert app.AsyncResult("00000000-0000-4000-8000-000000000082").get(timeout=1) == 60


def told_children(children):
    return Names()(json.loads(json.dumps(children)))


@pytest.mark.parametrize("name", ["group-in-chain", "group-first-in-chain"])
def test_what_needs_a_chord_is_not_run_and_says_so(app, name):
    Tasks(app)
    seat = Seat(Env(Place("n"), app.worker_config().results))
    ended = perform(app.tasks, vector.messages_of(vector.load(f"{name}.redis.json"))[0][0], seat)
    seat.close()
    assert ended.state == "FAILURE"
    assert "chord" in ended.verdict.reason
    assert ended.follow_ups == ()
    if name == "group-in-chain":
        assert "00000000-0000-4000-8000-000000000061" in {record.id for record in ended.records}


@pytest.mark.parametrize("name", [name for name in SENDS if name != "group-3"])
def test_captured_signatures_are_read_and_written_the_same(name):
    for _, body in of_vector(name):
        for key in ("callbacks", "errbacks", "chain"):
            for mapping in body[2][key] or ():
                assert mapping_of(node_of(mapping)) == mapping
                assert dict(signature(mapping)) == mapping
