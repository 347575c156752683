"""The headers of protocol 2 as typed values: one strict and fast reading, one patient reading.

Messages of current Celery and of ours pass the fast one. Those of other libraries and older releases
leave headers out, send null, or numbers as text: the patient one takes what has one meaning, and names
the header that has none.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Union

from msgspec import UNSET, Meta, Struct, UnsetType

from celeriac.model.errors import DecodeError, EncodeError
from celeriac.wire.extended_json import decode, encode_text

Seconds = Union[Annotated[int, Meta(ge=0)], Annotated[float, Meta(ge=0)], None]


class HeaderFields(Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    """All standard headers, in the order in which Celery writes them."""

    lang: str | None = None
    task: str | None = None
    id: str | None = None
    shadow: str | None = None
    eta: str | None = None
    expires: str | None = None
    group: str | None = None
    group_index: int | None = None
    retries: Annotated[int, Meta(ge=0)] | None = 0
    timelimit: tuple[Seconds, Seconds] | None = None
    root_id: str | None = None
    parent_id: str | None = None
    argsrepr: str | None = None
    kwargsrepr: str | None = None
    origin: str | None = None
    ignore_result: bool | None = None
    replaced_task_nesting: int | None = 0
    stamped_headers: Sequence[str] | None = None
    stamps: Mapping[str, Any] | None = None
    compression: str | UnsetType | None = UNSET


STANDARD_HEADERS = frozenset(HeaderFields.__struct_fields__)
NOT_CUSTOM_HEADERS = STANDARD_HEADERS | {"redelivered", "meth"}
"""Headers that are not the caller's own; `redelivered` is set by brokers, `meth` by other languages."""


def patient_fields(headers: Mapping[str, Any]) -> HeaderFields:
    """Typed headers from whatever a foreign library sent. Raises DecodeError naming the header."""
    return HeaderFields(
        lang=_text(headers, "lang"),
        task=_name(headers, "task"),
        id=_name(headers, "id"),
        shadow=_text(headers, "shadow"),
        eta=_text(headers, "eta"),
        expires=_text(headers, "expires"),
        group=_text(headers, "group"),
        group_index=_whole(headers, "group_index"),
        retries=_count(headers, "retries"),
        timelimit=_limits(headers.get("timelimit")),
        root_id=_text(headers, "root_id"),
        parent_id=_text(headers, "parent_id"),
        argsrepr=_text(headers, "argsrepr"),
        kwargsrepr=_text(headers, "kwargsrepr"),
        origin=_text(headers, "origin"),
        ignore_result=_truth(headers, "ignore_result"),
        replaced_task_nesting=_whole(headers, "replaced_task_nesting"),
        stamped_headers=_stamp_names(headers.get("stamped_headers")),
        stamps=_stamps(headers.get("stamps")),
        compression=_text(headers, "compression"),
    )


def _name(headers: Mapping[str, Any], name: str) -> str | None:
    """Text that identifies: nothing else is taken for it, since other readers would not either."""
    value = headers.get(name)
    if value is None or isinstance(value, str):
        return value
    raise DecodeError(f"header {name!r} holds {type(value).__name__}, not text")


def _text(headers: Mapping[str, Any], name: str) -> str | None:
    value = headers.get(name)
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, (int, float)):
        return str(value)
    if hasattr(value, "isoformat"):  # a typed date in extended JSON
        return str(value.isoformat())
    raise DecodeError(f"header {name!r} holds {type(value).__name__}, not text")


def _whole(headers: Mapping[str, Any], name: str) -> int | None:
    value = headers.get(name)
    if value is None:
        return None
    if isinstance(value, (int, float, str)):
        try:
            number = int(value)
        except (ValueError, OverflowError):
            number = None
        if number is not None and (isinstance(value, str) or number == value):
            return number
    raise DecodeError(f"header {name!r} holds {str(value)[:60]!r}, not a whole number")


def _count(headers: Mapping[str, Any], name: str) -> int | None:
    value = _whole(headers, name)
    if value is not None and value < 0:
        raise DecodeError(f"header {name!r} is negative")
    return value


def _truth(headers: Mapping[str, Any], name: str) -> bool | None:
    value = headers.get(name)
    if value is None or isinstance(value, (bool, int)):
        return None if value is None else bool(value)
    raise DecodeError(f"header {name!r} holds {type(value).__name__}, not true or false")


def _limits(value: Any) -> tuple[Seconds, Seconds] | None:
    if value is None:
        return None
    if isinstance(value, (list, tuple)) and len(value) == len(("hard", "soft")):
        return _limit(value[0]), _limit(value[1])
    raise DecodeError("header 'timelimit' is not a pair of [hard, soft] seconds")


def _limit(value: Any) -> Seconds:
    if value is None or value == "":
        return None
    try:
        seconds = float(value)
    except (TypeError, ValueError, OverflowError):
        seconds = math.nan
    if not math.isfinite(seconds) or seconds < 0:
        raise DecodeError(f"header 'timelimit' holds {str(value)[:60]!r}, not seconds")
    return value if isinstance(value, (int, float)) else seconds


def _stamp_names(value: Any) -> Sequence[str] | None:
    if value is None:
        return None
    if isinstance(value, (list, tuple)) and all(isinstance(name, str) for name in value):
        return value
    raise DecodeError("header 'stamped_headers' is not a list of names")


def _stamps(value: Any) -> Mapping[str, Any] | None:
    if value is None or isinstance(value, dict):
        return value
    raise DecodeError("header 'stamps' is not a mapping")


def check_links(links: Mapping[str, Any]) -> None:
    """Raise DecodeError unless the links in a body are signatures, each of its kind or null."""
    for name in ("callbacks", "errbacks", "chain"):
        value = links.get(name)
        if value is not None and not (isinstance(value, (list, tuple)) and all(isinstance(one, dict) for one in value)):
            raise DecodeError(f"{name!r} in the body is not a list of signatures")
    chord = links.get("chord")
    if chord is not None and not isinstance(chord, dict):
        raise DecodeError("'chord' in the body is not a signature")


def encode_mapping(name: str, mapping: Mapping[str, Any]) -> bytes:
    """JSON of headers or properties. Raises EncodeError naming the entry at fault."""
    try:
        return encode_text(dict(mapping)).encode("ascii")
    except EncodeError as exc:
        text = str(exc)
        raise EncodeError(f"{name}{text}" if text.startswith("[") else f"{name}: {text}") from exc.__cause__


def decode_mapping(name: str, data: bytes) -> Mapping[str, Any]:
    """Headers or properties from JSON; nothing and null are empty. Raises DecodeError."""
    if not data:
        return {}
    try:
        mapping = decode(data)
    except DecodeError as exc:
        raise DecodeError(f"{name}: {exc}") from exc.__cause__
    if mapping is None:
        return {}
    if not isinstance(mapping, dict):
        raise DecodeError(f"{name} are a JSON {type(mapping).__name__}, not an object")
    return mapping
