"""What holds of the wire for all values, and for all bytes that somebody may send."""

from __future__ import annotations

import json
import math
import string
import uuid
from datetime import timedelta, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from celeriac.model.call import Call
from celeriac.model.errors import DecodeError, EncodeError, SecurityError
from celeriac.model.message import Message, Record
from celeriac.wire import protocol1, protocol2, records
from celeriac.wire.compression import COMPRESSIONS, compress, decompress
from celeriac.wire.exceptions import exception_from, exception_record
from celeriac.wire.saferepr import CHARS_MAX, saferepr
from celeriac.wire.serializers import ACCEPT_DEFAULT, JSON, SERIALIZERS

SAFE = frozenset({"json", "yaml", "msgpack"})
CONTENT_TYPES = [
    "application/json",
    "application/x-msgpack",
    "application/x-yaml",
    "application/data",
    "text/plain",
    "x",
]

REFUSED = object()


def outcome_of(read, *args):
    """What `read` returns, or `REFUSED`, after a refusal of the kind that is allowed and with a reason."""
    try:
        return read(*args)
    except (DecodeError, SecurityError) as exc:
        if not str(exc):
            raise AssertionError("refused without a reason") from exc
        return REFUSED


texts = st.text(max_size=20)
any_texts = st.text(alphabet=st.characters(), max_size=20)  # lone surrogates too
whole = st.integers(-(2**70), 2**70)
scalars = st.none() | st.booleans() | whole | st.floats(allow_nan=False) | any_texts
keys = any_texts.filter(lambda key: key != "__type__")
plain = st.recursive(scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4))
zones = st.none() | st.integers(-1439, 1439).map(lambda minutes: timezone(timedelta(minutes=minutes)))
moments = st.datetimes(timezones=zones)
typed = (
    moments
    | st.dates()
    | st.times()
    | st.decimals(allow_nan=False)
    | st.uuids()
    | st.binary(max_size=20)
    | st.sampled_from([math.inf, -math.inf])
)
values = st.recursive(
    scalars | typed, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4)
)
names = st.text(alphabet=string.ascii_letters + "._", min_size=1, max_size=20)


@given(values)
def test_a_value_comes_back_from_json_as_it_was(value):
    assert JSON.loads(JSON.dumps(value)) == value


@given(values)
def test_json_is_ascii_in_one_line(value):
    data = JSON.dumps(value)
    assert data.isascii()
    assert b"\n" not in data


@given(plain)
def test_json_is_what_the_standard_library_reads_and_writes(value):
    text = json.dumps(value)
    assert JSON.dumps(value) == text.encode()
    assert json.loads(JSON.dumps(value)) == JSON.loads(text.encode()) == value


json_like = st.text(alphabet='[]{}",:0123456789.eE+-\\unl truefasNIity', max_size=40) | st.text(max_size=40)


@given(json_like)
def test_what_both_readers_of_json_accept_means_the_same(text):
    try:
        expected = json.loads(text)
    except ValueError:
        with pytest.raises(DecodeError):
            JSON.loads(text.encode("utf-8"))
    else:
        assert repr(JSON.loads(text.encode("utf-8"))) == repr(expected)


packable_keys = texts | st.integers(-(2**63), 2**64 - 1)
packable_leaf = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | texts
packable = st.recursive(
    packable_leaf | st.binary(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(packable_keys, inner, max_size=4),
)


@given(packable)
def test_a_value_comes_back_from_msgpack_as_it_was(value):
    serializer = SERIALIZERS["msgpack"]
    assert serializer.loads(serializer.dumps(value)) == value


@given(st.recursive(st.none() | st.integers() | st.binary() | names, lambda inner: st.lists(inner, max_size=3)))
def test_a_value_comes_back_from_yaml_and_pickle_as_it_was(value):
    for name in ("yaml", "pickle"):
        assert SERIALIZERS[name].loads(SERIALIZERS[name].dumps(value)) == value


@pytest.mark.parametrize("name", sorted(SAFE))
@given(data=st.binary(max_size=200) | json_like.map(str.encode))
def test_arbitrary_bytes_are_read_or_refused_with_a_decode_error(name, data):
    outcome_of(SERIALIZERS[name].loads, data)


counts = st.none() | st.integers(0, 10**6)
seconds = st.none() | st.integers(0, 10**6) | st.floats(0, 1e6)
signatures = st.none() | st.lists(
    st.fixed_dictionaries({"task": names, "args": st.lists(whole, max_size=2)}), max_size=2
)
calls = st.builds(
    Call,
    id=texts.filter(bool),  # half of a surrogate pair is refused: ids are keys of stores
    task=any_texts.filter(bool),
    queue=names,
    args=st.lists(values, max_size=4),
    kwargs=st.dictionaries(keys, values, max_size=4),
    eta=st.none() | moments,
    expires=st.none() | moments,
    priority=st.none() | st.integers(0, 9),
    compression=st.none() | st.sampled_from(sorted(COMPRESSIONS)),
    retries=st.integers(0, 100),
    time_limit_s=seconds,
    soft_time_limit_s=seconds,
    root_id=st.none() | any_texts.filter(bool),
    parent_id=st.none() | any_texts,
    group=st.none() | any_texts,
    group_index=counts,
    shadow=st.none() | any_texts,
    argsrepr=st.none() | any_texts,
    kwargsrepr=st.none() | any_texts,
    origin=any_texts,
    ignore_result=st.none() | st.booleans(),
    replaced_task_nesting=st.integers(0, 100),
    stamped_headers=st.none() | st.lists(texts, max_size=3),
    stamps=st.dictionaries(texts, values, max_size=3),
    headers=st.dictionaries(keys.filter(lambda key: key not in protocol2.NOT_CUSTOM_HEADERS), values, max_size=3),
    reply_to=texts,
    callbacks=signatures,
    errbacks=signatures,
    chain=signatures,
    chord=st.none() | st.fixed_dictionaries({"task": names}),
    properties=st.dictionaries(keys, values, max_size=3),
)
COMPARED = set(Call.__struct_fields__) - {
    "serializer",
    "compression",
    "eta",
    "expires",
    "root_id",
    "argsrepr",
    "kwargsrepr",
}


@settings(max_examples=200)
@given(calls)
def test_a_call_comes_back_from_its_message_as_it_was(call):
    message = protocol2.encode_call(call)
    head, request = protocol2.decode_head(message), protocol2.decode_request(message)
    for name in COMPARED:
        expected = getattr(call, name)
        assert getattr(request, name) == (list(expected) if isinstance(expected, tuple) else expected), name
    assert request.root_id == head.root_id == (call.root_id or call.id)
    for name in ("eta", "expires"):
        moment, back = getattr(call, name), getattr(request, name)
        assert (moment is None) == (back is None)
        if moment is not None:
            assert back == (moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc))
    for name in ("argsrepr", "kwargsrepr"):
        told = getattr(call, name)
        assert getattr(request, name) == (saferepr(getattr(call, name[:-4])) if told is None else told)
    for name in (
        "id",
        "task",
        "retries",
        "time_limit_s",
        "soft_time_limit_s",
        "ignore_result",
        "parent_id",
        "group",
        "shadow",
    ):
        assert getattr(head, name) == getattr(request, name), name
    assert (message.eta_at is None) == (call.eta is None)


@given(calls)
def test_a_call_of_protocol_1_comes_back_too(call):
    message = protocol1.encode_call(call)
    head, request = protocol2.decode_head(message), protocol2.decode_request(message)
    assert request.protocol == 1
    for name in ("id", "task", "args", "kwargs", "retries", "time_limit_s", "callbacks", "errbacks", "chord"):
        assert getattr(request, name) == getattr(call, name), name
    assert (head.id, head.task) == (call.id, call.task)


odd = st.none() | st.booleans() | st.integers() | st.floats() | texts | st.lists(scalars, max_size=3) | st.just({})
header_maps = st.dictionaries(st.sampled_from(sorted(protocol2.NOT_CUSTOM_HEADERS)) | texts, odd, max_size=8)
headers = st.binary(max_size=60) | header_maps.map(lambda value: json.dumps(value).encode())
bodies = st.binary(max_size=60) | st.lists(odd | plain, max_size=4).map(lambda value: json.dumps(value).encode())
bodies |= st.dictionaries(st.sampled_from(["task", "id", "args", "kwargs", "eta", "utc", "taskset"]) | texts, odd).map(
    lambda value: json.dumps(value).encode()
)
messages = st.builds(
    Message,
    id=texts,
    task=texts,
    queue=texts,
    headers=headers,
    body=bodies,
    content_type=st.sampled_from(CONTENT_TYPES),
    content_encoding=st.sampled_from(["utf-8", "binary", "latin-1", "utf-16", "zip", "idna", "\0"]) | texts,
    properties=st.just(b"") | headers,
)


@settings(max_examples=500)
@given(messages)
def test_an_arbitrary_message_is_read_or_refused_with_a_decode_error(message):
    for read in (protocol2.decode_head, protocol2.decode_request):
        found = outcome_of(read, message, SAFE)
        if found is not REFUSED:
            assert found.id
            assert found.task is not None


@settings(max_examples=300)
@given(
    st.binary(max_size=100)
    | st.dictionaries(
        st.sampled_from(["status", "result", "task_id", "exc_type", "stamped_headers", "children"]),
        odd
        | st.sampled_from(["SUCCESS", "FAILURE"])
        | st.dictionaries(st.sampled_from(["exc_type", "exc_message", "exc_module"]), odd),
    ).map(lambda value: json.dumps(value).encode())
)
def test_an_arbitrary_record_is_read_or_refused(payload):
    meta = outcome_of(records.decode_record, Record("id", "SUCCESS", payload), SAFE)
    if meta is not REFUSED:
        assert isinstance(meta.status, str)


@given(values, st.floats(0, 4e9), st.none() | names, st.none() | names)
def test_a_result_comes_back_from_its_record_as_it_was(value, done_at, group_id, parent_id):
    head = records.RecordHead(str(uuid.UUID(int=5)), group_id, parent_id)
    meta = records.decode_record(records.encode_success(head, value, done_at))
    assert (meta.result, meta.group_id, meta.parent_id, meta.task_id) == (value, group_id, parent_id, head.task_id)
    assert json.loads(records.encode_success(head, value, done_at).payload)["status"] == "SUCCESS"


@given(names.filter(lambda name: "." not in name), names, st.lists(values, max_size=3))
def test_an_exception_of_unknown_class_keeps_name_module_and_arguments(name, module, args):
    made = exception_from({"exc_type": name, "exc_module": "nowhere." + module, "exc_message": args})
    assert list(made.args) == args
    assert exception_record(made, JSON.dumps) == {
        "exc_type": name,
        "exc_module": "nowhere." + module,
        "exc_message": args,
    }


@given(st.binary(max_size=2000), st.sampled_from(sorted(COMPRESSIONS)))
def test_compressed_bytes_come_back_as_they_were(data, method):
    packed, content_type = compress(data, method)
    assert decompress(packed, content_type) == decompress(packed, method) == data
    with pytest.raises(DecodeError):
        decompress(packed[:-1], method)


@given(st.binary(max_size=200), st.sampled_from(sorted(COMPRESSIONS)))
def test_arbitrary_bytes_are_decompressed_or_refused_with_a_decode_error(data, method):
    plain_bytes = outcome_of(decompress, data, method, 1000)
    if plain_bytes is not REFUSED:
        assert len(plain_bytes) <= 1000


anything = st.recursive(
    scalars | typed | st.builds(object),
    lambda inner: st.lists(inner) | st.tuples(inner) | st.dictionaries(whole, inner) | st.frozensets(scalars),
)


@given(anything, st.integers(1, 200))
def test_a_safe_repr_is_bounded(value, chars_max):
    assert len(saferepr([value, object()], chars_max)) <= chars_max + len("...")


@given(st.lists(scalars, max_size=5) | st.dictionaries(texts, scalars, max_size=5))
def test_a_safe_repr_of_something_small_is_its_repr(value):
    if len(repr(value)) <= CHARS_MAX:
        assert saferepr(value) == repr(value)


class _Unencodable:
    pass


paths = st.lists(st.integers(0, 3) | texts.filter(lambda key: key.isidentifier()), max_size=6)


@given(paths)
def test_an_unencodable_argument_is_named_by_its_path(path):
    value = _Unencodable()
    for step in reversed(path):
        value = [None] * step + [value] if isinstance(step, int) else {step: value, "other": 1}
    place = "args[0]" + "".join(f'["{step}"]' if isinstance(step, str) else f"[{step}]" for step in path)
    with pytest.raises(EncodeError) as caught:
        protocol2.encode_call(Call(id="i", task="t", queue="q", args=(value,)))
    assert str(caught.value).startswith(f"{place}: object of type _Unencodable is not JSON serializable")


def test_only_json_is_accepted_unless_configured():
    assert set(ACCEPT_DEFAULT) == {"json"}
