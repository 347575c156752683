"""Result records: Celery's meta record, to bytes and back."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timezone
from json.encoder import encode_basestring_ascii as escape
from typing import Any

from msgspec import Struct, field
from msgspec.structs import replace

from celeriac.model.errors import DecodeError, EncodeError, Retry
from celeriac.model.message import Record
from celeriac.model.ports import Serializer
from celeriac.model.states import EXCEPTION_STATES, FAILURE, READY_STATES, RETRY, SUCCESS
from celeriac.wire.compression import compress, decompress
from celeriac.wire.exceptions import exception_from, exception_record, portable
from celeriac.wire.extended_json import decode, encode_text
from celeriac.wire.saferepr import saferepr
from celeriac.wire.serializers import ACCEPT_DEFAULT, JSON, load_body


class Extended(Struct, frozen=True, gc=False):
    """What ``result_extended`` adds to a record."""

    name: str
    args: Sequence[Any] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict[str, Any])
    worker: str | None = None
    retries: int | None = None
    queue: str | None = None
    stamped_headers: Sequence[str] | None = None
    stamps: Mapping[str, Any] = field(default_factory=dict[str, Any])


class RecordHead(Struct, frozen=True, gc=False):
    """What records of one run have in common, whatever became of it."""

    task_id: str
    group_id: str | None = None
    parent_id: str | None = None
    children: Sequence[Any] | None = ()
    """Result tuples of the tasks that this run sent; None when there was no run."""
    extended: Extended | None = None
    expires_s: float | None = None
    reply_to: str = ""
    serializer: Serializer = JSON
    compression: str | None = None
    """Name or MIME type; readers see by the data itself that it is compressed."""


class Meta(Struct, frozen=True, gc=False, kw_only=True):
    """A decoded record. `result` is an exception where `status` is FAILURE, RETRY or REVOKED."""

    task_id: str
    status: str
    result: Any = None
    traceback: str | None = None
    children: Sequence[Any] | None = None
    date_done: str | None = None
    """ISO 8601; older releases of Celery write it without a zone, in UTC."""
    group_id: str | None = None
    parent_id: str | None = None
    name: str | None = None
    args: Sequence[Any] | None = None
    kwargs: Mapping[str, Any] | None = None
    worker: str | None = None
    retries: int | None = None
    queue: str | None = None
    stamped_headers: Sequence[str] | None = None
    stamps: Mapping[str, Any] = field(default_factory=dict[str, Any])


def encode_success(head: RecordHead, result: Any, done_at: float) -> Record:
    """The final record of a run that returned `result`. Raises EncodeError if it cannot be encoded."""
    if head.serializer is JSON and head.extended is None and not head.children:
        # By template: a fifth of the time of encoding a mapping.
        done = datetime.fromtimestamp(done_at, timezone.utc).isoformat()
        tail = "" if head.group_id is None else f'"group_id": {escape(head.group_id)}, '
        if head.parent_id is not None:
            tail += f'"parent_id": {escape(head.parent_id)}, '
        payload = (
            f'{{"status": "SUCCESS", "result": {encode_text(result)}, "traceback": null, '
            f'"children": {"null" if head.children is None else "[]"}, '
            f'"date_done": "{done}", {tail}"task_id": {escape(head.task_id)}}}'
        ).encode("ascii")
        if head.compression:
            payload = _compressed(payload, head.compression)
        return Record(head.task_id, SUCCESS, payload, head.expires_s, head.reply_to)
    return _record(head, SUCCESS, result, None, done_at)


def encode_state(head: RecordHead, state: str, meta: Any = None, done_at: float | None = None) -> Record:
    """The record of a state that is not an exception's: STARTED, SUCCESS, or one of the user's.

    Raises EncodeError if `meta` cannot be encoded.
    """
    return _record(head, state, meta, None, done_at)


def encode_failure(
    head: RecordHead,
    exc: BaseException,
    traceback: str | None,
    done_at: float | None,
    state: str = FAILURE,
) -> Record:
    """The record of an exception: FAILURE, REVOKED or RETRY. An exception is always representable.

    For RETRY of a `Retry` the exception behind it is recorded, as Celery does.
    """
    if state == RETRY and isinstance(exc, Retry) and isinstance(exc.exc, BaseException):
        exc = exc.exc
    dumps = head.serializer.dumps
    told = portable(exc) if head.serializer.name == "pickle" else exception_record(exc, dumps)
    if traceback is not None:  # source lines may hold lone surrogates, which only JSON can carry
        traceback = traceback.encode("utf-8", "backslashreplace").decode("utf-8")
    try:
        return _record(head, state, told, traceback, done_at)
    except EncodeError:
        if head.extended is None:
            raise
        # The arguments came in another serializer than the one for results, and it cannot carry them.
        args, kwargs = [saferepr(head.extended.args)], {"repr": saferepr(head.extended.kwargs)}
        extended = replace(head.extended, args=args, kwargs=kwargs)
        return _record(replace(head, extended=extended), state, told, traceback, done_at)


_COMPRESSED_MARK = b"\0celery-compressed\0"
"""Starts a compressed record; the MIME type of the method and another zero byte follow."""


def _compressed(payload: bytes, method: str | None) -> bytes:
    if not method:
        return payload
    data, content_type = compress(payload, method)
    return _COMPRESSED_MARK + content_type.encode("ascii") + b"\0" + data


def _plain(payload: bytes) -> bytes:
    method, _, data = payload[len(_COMPRESSED_MARK) :].partition(b"\0")
    return decompress(data, method.decode("ascii", "replace"))


def _record(head: RecordHead, state: str, result: Any, traceback: str | None, done_at: float | None) -> Record:
    done = None
    if done_at is not None and state in READY_STATES:
        done = datetime.fromtimestamp(done_at, timezone.utc).isoformat()
    meta: dict[str, Any] = {
        "status": state,
        "result": result,
        "traceback": traceback,
        "children": head.children,
        "date_done": done,
    }
    if head.group_id is not None:
        meta["group_id"] = head.group_id
    if head.parent_id is not None:
        meta["parent_id"] = head.parent_id
    if head.extended is not None:
        meta.update(_extended(head.extended))
    meta["task_id"] = head.task_id
    payload = _compressed(head.serializer.dumps(meta), head.compression)
    return Record(head.task_id, state, payload, head.expires_s, head.reply_to, head.serializer.content_type)


def _extended(extended: Extended) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "name": extended.name,
        "args": extended.args,
        "kwargs": extended.kwargs,
        "worker": extended.worker,
        "retries": extended.retries,
        "queue": extended.queue,
    }
    if extended.stamped_headers:
        fields["stamped_headers"] = extended.stamped_headers
        fields.update(extended.stamps)
    return fields


def decode_record(record: Record, accept: Collection[str] = ACCEPT_DEFAULT) -> Meta:
    """The meaning of a record. Raises DecodeError, ContentDisallowed, SecurityError."""
    payload = record.payload
    if payload.startswith(_COMPRESSED_MARK):
        payload = _plain(payload)
    if record.content_type == JSON.content_type and "json" in accept:
        meta = decode(payload)
    else:
        meta = load_body(payload, record.content_type, "binary", None, accept)
    if not isinstance(meta, dict):
        raise DecodeError(f"a result record is a {type(meta).__name__}, not a mapping")
    status = meta.get("status")
    if not isinstance(status, str):
        raise DecodeError("a result record has no 'status'")
    result = meta.get("result")
    if status in EXCEPTION_STATES and result is not None:
        result = exception_from(result)
    names = meta.get("stamped_headers")
    stamped = names if isinstance(names, (list, tuple)) else None
    return Meta(
        task_id=str(meta.get("task_id") or record.id),
        status=status,
        result=result,
        traceback=meta.get("traceback"),
        children=meta.get("children"),
        date_done=meta.get("date_done"),
        group_id=meta.get("group_id"),
        parent_id=meta.get("parent_id"),
        name=meta.get("name"),
        args=meta.get("args"),
        kwargs=meta.get("kwargs"),
        worker=meta.get("worker"),
        retries=meta.get("retries"),
        queue=meta.get("queue"),
        stamped_headers=stamped,
        stamps={name: meta[name] for name in stamped if isinstance(name, str) and name in meta} if stamped else {},
    )
