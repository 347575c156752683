"""Which part of a value cannot be encoded: the difference between a puzzle and an error message."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

_STEPS_MAX = 10_000
"""Looking for the culprit stops after so many parts; the error is then told without a place."""
_DEPTH_MAX = 50
_NESTED_SHOWN = 3
"""So much of the place of a part that is nested too deeply is told: one argument, or one callback."""
_KEY_SHOWN_MAX = 60


def blame(value: Any, error: BaseException, try_encode: Callable[[Any], object], kind: str, root: str = "") -> str:
    """One sentence: where in `value` the part lies that `try_encode` refuses, what it is, what to do.

    `root` names the value itself, for example ``args``.
    """
    if isinstance(error, RecursionError):
        place, _ = _find(value, try_encode, root, _NESTED_SHOWN)
        return f"{place or 'the value'} contains itself or is nested too deeply for {kind}; pass flat data"
    place, part = _find(value, try_encode, root)
    prefix = f"{place}: " if place else ""
    if part is None:
        return f"{prefix}{_text(error)}; pass plain data or choose another serializer"
    name = type(part).__name__
    reason = "" if isinstance(error, TypeError) else f" ({_text(error)})"
    return (
        f"{prefix}object of type {name} is not {kind} serializable{reason}; "
        "pass plain data or choose another serializer"
    )


def _text(error: BaseException) -> str:
    try:
        return f"{type(error).__name__}: {error}"
    except Exception:  # noqa: BLE001 - an exception of the user whose text cannot be had
        return type(error).__name__


def _find(value: Any, try_encode: Callable[[Any], object], root: str, depth_max: int = _DEPTH_MAX) -> tuple[str, Any]:
    """Descend into the first refused part, until a part is refused that has no refused parts."""
    place, steps = root, 0
    for _ in range(depth_max):
        for step, child in _children(value):
            steps += 1
            if steps > _STEPS_MAX:
                return place, None
            if not _accepts(try_encode, child):
                place, value = place + step, child
                break
        else:
            break
    if isinstance(value, dict):
        for key in value:
            if not _accepts(try_encode, {key: None}):
                return f"{place}: the key {_shown(key)}", key
    return place, value


def _accepts(try_encode: Callable[[Any], object], part: Any) -> bool:
    try:
        try_encode(part)
    except Exception:  # noqa: BLE001 - hooks of the user may raise anything
        return False
    return True


def _children(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, child in list(value.items()):
            yield f"[{_shown(key)}]", child
    elif isinstance(value, (list, tuple)):
        for index, child in enumerate(value):
            yield f"[{index}]", child


def _shown(key: object) -> str:
    if isinstance(key, str):
        text = key if len(key) <= _KEY_SHOWN_MAX else key[:_KEY_SHOWN_MAX] + "..."
        return '"' + text.replace('"', '\\"') + '"'
    try:
        return repr(key)[:_KEY_SHOWN_MAX]
    except Exception:  # noqa: BLE001 - __repr__ is user code
        return f"<{type(key).__name__}>"
