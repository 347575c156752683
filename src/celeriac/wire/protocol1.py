"""Celery's message protocol 1: one mapping as the body, no headers. Read, and written on request."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from celeriac.model.call import Call, RequestFields
from celeriac.model.errors import ContentDisallowed, DecodeError
from celeriac.model.message import Head, Message
from celeriac.model.ports import Serializer
from celeriac.wire.compression import compress
from celeriac.wire.fields import (
    HeaderFields,
    check_links,
    decode_mapping,
    encode_mapping,
    patient_fields,
)
from celeriac.wire.serializers import ACCEPT_DEFAULT, by_content_type, load_body, serializer_named
from celeriac.wire.signatures import plain, plain_list
from celeriac.wire.times import aware, moment_of, parse_iso, posix_of


def encode_call(call: Call, serializer: Serializer | None = None) -> Message:
    """The message of protocol 1 for `call`. What it has no field for (stamps, chain, custom headers) must
    not be set by the caller. Raises EncodeError."""
    if serializer is None:
        serializer = serializer_named(call.serializer)
    body = serializer.dumps(
        {
            "task": call.task,
            "id": call.id,
            "args": list(call.args),
            "kwargs": dict(call.kwargs),
            "group": call.group,
            "group_index": call.group_index,
            "retries": call.retries,
            "eta": None if call.eta is None else call.eta.isoformat(),
            "expires": None if call.expires is None else call.expires.isoformat(),
            "utc": True,
            "callbacks": plain_list(call.callbacks),
            "errbacks": plain_list(call.errbacks),
            "timelimit": [call.time_limit_s, call.soft_time_limit_s],
            "taskset": call.group,
            "chord": None if call.chord is None else plain(call.chord),
        }
    )
    headers: dict[str, Any] = {}
    if call.compression:
        body, headers["compression"] = compress(body, call.compression)
    return Message(
        id=call.id,
        task=call.task,
        queue=call.queue,
        headers=encode_mapping("headers", headers),
        body=body,
        content_type=serializer.content_type,
        content_encoding=serializer.content_encoding,
        priority=call.priority,
        eta_at=None if call.eta is None else aware(call.eta).timestamp(),
        reply_to=call.reply_to,
        properties=encode_mapping("properties", call.properties) if call.properties else b"",
    )


def decode_head(message: Message, accept: Collection[str] = ACCEPT_DEFAULT) -> Head:
    """What a node must know. Raises DecodeError, ContentDisallowed; never reads pickle."""
    if by_content_type(message.content_type).name == "pickle":
        raise ContentDisallowed("a message of protocol 1 in pickle is not read outside a child process")
    fields, body = _read(message, accept)
    limits = fields.timelimit or (None, None)
    return Head(
        id=fields.id or message.id,
        task=fields.task or "",
        shadow=fields.shadow,
        expires_at=posix_of(_expires(body, fields), "expires"),
        retries=fields.retries or 0,
        time_limit_s=limits[0],
        soft_time_limit_s=limits[1],
        ignore_result=fields.ignore_result,
        root_id=fields.root_id,
        parent_id=fields.parent_id,
        group=fields.group,
        linked=any(body.get(name) for name in ("callbacks", "errbacks", "chain", "chord", "taskset")),
    )


def decode_request(message: Message, accept: Collection[str] = ACCEPT_DEFAULT) -> RequestFields:
    """All that a message says. Raises DecodeError, ContentDisallowed."""
    fields, body = _read(message, accept)
    limits = fields.timelimit or (None, None)
    args, kwargs = body.get("args"), body.get("kwargs")
    if args is not None and not isinstance(args, (list, tuple)):
        raise DecodeError(f"args are a {type(args).__name__}, not a list")
    if kwargs is not None and not isinstance(kwargs, dict):
        raise DecodeError(f"kwargs are a {type(kwargs).__name__}, not a mapping")
    check_links(body)
    return RequestFields(
        id=fields.id or message.id,
        task=fields.task or "",
        queue=message.queue,
        args=args or [],
        kwargs=kwargs or {},
        eta=moment_of(_local(fields.eta, body, "eta"), "eta"),
        expires=moment_of(_expires(body, fields), "expires"),
        priority=message.priority,
        content_type=message.content_type,
        content_encoding=message.content_encoding,
        compression=fields.compression or None,
        retries=fields.retries or 0,
        time_limit_s=limits[0],
        soft_time_limit_s=limits[1],
        root_id=fields.root_id,
        parent_id=fields.parent_id,
        group=fields.group,
        group_index=fields.group_index,
        shadow=fields.shadow,
        ignore_result=fields.ignore_result,
        reply_to=message.reply_to,
        callbacks=body.get("callbacks"),
        errbacks=body.get("errbacks"),
        chord=body.get("chord"),
        properties=decode_mapping("properties", message.properties),
        protocol=1,
    )


def _read(message: Message, accept: Collection[str]) -> tuple[HeaderFields, Mapping[str, Any]]:
    """The mapping of the body, and its fields typed."""
    compression = decode_mapping("headers", message.headers).get("compression")
    if compression is not None and not isinstance(compression, str):
        raise DecodeError("header 'compression' is not text")
    body = load_body(message.body, message.content_type, message.content_encoding, compression, accept)
    if not isinstance(body, dict) or not isinstance(body.get("task"), str):
        raise DecodeError("unknown message: no header 'task', and the body is no mapping with 'task'")
    named: dict[str, Any] = {name: body[name] for name in HeaderFields.__struct_fields__ if name in body}
    if body.get("taskset"):
        named["group"] = body["taskset"]
    if compression:
        named["compression"] = compression
    fields = patient_fields(named)
    if not fields.id and not message.id:
        raise DecodeError("message has no id: 'id' is missing in the body and so is the correlation id")
    return fields, body


def _expires(body: Mapping[str, Any], fields: HeaderFields) -> object:
    return _local(fields.expires, body, "expires")


def _local(text: str | None, body: Mapping[str, Any], name: str) -> object:
    """The moment; with ``"utc": false`` one without a zone is in the local time of sender and reader."""
    if text is None or body.get("utc", True):
        return text
    try:
        moment = parse_iso(text)
        return moment if moment.tzinfo is not None else moment.astimezone()
    except (ValueError, OverflowError, OSError) as exc:
        raise DecodeError(f"{name!r} holds {text[:60]!r}: {exc}") from None
