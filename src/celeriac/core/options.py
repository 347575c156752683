"""Names of options, and which known name an unknown one was most likely meant to be."""

from __future__ import annotations

from collections.abc import Iterable

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


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that `name` is most likely a typo of, or None when it is close to none.

    Close is: one slip (a letter too much, missing, wrong, or two exchanged) in names of four to seven letters, two in
    longer ones. Shorter names are never taken for typos.
    """
    best: str | None = None
    best_slips = 3
    for candidate in known:
        allowed = _slips_allowed(min(len(name), len(candidate)))
        if allowed and abs(len(name) - len(candidate)) <= allowed:
            slips = _slips(name, candidate)
            if slips <= allowed and slips < best_slips:
                best, best_slips = candidate, slips
    return best


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
