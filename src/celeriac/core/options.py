"""Options of calls and tasks: which there are, what their values may be, and which known name an unknown one was most
likely meant to be. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any

from celeriac.model.canvas import Chain, Group, Leaf, listed
from celeriac.model.errors import UnknownOption

CALL_OPTIONS: frozenset[str] = frozenset(
    {
        "task_id",
        "countdown",
        "eta",
        "expires",
        "priority",
        "queue",
        "exchange",
        "routing_key",
        "exchange_type",
        "delivery_mode",
        "mandatory",
        "immediate",
        "serializer",
        "compression",
        "headers",
        "retry",
        "retry_policy",
        "ignore_result",
        "time_limit",
        "soft_time_limit",
        "link",
        "link_error",
        "shadow",
        "argsrepr",
        "kwargsrepr",
        "reply_to",
        "root_id",
        "parent_id",
        "group_id",
        "group_index",
        "chord",
        "chain",
        "add_to_parent",
        "producer",
        "publisher",
        "connection",
        "router",
        "route_name",
        "timeout",
        "confirm_timeout",
        "correlation_id",
        "replaced_task_nesting",
        "stamped_headers",
        "user_id",
        "message_id",
        "expiration",
        "declare",
    }
)
"""What `apply_async` knows. Every other name becomes a property of the message."""

TASK_OPTIONS: frozenset[str] = frozenset(
    {
        "abstract",
        "acks_late",
        "acks_on_failure",
        "acks_on_failure_or_timeout",
        "acks_on_timeout",
        "app",
        "autoretry_for",
        "backend",
        "base",
        "bind",
        "compression",
        "default_retry_delay",
        "delivery_mode",
        "dont_autoretry_for",
        "exchange",
        "expires",
        "filter",
        "ignore_result",
        "immediate",
        "lazy",
        "mandatory",
        "max_retries",
        "name",
        "pool",
        "priority",
        "pydantic",
        "pydantic_context",
        "pydantic_dump_kwargs",
        "pydantic_strict",
        "queue",
        "rate_limit",
        "reject_on_worker_lost",
        "resultrepr_maxsize",
        "retry_backoff",
        "retry_backoff_max",
        "retry_jitter",
        "retry_kwargs",
        "routing_key",
        "send_events",
        "serializer",
        "shared",
        "soft_time_limit",
        "store_eager_result",
        "store_errors_even_if_ignored",
        "throws",
        "time_limit",
        "track_started",
        "trail",
        "typing",
    }
)
"""What the task decorator knows. Every other name becomes an attribute of the task."""


_COUNTDOWN_S_MIN = -(2**31)
"""Below the 32-bit minimum a countdown is a bug of the caller, as Celery has it."""

_CLEARABLE = frozenset({"expires"})
"""Options for which an explicit None is an answer; elsewhere None means "not said"."""

_PROPERTIES = frozenset({"delivery_mode", "mandatory", "immediate", "user_id", "message_id", "correlation_id"})
"""Call options that travel as properties of the message, for brokers that know them."""


def merge_options(base: Mapping[str, Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """`options` over `base`; names and values checked."""
    chosen = dict(base)
    stamped = options.get("stamped_headers") or ()
    if options.get("routing_key") is not None and options.get("queue") is None:
        chosen.pop("queue", None)  # the caller's address wins over the task's
    for name, value in options.items():
        if name not in CALL_OPTIONS and name not in stamped:
            check_name(name, CALL_OPTIONS, "call option")
        if value is not None:
            check = _CHECKS.get(name)
            if check is not None:
                check(name, value)
            chosen[name] = value
        elif name in _CLEARABLE:
            chosen.pop(name, None)
    if chosen.get("eta") is not None and chosen.get("countdown"):
        if options.get("eta") is not None and options.get("countdown"):
            raise TypeError("eta and countdown are both given; give one of them")
        chosen.pop("countdown" if options.get("eta") is not None else "eta")
    return chosen


def check_options(options: Mapping[str, Any]) -> None:
    """Check values of call options that come from elsewhere than a call. Raises like `prepare`."""
    for name, value in options.items():
        check = _CHECKS.get(name)
        if check is not None and value is not None:
            check(name, value)


def check_name(name: str, known: frozenset[str], what: str) -> None:
    """Raise UnknownOption if `name` is not in `known` but so close to one of them that it must be a typo."""
    if name not in known:
        meant = _nearest_of(name, known)
        if meant is not None:
            raise UnknownOption(f"unknown {what} {name!r}: did you mean {meant!r}?")


def properties_of(chosen: Mapping[str, Any]) -> Mapping[str, Any]:
    """Those of the settled options that are properties of the message."""
    stamped = chosen.get("stamped_headers") or ()
    return {
        name: value
        for name, value in chosen.items()
        if name in _PROPERTIES or (name not in _KNOWN and name not in stamped)
    }


_KNOWN = CALL_OPTIONS | {"retries"}


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that `name` is most likely a typo of, or None when it is close to none.

    Close is: one slip (a letter too much, missing, wrong, or two exchanged) in names of four to seven letters, two in
    longer ones. Shorter names are never taken for typos.
    """
    best: str | None = None
    best_slips = 3
    letters = set(name)
    for candidate in known:
        allowed = _slips_allowed(min(len(name), len(candidate)))
        # Each slip changes the set of letters by two at most, so most candidates need no closer look.
        if not allowed or abs(len(name) - len(candidate)) > allowed or len(letters ^ set(candidate)) > 2 * allowed:
            continue
        slips = _slips(name, candidate)
        if slips <= allowed and slips < best_slips:
            best, best_slips = candidate, slips
    return best


@lru_cache(maxsize=1024)  # names that programs use over and over; bounded, for names may be made up
def _nearest_of(name: str, known: frozenset[str]) -> str | None:
    return nearest(name, known)


def _slips_allowed(length: int) -> int:
    return 0 if length < 4 else 1 if length < 8 else 2


def _slips(one: str, other: str) -> int:
    """Edit distance that counts two exchanged neighbours as one slip."""
    before: list[int] = []
    row = list(range(len(other) + 1))
    for i, a in enumerate(one, 1):
        new = [i]
        for j, b in enumerate(other, 1):
            cost = min(row[j] + 1, new[j - 1] + 1, row[j - 1] + (a != b))
            if i > 1 and j > 1 and a == other[j - 2] and one[i - 2] == b:
                cost = min(cost, before[j - 2] + 1)
            new.append(cost)
        before, row = row, new
    return row[-1]


# checks of single options


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and value == value  # noqa: PLR0124 - NaN


def _check_countdown(name: str, value: Any) -> None:
    if not _is_number(value):
        raise TypeError(f"{name}={value!r} is not a number of seconds")
    if value < _COUNTDOWN_S_MIN:
        raise ValueError(f"{name}={value!r} is below {_COUNTDOWN_S_MIN} seconds; give None to start at once")


def _check_eta(name: str, value: Any) -> None:
    if not isinstance(value, datetime):
        raise TypeError(f"{name}={value!r} is not a datetime; for seconds from now use countdown")


def _check_expires(name: str, value: Any) -> None:
    if not _is_number(value) and not isinstance(value, (datetime, timedelta)):
        raise TypeError(f"{name}={value!r} is neither a number of seconds nor a datetime")


def _check_priority(name: str, value: Any) -> None:
    if isinstance(value, str):
        if value not in {"low", "normal", "high"}:
            raise ValueError(f"{name}={value!r} is none of 'low', 'normal', 'high'")
    elif not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{name}={value!r} is neither a whole number from 0 to 9 nor 'low', 'normal' or 'high'")
    elif not 0 <= value <= 9:
        raise ValueError(f"{name}={value} is out of 0 to 9; names mean the same on every broker: low, normal, high")


def _check_text(name: str, value: Any) -> None:
    if not isinstance(value, str):
        raise TypeError(f"{name}={value!r} is not text")
    require_text(name, value)


def require_text(name: str, value: str) -> None:
    """Refuse text that no store can keep: half of a surrogate pair. Raises ValueError naming the option."""
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError as exc:
            raise ValueError(f"{name}={value!r} cannot be encoded: {exc}") from None


def _check_mapping(name: str, value: Any) -> None:
    if not isinstance(value, Mapping):
        raise TypeError(f"{name}={value!r} is not a mapping")


def _check_limit(name: str, value: Any) -> None:
    if not _is_number(value):
        raise TypeError(f"{name}={value!r} is not a number of seconds")
    if value <= 0:
        raise ValueError(f"{name}={value!r} must be more than 0 seconds; None means no limit")


def _check_links(name: str, value: Any) -> None:
    for signature in listed(value):
        is_signature = isinstance(signature, Mapping) and isinstance(signature.get("task"), str)
        if not is_signature and not isinstance(signature, (Leaf, Chain, Group)):
            raise TypeError(f"{name}={signature!r} is no signature; give one, as task.s() makes it, or a list of them")


def _check_count(name: str, value: Any) -> None:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{name}={value!r} is not a whole number")
    if value < 0:
        raise ValueError(f"{name}={value} is below 0")


def _check_stamped(name: str, value: Any) -> None:
    if not isinstance(value, (list, tuple, set, frozenset)) or not all(isinstance(item, str) for item in value):
        raise TypeError(f"{name}={value!r} is not a list of names")


def _refuse(name: str, value: Any) -> None:
    if value:
        raise NotImplementedError(f"{name}: chords come in a later release; see the guide on workflows for other ways")


_CHECKS: Mapping[str, Callable[[str, Any], None]] = {
    "countdown": _check_countdown,
    "eta": _check_eta,
    "expires": _check_expires,
    "priority": _check_priority,
    "task_id": _check_text,
    "serializer": _check_text,
    "compression": _check_text,
    "shadow": _check_text,
    "argsrepr": _check_text,
    "kwargsrepr": _check_text,
    "reply_to": _check_text,
    "root_id": _check_text,
    "parent_id": _check_text,
    "group_id": _check_text,
    "group_index": _check_count,
    "retries": _check_count,
    "replaced_task_nesting": _check_count,
    "headers": _check_mapping,
    "retry_policy": _check_mapping,
    "time_limit": _check_limit,
    "soft_time_limit": _check_limit,
    "link": _check_links,
    "link_error": _check_links,
    "chain": _check_links,
    "chord": _refuse,
    "stamped_headers": _check_stamped,
}
