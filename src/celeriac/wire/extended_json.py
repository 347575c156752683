"""JSON with typed values, as Celery writes it.

A mapping of exactly the keys ``__type__`` and ``__value__`` stands for a value that JSON lacks: dates,
times, decimals, UUIDs, bytes. Tuples become arrays; ``NaN`` and ``Infinity`` are written bare.
"""

from __future__ import annotations

import base64
import json
import uuid
from collections.abc import Callable, Iterable
from datetime import date, datetime, time
from decimal import Decimal
from functools import partial
from json import encoder as json_encoder
from typing import Any

import msgspec

from celeriac.model.errors import DecodeError, EncodeError
from celeriac.wire.culprit import blame
from celeriac.wire.times import parse_iso

_TYPE, _VALUE = "__type__", "__value__"
TYPE_MARK = b'"__type__"'
"""Bytes without it hold no typed value."""
_TYPE_MARK_TEXT = TYPE_MARK.decode("ascii")
_TYPED_KEYS = 2

Encoder = Callable[[Any], tuple[str, Any]]
Decoder = Callable[[Any], Any]


def _encode_bytes(value: bytes) -> tuple[str, Any]:
    try:
        return "bytes", value.decode("utf-8")
    except UnicodeDecodeError:
        return "base64", base64.b64encode(value).decode("ascii")


_ENCODERS: dict[type, Encoder] = {
    datetime: lambda value: ("datetime", value.isoformat()),
    date: lambda value: ("date", value.isoformat()),
    time: lambda value: ("time", value.isoformat()),
    Decimal: lambda value: ("decimal", str(value)),
    uuid.UUID: lambda value: ("uuid", {"hex": value.hex}),
    bytes: _encode_bytes,
}

_DECODERS: dict[str, Decoder] = {
    "datetime": parse_iso,
    "date": lambda value: parse_iso(value).date(),
    "time": time.fromisoformat,
    "decimal": Decimal,
    "uuid": lambda value: uuid.UUID(hex=value["hex"]),
    "bytes": lambda value: value.encode("utf-8"),
    "base64": lambda value: base64.b64decode(value.encode("ascii"), validate=True),
}


def register_type(cls: type, marker: str, encode: Callable[[Any], Any], decode: Callable[[Any], Any]) -> None:
    """Let values of `cls` (and its subclasses) travel in JSON under the name `marker`.

    Every process that reads them must have registered the same. The last registration wins.
    """
    _ENCODERS[cls] = lambda value: (marker, encode(value))
    _DECODERS[marker] = decode


def _default(value: Any) -> Any:
    """Turn what JSON lacks into a typed mapping. Raises TypeError."""
    reduce = getattr(type(value), "__json__", None)
    if reduce is not None:
        return reduce(value)
    for cls in type(value).__mro__:
        encode = _ENCODERS.get(cls)
        if encode is not None:
            marker, inner = encode(value)
            return {_TYPE: marker, _VALUE: inner}
    raise TypeError(f"object of type {type(value).__name__} is not JSON serializable")


def _make_encoder() -> Callable[[Any], Iterable[str]]:
    """The standard encoder, made once: `JSONEncoder.encode` makes its C half anew for each value.

    No table of containers under way is kept (it would be shared by threads): a value that contains
    itself ends in RecursionError.
    """
    make = getattr(json_encoder, "c_make_encoder", None)
    escape = json_encoder.encode_basestring_ascii
    if make is None:  # an interpreter without the C accelerator
        plain = json.JSONEncoder(default=_default, check_circular=False)
        return lambda value: [plain.encode(value)]
    encode = make(None, _default, escape, None, ": ", ", ", False, False, True)  # the C signature
    return partial(encode, _current_indent_level=0)


_encode_chunks = _make_encoder()


def encode_text(value: Any) -> str:
    """JSON text, ASCII only, with Celery's separators. Raises EncodeError naming the part at fault."""
    try:
        text = "".join(_encode_chunks(value))
    except Exception as exc:  # hooks are user code and may raise anything
        raise EncodeError(blame(value, exc, _encode_chunks, "JSON")) from exc
    if _TYPE_MARK_TEXT in text:
        _refuse_lookalikes(value)
    return text


def _refuse_lookalikes(value: Any) -> None:
    """Raise EncodeError if a mapping of the user would be read back as a typed value."""
    stack = [value]
    while stack:
        item = stack.pop()
        if isinstance(item, dict):
            if len(item) == _TYPED_KEYS and _TYPE in item and _VALUE in item:
                raise EncodeError(
                    "a mapping of exactly the keys '__type__' and '__value__' cannot be sent as JSON, "
                    "because it is how typed values are written; add or rename a key, or choose another serializer"
                )
            stack.extend(item.values())
        elif isinstance(item, (list, tuple)):
            stack.extend(item)


def _hook(mapping: dict[str, Any]) -> Any:
    """Turn a typed mapping back into its value; leave others alone. Raises ValueError for unknown types."""
    if len(mapping) != _TYPED_KEYS or _TYPE not in mapping or _VALUE not in mapping:
        return mapping
    marker = mapping[_TYPE]
    decode = _DECODERS.get(marker) if isinstance(marker, str) else None
    if decode is None:
        raise ValueError(f"unknown type {str(marker)[:60]!r}; register it with register_type")
    return decode(mapping[_VALUE])


_typed_decoder = json.JSONDecoder(object_hook=_hook)
_decode_fast = msgspec.json.Decoder().decode


def decode(data: bytes) -> Any:
    """The value of JSON bytes in UTF-8, typed values restored. Raises DecodeError.

    Python's own bound on the digits of an integer (4300) holds here too: converting longer ones takes
    time quadratic in their length.
    """
    try:
        if TYPE_MARK not in data:
            try:
                return _decode_fast(data)
            except (msgspec.DecodeError, ValueError):
                pass  # bare NaN and lone surrogates are not strict JSON, but Python's writers send them
        return _typed_decoder.decode(data.decode("utf-8"))
    except RecursionError:
        raise DecodeError("JSON is nested too deeply") from None
    except Exception as exc:  # decoders of registered types are user code and may raise anything
        raise DecodeError(f"not valid JSON: {exc}") from exc


class JsonSerializer:
    """Celery's JSON. Use the one instance in `serializers.SERIALIZERS`."""

    name = "json"
    content_type = "application/json"
    content_encoding = "utf-8"

    def dumps(self, value: Any) -> bytes:
        """Bytes of JSON. Raises EncodeError naming the part at fault."""
        return encode_text(value).encode("ascii")

    def loads(self, data: bytes) -> Any:
        """The value. Raises DecodeError."""
        return decode(data)
