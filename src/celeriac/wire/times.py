"""ISO 8601 on the wire: what other libraries write, read the same on every Python we support."""

from __future__ import annotations

import re
from datetime import datetime, timezone

from celeriac.model.errors import DecodeError

_ISO = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)"
    r"(?:[T ](\d\d):(\d\d)(?::(\d\d)(?:[.,](\d{1,18}))?)?\s?(Z|z|[+-]\d\d(?::?\d\d(?::?\d\d(?:\.\d{6})?)?)?)?)?"
)
_TEXT_SHOWN_MAX = 60
_MICROSECOND_DIGITS = 6


def parse_iso(text: str) -> datetime:
    """A moment from ISO 8601 text, with or without a zone as written.

    Go and Rust write nine digits and ``Z``, which `datetime.fromisoformat` refuses before Python 3.11.
    Raises ValueError.
    """
    match = _ISO.fullmatch(text.strip())
    if match is None:
        raise ValueError("not an ISO 8601 date and time")
    year, month, day, hour, minute, second, fraction, zone = match.groups()
    if hour is None:
        return datetime.fromisoformat(f"{year}-{month}-{day}")
    digits = (fraction or "")[:_MICROSECOND_DIGITS].ljust(_MICROSECOND_DIGITS, "0")
    return datetime.fromisoformat(f"{year}-{month}-{day}T{hour}:{minute}:{second or '00'}.{digits}{_zone(zone)}")


def _zone(zone: str | None) -> str:
    """The offset in the one spelling that every `fromisoformat` reads."""
    if not zone:
        return ""
    if zone in "Zz":
        return "+00:00"
    digits, dot, fraction = zone[1:].replace(":", "").partition(".")
    parts = [digits[i : i + 2] for i in range(0, len(digits), 2)]
    return zone[0] + ":".join(parts if len(parts) > 1 else [*parts, "00"]) + dot + fraction


def aware(moment: datetime) -> datetime:
    """The moment with a zone; one without is UTC, as message formats have it."""
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=timezone.utc)


def moment_of(value: object, name: str) -> datetime | None:
    """The moment a header holds, with a zone. Raises DecodeError naming the header."""
    if value is None or value == "":
        return None
    if isinstance(value, datetime):
        return aware(value)
    if not isinstance(value, str):
        raise DecodeError(f"header {name!r} holds {type(value).__name__}, not ISO 8601 text")
    try:
        return aware(parse_iso(value))
    except (ValueError, OverflowError) as exc:
        raise DecodeError(f"header {name!r} holds {value[:_TEXT_SHOWN_MAX]!r}: {exc}") from None


def posix_of(value: object, name: str) -> float | None:
    """The same as POSIX seconds. Raises DecodeError naming the header."""
    moment = moment_of(value, name)
    if moment is None:
        return None
    try:
        return moment.timestamp()
    except (ValueError, OverflowError) as exc:
        raise DecodeError(f"header {name!r} holds a moment out of range: {exc}") from None
