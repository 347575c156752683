"""Examples of the contract of the atomic verbs of a store of keys, and of many users of them at once."""
# ruff: noqa: D102 - the name of a test is its sentence

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from celeriac.model.errors import BackendRejected, OperationalError
from celeriac.model.ports import KvAtomic
from celeriac.testing.clients import Call, scale, wait_until
from celeriac.testing.kv_bench import KvBench
from celeriac.testing.kv_loops import add_on, lock_on, swap_on, win_on
from celeriac.testing.store_bench import LONG_WAIT_S, PROMPT_S

_SHORT_LIFE_S = 0.3
_THREADS = 4
_EACH = 50
_CLIENTS = 2
_BIGGEST = (1 << 63) - 1


class Changing(KvBench):
    """Each verb looks and changes in one step, or changes nothing."""

    def until_absent(self, key: str) -> None:
        """Wait for the end of a short lifetime."""
        wait_until(
            lambda: self.value(key) is None, _SHORT_LIFE_S + PROMPT_S * scale(), f"the lifetime of {key} is over"
        )

    # ---------------------------------------------------------------- add_if_absent

    def test_only_an_absent_key_is_added(self) -> None:
        kv = self.atomic
        assert kv.add_if_absent("a", b"first", None) is True
        assert kv.add_if_absent("a", b"second", None) is False
        assert self.value("a") == b"first"
        kv.delete_many(["a"])
        assert kv.add_if_absent("a", b"third", None) is True
        assert self.value("a") == b"third"

    def test_an_empty_value_is_a_value(self) -> None:
        kv = self.atomic
        kv.set("a", b"", None)
        assert not kv.add_if_absent("a", b"1", None)
        assert not kv.compare_and_set("a", None, b"1", None)
        assert kv.compare_and_set("a", b"", b"1", None)

    def test_an_addition_that_is_refused_leaves_the_lifetime_alone(self) -> None:
        kv = self.atomic
        kv.set("short", b"1", _SHORT_LIFE_S)
        kv.set("ever", b"1", None)
        assert not kv.add_if_absent("short", b"2", None)
        assert not kv.add_if_absent("ever", b"2", 0.01)
        self.until_absent("short")
        assert self.value("ever") == b"1"

    def test_a_key_whose_lifetime_is_over_counts_as_absent_for_every_verb(self) -> None:
        kv = self.atomic
        for key in ("add", "incr", "swap"):
            assert kv.add_if_absent(key, b"5", 0.02)
            self.until_absent(key)
        assert kv.add_if_absent("add", b"6", None)
        assert kv.incr("incr", 1, None) == 1
        assert not kv.compare_and_set("swap", b"5", b"6", None)
        assert kv.compare_and_set("swap", None, b"6", None)
        assert list(kv.get_many(["add", "incr", "swap"])) == [b"6", b"1", b"6"]

    def test_an_added_key_ends_with_its_lifetime(self) -> None:
        assert self.atomic.add_if_absent("a", b"1", _SHORT_LIFE_S)
        self.until_absent("a")

    # ---------------------------------------------------------------- incr

    def test_numbers_begin_at_nothing_and_go_up_and_down(self) -> None:
        kv = self.atomic
        assert [kv.incr("n", by, None) for by in (1, 1, 5, 0, -10, -3, 6)] == [1, 2, 7, 7, -3, -6, 0]
        assert self.value("n") == b"0"

    def test_a_number_is_read_and_set_as_decimal_digits(self) -> None:
        kv = self.atomic
        kv.incr("n", -42, None)
        assert self.value("n") == b"-42"
        kv.set("n", b"100", None)
        assert kv.incr("n", 1, None) == 101

    def test_numbers_of_64_bits_are_exact_and_larger_ones_are_rejected_unchanged(self) -> None:
        kv = self.atomic
        assert kv.incr("n", _BIGGEST - 1, None) == _BIGGEST - 1
        assert kv.incr("n", 1, None) == _BIGGEST
        with pytest.raises(BackendRejected, match="64"):
            kv.incr("n", 1, None)
        assert self.value("n") == str(_BIGGEST).encode()
        assert kv.incr("m", -_BIGGEST - 1, None) == -_BIGGEST - 1
        with pytest.raises(BackendRejected, match="64"):
            kv.incr("m", -1, None)

    def test_what_is_no_number_is_rejected_unchanged(self) -> None:
        kv = self.atomic
        for value in (b"", b"x", b"1.5", b" 1", b"0x1", b"1_0", "²".encode()):
            kv.set("a", value, None)
            with pytest.raises(BackendRejected, match="number"):
                kv.incr("a", 1, None)
            assert self.value("a") == value

    def test_the_lifetime_of_a_number_is_that_of_its_first_addition(self) -> None:
        kv = self.atomic
        kv.incr("short", 1, _SHORT_LIFE_S)
        kv.incr("short", 1, None)
        kv.incr("ever", 1, None)
        kv.incr("ever", 1, 0.01)
        self.until_absent("short")
        assert self.value("ever") == b"2"
        assert kv.incr("short", 1, None) == 1

    # ---------------------------------------------------------------- compare_and_set

    def test_only_exactly_the_old_value_is_replaced(self) -> None:
        kv = self.atomic
        kv.set("a", b"old", None)
        for other in (b"ol", b"older", b"OLD", b"", None):
            assert kv.compare_and_set("a", other, b"new", None) is False, f"taken for {other!r}"
        assert self.value("a") == b"old"
        assert kv.compare_and_set("a", b"old", b"new", None) is True
        assert self.value("a") == b"new"

    def test_an_absent_key_is_set_if_none_is_expected_and_only_then(self) -> None:
        kv = self.atomic
        assert not kv.compare_and_set("a", b"", b"1", None)
        assert self.value("a") is None
        assert kv.compare_and_set("a", None, b"1", None)
        assert self.value("a") == b"1"

    def test_no_new_value_makes_the_key_absent(self) -> None:
        kv = self.atomic
        kv.set("a", b"mine", None)
        assert not kv.compare_and_set("a", b"yours", None, None), "a lock is freed by its holder alone"
        assert self.value("a") == b"mine"
        assert kv.compare_and_set("a", b"mine", None, None)
        assert self.value("a") is None
        assert kv.compare_and_set("a", None, None, None), "it is absent already"
        assert list(kv.scan("")) == []

    def test_a_swap_begins_a_new_lifetime_and_a_refused_one_does_not(self) -> None:
        kv = self.atomic
        kv.set("renewed", b"1", _SHORT_LIFE_S)
        kv.set("refused", b"1", _SHORT_LIFE_S)
        assert kv.compare_and_set("renewed", b"1", b"1", 3600.0)
        assert not kv.compare_and_set("refused", b"2", b"3", 3600.0)
        self.until_absent("refused")
        assert self.value("renewed") == b"1"
        assert kv.compare_and_set("renewed", b"1", b"2", 0.05)
        self.until_absent("renewed")

    # ---------------------------------------------------------------- refusals

    def test_what_no_store_can_hold_is_rejected_by_every_verb(self) -> None:
        kv, wrong = self.atomic, "text"
        anything: Any = wrong
        calls: list[tuple[str, Callable[[], object]]] = [
            ("value", lambda: kv.add_if_absent("a", anything, None)),
            ("value", lambda: kv.compare_and_set("a", None, anything, None)),
        ]
        verbs: tuple[Callable[[str, float | None], object], ...] = (
            lambda key, ttl_s: kv.add_if_absent(key, b"1", ttl_s),
            lambda key, ttl_s: kv.incr(key, 1, ttl_s),
            lambda key, ttl_s: kv.compare_and_set(key, None, b"1", ttl_s),
        )
        calls += [("key", partial(verb, "", None)) for verb in verbs]
        calls += [("ttl_s", partial(verb, "a", 0.0)) for verb in verbs]
        for name, call in calls:
            with pytest.raises(BackendRejected, match=name):
                call()
        assert list(kv.scan("")) == []

    def test_after_close_atomic_verbs_work_or_raise_our_own_error(self) -> None:
        assert isinstance(self.atomic, KvAtomic)
        kv = self.open_kv()
        assert isinstance(kv, KvAtomic)
        self.close(kv)
        calls: tuple[Callable[[], object], ...] = (
            lambda: kv.add_if_absent("a", b"1", None),
            lambda: kv.incr("n", 1, None),
            lambda: kv.compare_and_set("b", None, b"1", None),
        )
        for call in calls:
            try:
                call()
            except OperationalError as exc:
                assert str(exc), "an error says what to do"  # noqa: PT017 - working is just as good


class Crowding(KvBench):
    """Many users at once: nobody comes between a look and its change."""

    def test_of_many_threads_one_adds_each_key(self) -> None:
        won = self._threads(lambda number: win_on(self.atomic, "k", str(number), _EACH))
        self._check_winners({str(number): keys for number, keys in enumerate(won)})

    def test_additions_of_many_threads_are_all_counted_once(self) -> None:
        sums = [total for each in self._threads(lambda _: add_on(self.atomic, "n", _EACH)) for total in each]
        assert sorted(sums) == list(range(1, _THREADS * _EACH + 1))

    def test_swaps_of_many_threads_lose_none(self) -> None:
        self._threads(lambda _: swap_on(self.atomic, "n", _EACH))
        assert self.value("n") == b"%d" % (_THREADS * _EACH)

    def test_a_lock_keeps_threads_apart(self) -> None:
        self._threads(lambda number: lock_on(self.atomic, "l", str(number), _EACH // 5))
        assert self.value("l:value") == b"%d" % (_THREADS * (_EACH // 5))

    def test_users_in_many_processes_are_kept_apart_too(self) -> None:
        self.needs(self.facts.shared, "is not shared")
        kv = self.atomic
        clients = [self.client() for _ in range(_CLIENTS)]
        for client in clients:
            client.ready()
        for number, client in enumerate(clients):
            client.ask("win_on", "k", str(number), _EACH)
            client.ask("add_on", "n", _EACH)
            client.ask("swap_on", "s", _EACH)
            client.ask("lock_on", "l", str(number), _EACH // 5)
        won = {"own": win_on(kv, "k", "own", _EACH)}
        sums = add_on(kv, "n", _EACH)
        swap_on(kv, "s", _EACH)
        lock_on(kv, "l", "own", _EACH // 5)
        for number, client in enumerate(clients):
            won[str(number)] = client.answer(LONG_WAIT_S)
            sums += client.answer(LONG_WAIT_S)
            client.answer(LONG_WAIT_S)
            client.answer(LONG_WAIT_S)
        self._check_winners(won)
        users = _CLIENTS + 1
        assert sorted(sums) == list(range(1, users * _EACH + 1))
        assert self.value("s") == b"%d" % (users * _EACH)
        assert self.value("l:value") == b"%d" % (users * (_EACH // 5))

    def test_the_lock_of_a_process_that_died_is_free_after_its_lifetime(self) -> None:
        self.needs(self.facts.shared, "is not shared")
        kv = self.atomic
        client = self.client().ready()
        assert client.call("add_if_absent", "lock", b"theirs", 0.5 * scale())
        client.kill()
        wait_until(
            lambda: kv.add_if_absent("lock", b"ours", None), (0.5 + PROMPT_S) * scale(), "the lock of the dead is free"
        )

    def _threads(self, work: Callable[[int], Any]) -> list[Any]:
        calls = [Call(partial(work, number)) for number in range(_THREADS)]
        return [call.result(LONG_WAIT_S * scale()) for call in calls]

    def _check_winners(self, won: dict[str, list[str]]) -> None:
        """Each key was won by one, whose value it has."""
        counts = Counter(key for keys in won.values() for key in keys)
        assert counts == Counter({f"k{number}": 1 for number in range(_EACH)})
        for own, keys in won.items():
            assert all(value == own.encode() for value in self.kv.get_many(keys)), "a loser's value is kept"
