"""What every store of keys and values refuses, so that the same call fails the same way in all of them."""

from __future__ import annotations

import re
from typing import Any

from celeriac.stores.faults import StoreRejected

_NUMBER = re.compile(rb"-?[0-9]{1,19}")
_INT64_MAX = (1 << 63) - 1


def check_key(key: Any) -> None:
    """Raises StoreRejected unless `key` is text that a store can hold."""
    if not isinstance(key, str) or not key:
        raise StoreRejected(f"key={key!r} is no key; use text that is not empty")
    if not key.isascii():
        try:
            key.encode()
        except UnicodeEncodeError:
            raise StoreRejected(f"key={key!r} has half of a surrogate pair; use text that UTF-8 can hold") from None


def check_entry(key: Any, value: Any, ttl_s: float | None) -> None:
    """Raises StoreRejected, naming the argument, unless this can be stored."""
    check_key(key)
    if not isinstance(value, bytes):
        raise StoreRejected(f"the value of {key!r} is {type(value).__name__}; encode it to bytes")
    check_ttl(key, ttl_s)


def check_swap(key: Any, new: Any, ttl_s: float | None) -> None:
    """Like `check_entry`, but no value is fine too: it stands for an absent key."""
    check_entry(key, b"" if new is None else new, ttl_s)


def check_ttl(key: str, ttl_s: float | None) -> None:
    """Raises StoreRejected unless this is a lifetime."""
    if ttl_s is not None and not ttl_s > 0:  # so written for NaN
        raise StoreRejected(f"ttl_s={ttl_s!r} of {key!r} is no lifetime; use seconds above zero, or None for ever")


def added(key: str, value: bytes | None, by: int) -> int:
    """The number in `value`, none counting as 0, plus `by`. Raises StoreRejected."""
    if value is not None and not _NUMBER.fullmatch(value):
        raise StoreRejected(f"the value of {key!r} is no number: {value[:32]!r}; incr needs a key of its own")
    total = (0 if value is None else int(value)) + by
    if not -_INT64_MAX - 1 <= total <= _INT64_MAX:
        raise StoreRejected(f"the number at {key!r} would be {total}, which does not fit 64 bits")
    return total
