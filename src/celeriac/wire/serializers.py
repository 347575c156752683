"""Serializers by name and content type, and the list of those that a reader accepts."""

from __future__ import annotations

import codecs
import importlib
import pickle
from collections.abc import Collection, Mapping
from datetime import date, datetime, time
from decimal import Decimal
from functools import cache, partial
from typing import Any
from uuid import UUID

import msgspec

from celeriac.model.errors import ContentDisallowed, DecodeError, EncodeError
from celeriac.model.ports import Serializer
from celeriac.wire.compression import decompress
from celeriac.wire.culprit import blame
from celeriac.wire.extended_json import JsonSerializer, register_type

__all__ = [
    "ACCEPT_DEFAULT",
    "BY_CONTENT_TYPE",
    "JSON",
    "SERIALIZERS",
    "by_content_type",
    "load_body",
    "register_type",
    "require_accepted",
    "serializer_named",
]

ACCEPT_DEFAULT: frozenset[str] = frozenset({"json"})
"""What is read when nothing else is configured: never code (pickle), never what needs an extra."""

_PICKLE_PROTOCOL = 4
"""What every supported reader knows."""


class PickleSerializer:
    """Python objects. Reading it runs the sender's code, so it is refused unless listed."""

    name = "pickle"
    content_type = "application/x-python-serialize"
    content_encoding = "binary"

    def dumps(self, value: Any) -> bytes:
        """Raises EncodeError naming the part at fault."""
        try:
            return pickle.dumps(value, protocol=_PICKLE_PROTOCOL)
        except Exception as exc:  # reduce hooks are user code
            raise EncodeError(blame(value, exc, pickle.dumps, "pickle")) from exc

    def loads(self, data: bytes) -> Any:
        """Raises DecodeError."""
        try:
            return pickle.loads(data)  # only reached when the accept list names it
        except Exception as exc:  # constructors are user code
            raise DecodeError(f"not a readable pickle: {type(exc).__name__}: {exc}") from exc


_UNPLAIN = (datetime, date, time, Decimal, UUID)
"""What the msgpack library would turn into text or timestamps silently; refused, so that nothing
changes its type on the way."""


def _require_plain(value: Any) -> None:
    """Raise TypeError for what msgpack does not carry as it is."""
    stack = [value]
    while stack:
        item = stack.pop()
        if item is None or isinstance(item, (str, bytes, int, float)):
            continue
        if isinstance(item, dict):
            stack.extend(item)
            stack.extend(item.values())
        elif isinstance(item, (list, tuple)):
            stack.extend(item)
        else:
            stack.append(_reduced(item))


def _reduced(item: Any) -> Any:
    """What an object says that it is as plain data, as in JSON. Raises TypeError for one that says nothing."""
    reduce = getattr(type(item), "__json__", None)
    if reduce is None:
        raise TypeError(f"object of type {type(item).__name__} is not msgpack serializable")
    return reduce(item)


_msgpack_encoder = msgspec.msgpack.Encoder(enc_hook=_reduced)


def _encode_msgpack(value: Any) -> bytes:
    _require_plain(value)
    return _msgpack_encoder.encode(value)


class MsgpackSerializer:
    """Compact binary data: like JSON, plus bytes."""

    name = "msgpack"
    content_type = "application/x-msgpack"
    content_encoding = "binary"

    def dumps(self, value: Any) -> bytes:
        """Raises EncodeError naming the part at fault."""
        try:
            return _encode_msgpack(value)
        except Exception as exc:  # subclasses of plain types may raise anything
            raise EncodeError(blame(value, exc, _encode_msgpack, "msgpack")) from exc

    def loads(self, data: bytes) -> Any:
        """Raises DecodeError."""
        try:
            return msgspec.msgpack.decode(data)
        except (ValueError, TypeError, RecursionError, OverflowError) as exc:
            raise DecodeError(f"not valid msgpack: {exc}") from exc


def _yaml() -> Any:
    try:
        return importlib.import_module("yaml")
    except ImportError:
        return None


@cache
def _yaml_dumper(yaml: Any) -> Any:
    """The safe dumper, for which objects that tell their plain data are that data."""

    def represent(dumper: Any, item: Any) -> Any:
        reduce = getattr(type(item), "__json__", None)
        return dumper.represent_undefined(item) if reduce is None else dumper.represent_data(reduce(item))

    dumper: Any = type("Dumper", (yaml.SafeDumper,), {})
    dumper.add_multi_representer(Mapping, represent)
    return dumper


class YamlSerializer:
    """YAML, safe subset. Needs PyYAML, which ``pip install celeriac[yaml]`` brings."""

    name = "yaml"
    content_type = "application/x-yaml"
    content_encoding = "utf-8"

    def dumps(self, value: Any) -> bytes:
        """Raises EncodeError naming the part at fault."""
        yaml = _yaml()
        if yaml is None:
            raise EncodeError("serializer 'yaml' needs PyYAML; run: pip install 'celeriac[yaml]'")
        dumper = _yaml_dumper(yaml)
        try:
            return bytes(yaml.dump(value, Dumper=dumper).encode("utf-8"))
        except Exception as exc:  # representers meet user objects
            raise EncodeError(blame(value, TypeError(), partial(yaml.dump, Dumper=dumper), "YAML")) from exc

    def loads(self, data: bytes) -> Any:
        """Raises DecodeError."""
        yaml = _yaml()
        if yaml is None:
            raise DecodeError("content type 'application/x-yaml' needs PyYAML; run: pip install 'celeriac[yaml]'")
        try:
            return yaml.safe_load(data.decode("utf-8"))
        except Exception as exc:  # hostile text makes the parser raise nearly anything
            raise DecodeError(f"not valid YAML: {type(exc).__name__}: {exc}") from exc


JSON = JsonSerializer()

SERIALIZERS: Mapping[str, Serializer] = {
    "json": JSON,
    "pickle": PickleSerializer(),
    "msgpack": MsgpackSerializer(),
    "yaml": YamlSerializer(),
}
"""By name."""

BY_CONTENT_TYPE: Mapping[str, Serializer] = {entry.content_type: entry for entry in SERIALIZERS.values()}
"""By content type."""


def serializer_named(name: str) -> Serializer:
    """The serializer of that name or content type. Raises EncodeError naming those that exist."""
    found = SERIALIZERS.get(name) or BY_CONTENT_TYPE.get(name)
    if found is None:
        raise EncodeError(f"unknown serializer {name!r}; known are: {', '.join(sorted(SERIALIZERS))}")
    return found


def by_content_type(content_type: str) -> Serializer:
    """The serializer that wrote this content type. Raises DecodeError if there is none."""
    found = BY_CONTENT_TYPE.get(content_type)
    if found is None:
        raise DecodeError(f"no serializer reads content type {content_type[:80]!r}")
    return found


def require_accepted(content_type: str, accept: Collection[str]) -> None:
    """Return if `accept` lists the content type, by name or MIME type. Raises ContentDisallowed.

    Raw data (``application/data``, ``application/text``) gets no exception: it is refused unless listed.
    """
    if content_type in accept:
        return
    known = BY_CONTENT_TYPE.get(content_type)
    if known is not None and known.name in accept:
        return
    shown = known.name if known is not None else content_type[:80]
    raise ContentDisallowed(
        f"refused to read content type {shown!r}; accepted are: {', '.join(sorted(accept)) or 'none'}. "
        "Add it to accept_content if you trust every sender"
    )


_CHARSETS = frozenset({"utf-8", "ascii", "iso8859-1", "utf-8-sig", "utf-16", "utf-32"})
"""Charsets read besides UTF-8. Others are refused: some codecs of Python take quadratic time."""
_SAME_AS_UTF8 = frozenset({"utf-8", "utf8", "UTF-8", "binary", "", "us-ascii", "ascii"})


def load_body(
    data: bytes,
    content_type: str,
    content_encoding: str = "utf-8",
    compression: str | None = None,
    accept: Collection[str] = ACCEPT_DEFAULT,
) -> Any:
    """The value of a message body: check that it is accepted, decompress, decode.

    Raises ContentDisallowed, DecodeError.
    """
    require_accepted(content_type, accept)
    serializer = by_content_type(content_type)
    if compression:
        data = decompress(data, compression)
    if content_encoding not in _SAME_AS_UTF8 and serializer.content_encoding == "utf-8":
        data = _to_utf8(data, content_encoding)
    return serializer.loads(data)


def _to_utf8(data: bytes, charset: str) -> bytes:
    try:
        name = codecs.lookup(charset).name
        if name not in _CHARSETS:
            raise LookupError
        return data.decode(name).encode("utf-8")
    except (LookupError, ValueError):
        raise DecodeError(f"body is not text in the charset {charset[:60]!r} of its content encoding") from None
