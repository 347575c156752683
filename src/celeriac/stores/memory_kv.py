"""Keys and values of one process, with a lifetime, under the lock of the store they belong to."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence

from celeriac.model.ports import Clock
from celeriac.stores.kv_rules import added, check_entry, check_key, check_swap, check_ttl

# What is over is hidden from every verb, so the search for it may wait until it is cheap per write.
_SWEEP_EACH_WRITES = 1000


class MemoryKv:
    """`KvAtomic` on a dictionary."""

    def __init__(self, lock: threading.RLock, clock: Clock) -> None:
        self._lock = lock
        self._clock = clock
        self._entries: dict[str, tuple[bytes, float | None]] = {}
        self._writes_until_sweep = _SWEEP_EACH_WRITES

    def get_many(self, keys: Sequence[str]) -> list[bytes | None]:
        """The values in the order of `keys`; None for absent ones."""
        with self._lock:
            now = self._clock.monotonic()
            return [self._value(key, now) for key in keys]

    def set(self, key: str, value: bytes, ttl_s: float | None) -> None:
        """Give `key` this value and this lifetime."""
        check_entry(key, value, ttl_s)
        with self._lock:
            self._put(key, value, ttl_s, self._clock.monotonic())

    def delete_many(self, keys: Sequence[str]) -> None:
        """Make `keys` absent."""
        with self._lock:
            for key in keys:
                self._entries.pop(key, None)

    def scan(self, prefix: str) -> Iterator[str]:
        """Each present key that begins with `prefix`, as it is now."""
        with self._lock:
            now = self._clock.monotonic()
            found = [key for key in self._entries if key.startswith(prefix)]
            return iter([key for key in found if self._value(key, now) is not None])

    def add_if_absent(self, key: str, value: bytes, ttl_s: float | None) -> bool:
        """Set `key` if it is absent."""
        check_entry(key, value, ttl_s)
        return self._swap(key, None, value, ttl_s)

    def incr(self, key: str, by: int, ttl_s: float | None) -> int:
        """Add to the number at `key`; the lifetime is that of the first addition."""
        check_key(key)
        check_ttl(key, ttl_s)
        with self._lock:
            now = self._clock.monotonic()
            value = self._value(key, now)
            total = added(key, value, by)
            if value is None:
                self._put(key, b"%d" % total, ttl_s, now)
            else:
                self._entries[key] = (b"%d" % total, self._entries[key][1])
            return total

    def compare_and_set(self, key: str, old: bytes | None, new: bytes | None, ttl_s: float | None) -> bool:
        """Replace exactly `old`."""
        check_swap(key, new, ttl_s)
        return self._swap(key, old, new, ttl_s)

    def _swap(self, key: str, old: bytes | None, new: bytes | None, ttl_s: float | None) -> bool:
        with self._lock:
            now = self._clock.monotonic()
            if self._value(key, now) != old:
                return False
            if new is None:
                self._entries.pop(key, None)
            else:
                self._put(key, new, ttl_s, now)
            return True

    def _value(self, key: str, now: float) -> bytes | None:
        entry = self._entries.get(key)
        if entry is None:
            return None
        value, until = entry
        if until is not None and until <= now:
            del self._entries[key]
            return None
        return value

    def _put(self, key: str, value: bytes, ttl_s: float | None, now: float) -> None:
        self._entries[key] = (value, None if ttl_s is None else now + ttl_s)
        self._writes_until_sweep -= 1
        if self._writes_until_sweep <= 0:
            for other in [other for other, (_, until) in self._entries.items() if until is not None and until <= now]:
                del self._entries[other]
            # As many writes as there are keys: the search costs each of them the same, however many there are.
            self._writes_until_sweep = max(_SWEEP_EACH_WRITES, len(self._entries))
