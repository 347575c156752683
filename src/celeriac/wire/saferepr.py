"""A short `repr` for logs and headers: bounded in length, depth and time, and never raising."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

CHARS_MAX = 1024
"""Length of the text, give or take the closing brackets."""
DEPTH_MAX = 3
"""Containers nested deeper are shown as ``...``."""

_FAST_ITEMS_MAX = 16
_FAST_CHARS_MAX = 64
_INT_BITS_MAX = 4096
"""Longer integers are described: printing them takes time quadratic in their length."""
_SIZED_MODULES = frozenset({"builtins", "collections", "array"})
_SIZED_ITEMS_MAX = 256
"""Library containers over this size are described: their `repr` would print every item."""


def saferepr(value: Any, chars_max: int = CHARS_MAX, depth_max: int = DEPTH_MAX) -> str:
    """`repr(value)`, cut at about `chars_max` characters and `depth_max` levels. Never raises an Exception."""
    cls = type(value)
    if chars_max == CHARS_MAX and (cls is tuple or cls is list or cls is dict) and len(value) <= _FAST_ITEMS_MAX:
        for item in (*value, *value.values()) if cls is dict else value:
            kind = type(item)
            if kind is int:
                if not -(1 << 63) < item < 1 << 63:
                    break
            elif kind is str:
                if len(item) > _FAST_CHARS_MAX:
                    break
            elif kind is not float and kind is not bool and item is not None:
                break
        else:
            return repr(value)  # short, flat and plain: shown at once
    pieces: list[str] = []
    room = chars_max
    for piece in _pieces(value, depth_max, chars_max):
        if len(piece) > room:
            pieces.append(piece[: max(room, 0)])
            pieces.append("...")
            break
        room -= len(piece)
        pieces.append(piece)
    return "".join(pieces)


_BRACKETS: dict[Any, tuple[str, str]] = {
    tuple.__repr__: ("(", ")"),
    list.__repr__: ("[", "]"),
    set.__repr__: ("{", "}"),
    frozenset.__repr__: ("frozenset({", "})"),
}
"""By the `repr` in force, so that a subclass with its own is asked itself."""


def _pieces(value: Any, depth: int, chars_max: int) -> Iterator[str]:
    """The text in parts, made only as far as they are asked for."""
    shape: Any = type(value).__repr__
    brackets = _BRACKETS.get(shape)
    if brackets is None and shape is not dict.__repr__:
        yield _leaf(value, chars_max)
        return
    opening, closing = brackets or ("{", "}")
    if not len(value):
        yield _leaf(value, chars_max)
        return
    if depth <= 0:
        yield f"{opening}...{closing}"
        return
    yield opening
    separator = ""
    try:
        for item in value:
            yield separator
            separator = ", "
            yield from _pieces(item, depth - 1, chars_max)
            if brackets is None:
                yield ": "
                yield from _pieces(value[item], depth - 1, chars_max)
    except (RuntimeError, KeyError):  # changed by another thread while we look
        yield ", ..."
    if shape is tuple.__repr__ and len(value) == 1:
        yield ","
    yield closing


def _leaf(value: Any, chars_max: int) -> str:
    try:
        cls = type(value)
        shape: Any = cls.__repr__
        if shape is str.__repr__ or shape is bytes.__repr__:
            return repr(value) if len(value) <= chars_max else repr(value[:chars_max]) + "..."
        if shape is int.__repr__ and value.bit_length() > _INT_BITS_MAX:
            return f"<int of {value.bit_length()} bits>"
        if (
            cls is not range
            and cls.__module__ in _SIZED_MODULES
            and hasattr(cls, "__len__")
            and len(value) > _SIZED_ITEMS_MAX
        ):
            return f"<{cls.__name__} of {len(value)} items>"
        return repr(value)
    except Exception as exc:  # noqa: BLE001 - __repr__ is user code and may raise anything
        return f"<{type(value).__name__} whose repr raises {type(exc).__name__}>"
