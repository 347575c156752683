"""How a send is repeated while the broker is unavailable."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from celeriac.model.errors import BrokerUnavailable

LAST_START = 0.9
"""The part of the patience in which a repetition may begin: one at its very end would only double the wait."""


class PublishRetries(Struct, frozen=True):
    """How often and how long a send is repeated while the broker is unavailable."""

    max_retries: int | None = 3
    """None: until `patience_s` is over."""
    interval_start_s: float = 0.0
    interval_step_s: float = 0.2
    interval_max_s: float = 1.0
    errors: tuple[type[BaseException], ...] = (BrokerUnavailable,)
    """Errors that are worth a repetition."""
    patience_s: float = 4.0
    """No repetition begins later than this after the first try began, so that the caller waits a bounded time."""

    def pause_s(self, retry: int) -> float:
        """How long to wait before repetition `retry`, counted from 0."""
        return max(0.0, min(self.interval_start_s + retry * self.interval_step_s, self.interval_max_s))


def publish_retries(policy: Mapping[str, Any], patience_s: float) -> PublishRetries:
    """Read Celery's `retry_policy`. Raises TypeError and ValueError naming the key."""
    known = {"max_retries", "interval_start", "interval_step", "interval_max", "retry_errors"}
    for name, value in policy.items():
        if name not in known:
            raise ValueError(f"retry_policy: unknown key {name!r}; known are {', '.join(sorted(known))}")
        if name != "retry_errors" and value is not None and (not isinstance(value, (int, float)) or value < 0):
            raise TypeError(f"retry_policy: {name}={value!r} is not a number from 0")
    return PublishRetries(
        max_retries=policy.get("max_retries", 3),
        interval_start_s=policy.get("interval_start") or 0.0,
        interval_step_s=policy.get("interval_step", 0.2) or 0.0,
        interval_max_s=policy.get("interval_max", 1.0) or 0.0,
        errors=(BrokerUnavailable, *(policy.get("retry_errors") or ())),
        patience_s=patience_s,
    )


NO_RETRIES = PublishRetries(max_retries=0)
