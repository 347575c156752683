"""Kinds of values that options take, and what to say when a value is none."""

from __future__ import annotations

import difflib
import json
import logging
import math
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import click

from celeriac.cli.verb import DID_YOU_MEAN_CUTOFF
from celeriac.model.errors import ImproperlyConfigured
from celeriac.pool_options import pools_named

if TYPE_CHECKING:
    _ParamType = click.ParamType[Any]
else:
    # Only newer releases of click have a type of values there.
    _ParamType = click.ParamType

_SHOWN_MAX = 60
"""So many characters around the place where a text stops being JSON: a line of a terminal, with the words before it."""


def _bad(message: str, param: click.Parameter | None, ctx: click.Context | None) -> click.BadParameter:
    """The error that tells which option it was."""
    return click.BadParameter(message, ctx=ctx, param=param)


class Json(_ParamType):
    """A JSON value of one kind: a list or an object."""

    name = "json"

    def __init__(self, kind: type, example: str) -> None:
        self._kind = kind
        self._example = example

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The value; fails with the place of the error."""
        if not isinstance(value, str):
            return value
        try:
            found = json.loads(value)
        except ValueError as exc:
            raise _bad(f"{_json_error(value, exc)}\nWrite it as in {self._example}", param, ctx) from exc
        if not isinstance(found, self._kind):
            wanted = "a list" if self._kind is list else "an object"
            raise _bad(f"{value} is JSON, but not {wanted}. Write it as in {self._example}", param, ctx)
        return found


def _json_error(text: str, error: ValueError) -> str:
    if not isinstance(error, json.JSONDecodeError):
        return f"this is no JSON: {error}."
    lines = text.splitlines() or [""]
    line = lines[min(error.lineno, len(lines)) - 1]
    start = max(0, error.colno - 1 - _SHOWN_MAX // 2)
    shown = line[start : start + _SHOWN_MAX]
    pointer = " " * (error.colno - 1 - start) + "^"
    where = f"line {error.lineno}, column {error.colno}" if len(lines) > 1 else f"column {error.colno}"
    return f"no JSON: {error.msg} at {where}:\n    {shown}\n    {pointer}"


class Moment(_ParamType):
    """A date and time (ISO 8601; without a zone it is the local one)."""

    name = "moment"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """The moment, with its zone."""
        if isinstance(value, datetime):
            return value
        moment = moment_of(str(value))
        if moment is None:
            raise _bad(f"{value!r} is no date and time. Write it as in {_example_moment()}", param, ctx)
        return moment


class SecondsOrMoment(Moment):
    """Seconds from now, or a date and time."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """A number of seconds, or the moment."""
        try:
            seconds = float(value)
        except (TypeError, ValueError) as exc:
            moment = moment_of(str(value))
            if moment is None:
                text = f"{value!r} is neither seconds (300) nor a moment ({_example_moment()})"
                raise _bad(text, param, ctx) from exc
            return moment
        if not math.isfinite(seconds):
            raise _bad(f"{value!r} is no time. Write seconds (300) or a moment ({_example_moment()})", param, ctx)
        return seconds


def moment_of(text: str) -> datetime | None:
    """ISO 8601 to a moment with a zone (the local one where none is written); None if it is none."""
    # Python 3.10 does not read the Z.
    plain = f"{text[:-1]}+00:00" if text[-1:] in {"Z", "z"} else text
    try:
        return datetime.fromisoformat(plain).astimezone()
    except ValueError:
        return None


def _example_moment() -> str:
    return (datetime.now(timezone.utc) + timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ")


class Names(_ParamType):
    """Names with commas between them."""

    name = "names"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        """The names, each once, without the empty ones."""
        if isinstance(value, tuple):
            return value
        names = [part.strip() for part in str(value).split(",")]
        found = tuple(dict.fromkeys(name for name in names if name))
        if not found:
            raise _bad("no name is given. Write names with commas between them: mail,celery", param, ctx)
        return found


class Level(_ParamType):
    """A log level by name or number."""

    name = "level"
    _NAMES = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL", "FATAL")

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The name; a number of no name stays one."""
        text = str(value).strip().upper()
        if text.isdigit():
            return str(logging.getLevelName(int(text))).rpartition(" ")[2]
        if text == "WARN":
            return "WARNING"
        if text in self._NAMES:
            return "CRITICAL" if text == "FATAL" else text
        near = difflib.get_close_matches(text, self._NAMES, n=1, cutoff=DID_YOU_MEAN_CUTOFF)
        meant = f" Did you mean {near[0]}?" if near else ""
        raise _bad(f"{value!r} is no log level: {', '.join(self._NAMES)}.{meant}", param, ctx)


class Importance(_ParamType):
    """A priority: 0 to 9, or a name."""

    name = "priority"
    _NAMES = ("high", "normal", "low")

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | str:
        """The number or the name."""
        text = str(value).lower()
        if text in self._NAMES:
            return text
        if text.isdigit() and int(text) <= 9:
            return int(text)
        raise _bad(
            f"{value!r} is no priority: 0 to 9 (the larger goes first), or {', '.join(self._NAMES)}.", param, ctx
        )


class PoolNames(_ParamType):
    """One pool, or several with commas between them; Celery's names and class paths are taken too."""

    name = "pool"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Our own names, the default pool first."""
        try:
            return ",".join(pools_named(str(value)))
        except ImproperlyConfigured as exc:
            raise _bad(str(exc), param, ctx) from exc


JSON_LIST = Json(list, "-a '[2, \"text\"]'")
JSON_OBJECT = Json(dict, "-k '{\"x\": 2}'")
MOMENT = Moment()
SECONDS_OR_MOMENT = SecondsOrMoment()
NAMES = Names()
LEVEL = Level()
IMPORTANCE = Importance()
POOL_NAMES = PoolNames()
