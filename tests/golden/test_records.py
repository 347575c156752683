"""Result records captured from real Celery: read as they were meant, and written byte for byte."""

from __future__ import annotations

import json

import pytest

from celeriac.model import errors
from celeriac.model.message import Record
from celeriac.model.states import EXCEPTION_STATES, SUCCESS
from celeriac.wire import records
from celeriac.wire.extended_json import encode_text
from celeriac.wire.times import aware, parse_iso
from golden import vector

ACCEPT = frozenset({"json", "yaml", "msgpack", "pickle"})
CONTENT_TYPES = {
    "result-yaml.redis.json": "application/x-yaml",
    "result-msgpack.redis.json": "application/x-msgpack",
    "result-pickle-failure.redis.json": "application/x-python-serialize",
}
NO_RECORDS = {"result-ignored", "result-ignore-result", "result-rejected-requeue"}
"""Runs after which Celery stores nothing."""
FIELDS = ("traceback", "children", "date_done", "group_id", "parent_id", "name", "args", "kwargs", "worker", "queue")


JSON = "application/json"


def records_of(name):
    raw = vector.load(name)["raw"]
    content_type = CONTENT_TYPES.get(name, JSON)
    values = [write["value"] for write in raw.get("result_writes", ()) if "celery-task-meta-" in write["key"]]
    values += [message["body"] for message in raw.get("result_messages", ())]
    return [Record("", "", vector.raw_bytes(value), None, "", content_type) for value in values]


NAMES = vector.names("result")


@pytest.mark.parametrize("name", NAMES)
def test_a_captured_record_is_read_as_it_was_meant(name):
    found = records_of(name)
    assert found or name.split(".")[0] in NO_RECORDS
    for record in found:
        meta = records.decode_record(record, ACCEPT)
        assert meta.task_id
        if record.content_type != JSON or record.payload.startswith(b"\0"):
            continue
        told = json.loads(record.payload)
        assert (meta.task_id, meta.status) == (told["task_id"], told["status"])
        for field in FIELDS:
            assert getattr(meta, field) == told.get(field), field
        if meta.status in EXCEPTION_STATES:
            assert isinstance(meta.result, BaseException)
            assert [*meta.result.args] == told["result"]["exc_message"]
        else:
            assert json.loads(encode_text(meta.result)) == told["result"]


@pytest.mark.parametrize("name", NAMES)
def test_the_same_record_is_written_byte_for_byte(name):
    for record in records_of(name):
        if record.content_type != JSON or record.payload.startswith(b"\0"):
            continue
        meta = records.decode_record(record)
        told = json.loads(record.payload)
        if next(iter(told)) == "task_id":
            continue  # another order of keys, in answers to the caller over AMQP
        done_at = aware(parse_iso(meta.date_done)).timestamp() if meta.date_done else None
        assert write(meta, done_at).payload == record.payload


def write(meta, done_at):
    extended = None
    if meta.name is not None:
        extended = records.Extended(
            meta.name,
            meta.args,
            meta.kwargs,
            meta.worker,
            meta.retries,
            meta.queue,
            meta.stamped_headers,
            meta.stamps,
        )
    head = records.RecordHead(meta.task_id, meta.group_id, meta.parent_id, meta.children, extended)
    if meta.status == SUCCESS:
        return records.encode_success(head, meta.result, done_at)
    if meta.status in EXCEPTION_STATES:
        return records.encode_failure(head, meta.result, meta.traceback, done_at, meta.status)
    return records.encode_state(head, meta.status, meta.result, done_at)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("result-unknown-task.redis.json", errors.NotRegistered),
        ("result-expired.redis.json", errors.TaskRevokedError),
        ("result-soft-time-limit.redis.json", errors.SoftTimeLimitExceeded),
        ("result-hard-time-limit.redis.json", errors.TimeLimitExceeded),
        ("result-worker-lost.redis.json", errors.WorkerLostError),
        ("result-rejected.redis.json", errors.Reject),
        ("result-failure.redis.json", ValueError),
        ("result-pickle-failure.redis.json", ValueError),
    ],
)
def test_celerys_own_exceptions_come_back_as_ours(name, kind):
    metas = [records.decode_record(record, ACCEPT) for record in records_of(name)]
    assert type(metas[-1].result) is kind


def test_an_exception_whose_module_is_not_loaded_keeps_its_name_and_arguments():
    meta = records.decode_record(records_of("result-failure-custom.redis.json")[-1])
    assert type(meta.result).__name__ == "CustomError"
    assert type(meta.result).__module__ == "wire_tasks"
    assert meta.result.args == ("custom trouble",)


@pytest.mark.parametrize("name", vector.names("version"))
def test_records_of_older_releases_are_read(name):
    results = vector.load(name)["raw"]["redis_results"]
    found = [records.decode_record(Record(key, "", vector.raw_bytes(entry["value"]))) for key, entry in results.items()]
    assert {meta.status for meta in found} >= {"SUCCESS", "FAILURE"}
