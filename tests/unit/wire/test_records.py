"""Result records and the exceptions in them."""

from __future__ import annotations

import json
import pickle
import sys
import types

import pytest

from celeriac.model import errors, states
from celeriac.model.errors import ContentDisallowed, DecodeError, EncodeError, SecurityError
from celeriac.model.message import Record
from celeriac.wire import records
from celeriac.wire.exceptions import exception_from, exception_record, name_of, portable
from celeriac.wire.serializers import JSON, SERIALIZERS

HEAD = records.RecordHead("i1", expires_s=60.0, reply_to="me")
ACCEPT = frozenset(SERIALIZERS)
OWN = [cls for cls in vars(errors).values() if isinstance(cls, type) and issubclass(cls, BaseException)]


class WantsTwo(Exception):
    """An exception of the common kind that cannot be made from its own arguments."""

    def __init__(self, code, text):
        super().__init__(f"{code}: {text}")
        self.code = code


class Unshowable(Exception):
    def __str__(self):
        raise RuntimeError("no text")

    __repr__ = __str__


def test_a_success_is_written_in_celerys_order():
    head = records.RecordHead("i1", "g1", "p1", ([["c1", None], None],), expires_s=60.0, reply_to="me")
    record = records.encode_success(head, {"a": (1, None)}, 0.5)
    assert record.payload == (
        b'{"status": "SUCCESS", "result": {"a": [1, null]}, "traceback": null, "children": [[["c1", null], null]], '
        b'"date_done": "1970-01-01T00:00:00.500000+00:00", "group_id": "g1", "parent_id": "p1", "task_id": "i1"}'
    )
    assert (record.id, record.state, record.expires_s, record.reply_to) == ("i1", "SUCCESS", 60.0, "me")
    assert record.content_type == "application/json"


@pytest.mark.parametrize("children", [(), None])
@pytest.mark.parametrize("ids", [(None, None), ("g", None), (None, "p"), ('g"\ud800', "p")])
def test_the_template_writes_what_the_serializer_would(children, ids):
    head = records.RecordHead('i"1', *ids, children)
    meta = {"status": "SUCCESS", "result": "ü", "traceback": None, "children": children if children is None else []}
    meta["date_done"] = "1970-01-01T00:00:01+00:00"
    meta |= {name: value for name, value in zip(("group_id", "parent_id"), ids, strict=True) if value is not None}
    meta["task_id"] = 'i"1'
    assert records.encode_success(head, "ü", 1.0).payload == JSON.dumps(meta)


def test_a_result_that_cannot_be_encoded_is_an_encode_error_with_its_place():
    for head in (HEAD, records.RecordHead("i1", extended=records.Extended("t"))):
        with pytest.raises(EncodeError, match=r"object of type object is not JSON serializable"):
            records.encode_success(head, [object()], 1.0)


def test_only_final_states_are_dated():
    assert records.decode_record(records.encode_state(HEAD, "PROGRESS", {"done": 1}, 5.0)).date_done is None
    assert records.decode_record(records.encode_state(HEAD, states.STARTED, {"pid": 1})).result == {"pid": 1}
    assert records.decode_record(records.encode_failure(HEAD, KeyError(1), None, 5.0, states.RETRY)).date_done is None
    revoked = records.encode_failure(HEAD, errors.TaskRevokedError("expired"), None, 5.0, states.REVOKED)
    assert records.decode_record(revoked).date_done == "1970-01-01T00:00:05+00:00"


@pytest.mark.parametrize("name", sorted(SERIALIZERS))
@pytest.mark.parametrize("compression", [None, "zlib", "lzma"])
def test_every_serializer_and_compression_carries_every_kind_of_record(name, compression):
    head = records.RecordHead("i1", "g", serializer=SERIALIZERS[name], compression=compression)
    success = records.decode_record(records.encode_success(head, [1, "a"], 1.0), {name})
    assert (success.status, success.result, success.group_id) == ("SUCCESS", [1, "a"], "g")
    failure = records.decode_record(records.encode_failure(head, ValueError("boom", 42), "tb \ud800", 1.0), {name})
    assert (type(failure.result), failure.result.args) == (ValueError, ("boom", 42))
    assert failure.traceback == "tb \\ud800"


def test_a_record_is_read_only_if_its_content_is_accepted():
    head = records.RecordHead("i1", serializer=SERIALIZERS["pickle"])
    with pytest.raises(ContentDisallowed):
        records.decode_record(records.encode_success(head, 1, 1.0))


def test_extended_records_carry_the_call_and_its_stamps():
    extended = records.Extended("t", [1], {"a": 2}, "w@h", 3, "q", ["tenant"], {"tenant": "acme"})
    record = records.encode_success(records.RecordHead("i1", extended=extended), 5, 1.0)
    fields = list(json.loads(record.payload))
    assert fields[5:] == [
        "name",
        "args",
        "kwargs",
        "worker",
        "retries",
        "queue",
        "stamped_headers",
        "tenant",
        "task_id",
    ]
    meta = records.decode_record(record)
    assert (meta.name, meta.args, meta.kwargs, meta.worker, meta.retries, meta.queue) == (
        "t",
        [1],
        {"a": 2},
        "w@h",
        3,
        "q",
    )
    assert (meta.stamped_headers, meta.stamps) == (["tenant"], {"tenant": "acme"})


def test_a_failure_is_recorded_even_if_the_calls_arguments_cannot_be():
    extended = records.Extended("t", (object(),), {"f": object()})
    meta = records.decode_record(
        records.encode_failure(records.RecordHead("i1", extended=extended), ValueError("x"), None, 1.0)
    )
    assert meta.result.args == ("x",)
    assert "object object" in meta.args[0]


def test_a_retry_is_recorded_by_its_cause():
    record = records.encode_failure(HEAD, errors.Retry("again", KeyError("k"), 3), "tb", None, states.RETRY)
    assert json.loads(record.payload)["result"] == {
        "exc_type": "KeyError",
        "exc_message": ["k"],
        "exc_module": "builtins",
    }
    bare = records.encode_failure(HEAD, errors.Retry("again", None, 3), "tb", None, states.RETRY)
    assert json.loads(bare.payload)["result"]["exc_type"] == "Retry"


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"5", "not a mapping"),
        (b"{}", "no 'status'"),
        (b'{"status": 5}', "no 'status'"),
        (b'{"status": "FAILURE", "result": {"exc_message": []}}', "no 'exc_type'"),
        (b'{"status": "FAILURE", "result": 5}', "not a mapping"),
        (b"\0celery-compressed\0application/x-gzip\0nonsense", "zlib"),
        (b"\0celery-compressed\0\xff", "unknown compression"),
        (b"\0celery-compressed\0", "unknown compression"),
    ],
)
def test_a_damaged_record_is_a_decode_error(payload, reason):
    with pytest.raises(DecodeError, match=reason):
        records.decode_record(Record("i1", "X", payload))


@pytest.mark.parametrize("cls", OWN, ids=lambda cls: cls.__name__)
def test_our_exceptions_come_back_as_themselves(cls):
    made = cls("mod", "Name", ("arg",)) if cls is errors.UnpickleableExceptionWrapper else cls("reason")
    back = exception_from(exception_record(made, JSON.dumps))
    if cls is errors.UnpickleableExceptionWrapper:
        assert (type(back).__name__, back.args) == ("Name", ("Name('arg',)",))
    else:
        assert (type(back), back.args) == (cls, made.args)


@pytest.mark.parametrize(
    ("cls", "name"),
    [
        (errors.CeleriacError, ("celery.exceptions", "CeleryError")),
        (errors.NotRegistered, ("celery.exceptions", "NotRegistered")),
        (errors.Reject, ("celery.exceptions", "Reject")),
        (errors.TaskRevokedError, ("celery.exceptions", "TaskRevokedError")),
        (errors.WorkerLostError, ("billiard.exceptions", "WorkerLostError")),
        (errors.SoftTimeLimitExceeded, ("billiard.exceptions", "SoftTimeLimitExceeded")),
        (errors.TimeLimitExceeded, ("billiard.exceptions", "TimeLimitExceeded")),
        (errors.Terminated, ("billiard.exceptions", "Terminated")),
        (errors.DecodeError, ("kombu.exceptions", "DecodeError")),
        (errors.BrokerUnavailable, ("celeriac.exceptions", "BrokerUnavailable")),
        (ValueError, ("builtins", "ValueError")),
    ],
)
def test_our_exceptions_are_written_under_the_names_celery_writes(cls, name):
    assert name_of(cls) == name


def test_names_of_other_modules_that_celery_exports_too_are_read_as_ours():
    for module in ("celery.exceptions", "billiard.exceptions"):
        record = {"exc_type": "SoftTimeLimitExceeded", "exc_message": [], "exc_module": module}
        assert type(exception_from(record)) is errors.SoftTimeLimitExceeded


def test_an_exception_of_a_loaded_module_is_made_from_its_arguments():
    back = exception_from(
        {"exc_type": "UnicodeDecodeError", "exc_module": "builtins", "exc_message": ["a", b"b", 0, 1, "c"]}
    )
    assert (type(back), back.object) == (UnicodeDecodeError, b"b")


def test_a_nested_exception_class_is_found():
    module = types.ModuleType("module_of_this_test")
    outer = type("Outer", (), {"Inner": type("Inner", (Exception,), {})})
    vars(module)["Outer"] = outer
    sys.modules[module.__name__] = module
    try:
        back = exception_from({"exc_type": "Outer.Inner", "exc_module": module.__name__, "exc_message": ["x"]})
    finally:
        del sys.modules[module.__name__]
    assert type(back) is outer.Inner


def test_an_exception_that_cannot_be_made_anew_keeps_its_class_and_text():
    back = exception_from({"exc_type": "WantsTwo", "exc_module": __name__, "exc_message": ["5: bad"]})
    assert (type(back), str(back)) == (WantsTwo, "5: bad")
    assert not hasattr(back, "code")


def test_an_exception_whose_class_refuses_everything_is_told_as_text():
    back = exception_from({"exc_type": "ExceptionGroup", "exc_module": "builtins", "exc_message": ["all", "text"]})
    assert "all" in str(back)
    assert "text" in str(back)


@pytest.mark.parametrize(
    ("module", "name"),
    [("os", "system"), ("builtins", "eval"), ("builtins", "int"), ("", "print"), ("os", "path.join")],
)
def test_a_name_that_is_no_exception_class_is_refused_as_an_attack(module, name):
    with pytest.raises(SecurityError, match="no exception class"):
        exception_from({"exc_type": name, "exc_module": module, "exc_message": ["true"]})


def test_reading_an_exception_imports_nothing():
    module = "wave"
    sys.modules.pop(module, None)
    back = exception_from({"exc_type": "Error", "exc_module": module, "exc_message": ["x"]})
    assert module not in sys.modules
    assert (type(back).__name__, type(back).__module__, back.args) == ("Error", module, ("x",))
    again = exception_from({"exc_type": "Error", "exc_module": module, "exc_message": ["y"]})
    assert type(again) is type(back)


def test_a_modules_own_attribute_hook_is_not_asked():
    module = types.ModuleType("lazy_module_of_this_test")
    vars(module)["__getattr__"] = lambda name: pytest.fail(f"asked for {name}")
    sys.modules[module.__name__] = module
    try:
        back = exception_from({"exc_type": "Lazy", "exc_module": module.__name__, "exc_message": []})
    finally:
        del sys.modules[module.__name__]
    assert type(back).__name__ == "Lazy"


@pytest.mark.parametrize("name", ["a\0b", "\ud800", ".", "a.", "x" * 5000])
def test_odd_names_make_an_exception_all_the_same(name):
    assert isinstance(exception_from({"exc_type": name, "exc_module": "m\0", "exc_message": "text"}), Exception)


def test_arguments_that_cannot_be_encoded_become_text():
    record = exception_record(ValueError("x", object, 10**5000, Unshowable()), JSON.dumps)
    assert record["exc_message"] == [
        "x",
        "<class 'object'>",
        f"<int of {(10**5000).bit_length()} bits>",
        "<Unshowable whose repr raises RuntimeError>",
    ]


class LocalState(Exception):
    def __init__(self, text):
        super().__init__(text)
        self.unpicklable = lambda: None


@pytest.mark.parametrize("exc", [LocalState("x"), WantsTwo(1, "b"), Unshowable(object)])
def test_an_exception_that_pickle_refuses_is_carried_by_a_stand_in(exc):
    head = records.RecordHead("i1", serializer=SERIALIZERS["pickle"])
    back = records.decode_record(records.encode_failure(head, exc, None, 1.0), {"pickle"}).result
    if isinstance(exc, Unshowable):
        assert isinstance(back, (Unshowable, errors.UnpickleableExceptionWrapper))
        return
    assert isinstance(back, errors.UnpickleableExceptionWrapper)
    assert (back.exc_cls_name, back.exc_module) == (type(exc).__qualname__, type(exc).__module__)
    assert str(exc) in str(back)


def test_an_exception_that_pickle_carries_is_left_as_it_is():
    exc = ValueError("x")
    assert portable(exc) is exc
    assert pickle.loads(pickle.dumps(portable(LocalState("x")))).exc_cls_name == "LocalState"


def test_an_exception_with_broken_arguments_is_recorded_by_name():
    class Broken(Exception):
        @property
        def args(self):
            raise RuntimeError("no arguments")

    record = exception_record(Broken(), JSON.dumps)
    assert record["exc_message"] == []
    assert record["exc_type"].endswith("Broken")
    for name in ACCEPT:
        head = records.RecordHead("i1", serializer=SERIALIZERS[name])
        assert records.encode_failure(head, Broken(), None, 1.0).state == "FAILURE"
