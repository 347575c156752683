"""Celery's message protocol 2: a `Call` to a `Message`, a `Message` to `Head` or `RequestFields`."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import msgspec
from msgspec import UNSET

from celeriac.model.call import Call, RequestFields
from celeriac.model.errors import DecodeError, EncodeError
from celeriac.model.message import Head, Message
from celeriac.model.ports import Serializer
from celeriac.wire import protocol1
from celeriac.wire.compression import compress, decompress
from celeriac.wire.extended_json import TYPE_MARK, decode, encode_text
from celeriac.wire.fields import (
    NOT_CUSTOM_HEADERS,
    HeaderFields,
    check_links,
    decode_mapping,
    encode_mapping,
    patient_fields,
)
from celeriac.wire.saferepr import saferepr
from celeriac.wire.serializers import ACCEPT_DEFAULT, JSON, SERIALIZERS, load_body, serializer_named
from celeriac.wire.signatures import plain, plain_list
from celeriac.wire.times import aware, moment_of, posix_of

_NO_LINKS = b', {"callbacks": null, "errbacks": null, "chain": null, "chord": null}]'
"""The end of a JSON body whose call has no callbacks, as Celery writes it."""
_PLAIN_PARTS = [list, dict, dict]
_OURS_ALONE = frozenset({"task", "id", "compression"})
"""Headers that the caller's own cannot replace: with others there, the message could not be read."""
_BODY_PARTS = ("args", "kwargs", "links")

_LISTS = (tuple, list)

_encode_fields = msgspec.json.Encoder().encode
_decode_fields = msgspec.json.Decoder(HeaderFields).decode


def encode_call(call: Call, serializer: Serializer | None = None) -> Message:
    """The message that says what `call` says. `serializer` saves the look-up of `call.serializer`.

    Raises EncodeError naming the argument at fault, an unknown serializer, or an unknown compression.
    """
    if serializer is None:
        serializer = SERIALIZERS.get(call.serializer) or serializer_named(call.serializer)
    compression = None
    args, kwargs = call.args, call.kwargs
    linked = call.callbacks is not None or call.errbacks is not None or call.chain is not None
    if serializer is JSON and not linked and call.chord is None and type(args) in _LISTS and type(kwargs) is dict:
        try:
            body = encode_text((args, kwargs)).encode("ascii")[:-1] + _NO_LINKS
        except EncodeError as exc:
            raise _named(exc) from exc.__cause__
    else:
        body = _encode_body(call, serializer)
    if call.compression:
        body, compression = compress(body, call.compression)
    eta = call.eta
    return Message(
        call.id,
        call.task,
        call.queue,
        _encode_headers(call, compression),
        body,
        serializer.content_type,
        serializer.content_encoding,
        call.priority,
        None if eta is None else aware(eta).timestamp(),
        call.reply_to,
        encode_mapping("properties", call.properties) if call.properties else b"",
    )


def _encode_headers(call: Call, compression: str | None) -> bytes:
    """JSON of all headers, in Celery's order."""
    eta, expires, argsrepr, kwargsrepr = call.eta, call.expires, call.argsrepr, call.kwargsrepr
    fields = HeaderFields(
        "py",
        call.task,
        call.id,
        call.shadow,
        None if eta is None else eta.isoformat(),
        None if expires is None else expires.isoformat(),
        call.group,
        call.group_index,
        call.retries,
        (call.time_limit_s, call.soft_time_limit_s),
        call.root_id or call.id,
        call.parent_id,
        saferepr(call.args) if argsrepr is None else argsrepr,
        saferepr(call.kwargs) if kwargsrepr is None else kwargsrepr,
        call.origin,
        call.ignore_result,
        call.replaced_task_nesting,
        call.stamped_headers,
        call.stamps,
        UNSET if compression is None else compression,
    )
    if not call.headers and not call.stamps:
        try:
            return _encode_fields(fields)
        except (ValueError, TypeError):
            pass  # lone surrogates, which JSON escapes can carry; or a mistake, which is named below
    headers = msgspec.structs.asdict(fields)
    if compression is None:
        del headers["compression"]
    headers.update((name, value) for name, value in call.headers.items() if name not in _OURS_ALONE)
    return encode_mapping("headers", headers)


def _encode_body(call: Call, serializer: Serializer) -> bytes:
    """The serialized ``[args, kwargs, links]``, of any kind of call."""
    args = call.args if isinstance(call.args, (list, tuple)) else tuple(call.args)
    kwargs = call.kwargs if isinstance(call.kwargs, dict) else dict(call.kwargs)
    try:
        links = {
            "callbacks": plain_list(call.callbacks),
            "errbacks": plain_list(call.errbacks),
            "chain": plain_list(call.chain),
            "chord": None if call.chord is None else plain(call.chord),
        }
        return serializer.dumps((args, kwargs, links))
    except EncodeError as exc:
        raise _named(exc) from exc.__cause__


def _named(error: EncodeError) -> EncodeError:
    """The error with the body's three parts called by name: ``args[0]`` for ``[0][0]``."""
    text = str(error)
    for index, part in enumerate(_BODY_PARTS):
        prefix = f"[{index}]"
        if text.startswith(prefix):
            return EncodeError(part + text[len(prefix) :])
    return error


def decode_head(message: Message, accept: Collection[str] = ACCEPT_DEFAULT) -> Head:
    """What a node must know of a message. The body is decoded only for protocol 1, which has no headers.

    Bodies of pickle are never decoded here, whatever `accept` says. Raises DecodeError, ContentDisallowed.
    """
    try:
        fields = _decode_fields(message.headers)
    except (msgspec.DecodeError, UnicodeDecodeError):
        fields, _ = _read_patiently(message.headers)
    except RecursionError:
        raise DecodeError("headers are nested too deeply") from None
    if fields.task is None:
        return protocol1.decode_head(message, accept)
    if fields.id is not None and not fields.id.isascii():
        _require_text(fields.id)
    limits = fields.timelimit
    expires = fields.expires
    # Cheap and never wrong towards "none": another spelling of the same, or a compressed body, counts as linked.
    linked = not message.body.endswith(_NO_LINKS) or bool(fields.compression)
    return Head(
        fields.id or _id_of(message),
        fields.task,
        fields.shadow,
        None if expires is None else posix_of(expires, "expires"),
        fields.retries or 0,
        None if limits is None else limits[0],
        None if limits is None else limits[1],
        fields.ignore_result,
        fields.root_id,
        fields.parent_id,
        fields.group,
        fields.argsrepr or "",
        fields.kwargsrepr or "",
        linked,
    )


def decode_request(message: Message, accept: Collection[str] = ACCEPT_DEFAULT) -> RequestFields:
    """All that a message says, with its body decoded. Raises DecodeError, ContentDisallowed."""
    custom: Mapping[str, Any] = {}
    try:
        fields = _decode_fields(message.headers)
        if fields.stamps and TYPE_MARK in message.headers:
            fields, custom = _read_patiently(message.headers)
    except (msgspec.DecodeError, UnicodeDecodeError):
        fields, custom = _read_patiently(message.headers)
    except RecursionError:
        raise DecodeError("headers are nested too deeply") from None
    if fields.task is None:
        return protocol1.decode_request(message, accept)
    compression = fields.compression or None
    if message.content_type == JSON.content_type and "json" in accept and message.content_encoding == "utf-8":
        body: Any = decode(message.body if compression is None else decompress(message.body, compression))
    else:
        body = load_body(message.body, message.content_type, message.content_encoding, compression, accept)
    if isinstance(body, dict):
        if "args" not in body:
            raise DecodeError("body is a mapping without 'args'; protocol 2 wants [args, kwargs, links]")
        fields = _hybrid(fields, body)
        body = [body.get("args"), body.get("kwargs"), body]
    if type(body) is not list or len(body) != len(_BODY_PARTS) or [*map(type, body)] != _PLAIN_PARTS:
        body = _body_parts(body)
    args, kwargs, links = body
    return _request(message, fields, custom, args, kwargs, links)


def _request(
    message: Message,
    fields: HeaderFields,
    custom: Mapping[str, Any],
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    links: Mapping[str, Any],
) -> RequestFields:
    limits = fields.timelimit or (None, None)
    callbacks, errbacks = links.get("callbacks"), links.get("errbacks")
    chain, chord = links.get("chain"), links.get("chord")
    if not (callbacks is None and errbacks is None and chain is None and chord is None):
        check_links(links)
    return RequestFields(
        id=fields.id or _id_of(message),
        task=fields.task or "",
        queue=message.queue,
        args=args,
        kwargs=kwargs,
        eta=None if fields.eta is None else moment_of(fields.eta, "eta"),
        expires=None if fields.expires is None else moment_of(fields.expires, "expires"),
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
        argsrepr=fields.argsrepr or "",
        kwargsrepr=fields.kwargsrepr or "",
        origin=fields.origin or "",
        ignore_result=fields.ignore_result,
        replaced_task_nesting=fields.replaced_task_nesting or 0,
        stamped_headers=fields.stamped_headers,
        stamps=fields.stamps or {},
        headers=custom,
        reply_to=message.reply_to,
        callbacks=callbacks,
        errbacks=errbacks,
        chain=chain,
        chord=chord,
        properties=decode_mapping("properties", message.properties) if message.properties else {},
        lang=fields.lang or "",
    )


def _read_patiently(data: bytes) -> tuple[HeaderFields, Mapping[str, Any]]:
    """Typed headers, and the caller's own ones."""
    headers = decode_mapping("headers", data)
    custom = {name: value for name, value in headers.items() if name not in NOT_CUSTOM_HEADERS}
    return patient_fields(headers), custom


def _hybrid(fields: HeaderFields, body: Mapping[str, Any]) -> HeaderFields:
    """Headers of protocol 2 over a body of protocol 1: where both speak, the headers are right."""
    merged = {name: body[name] for name in HeaderFields.__struct_fields__ if name in body}
    merged.update({name: value for name, value in msgspec.structs.asdict(fields).items() if value not in (None, UNSET)})
    return patient_fields(merged)


def _body_parts(body: Any) -> tuple[Sequence[Any], Mapping[str, Any], Mapping[str, Any]]:
    """Args, kwargs and links, with null for each taken as empty. Raises DecodeError."""
    if not isinstance(body, (list, tuple)) or len(body) != len(_BODY_PARTS):
        raise DecodeError("body is not [args, kwargs, links]")
    args, kwargs, links = body
    if args is None:
        args = []
    elif not isinstance(args, (list, tuple)):
        raise DecodeError(f"args are a {type(args).__name__}, not a list")
    if kwargs is None:
        kwargs = {}
    elif not isinstance(kwargs, dict):
        raise DecodeError(f"kwargs are a {type(kwargs).__name__}, not a mapping")
    if links is None:
        links = {}
    elif not isinstance(links, dict):
        raise DecodeError(f"links are a {type(links).__name__}, not a mapping")
    return args, kwargs, links


def _require_text(task_id: str) -> None:
    """Ids are keys of stores, which take text alone. Raises DecodeError for half of a surrogate pair."""
    try:
        task_id.encode()
    except UnicodeEncodeError as exc:
        raise DecodeError(f"header 'id' is no text: {exc}") from None


def _id_of(message: Message) -> str:
    """The id that the broker knows (the correlation id, with most libraries) for a message without one."""
    if not message.id:
        raise DecodeError("message has no id: header 'id' is missing and so is the correlation id")
    return message.id
