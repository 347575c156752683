"""`app.conf`: the settings of one app, in layers: what was changed at run time, what was configured, the defaults."""

from __future__ import annotations

import os
import re
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from datetime import timedelta
from typing import Any

from celeriac.model.errors import ImproperlyConfigured, NoEffectWarning
from celeriac.model.urls import mask_url
from celeriac.settings_check import check_name, check_value
from celeriac.settings_table import OLD_NAMES, SETTINGS

_ENVIRONMENT = {
    "broker_url": ("CELERY_BROKER_URL", "CELERIAC_BROKER_URL"),
    "broker_read_url": ("CELERY_BROKER_READ_URL", "CELERIAC_BROKER_READ_URL"),
    "broker_write_url": ("CELERY_BROKER_WRITE_URL", "CELERIAC_BROKER_WRITE_URL"),
    "result_backend": ("CELERY_RESULT_BACKEND", "CELERIAC_RESULT_BACKEND"),
}
"""Variables that win over everything configured, as Celery has it."""

_SECRET = re.compile(r"API|TOKEN|KEY|SECRET|PASS|PROFANITIES_LIST|SIGNATURE|DATABASE|BEAT_DBURI", re.IGNORECASE)
_STARS = "********"

_LOAD_S_MAX = 30.0
"""Longest wait for another thread that loads the configuration: two that import each other's modules would wait for
ever."""


class Settings(MutableMapping[str, Any]):
    """Settings as attributes and as items. Reading loads the configuration; assigning checks name and value at once.

    :param load: called once, at the first reading; returns what was configured, under the names of today
    """

    _load: Callable[[], Mapping[str, Any]]

    def __init__(self, changes: Mapping[str, Any], load: Callable[[], Mapping[str, Any]]) -> None:
        own = self.__dict__
        own["_load"] = load
        own["_source"] = None
        own["_pending"] = {}
        own["_lock"] = threading.RLock()
        own["_is_loading"] = False
        own["_added"] = []  # functions
        own["changes"] = {}
        own["version"] = 0
        self.update(changes)

    # reading

    @property
    def defaults(self) -> Mapping[str, Any]:
        """The default of every known setting, and those added with `add_defaults`."""
        return {**{name: row.default for name, row in SETTINGS.items()}, **self._added_defaults()}

    def __getitem__(self, key: str) -> Any:
        name = OLD_NAMES.get(key, key)
        for variable in _ENVIRONMENT.get(name, ()):
            value = os.environ.get(variable)
            if value:
                return value
        if name in self.changes:
            return self.changes[name]
        source = self._configured()
        if name in source:
            return source[name]
        added = self._added_defaults()
        if name in added:
            return added[name]
        if name in SETTINGS:
            default = SETTINGS[name].default
            # A container is the caller's own from now on, so that changing it in place has its effect.
            if isinstance(default, dict):
                return self.changes.setdefault(name, dict(default))
            return default
        raise KeyError(key)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"no setting {name!r}") from None

    def __contains__(self, key: object) -> bool:
        try:
            self[str(key)]
        except KeyError:
            return False
        return True

    def __iter__(self) -> Iterator[str]:
        return iter({**self.defaults, **self._configured(), **self.changes})

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def seconds(self, name: str) -> float | None:
        """A duration in seconds; None, and 0 where it means the same, as None."""
        value = self[name]
        if isinstance(value, timedelta):
            value = value.total_seconds()
        return float(value) if value else None

    def get_by_parts(self, *parts: str) -> Any:
        """``get_by_parts("worker", "pool")`` is ``worker_pool``."""
        return self["_".join(part for part in parts if part)]

    def find_option(self, name: str, namespace: str = "") -> tuple[str, str, Any]:
        """(namespace, key, value) of the setting `name`, with or without its group's prefix. Raises KeyError."""
        for key in (name, f"{namespace}_{name}"):
            if key in self:
                return namespace, key, self[key]
        raise KeyError(name)

    def find_value_for_key(self, name: str, namespace: str = "celery") -> Any:
        """The value `find_option` finds."""
        return self.find_option(name, namespace)[2]

    # writing

    def __setitem__(self, key: str, value: Any) -> None:
        name = OLD_NAMES.get(key, key)
        check_name(name)
        check_value(name, value)
        self.changes[name] = value
        self._touch()

    def __setattr__(self, name: str, value: Any) -> None:
        self[name] = value

    def __delitem__(self, key: str) -> None:
        del self.changes[OLD_NAMES.get(key, key)]
        self._touch()

    def add_defaults(self, defaults: Mapping[str, Any] | Callable[[], Mapping[str, Any]]) -> None:
        """Values that stand where nothing is configured, before our own defaults; a callable is asked when needed."""
        self._added.append(defaults if callable(defaults) else lambda: defaults)
        self._touch()

    def reload(self, load: Callable[[], Mapping[str, Any]]) -> None:
        """Forget what was configured, and what was changed since; `load` supplies the configuration from now on.

        What the app was made with, or changed before its configuration was first read, stays.
        """
        if self.__dict__["_source"] is not None:
            self.__dict__["changes"] = dict(self._pending)
        self.__dict__.update(_load=load, _source=None)
        self._touch()

    # showing

    def without_defaults(self) -> dict[str, Any]:
        """What the user set: configured and changed."""
        return {**self._configured(), **self.changes}

    def table(self, with_defaults: bool = False, censored: bool = True) -> dict[str, Any]:
        """Settings as a plain dict; secrets are asterisks and addresses lose their password when `censored`."""
        own = self.without_defaults()
        shown = {name: self[name] for name in (self if with_defaults else own)}
        return {name: _censor(name, value) for name, value in shown.items()} if censored else shown

    def humanize(self, with_defaults: bool = False, censored: bool = True) -> str:
        """The same as text, a line per setting."""
        return "\n".join(f"{name}: {value!r}" for name, value in sorted(self.table(with_defaults, censored).items()))

    def without_effect(self) -> dict[str, str]:
        """Settings the user gave that change nothing here: name to what stands in their place, or that they come later."""
        found = {}
        for name in self.without_defaults():
            row = SETTINGS.get(name)
            if row is not None and row.status == "moot":
                found[name] = row.meaning
            elif row is not None and row.status == "later":
                found[name] = "has no effect in this version yet"
        return found

    # inside

    def _configured(self) -> Mapping[str, Any]:
        source: Mapping[str, Any] | None = self.__dict__["_source"]
        return self._load_once() if source is None else source

    def _load_once(self) -> Mapping[str, Any]:
        """Load the configuration; threads that come meanwhile wait, and code of the configuration itself sees none."""
        own = self.__dict__
        if not own["_lock"].acquire(timeout=_LOAD_S_MAX):
            raise ImproperlyConfigured(
                f"another thread has been loading the configuration for {_LOAD_S_MAX:g} s; look at what its module does"
            )
        try:
            source: Mapping[str, Any] | None = own["_source"]
            if source is None:
                if own["_is_loading"]:
                    return {}
                own["_pending"] = dict(self.changes)
                own["_is_loading"] = True
                try:
                    source = own["_load"]()
                finally:
                    own["_is_loading"] = False
                own["_source"] = source
                self._touch()
                self._report()
        finally:
            own["_lock"].release()
        assert source is not None
        return source

    def _added_defaults(self) -> dict[str, Any]:
        merged: dict[str, Any] = {}
        for layer in self.__dict__["_added"]:
            merged.update(layer())
        return merged

    def _touch(self) -> None:
        self.__dict__["version"] += 1

    def _report(self) -> None:
        silent = self.without_effect()
        if silent:
            lines = "; ".join(f"{name}: {words}" for name, words in sorted(silent.items()))
            warnings.warn(f"settings without effect here: {lines}", NoEffectWarning, stacklevel=4)


def _censor(name: str, value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _censor(str(key), item) for key, item in value.items()}
    if isinstance(value, str) and "://" in value:
        return mask_url(value)
    if value and _SECRET.search(name) and isinstance(value, (str, bytes)):
        return _STARS
    if isinstance(value, (list, tuple)):
        return [_censor(name, item) for item in value]
    return value
