"""Messages of protocol 2 and 1: what is written, what is read, what is refused and how."""

# ruff: noqa: DTZ001 - moments without a zone are part of the format

from __future__ import annotations

import json
import pickle
from collections import UserDict
from datetime import datetime, timedelta, timezone

import msgspec
import pytest

from celeriac.model.call import Call
from celeriac.model.errors import ContentDisallowed, DecodeError, EncodeError
from celeriac.model.message import Message
from celeriac.wire import protocol1, protocol2
from celeriac.wire.serializers import SERIALIZERS


def call(**fields):
    return Call(**{"id": "i1", "task": "t.add", "queue": "q", "args": (2, 3), **fields})


def message(headers=None, body=b"[[2, 3], {}, {}]", **fields):
    headers = {"task": "t.add", "id": "i1", **(headers or {})}
    return Message(id="i1", task="t.add", queue="q", headers=json.dumps(headers).encode(), body=body, **fields)


def test_a_plain_call_is_written_as_celery_writes_it():
    written = protocol2.encode_call(call(origin="gen1@host", reply_to="me", priority=5))
    assert written.body == (b'[[2, 3], {}, {"callbacks": null, "errbacks": null, "chain": null, "chord": null}]')
    assert list(json.loads(written.headers).items()) == [
        ("lang", "py"),
        ("task", "t.add"),
        ("id", "i1"),
        ("shadow", None),
        ("eta", None),
        ("expires", None),
        ("group", None),
        ("group_index", None),
        ("retries", 0),
        ("timelimit", [None, None]),
        ("root_id", "i1"),
        ("parent_id", None),
        ("argsrepr", "(2, 3)"),
        ("kwargsrepr", "{}"),
        ("origin", "gen1@host"),
        ("ignore_result", None),
        ("replaced_task_nesting", 0),
        ("stamped_headers", None),
        ("stamps", {}),
    ]
    assert (written.id, written.task, written.queue) == ("i1", "t.add", "q")
    assert (written.content_type, written.content_encoding) == ("application/json", "utf-8")
    assert (written.priority, written.eta_at, written.reply_to, written.properties) == (5, None, "me", b"")


def test_the_same_serializer_by_name_and_by_hand_writes_the_same():
    for name, serializer in SERIALIZERS.items():
        assert protocol2.encode_call(call(serializer=name)) == protocol2.encode_call(call(), serializer)


def test_an_eta_without_a_zone_is_utc():
    naive, aware = datetime(2030, 1, 1), datetime(2030, 1, 1, 2, tzinfo=timezone(timedelta(hours=2)))
    one, other = protocol2.encode_call(call(eta=naive)), protocol2.encode_call(call(eta=aware))
    assert one.eta_at == other.eta_at == datetime(2030, 1, 1, tzinfo=timezone.utc).timestamp()
    assert json.loads(one.headers)["eta"] == "2030-01-01T00:00:00"
    assert json.loads(other.headers)["eta"] == "2030-01-01T02:00:00+02:00"
    assert protocol2.decode_request(one).eta == protocol2.decode_request(other).eta


def test_the_callers_headers_travel_beside_ours_and_cannot_make_the_message_unreadable():
    headers = {"x-trace": "abc", "when": datetime(2030, 1, 1), "id": "other", "task": "other", "compression": "none"}
    for compression in (None, "zlib"):
        written = protocol2.encode_call(call(headers=headers, compression=compression))
        request = protocol2.decode_request(written)
        assert (request.id, request.task, request.args) == ("i1", "t.add", [2, 3])
        assert request.headers == {"x-trace": "abc", "when": datetime(2030, 1, 1)}
        assert protocol2.decode_head(written).id == "i1"


def test_stamps_keep_their_types():
    written = protocol2.encode_call(call(stamped_headers=["since"], stamps={"since": datetime(2030, 1, 1)}))
    assert protocol2.decode_request(written).stamps == {"since": datetime(2030, 1, 1)}


def test_any_mapping_and_sequence_of_arguments_travels():
    written = protocol2.encode_call(call(args=range(2), kwargs=UserDict(a=1)))
    request = protocol2.decode_request(written)
    assert (request.args, request.kwargs) == ([0, 1], {"a": 1})


def test_text_that_is_no_unicode_travels():
    odd = "\ud800"
    request = protocol2.decode_request(protocol2.encode_call(call(args=(odd,), shadow=odd)))
    assert (request.args, request.shadow) == ([odd], odd)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"args": (1, [object()])}, r"^args\[1\]\[0\]: object of type object is not JSON serializable"),
        ({"kwargs": {"x": {"y": object()}}}, r'^kwargs\["x"\]\["y"\]: object of type object'),
        ({"args": (object(),), "callbacks": []}, r"^args\[0\]: object of type object"),
        ({"chord": {"task": object()}}, r'^links\["chord"\]\["task"\]: object'),
        ({"headers": {"trace": object()}}, r'^headers\["trace"\]: object of type object'),
        ({"properties": {"app": object()}}, r'^properties\["app"\]: object of type object'),
        ({"shadow": object()}, r'^headers\["shadow"\]: object of type object'),
        ({"args": (object(),), "serializer": "msgpack"}, r"^args\[0\]: object of type object is not msgpack"),
        ({"args": (object(),), "serializer": "yaml"}, r"^args\[0\]: object of type object is not YAML"),
        ({"args": (lambda: 0,), "serializer": "pickle"}, r"^args\[0\]: object of type function is not pickle"),
        ({"serializer": "xml"}, "unknown serializer 'xml'; known are"),
        ({"compression": "rar"}, "unknown compression 'rar'; known are"),
    ],
)
def test_what_cannot_be_sent_is_named_by_its_place(fields, message):
    with pytest.raises(EncodeError, match=message):
        protocol2.encode_call(call(**fields))


def test_the_body_of_another_serializer_is_read_only_if_accepted():
    for name in ("yaml", "msgpack", "pickle"):
        written = protocol2.encode_call(call(serializer=name))
        assert protocol2.decode_head(written).id == "i1"
        with pytest.raises(ContentDisallowed, match=f"'{name}'"):
            protocol2.decode_request(written)
        assert list(protocol2.decode_request(written, {name}).args) == [2, 3]


def test_the_head_is_read_without_touching_the_body():
    class Bomb:
        def __reduce__(self):
            return (pytest.fail, ("the body was decoded",))

    poisoned = message(body=pickle.dumps(Bomb()), content_type="application/x-python-serialize")
    assert protocol2.decode_head(poisoned, {"pickle"}).task == "t.add"


def test_pickle_is_never_read_for_a_head_even_of_protocol_1():
    body = pickle.dumps({"task": "t.add", "id": "i1"})
    old = Message(id="i1", task="", queue="q", headers=b"{}", body=body, content_type="application/x-python-serialize")
    with pytest.raises(ContentDisallowed, match="pickle"):
        protocol2.decode_head(old, {"pickle"})
    assert protocol2.decode_request(old, {"pickle"}).task == "t.add"


@pytest.mark.parametrize(
    ("headers", "attribute", "expected"),
    [
        ({"retries": None}, "retries", 0),
        ({"retries": "3"}, "retries", 3),
        ({"retries": 2.0}, "retries", 2),
        ({"timelimit": None}, "time_limit_s", None),
        ({"timelimit": ["10", None]}, "time_limit_s", 10.0),
        ({"timelimit": [None, 0.5]}, "soft_time_limit_s", 0.5),
        ({"root_id": 7}, "root_id", "7"),
        ({"argsrepr": 5}, "argsrepr", "5"),
        ({"ignore_result": 1}, "ignore_result", True),
        ({"x-other": [1]}, "shadow", None),
        ({"expires": ""}, "expires_at", None),
        ({"expires": "2030-01-01T00:00:00.123456789Z"}, "expires_at", 1893456000.123456),
        ({"expires": "2030-01-01T00:00:00"}, "expires_at", 1893456000.0),
    ],
)
def test_headers_of_other_libraries_are_taken_for_what_they_can_only_mean(headers, attribute, expected):
    assert getattr(protocol2.decode_head(message(headers)), attribute) == expected
    assert protocol2.decode_request(message(headers)).id == "i1"


@pytest.mark.parametrize(
    ("headers", "reason"),
    [
        ({"id": 5}, "'id' holds int, not text"),
        ({"task": ["t"]}, "'task' holds list, not text"),
        ({"retries": "many"}, "'retries' holds 'many', not a whole number"),
        ({"retries": 1.5}, "'retries' holds '1.5'"),
        ({"retries": -1}, "'retries' is negative"),
        ({"timelimit": [10]}, "'timelimit' is not a pair"),
        ({"timelimit": 10}, "'timelimit' is not a pair"),
        ({"timelimit": [-1, None]}, "'timelimit' holds '-1', not seconds"),
        ({"timelimit": ["soon", None]}, "'timelimit' holds 'soon', not seconds"),
        ({"timelimit": [float("nan"), None]}, "'timelimit' holds 'nan', not seconds"),
        ({"expires": "tomorrow"}, "'expires' holds 'tomorrow'"),
        ({"expires": [1]}, "'expires' holds list"),
        ({"stamped_headers": "a"}, "'stamped_headers' is not a list of names"),
        ({"stamps": [1]}, "'stamps' is not a mapping"),
        ({"ignore_result": "no"}, "'ignore_result' holds str"),
    ],
)
def test_headers_that_mean_nothing_are_refused_by_name(headers, reason):
    for read in (protocol2.decode_head, protocol2.decode_request):
        with pytest.raises(DecodeError, match=reason):
            read(message(headers))


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "not valid JSON"),
        (b"[]", "body is not .args, kwargs, links"),
        (b"[1, 2]", "body is not .args, kwargs, links"),
        (b'["ab", {}, {}]', "args are a str"),
        (b"[{}, {}, {}]", "args are a dict"),
        (b"[[], [], {}]", "kwargs are a list"),
        (b"[[], {}, []]", "links are a list"),
        (b'{"a": 1}', "mapping without 'args'"),
        (b'[[], {}, {"callbacks": "x"}]', "'callbacks' in the body is not a list of signatures"),
        (b'[[], {}, {"chain": [1]}]', "'chain' in the body is not a list of signatures"),
        (b'[[], {}, {"chord": [1]}]', "'chord' in the body is not a signature"),
    ],
)
def test_a_body_of_another_shape_is_refused_with_what_is_wrong(body, reason):
    with pytest.raises(DecodeError, match=reason):
        protocol2.decode_request(message(body=body))


@pytest.mark.parametrize("headers", [b"[]", b'"x"', b"5", b"{", b"\xff", b"[" * 100_000, b'{"a":' * 100_000])
def test_headers_that_are_no_object_are_refused(headers):
    bad = msgspec.structs.replace(message(), headers=headers)
    for read in (protocol2.decode_head, protocol2.decode_request):
        with pytest.raises(DecodeError, match="headers"):
            read(bad)


@pytest.mark.parametrize("headers", [b"", b"null", b"{}"])
def test_without_headers_the_body_decides(headers):
    unknown = Message(id="i1", task="", queue="q", headers=headers, body=b"[[], {}, {}]")
    known = Message(id="", task="", queue="q", headers=headers, body=b'{"task": "t.add", "id": "i2", "args": [1]}')
    for read in (protocol2.decode_head, protocol2.decode_request):
        with pytest.raises(DecodeError, match="unknown message"):
            read(unknown)
        assert (read(known).task, read(known).id) == ("t.add", "i2")


def test_a_message_without_an_id_gets_the_one_the_broker_knows():
    nameless = Message(id="c1", task="", queue="q", headers=b'{"task": "t"}', body=b"[[], {}, {}]")
    assert protocol2.decode_head(nameless).id == protocol2.decode_request(nameless).id == "c1"
    for headers in (b'{"task": "t"}', b""):
        lost = Message(id="", task="", queue="q", headers=headers, body=b'{"task": "t", "args": []}')
        for read in (protocol2.decode_head, protocol2.decode_request):
            with pytest.raises(DecodeError, match="no id"):
                read(lost)


def test_in_a_hybrid_the_headers_win():
    body = {"task": "other", "id": "other", "args": [1], "retries": 3, "eta": "2030-01-01T00:00:00", "callbacks": []}
    request = protocol2.decode_request(message({"retries": 1}, body=json.dumps(body).encode()))
    assert (request.task, request.id, request.args, request.callbacks) == ("t.add", "i1", [1], [])
    assert request.retries == 1
    assert request.eta == datetime(2030, 1, 1, tzinfo=timezone.utc)


def test_protocol_1_reads_local_times_as_local_only_when_the_sender_says_so():
    def read(utc):
        body = {"task": "t", "id": "i", "eta": "2030-06-01T12:00:00", "expires": "2030-06-01T12:00:00", "utc": utc}
        old = Message(id="i", task="", queue="q", headers=b"{}", body=json.dumps(body).encode())
        assert protocol2.decode_head(old).expires_at == protocol2.decode_request(old).expires.timestamp()
        return protocol2.decode_request(old).eta

    assert read(utc=True) == datetime(2030, 6, 1, 12, tzinfo=timezone.utc)
    assert read(utc=False) == datetime(2030, 6, 1, 12).astimezone()


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({"task": "t", "args": "ab"}, "args are a str"),
        ({"task": "t", "kwargs": [1]}, "kwargs are a list"),
        ({"task": "t", "callbacks": {"a": 1}}, "'callbacks' in the body"),
        ({"task": "t", "eta": "soon"}, "'eta' holds 'soon'"),
        ({"task": "t", "eta": "soon", "utc": False}, "'eta' holds 'soon'"),
        ({"task": 5}, "unknown message"),
    ],
)
def test_a_bad_body_of_protocol_1_is_refused_with_what_is_wrong(body, reason):
    old = Message(id="i", task="", queue="q", headers=b"{}", body=json.dumps(body).encode())
    with pytest.raises(DecodeError, match=reason):
        protocol2.decode_request(old)


def test_protocol_1_is_written_with_compression_and_read_back():
    written = protocol1.encode_call(call(compression="gzip", group="g", eta=datetime(2030, 1, 1)))
    assert json.loads(written.headers) == {"compression": "application/x-gzip"}
    request = protocol2.decode_request(written)
    assert (request.args, request.group, request.compression) == ([2, 3], "g", "application/x-gzip")
    assert written.eta_at == datetime(2030, 1, 1, tzinfo=timezone.utc).timestamp()


def test_a_bomb_in_the_body_is_refused(monkeypatch):
    monkeypatch.setattr("celeriac.wire.compression.DECOMPRESSED_BYTES_MAX", 1000)
    bomb = protocol2.encode_call(call(args=("x" * 5000,), compression="zlib"))
    with pytest.raises(DecodeError, match="more than 1000 bytes"):
        protocol2.decode_request(bomb)
