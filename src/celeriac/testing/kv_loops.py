"""What many users of one store of keys do at once, in threads of a test or in processes of their own."""

from __future__ import annotations

import time

from celeriac.model.ports import KvAtomic

_BOUND_S = 60.0
"""Who has not got its turn after this long never will."""
_NAP_S = 0.0005
_HELD_S = 30.0
"""The lifetime of a lock: far above what its holder needs."""


def add_on(kv: KvAtomic, key: str, times: int) -> list[int]:
    """Add 1 so many times; all sums."""
    return [kv.incr(key, 1, None) for _ in range(times)]


def swap_on(kv: KvAtomic, key: str, times: int) -> int:
    """Add 1 so many times by reading and swapping; how many swaps were refused. TimeoutError if it takes for ever."""
    ends_at = time.monotonic() + _BOUND_S
    done = refused = 0
    while done < times:
        old = kv.get_many([key])[0]
        new = b"%d" % (int(old or b"0") + 1)
        if kv.compare_and_set(key, old, new, None):
            done += 1
        else:
            refused += 1
        _check(ends_at)
    return refused


def lock_on(kv: KvAtomic, name: str, own: str, times: int) -> None:
    """Add 1 to the value beside a lock so many times, each time within the lock. TimeoutError if it takes for ever."""
    ends_at = time.monotonic() + _BOUND_S
    lock, value, token = f"{name}:lock", f"{name}:value", own.encode()
    for _ in range(times):
        while not kv.add_if_absent(lock, token, _HELD_S):
            time.sleep(_NAP_S)
            _check(ends_at)
        old = kv.get_many([value])[0]
        time.sleep(_NAP_S)  # so that two within the lock meet here
        kv.set(value, b"%d" % (int(old or b"0") + 1), None)
        if not kv.compare_and_set(lock, token, None, None):
            raise AssertionError(f"{own} lost the lock it held")


def win_on(kv: KvAtomic, prefix: str, own: str, count: int) -> list[str]:
    """Try to be the one who adds each of so many keys; those that were won."""
    return [
        key for key in (f"{prefix}{number}" for number in range(count)) if kv.add_if_absent(key, own.encode(), None)
    ]


def _check(ends_at: float) -> None:
    if time.monotonic() > ends_at:
        raise TimeoutError(f"no turn within {_BOUND_S:g} s")
