"""The kinds of children, and how much of the marks each takes."""

from __future__ import annotations

from celeriac.model.facts import PoolFacts
from celeriac.model.policy import PoolPolicy

_EXTRA_MIN = 64
"""Records of a child of many slots beyond its slots: for jobs that run while others wait for results."""


def facts_of(pool: PoolPolicy) -> PoolFacts:
    """Facts of the children of one of a worker's pools."""
    by_signal = pool.name not in ("threads", "asyncio")
    return PoolFacts(pool.name, pool.slots, pool.kills, by_signal)


def records_of(facts: PoolFacts) -> int:
    """How many records one child of this kind has in the marks."""
    slots = facts.slots_per_child
    return slots if facts.by_signal else slots + max(_EXTRA_MIN, slots)
