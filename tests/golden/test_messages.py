"""Messages captured from real Celery: read as they were meant, and written the same."""

from __future__ import annotations

import json

import pytest

from celeriac.model.call import Call
from celeriac.model.errors import ContentDisallowed, DecodeError
from celeriac.wire import protocol1, protocol2
from celeriac.wire.extended_json import encode_text
from celeriac.wire.saferepr import saferepr
from celeriac.wire.times import aware, parse_iso
from golden import vector

ACCEPT = frozenset({"json", "yaml", "msgpack", "pickle"})
SAME_NAMES = (
    "shadow",
    "group",
    "group_index",
    "root_id",
    "parent_id",
    "ignore_result",
    "stamped_headers",
    "compression",
)
EMPTY_WHEN_ABSENT = {"argsrepr": "", "kwargsrepr": "", "origin": "", "lang": "", "stamps": {}}
REFUSED = frozenset(vector.names("serializer")) & {
    f"serializer-{kind}.{transport}.json" for kind in ("auth", "raw") for transport in ("amqp", "redis")
}

TASKS = [
    name
    for name in vector.names(
        "task", "serializer", "compression", "link", "stamped", "foreign", "result", "chain", "group", "immutable"
    )
    if name not in REFUSED
]
WRITTEN = [
    name
    for name in vector.names("task", "compression", "link", "stamped", "chain", "group", "immutable")
    if name not in REFUSED
]
VERSIONS = vector.names("version")


def normal(value, content_type="application/json"):
    """A value as the vectors tell it: by JSON where it came as JSON, else with bytes as base64."""
    return json.loads(encode_text(value)) if content_type == "application/json" else vector.plain(value)


def check_request(request, head, headers):
    for name in SAME_NAMES:
        assert getattr(request, name) == headers.get(name), name
    for name, empty in EMPTY_WHEN_ABSENT.items():
        assert getattr(request, name) == (headers.get(name) or empty), name
    assert request.task == head.task == headers["task"]
    assert request.id == head.id
    if "id" in headers:
        assert request.id == headers["id"]
    assert request.retries == head.retries == (headers.get("retries") or 0)
    assert request.replaced_task_nesting == (headers.get("replaced_task_nesting") or 0)
    hard_soft = tuple(headers.get("timelimit") or (None, None))
    assert (request.time_limit_s, request.soft_time_limit_s) == hard_soft
    assert (head.time_limit_s, head.soft_time_limit_s) == hard_soft
    eta, expires = headers.get("eta"), headers.get("expires")
    assert request.eta == (aware(parse_iso(eta)) if eta else None)
    assert request.expires == (aware(parse_iso(expires)) if expires else None)
    assert head.expires_at == (request.expires.timestamp() if expires else None)
    custom = set(headers) - protocol2.NOT_CUSTOM_HEADERS
    assert dict(request.headers) == {name: headers[name] for name in custom}


@pytest.mark.parametrize("name", TASKS)
def test_a_captured_message_is_read_as_it_was_meant(name):
    seen = 0
    for message, headers, body in vector.messages_of(vector.load(name)):
        if not headers.get("task"):
            continue  # protocol 1, tested below
        seen += 1
        request = protocol2.decode_request(message, ACCEPT)
        check_request(request, protocol2.decode_head(message), headers)
        assert request.protocol == 2
        if isinstance(body, list):
            args, kwargs, links = body
            assert normal(request.args, message.content_type) == args
            assert normal(request.kwargs, message.content_type) == kwargs
            for link in ("callbacks", "errbacks", "chain", "chord"):
                assert normal(getattr(request, link)) == (links or {}).get(link)
    assert seen or name.startswith(("foreign-gocelery", "foreign-node-celery", "result"))


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_a_body_of_raw_data_is_refused_unless_listed(name):
    for message, _, _ in vector.messages_of(vector.load(name)):
        with pytest.raises(ContentDisallowed, match="application/data"):
            protocol2.decode_request(message, ACCEPT)


@pytest.mark.parametrize("name", [name for name in vector.names("foreign") if "gocelery" in name or "node" in name])
def test_foreign_clients_ask_for_two_plus_three(name):
    ((message, _, _),) = vector.messages_of(vector.load(name))
    head, request = protocol2.decode_head(message), protocol2.decode_request(message)
    assert (head.task, head.id) == (request.task, request.id)
    assert request.task == "t.add"
    assert request.id
    assert sum(request.args) == 5


def test_a_hybrid_takes_its_arguments_from_the_mapping():
    ((message, _, _),) = vector.messages_of(vector.load("foreign-hybrid.redis.json"))
    request = protocol2.decode_request(message)
    assert (request.args, request.kwargs, request.callbacks) == ([2, 3], {}, None)


@pytest.mark.parametrize("name", vector.names("proto1"))
def test_protocol_1_is_read_and_written_as_celery_does(name):
    seen = 0
    for message, headers, body in vector.messages_of(vector.load(name)):
        if headers:
            continue
        seen += 1
        head, request = protocol2.decode_head(message), protocol2.decode_request(message)
        assert (head.id, head.task) == (request.id, request.task) == (body["id"], body["task"])
        assert request.protocol == 1
        assert (normal(request.args), normal(request.kwargs)) == (body["args"], body["kwargs"])
        assert request.group == (body["taskset"] or body["group"])
        assert head.retries == request.retries == body["retries"]
        assert [request.time_limit_s, request.soft_time_limit_s] == body["timelimit"]
        assert head.expires_at == (request.expires.timestamp() if request.expires else None)
        for link in ("callbacks", "errbacks", "chord"):
            assert normal(getattr(request, link)) == body[link]
        again = protocol1.encode_call(call_from_request(request))
        assert again.body == message.body
        assert again.headers == message.headers
    assert seen


def call_from_request(request, **changes):
    fields = {name: getattr(request, name) for name in Call.__struct_fields__ if hasattr(request, name)}
    return Call(**{**fields, **changes})


@pytest.mark.parametrize("name", WRITTEN)
def test_what_we_write_for_the_same_call_is_what_celery_wrote(name):
    for message, headers, body in vector.messages_of(vector.load(name)):
        if not headers.get("task") or message.content_type != "application/json":
            continue
        request = protocol2.decode_request(message)
        eta, expires = headers["eta"], headers["expires"]
        call = call_from_request(
            request,
            eta=parse_iso(eta) if eta else None,
            expires=parse_iso(expires) if expires else None,
        )
        written = protocol2.encode_call(call)
        ours = json.loads(written.headers)
        assert ours == headers
        standard = [header for header in headers if header in protocol2.NOT_CUSTOM_HEADERS]
        assert [header for header in ours if header in protocol2.NOT_CUSTOM_HEADERS] == standard
        if "compression" not in headers:
            assert written.body == message.body
        assert protocol2.decode_request(written) == protocol2.decode_request(message)
        assert (written.content_type, written.content_encoding) == (message.content_type, message.content_encoding)
        assert body is not None


@pytest.mark.parametrize("name", vector.names("task"))
def test_the_text_of_simple_arguments_is_pythons(name):
    for message, headers, body in vector.messages_of(vector.load(name)):
        told = headers.get("argsrepr", "")
        if not told or len(told) > 1000 or "__type__" in message.body.decode() or name.startswith("task-argsrepr"):
            continue
        args = tuple(body[0]) if told.startswith("(") else body[0]
        assert saferepr(args) == told
        assert saferepr(body[1]) == headers["kwargsrepr"]


@pytest.mark.parametrize("name", VERSIONS)
def test_messages_of_older_releases_are_read(name):
    version = vector.load(name)
    for kind in ("redis_message", "amqp_message"):
        message, headers, body = vector.from_capture(version["raw"][kind], version["decoded"][kind])
        request = protocol2.decode_request(message)
        check_request(request, protocol2.decode_head(message), headers)
        assert [request.args, request.kwargs] == body[:2]


ENVELOPE = "spoils the envelope, which the adapter of the broker reads"
TAKEN = "taken"
POISON = {
    "not JSON at all": ENVELOPE,
    "a JSON array": ENVELOPE,
    "no properties key": ENVELOPE,
    "body is not base64": ENVELOPE,
    "no delivery_tag property": TAKEN,
    "no delivery_info property": TAKEN,
    "delivery_info null": TAKEN,
    "no id header": TAKEN,
    "args null": TAKEN,
    "unknown task": TAKEN,
    "lang of another language": TAKEN,
    "no headers key": "unknown message",
    "headers null": "unknown message",
    "headers empty, body not a mapping": "unknown message",
    "body empty string": "not valid JSON",
    "body a mapping without args": "without 'args'",
    "body a list of two": "not .args, kwargs, links",
    "kwargs a list": "kwargs are a list",
    "unknown content type": "refused to read content type 'application/x-",
    "pickle content type, not accepted": "refused to read content type 'pickle'",
    "unknown compression": "unknown compression",
    "bad eta": "header 'eta'",
    "numeric eta": "header 'eta'",
    "numeric id": "header 'id' holds int",
    "timelimit of one item": "header 'timelimit'",
}
OUTCOMES = vector.load("hazard-poison-messages.redis.json")["decoded"]["outcomes"]


@pytest.mark.parametrize("outcome", OUTCOMES, ids=lambda outcome: outcome["what"])
def test_a_message_that_stops_a_celery_worker_is_taken_or_refused_with_a_reason(outcome):
    expected = POISON[outcome["what"]]
    if expected == ENVELOPE:
        pytest.skip(ENVELOPE)
    message = vector.from_envelope(json.loads(outcome["message"]), "celery")
    if expected == TAKEN:
        assert protocol2.decode_head(message).id == protocol2.decode_request(message).id
        return
    with pytest.raises(DecodeError, match=expected):
        protocol2.decode_request(message)


def test_families_without_a_golden_test_are_named_with_their_reason(capsys):
    with capsys.disabled():
        for families, reason in vector.NOT_COVERED.items():
            print(f"\n  not read here: {families}: {reason}", end="")
    assert all(vector.NOT_COVERED.values())
