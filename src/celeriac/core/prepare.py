"""The whole send path, but for encoding and publishing: from what a caller said to a `Call`. Pure."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta, timezone, tzinfo
from typing import Any

from msgspec import Struct, structs

from celeriac.core.options import CALL_OPTIONS, nearest
from celeriac.core.route import Router
from celeriac.model.call import Call, RequestFields
from celeriac.model.context import Context
from celeriac.model.errors import CeleriacWarning, UnknownOption
from celeriac.model.message import Priority

_COUNTDOWN_S_MIN = -(2**31)
"""Below the 32-bit minimum a countdown is a bug of the caller, as Celery has it."""

_CLEARABLE = frozenset({"expires"})
"""Options for which an explicit None is an answer; elsewhere None means "not said"."""

_PROPERTIES = frozenset({"delivery_mode", "mandatory", "immediate", "user_id", "message_id", "correlation_id"})
"""Call options that travel as properties of the message, for brokers that know them."""

_NOT_YET = ("link", "link_error", "chain", "chord")
"""What needs workflows, which this version does not have."""


class SendDefaults(Struct, frozen=True):
    """What is the same for every call of one task from one process."""

    task: str
    options: Mapping[str, Any]
    """Call options of the settings, the static route and the task, in this order of growing weight."""
    router: Router
    queue: str
    """Where a call without options goes."""
    zone: tzinfo = timezone.utc
    """Zone of times without one."""
    inherit_priority: bool = False
    origin: str = ""
    reply_to: str = ""
    body_bytes_max: int | None = None


def prepare(
    defaults: SendDefaults,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    options: Mapping[str, Any],
    parent: Context | None,
    now: float,
    new_id: Callable[[], str],
) -> Call:
    """The call that these options mean, at POSIX time `now`, sent from within `parent` or from outside any task.

    Raises UnknownOption for a name that must be a typo, TypeError and ValueError naming the option that is wrong,
    QueueNotFound, NotImplementedError.
    """
    chosen: Mapping[str, Any]
    if options:
        chosen = _merge(defaults.options, options)
        queue = defaults.router.queue_of(chosen)
        properties = _properties(chosen)
    else:
        chosen, queue, properties = defaults.options, defaults.queue, _NONE
    get = chosen.get
    call_id = get("task_id") or new_id()
    priority: Priority = get("priority")
    root_id, parent_id = get("root_id"), get("parent_id")
    if parent is not None:
        parent_id = parent_id or parent.id
        root_id = root_id or parent.root_id or parent.id
        if priority is None and defaults.inherit_priority:
            priority = (parent.delivery_info or _NONE).get("priority")
    eta, expires = get("eta"), get("expires")
    countdown = get("countdown")
    if countdown or eta is not None:
        eta = _eta(countdown, eta, now, defaults.zone)
    if expires is not None:
        expires = _expires(expires, now, defaults.zone)
    return Call(
        id=call_id,
        task=defaults.task,
        queue=queue,
        args=args,
        kwargs=kwargs,
        eta=eta,
        expires=expires,
        priority=priority,
        serializer=get("serializer", "json"),
        compression=get("compression"),
        retries=get("retries", 0),
        time_limit_s=get("time_limit"),
        soft_time_limit_s=get("soft_time_limit"),
        root_id=root_id,
        parent_id=parent_id,
        group=get("group_id"),
        group_index=get("group_index"),
        shadow=get("shadow"),
        argsrepr=get("argsrepr"),
        kwargsrepr=get("kwargsrepr"),
        origin=defaults.origin,
        ignore_result=get("ignore_result"),
        replaced_task_nesting=get("replaced_task_nesting", 0),
        stamped_headers=get("stamped_headers"),
        headers=get("headers", _NONE),
        reply_to=get("reply_to", defaults.reply_to),
        properties=properties,
    )


_NONE: Mapping[str, Any] = {}


def _merge(base: Mapping[str, Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """`options` over `base`; names and values checked."""
    chosen = dict(base)
    if options.get("routing_key") is not None and options.get("queue") is None:
        chosen.pop("queue", None)  # the caller's address wins over the task's
    for name, value in options.items():
        if name not in CALL_OPTIONS:
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
        meant = nearest(name, known)
        if meant is not None:
            raise UnknownOption(f"unknown {what} {name!r}: did you mean {meant!r}?")


def _properties(chosen: Mapping[str, Any]) -> Mapping[str, Any]:
    return {name: value for name, value in chosen.items() if name in _PROPERTIES or name not in _KNOWN}


_KNOWN = CALL_OPTIONS | {"retries"}


def _eta(countdown: float | None, eta: datetime | None, now: float, zone: tzinfo) -> datetime:
    if eta is not None:
        return _zoned(eta, zone)
    assert countdown is not None
    return _after(now, countdown, "countdown")


def _expires(expires: float | datetime | timedelta, now: float, zone: tzinfo) -> datetime:
    if isinstance(expires, timedelta):
        expires = expires.total_seconds()
    if not isinstance(expires, datetime):
        return _after(now, expires, "expires")
    moment = _zoned(expires, zone)
    if moment.timestamp() <= now:
        warnings.warn(
            f"expires={expires.isoformat()} is in the past: the task will be revoked instead of run",
            CeleriacWarning,
            stacklevel=5,
        )
    return moment


def _zoned(moment: datetime, zone: tzinfo) -> datetime:
    return (moment.replace(tzinfo=zone) if moment.tzinfo is None else moment).astimezone(timezone.utc)


def _after(now: float, seconds: float, name: str) -> datetime:
    try:
        return datetime.fromtimestamp(now, timezone.utc) + timedelta(seconds=seconds)
    except (OverflowError, ValueError):
        raise ValueError(f"{name}={seconds!r} seconds lies beyond the year 9999") from None


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


def _check_mapping(name: str, value: Any) -> None:
    if not isinstance(value, Mapping):
        raise TypeError(f"{name}={value!r} is not a mapping")


def _check_limit(name: str, value: Any) -> None:
    if not _is_number(value):
        raise TypeError(f"{name}={value!r} is not a number of seconds")
    if value <= 0:
        raise ValueError(f"{name}={value!r} must be more than 0 seconds; None means no limit")


def _refuse(name: str, value: Any) -> None:
    if value:
        raise NotImplementedError(f"{name}: workflows come in a later version; send the next task from within this one")


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
    "headers": _check_mapping,
    "retry_policy": _check_mapping,
    "time_limit": _check_limit,
    "soft_time_limit": _check_limit,
    **dict.fromkeys(_NOT_YET, _refuse),
}


def prepare_again(
    fields: RequestFields,
    router: Router,
    serializer: str,
    options: Mapping[str, Any],
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    now: float,
) -> Call:
    """The call that repeats the one of `fields`: same id and place in its workflow, one retry more.

    `options` (with `countdown` or `eta`) win over what the first call said. Raises like `prepare`.
    """
    kept = {
        "task_id": fields.id,
        "priority": fields.priority,
        "queue": fields.queue,
        "serializer": serializer,
        "compression": fields.compression,
        "expires": fields.expires,
        "time_limit": fields.time_limit_s,
        "soft_time_limit": fields.soft_time_limit_s,
        "root_id": fields.root_id or fields.id,
        "parent_id": fields.parent_id,
        "group_id": fields.group,
        "group_index": fields.group_index,
        "shadow": fields.shadow,
        "ignore_result": fields.ignore_result,
        "replaced_task_nesting": fields.replaced_task_nesting,
        "headers": {name: value for name, value in fields.headers.items() if not name.startswith("x-")},
        **fields.properties,
    }
    kept = {name: value for name, value in kept.items() if value is not None}
    defaults = SendDefaults(fields.task, kept, router, fields.queue, origin=fields.origin, reply_to=fields.reply_to)
    call = prepare(defaults, args, kwargs, options, None, now, lambda: fields.id)
    return structs.replace(
        call,
        id=fields.id,
        retries=fields.retries + 1,
        stamped_headers=fields.stamped_headers,
        stamps=fields.stamps,
        callbacks=fields.callbacks,
        errbacks=fields.errbacks,
        chain=fields.chain,
        chord=fields.chord,
    )
