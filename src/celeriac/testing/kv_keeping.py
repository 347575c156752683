"""Examples of the contract of a store of keys and values: reading, writing, lifetimes, scanning."""
# ruff: noqa: D102 - the name of a test is its sentence

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest

from celeriac.model.errors import BackendRejected, OperationalError
from celeriac.testing.clients import let_pass, scale, wait_until
from celeriac.testing.kv_bench import KvBench
from celeriac.testing.store_bench import PROMPT_S

SHORT_LIFE_S = 0.3
_HOUR_S = 3600.0
_ODD = ("ü/é", "with space", "a:b", "a.b", "%", "_", "*", "?", "[a]", "'", '"', "\\", "nul\0inside", "\U0010ffff", "😀")
"""Keys that a store might take for patterns, quotes, ends or other alphabets."""
_WRONG_KEYS: tuple[Any, ...] = ("", None, 5, b"bytes", "half\ud800")
_WRONG_LIVES = (0.0, -1.0, float("nan"))


class Keeping(KvBench):
    """What was set last is read, until its lifetime is over."""

    def test_a_value_is_read_as_it_was_set(self) -> None:
        large = bytes(range(256)) * 4000
        for value in (b"", b"1", bytes(range(256)), large):
            self.kv.set("a", value, None)
            assert self.value("a") == value

    def test_values_are_read_in_the_order_asked_for_with_none_between(self) -> None:
        for key in "abc":
            self.kv.set(key, key.encode(), None)
        assert list(self.kv.get_many(["c", "never", "a", "c", "b"])) == [b"c", None, b"a", b"c", b"b"]
        assert list(self.kv.get_many([])) == []

    def test_many_values_are_read_at_once(self) -> None:
        keys = [f"k{number}" for number in range(1000)]
        for key in keys:
            self.kv.set(key, key.encode(), None)
        assert list(self.kv.get_many(keys[::-1])) == [key.encode() for key in keys[::-1]]

    def test_keys_of_all_kinds_are_kept_apart(self) -> None:
        for number, key in enumerate(_ODD):
            self.kv.set(key, b"%d" % number, None)
        assert list(self.kv.get_many(_ODD)) == [b"%d" % number for number in range(len(_ODD))]
        assert [self.value(key) for key in _ODD] == [b"%d" % number for number in range(len(_ODD))]
        assert sorted(self.kv.scan("")) == sorted(_ODD)
        self.kv.delete_many(_ODD[::2])
        assert sorted(self.kv.scan("")) == sorted(_ODD[1::2])

    def test_upper_and_lower_case_and_numbers_written_differently_are_different_keys(self) -> None:
        keys = ("a", "A", "1", "01", "1.0", " 1")
        for key in keys:
            self.kv.set(key, key.encode(), None)
        assert list(self.kv.get_many(keys)) == [key.encode() for key in keys]

    def test_deleted_keys_are_absent_and_absent_ones_are_ignored(self) -> None:
        self.kv.set("a", b"1", None)
        self.kv.set("b", b"2", None)
        self.kv.delete_many(["a", "never"])
        self.kv.delete_many([])
        assert list(self.kv.get_many(["a", "b"])) == [None, b"2"]

    # ---------------------------------------------------------------- lifetimes

    def test_a_key_is_absent_after_its_lifetime_and_not_before(self) -> None:
        began = time.monotonic()
        self.kv.set("short", b"1", SHORT_LIFE_S)
        self.kv.set("hour", b"2", _HOUR_S)
        self.kv.set("ever", b"3", None)
        seen = self.value("short")
        assert seen == b"1" or time.monotonic() - began >= SHORT_LIFE_S, "it was absent early"
        self.until_absent("short")
        assert time.monotonic() - began >= SHORT_LIFE_S * 0.9, "it was absent early"
        assert list(self.kv.get_many(["short", "hour", "ever"])) == [None, b"2", b"3"]
        assert sorted(self.kv.scan("")) == ["ever", "hour"]

    def test_the_lifetime_is_that_of_the_last_set(self) -> None:
        self.kv.set("kept", b"1", SHORT_LIFE_S)
        self.kv.set("kept", b"2", None)
        self.kv.set("short", b"1", None)
        self.kv.set("short", b"2", SHORT_LIFE_S)
        self.until_absent("short")
        assert self.value("kept") == b"2"

    def test_a_key_whose_lifetime_was_over_is_set_anew(self) -> None:
        self.kv.set("a", b"1", 0.02)
        self.until_absent("a")
        self.kv.set("a", b"2", None)
        assert self.value("a") == b"2"

    def until_absent(self, key: str) -> None:
        """Wait for the end of a short lifetime."""
        wait_until(lambda: self.value(key) is None, SHORT_LIFE_S + PROMPT_S * scale(), f"the lifetime of {key} is over")

    # ---------------------------------------------------------------- scanning

    def test_a_scan_gives_each_key_with_the_prefix_once_and_no_other(self) -> None:
        for key in ("a", "ab", "abc", "b", "A", "aa", "a:1", "a:2", "b:a"):
            self.kv.set(key, b"", None)
        assert sorted(self.kv.scan("a")) == ["a", "a:1", "a:2", "aa", "ab", "abc"]
        assert sorted(self.kv.scan("a:")) == ["a:1", "a:2"]
        assert list(self.kv.scan("abcd")) == []
        assert len(list(self.kv.scan(""))) == 9

    def test_a_prefix_is_no_pattern(self) -> None:
        for key in (*_ODD, "plain"):
            self.kv.set(key, b"", None)
        for prefix in _ODD:
            assert list(self.kv.scan(prefix)) == [prefix], f"the prefix {prefix!r}"

    def test_prefixes_at_the_end_of_the_alphabet_are_scanned_whole(self) -> None:
        keys = [f"{stem}{end}" for stem in ("z", "\ud7ff", "\U0010ffff") for end in ("", "\U0010ffff", "\U0010ffff!")]
        for key in keys:
            self.kv.set(key, b"", None)
        for prefix in ("z", "\ud7ff", "\U0010ffff"):
            expected = sorted(key for key in keys if key.startswith(prefix))
            assert sorted(self.kv.scan(prefix)) == expected

    def test_a_scan_of_thousands_sees_all_that_stays_whatever_comes_and_goes(self) -> None:
        keys = {f"k{number:05}" for number in range(1500)}
        for key in keys:
            self.kv.set(key, b"", None)
        seen: list[str] = []
        for number, key in enumerate(self.kv.scan("k")):
            seen.append(key)
            if number % 100 == 0:  # others go on meanwhile, before and behind
                self.kv.set(f"k!{number}", b"", None)
                self.kv.set(f"k~{number}", b"", None)
                self.kv.delete_many([f"k!{number - 300}", f"k~{number - 300}"])
        assert len(seen) == len(set(seen)), "a key came twice"
        assert keys <= set(seen), "a key that was there all the time is missing"

    def test_who_leaves_a_scan_in_the_middle_is_in_nobodys_way(self) -> None:
        for number in range(10):
            self.kv.set(f"k{number}", b"", None)
        halfway: Iterator[str] = self.kv.scan("k")
        next(halfway)
        self.kv.set("k0", b"changed", None)
        other = self.open_kv()
        other.set("k1", b"changed", None)
        assert self.value("k0") == b"changed"

    # ---------------------------------------------------------------- refusals and life

    def test_what_no_store_can_hold_is_rejected_by_name_and_nothing_is_stored(self) -> None:
        wrong: Any = "text"
        calls: list[tuple[str, Callable[[], object]]] = [("value", lambda: self.kv.set("a", wrong, None))]
        calls += [("key", partial(self.kv.set, key, b"1", None)) for key in _WRONG_KEYS]
        calls += [("ttl_s", partial(self.kv.set, "a", b"1", ttl_s)) for ttl_s in _WRONG_LIVES]
        for name, call in calls:
            with pytest.raises(BackendRejected, match=name):
                call()
        assert list(self.kv.scan("")) == []

    def test_two_objects_of_one_store_share_its_keys_and_two_stores_do_not(self) -> None:
        self.kv.set("a", b"1", None)
        assert list(self.open_kv().get_many(["a"])) == [b"1"]
        assert list(self.open_kv(self.fresh_url()).get_many(["a"])) == [None]

    def test_other_processes_reach_the_same_keys_if_and_only_if_the_store_is_shared(self) -> None:
        client = self.client().ready()
        self.kv.set("ours", b"1", _HOUR_S)
        client.call("set", "theirs", b"2", None)
        assert client.call("get_many", ["ours"]) == [b"1" if self.facts.shared else None]
        assert self.value("theirs") == (b"2" if self.facts.shared else None)

    def test_keys_are_there_after_closing_and_opening_if_the_store_is_durable(self) -> None:
        self.needs(self.facts.durability != "none", "promises to survive nothing")
        self.kv.set("ever", b"1", None)
        self.kv.set("hour", b"2", _HOUR_S)
        self.kv.set("short", b"3", SHORT_LIFE_S)
        self.close(self.kv)
        self.kv = self.open_kv()
        assert list(self.kv.get_many(["ever", "hour"])) == [b"1", b"2"]
        self.until_absent("short")

    def test_the_death_of_a_writer_loses_nothing_that_was_confirmed(self) -> None:
        self.needs(self.facts.shared and self.facts.durability != "none", "promises to survive no process")
        client = self.client().ready()
        for number in range(20):
            client.call("set", f"k{number}", b"1", None)
        client.kill()
        assert sorted(self.kv.scan("k")) == sorted(f"k{number}" for number in range(20))

    def test_after_close_every_verb_works_or_raises_our_own_error(self) -> None:
        kv = self.open_kv()
        self.close(kv)
        calls: tuple[Callable[[], object], ...] = (
            lambda: kv.set("a", b"1", None),
            lambda: kv.get_many(["a"]),
            lambda: kv.delete_many(["a"]),
            lambda: list(kv.scan("")),
        )
        for call in calls:
            try:
                call()
            except OperationalError as exc:
                assert str(exc), "an error says what to do"  # noqa: PT017 - working is just as good

    def test_what_is_over_is_removed_by_and_by_without_anybodys_help(self) -> None:
        """Seen from outside only as a store that goes on working; adapters bound what they keep."""
        for number in range(300):
            self.kv.set(f"k{number}", bytes(100), 0.02)
        let_pass(0.05)
        for number in range(300):
            self.kv.set("other", b"%d" % number, None)
        assert list(self.kv.scan("k")) == []
        assert self.value("other") == b"299"
