"""Reads settings out of what a user configures with: a module, class, object, mapping or dotted name."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator, Mapping
from types import ModuleType
from typing import Any

from celeriac.model.errors import ImproperlyConfigured
from celeriac.settings_check import check_name, check_value
from celeriac.settings_table import OLD_NAMES, SETTINGS


def resolve(source: Any) -> Any:
    """The object that a dotted name means: ``pkg.module``, ``pkg.module:attr`` or ``pkg.module.attr``.

    Anything but text is returned as it is. Raises ImportError.
    """
    if not isinstance(source, str):
        return source
    module_name, colon, attribute = source.partition(":")
    if colon:
        return getattr(importlib.import_module(module_name), attribute)
    try:
        return importlib.import_module(source)
    except ModuleNotFoundError as exc:
        parent, dot, attribute = source.rpartition(".")
        if not dot or exc.name not in {source, parent}:
            raise
        module = importlib.import_module(parent)
        if not hasattr(module, attribute):
            raise
        return getattr(module, attribute)


def read_source(source: Any, namespace: str | None = None) -> dict[str, Any]:
    """All settings of `source` under their names of today, checked.

    With a namespace only keys with that prefix count. Raises ImproperlyConfigured for values of a wrong type, for names
    that look like typos, and for a mix of new and old names.
    """
    keys = dict(_items(source))
    if namespace:
        prefix = namespace.rstrip("_") + "_"
        keys = {key[len(prefix) :]: value for key, value in keys.items() if key.startswith(prefix)}
        keys = {key.lower() if key.lower() in SETTINGS or key.isupper() else key: keys[key] for key in keys}
    else:
        _refuse_mix(keys)
    settings: dict[str, Any] = {}
    for key, value in keys.items():
        name = key if key in SETTINGS else OLD_NAMES.get(key, key)
        if name not in SETTINGS:
            if callable(value) or isinstance(value, ModuleType):
                continue  # a function or import of a configuration module is no setting
            check_name(name)
        elif name != key and name in keys:
            continue  # both spellings are there: the one of today counts
        check_value(name, value)
        settings[name] = value
    return settings


def _items(source: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(source, Mapping):
        yield from source.items()
        return
    for name in dir(source):
        if not name.startswith("_"):
            yield name, getattr(source, name)


def _refuse_mix(keys: Mapping[str, Any]) -> None:
    old = [key for key in keys if key in OLD_NAMES and OLD_NAMES[key] not in keys]
    new = [key for key in keys if key in SETTINGS and not any(OLD_NAMES.get(other) == key for other in keys)]
    if old and new:
        lines = "\n".join(f"  {key} -> {OLD_NAMES[key]}" for key in sorted(old))
        raise ImproperlyConfigured(
            f"settings of old and new style are mixed ({', '.join(sorted(new))} are new). Rename these:\n{lines}"
        )


_TYPED = re.compile(r"^\((\w+)\)(.*)$", re.DOTALL)
_TRUE = frozenset({"1", "true", "yes", "on"})
_FALSE = frozenset({"0", "false", "no", "off", ""})


def parse_text(name: str, text: str) -> Any:
    """The value that `text` from a command line means for setting `name`; a prefix such as ``(int)`` says the type.

    Raises ImproperlyConfigured when the text is no such value.
    """
    typed = _TYPED.match(text)
    kind = typed.group(1) if typed else _kind_of(name)
    text = typed.group(2) if typed else text
    try:
        if kind in {"bool", "flag"}:
            return _parse_flag(text)
        if kind in {"int", "count", "positive"}:
            return int(text)
        if kind in {"float", "number", "secs"}:
            return float(text) if not text.lstrip("-").isdigit() else int(text)
        if kind in {"list", "tuple", "texts"}:
            return [item.strip() for item in text.split(",") if item.strip()]
    except ValueError as exc:
        raise ImproperlyConfigured(f"setting {name}: {text!r} is no value of type {kind}") from exc
    return text


def _kind_of(name: str) -> str:
    setting = SETTINGS.get(name)
    return setting.kind.rstrip("?") if setting is not None and isinstance(setting.kind, str) else "text"


def _parse_flag(text: str) -> bool:
    lower = text.strip().lower()
    if lower in _TRUE:
        return True
    if lower in _FALSE:
        return False
    raise ValueError(text)
