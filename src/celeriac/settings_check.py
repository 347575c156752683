"""Checks one setting's value, and names the field and the fix when it is wrong."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

from celeriac.core.options import nearest
from celeriac.model.errors import ImproperlyConfigured
from celeriac.settings_table import OLD_NAMES, SETTINGS


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and not math.isnan(value)


def _is_whole(value: Any, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _is_priority(value: Any) -> bool:
    return value in {"low", "normal", "high"} if isinstance(value, str) else _is_whole(value, 0) and value <= 9


def _is_seconds(value: Any) -> bool:
    return (_is_number(value) and value >= 0) or (isinstance(value, timedelta) and value >= timedelta(0))


def _is_texts(value: Any) -> bool:
    return isinstance(value, (list, tuple, set, frozenset)) and all(isinstance(item, str) for item in value)


KINDS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "any": (lambda _: True, "anything"),
    "flag": (lambda value: isinstance(value, bool) or (isinstance(value, int) and value in {0, 1}), "True or False"),
    "number": (_is_number, "a number"),
    "count": (lambda value: _is_whole(value, 0), "a whole number from 0"),
    "positive": (lambda value: _is_whole(value, 1), "a whole number from 1"),
    "secs": (_is_seconds, "a number of seconds from 0, or a timedelta"),
    "priority": (_is_priority, "a whole number from 0 to 9, or low, normal or high"),
    "text": (lambda value: isinstance(value, str) or callable(value), "a text"),
    "texts": (_is_texts, "a list or tuple of texts"),
    "map": (lambda value: isinstance(value, Mapping), "a mapping"),
}
"""Kind of value: what belongs to it, and its name for people."""


def check_value(name: str, value: Any) -> None:
    """Raise ImproperlyConfigured, naming the setting and what it takes, if `value` cannot be its value.

    A name that is not in the table is the user's own: nothing is said about its value.
    """
    setting = SETTINGS.get(name)
    if setting is None or value is setting.default:
        return
    kind = setting.kind
    if isinstance(kind, tuple):
        if value not in kind:
            raise ImproperlyConfigured(f"setting {name}: {value!r} is none of {', '.join(kind)}")
        return
    optional = kind.endswith("?")
    if value is None and optional:
        return
    accepts, words = KINDS[kind.rstrip("?")]
    if not accepts(value):
        also = ", or None" if optional else ""
        hint = _hint(kind.rstrip("?"), value)
        raise ImproperlyConfigured(f"setting {name}: {value!r} ({type(value).__name__}) is not {words}{also}{hint}")


def _hint(kind: str, value: Any) -> str:
    if kind == "texts" and isinstance(value, str):
        return f"; write [{value!r}]"
    if isinstance(value, str) and kind in {"flag", "number", "count", "positive", "secs"}:
        return "; write it without quotes"
    return ""


def check_name(name: str) -> None:
    """Raise ImproperlyConfigured if `name` is unknown but so close to a known setting that it must be a typo."""
    if name in SETTINGS or name in OLD_NAMES:
        return
    meant = nearest(name, OLD_NAMES if name.isupper() else SETTINGS)
    if meant is not None:
        raise ImproperlyConfigured(
            f"unknown setting {name}: did you mean {meant}? (A setting of your own needs a name that is less alike.)"
        )
