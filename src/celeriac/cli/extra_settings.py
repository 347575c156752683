"""Settings after ``--``: ``celeriac -A proj worker -- worker.prefetch_multiplier=8``."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from typing import Any

import click

_TYPED = re.compile(r"\((?P<type>[a-z]+)\)(?P<value>.*)", re.DOTALL)


def _flag(text: str) -> bool:
    try:
        return {
            "true": True,
            "yes": True,
            "on": True,
            "1": True,
            "false": False,
            "no": False,
            "off": False,
            "0": False,
        }[text.lower()]
    except KeyError:
        raise ValueError(f"{text!r} is neither true nor false") from None


_TYPES: dict[str, Callable[[str], Any]] = {
    "int": int,
    "float": float,
    "bool": _flag,
    "str": str,
    "json": json.loads,
    "list": json.loads,
    "tuple": lambda text: tuple(json.loads(text)),
    "dict": json.loads,
}


def read_settings(words: Iterable[str], group: str = "worker") -> dict[str, Any]:
    """``key=value`` words as settings. Raises click.UsageError naming the word that is none.

    Dots in a key are underscores; a key that begins with a dot stands in `group`. A value is read as JSON where it
    is JSON (8, true, null, ["a"]), else it is text; ``(str)8`` says the type.
    """
    found: dict[str, Any] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or not key.strip("."):
            raise click.UsageError(
                f"{word!r} is no setting. After `--` write settings as name=value: -- worker.prefetch_multiplier=8"
            )
        name = key.strip().lower().replace(".", "_")
        if name.startswith("_"):
            name = f"{group}{name}"
        found[name] = _value(word, value)
    return found


def _value(word: str, text: str) -> Any:
    typed = _TYPED.fullmatch(text)
    if typed:
        kind = typed["type"]
        if kind not in _TYPES:
            raise click.UsageError(f"{word!r}: there is no type {kind!r}; write one of {', '.join(_TYPES)}.")
        try:
            return _TYPES[kind](typed["value"])
        except (ValueError, TypeError) as exc:
            raise click.UsageError(f"{word!r}: {typed['value']!r} is no {kind} ({exc}).") from exc
    if text in {"True", "False", "None"}:
        return {"True": True, "False": False, "None": None}[text]
    try:
        return json.loads(text)
    except ValueError:
        return text
