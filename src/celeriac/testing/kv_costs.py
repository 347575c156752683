"""Costs of a store of keys: each verb is one round trip, whatever it is given."""
# ruff: noqa: D102 - the name of a test is its sentence

from __future__ import annotations

from collections.abc import Callable

from celeriac.testing.costs import CostBench, CostProbe
from celeriac.testing.kv_bench import KvBench

_MANY = 200
_SCANNED = 1000
_SCAN_TRIPS_MAX = 20


class Costs(KvBench, CostBench):
    """Level five of the suite."""

    def probe(self) -> CostProbe:
        """The probe of the store under test, whose connections are warm."""
        self.kv.set("warm", b"1", None)
        self.value("warm")
        return self.counted(self.kv)

    def test_reading_setting_and_deleting_are_one_round_trip_each_however_many_keys(self) -> None:
        probe = self.probe()
        names = [f"k{number}" for number in range(_MANY)]
        for name in names[:10]:
            assert self.trips(probe, self.kv.set, name, b"1", 3600.0) == 1
        for count in (1, 2, _MANY):
            some = names[:count]
            assert self.trips(probe, self.kv.get_many, some) == 1, f"reading {count}"
            assert self.trips(probe, self.kv.delete_many, some) == 1, f"deleting {count}"

    def test_each_atomic_verb_is_one_round_trip_whether_it_changes_anything_or_not(self) -> None:
        kv, probe = self.atomic, self.probe()
        kv.set("a", b"1", None)
        verbs: tuple[tuple[str, Callable[[], object]], ...] = (
            ("an addition", lambda: kv.add_if_absent("new", b"1", 60.0)),
            ("an addition that is refused", lambda: kv.add_if_absent("a", b"2", None)),
            ("a first number", lambda: kv.incr("n", 1, 60.0)),
            ("a number", lambda: kv.incr("n", 1, 60.0)),
            ("a swap", lambda: kv.compare_and_set("a", b"1", b"2", None)),
            ("a swap that is refused", lambda: kv.compare_and_set("a", b"1", b"3", None)),
            ("the freeing of a lock", lambda: kv.compare_and_set("a", b"2", None, None)),
        )
        for name, verb in verbs:
            assert self.trips(probe, verb) == 1, name

    def test_a_scan_reads_many_keys_at_a_time(self) -> None:
        probe = self.probe()
        for number in range(_SCANNED):
            self.kv.set(f"k{number}", b"", None)
        cost = self.trips(probe, lambda: list(self.kv.scan("k")))
        assert cost <= _SCAN_TRIPS_MAX, f"{cost} round trips for {_SCANNED} keys"
