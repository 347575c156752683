"""Serializers: what travels, what is refused, and what the refusal says."""

# ruff: noqa: DTZ001 - moments without a zone are part of the format

from __future__ import annotations

import json
import sys
from datetime import date, datetime, time, timezone
from decimal import Decimal
from enum import IntEnum
from uuid import UUID

import pytest

from celeriac.model.errors import ContentDisallowed, DecodeError, EncodeError
from celeriac.wire.serializers import (
    JSON,
    SERIALIZERS,
    by_content_type,
    load_body,
    register_type,
    require_accepted,
    serializer_named,
)

TYPED = [
    (datetime(2030, 1, 2, 3, 4, 5, 678901, timezone.utc), "datetime", "2030-01-02T03:04:05.678901+00:00"),
    (datetime(2030, 1, 2), "datetime", "2030-01-02T00:00:00"),
    (date(2030, 1, 2), "date", "2030-01-02"),
    (time(3, 4, 5), "time", "03:04:05"),
    (Decimal("1.10"), "decimal", "1.10"),
    (UUID(int=7), "uuid", {"hex": "00000000000000000000000000000007"}),
    (b"text bytes", "bytes", "text bytes"),
    (b"\xff\x00", "base64", "/wA="),
]


@pytest.mark.parametrize(("value", "kind", "wire"), TYPED)
def test_json_carries_types_it_lacks_as_celery_does(value, kind, wire):
    data = JSON.dumps({"v": [value]})
    assert json.loads(data) == {"v": [{"__type__": kind, "__value__": wire}]}
    back = JSON.loads(data)["v"][0]
    assert (back, type(back)) == (value, type(value))


def test_json_writes_tuples_as_arrays_and_bare_infinities():
    assert JSON.dumps((1, (2.5, None), float("inf"))) == b"[1, [2.5, null], Infinity]"
    assert JSON.loads(b"[Infinity, -Infinity]") == [float("inf"), float("-inf")]


def test_json_reads_moments_as_other_languages_write_them():
    for text in ("2030-01-02T03:04:05.123456789Z", "2030-01-02T03:04:05.123456+0000", "2030-01-02 03:04:05.123456+00"):
        data = json.dumps({"__type__": "datetime", "__value__": text}).encode()
        assert JSON.loads(data) == datetime(2030, 1, 2, 3, 4, 5, 123456, timezone.utc)


def test_a_subclass_travels_as_its_base():
    class Level(IntEnum):
        HIGH = 3

    class Stamp(datetime):
        pass

    assert JSON.dumps([Level.HIGH]) == b"[3]"
    assert type(JSON.loads(JSON.dumps(Stamp(2030, 1, 1)))) is datetime


def test_an_object_can_say_what_it_is_in_json():
    class Node:
        def __json__(self):
            return {"task": "add"}

    assert JSON.dumps([Node()]) == b'[{"task": "add"}]'


def test_a_registered_type_travels_and_comes_back():
    class Money:
        def __init__(self, cents):
            self.cents = cents

    register_type(Money, "test-money", lambda value: value.cents, Money)
    back = JSON.loads(JSON.dumps([Money(5)]))[0]
    assert (type(back), back.cents) == (Money, 5)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([1, {"x": {1, 2}}], r'\[1\]\["x"\]: object of type set is not JSON serializable; pass plain data or choose'),
        ({"a": {(1, 2): 3}}, r'\["a"\]: the key \(1, 2\)'),
        (object(), "object of type object is not JSON serializable"),
        ([0, 10**5000], r"\[1\]: object of type int is not JSON serializable \(ValueError"),
    ],
)
def test_an_unserializable_part_is_named_by_its_place(value, message):
    with pytest.raises(EncodeError, match=message):
        JSON.dumps(value)


def test_an_object_whose_hook_raises_is_named_with_the_reason():
    class Broken:
        def __json__(self):
            raise LookupError("no such row")

    with pytest.raises(EncodeError, match=r"\[0\]: object of type Broken .*LookupError: no such row"):
        JSON.dumps([Broken()])


@pytest.mark.parametrize("name", ["json", "msgpack", "pickle"])
def test_a_value_that_contains_itself_is_refused(name):
    loop: list[object] = []
    deep: list[object] = []
    for _ in range(100_000):
        deep = [deep]
    loop.append(deep)
    with pytest.raises(EncodeError, match="contains itself or is nested too deeply"):
        SERIALIZERS[name].dumps(loop)


def test_a_mapping_that_would_come_back_as_something_else_is_refused():
    with pytest.raises(EncodeError, match="__type__"):
        JSON.dumps({"x": [{"__type__": "date", "__value__": "2030-01-01"}]})
    more = {"__type__": "a", "__value__": 1, "other": 2}
    assert JSON.loads(JSON.dumps(more)) == more


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"\xff",
        b"[" * 200_000,
        b'{"__type__": "nonsense", "__value__": 1}',
        b'{"__type__": "datetime", "__value__": "yesterday"}',
        b'{"__type__": "uuid", "__value__": 1}',
        b'{"__type__": ["date"], "__value__": 1}',
        b"9" * 5000,
        b"[" + b"9" * 5000 + b", NaN]",
    ],
)
def test_bad_json_is_a_decode_error(data):
    with pytest.raises(DecodeError):
        JSON.loads(data)


def test_numbers_beyond_64_bits_come_back_exactly():
    for number in (2**64, -(2**200), 10**4000):
        assert JSON.loads(JSON.dumps([number])) == [number]


@pytest.mark.parametrize("value", [value for value, kind, _ in TYPED if kind not in {"bytes", "base64"}])
def test_msgpack_refuses_what_it_would_change_on_the_way(value):
    with pytest.raises(EncodeError, match=r'\["x"\]\[0\]: object of type \w+ is not msgpack serializable'):
        SERIALIZERS["msgpack"].dumps({"x": [value]})


def test_msgpack_keeps_text_and_bytes_apart():
    serializer = SERIALIZERS["msgpack"]
    assert serializer.loads(serializer.dumps(["a", b"a"])) == ["a", b"a"]


def test_yaml_is_safe_in_both_directions():
    serializer = SERIALIZERS["yaml"]
    with pytest.raises(DecodeError):
        serializer.loads(b"!!python/object/apply:os.system ['true']")
    with pytest.raises(EncodeError, match=r"\[0\]: object of type object is not YAML serializable"):
        serializer.dumps([object()])


def test_yaml_without_its_library_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "yaml", None)
    with pytest.raises(EncodeError, match=r"pip install 'celeriac\[yaml\]'"):
        SERIALIZERS["yaml"].dumps(1)
    with pytest.raises(DecodeError, match=r"pip install 'celeriac\[yaml\]'"):
        SERIALIZERS["yaml"].loads(b"1")


def test_pickle_names_the_part_it_refuses():
    with pytest.raises(EncodeError, match=r'\["f"\]: object of type function is not pickle serializable'):
        SERIALIZERS["pickle"].dumps({"ok": 1, "f": lambda: None})


def test_a_damaged_pickle_is_a_decode_error():
    for data in (b"", b"garbage", b"cnowhere\nNothing\n."):
        with pytest.raises(DecodeError, match="not a readable pickle"):
            SERIALIZERS["pickle"].loads(data)


@pytest.mark.parametrize("accept", [{"json"}, {"application/json"}, ["yaml", "json"], ("application/json",)])
def test_content_is_accepted_by_name_or_mime_type(accept):
    require_accepted("application/json", accept)


@pytest.mark.parametrize("content_type", ["application/x-python-serialize", "application/data", "application/text", ""])
def test_content_that_is_not_listed_is_refused_with_what_is_accepted(content_type):
    with pytest.raises(ContentDisallowed, match="accepted are: json"):
        require_accepted(content_type, {"json"})


def test_nothing_is_decoded_before_it_is_accepted():
    with pytest.raises(ContentDisallowed):
        load_body(b"damaged", "application/x-python-serialize", "binary", "unknown", {"json"})


def test_an_accepted_type_without_a_serializer_is_a_decode_error():
    with pytest.raises(DecodeError, match="no serializer reads"):
        load_body(b"x", "application/data", "binary", None, {"application/data"})


def test_an_unknown_serializer_is_named_with_the_known_ones():
    with pytest.raises(EncodeError, match=r"'jsno'; known are: json, msgpack, pickle, yaml"):
        serializer_named("jsno")
    assert serializer_named("application/json") is by_content_type("application/json") is JSON


def test_text_in_another_charset_is_read():
    assert load_body('["ü"]'.encode("latin-1"), "application/json", "iso-8859-1") == ["ü"]
    assert load_body('["ü"]'.encode("utf-16"), "application/json", "UTF-16") == ["ü"]


@pytest.mark.parametrize("charset", ["punycode", "zip", "nonsense", "a\0b", "utf-16"])
def test_text_in_a_charset_that_is_none_or_slow_is_refused(charset):
    with pytest.raises(DecodeError, match="charset"):
        load_body(b'["a"]', "application/json", charset)
