"""Stores of keys and values that break one line of the contract each. See `mutants.py`."""

import threading
import time

from celeriac.backends.memory import MemoryBackend
from celeriac.backends.sqlite import SqliteBackend
from celeriac.stores import sqlite_kv
from conformance.mutants import caught_by


class Kv(MemoryBackend):
    """Marks mutants that are run by the suite of stores of keys."""


class SqliteKv(SqliteBackend):
    """The same, shared between processes."""


# ---------------------------------------------------------------- reading and writing


@caught_by("test_values_are_read_in_the_order_asked_for_with_none_between")
class ReadsValuesInItsOwnOrder(Kv):
    def get_many(self, keys):
        return super().get_many(sorted(keys))


@caught_by("test_a_value_is_read_as_it_was_set")
class TakesEmptyForAbsent(Kv):
    def get_many(self, keys):
        return [value or None for value in super().get_many(keys)]


@caught_by("test_upper_and_lower_case_and_numbers_written_differently_are_different_keys")
class FoldsCase(Kv):
    def set(self, key, value, ttl_s):
        super().set(key.casefold(), value, ttl_s)

    def get_many(self, keys):
        return super().get_many([key.casefold() for key in keys])


@caught_by("test_deleted_keys_are_absent_and_absent_ones_are_ignored", "test_random_histories_agree_with_the_reference")
class DeletesNothing(Kv):
    def delete_many(self, keys):
        pass


@caught_by("test_two_objects_of_one_store_share_its_keys_and_two_stores_do_not")
class KeepsKeysToItself(Kv):
    def __init__(self, url, options):
        super().__init__(f"memory://own-{id(self)}", options)


@caught_by("test_after_close_every_verb_works_or_raises_our_own_error")
class RaisesForeignErrorsOfKeys(Kv):
    def get_many(self, keys):
        if not self._is_open:
            raise ValueError("closed")
        return super().get_many(keys)


@caught_by("test_what_no_store_can_hold_is_rejected_by_name_and_nothing_is_stored")
class TakesZeroForNoLifetime(Kv):
    def set(self, key, value, ttl_s):
        super().set(key, value, ttl_s or None)


# ---------------------------------------------------------------- lifetimes


@caught_by(
    "test_a_key_is_absent_after_its_lifetime_and_not_before",
    "test_what_is_over_is_removed_by_and_by_without_anybodys_help",
)
class KeysLiveForEver(Kv):
    def set(self, key, value, ttl_s):
        super().set(key, value, None)


@caught_by("test_a_key_is_absent_after_its_lifetime_and_not_before")
class KeysLiveTooShort(Kv):
    def set(self, key, value, ttl_s):
        super().set(key, value, ttl_s and ttl_s / 2)


@caught_by("test_a_key_is_absent_after_its_lifetime_and_not_before")
class ScansWhatIsOver(Kv):
    def scan(self, prefix):
        return iter([key for key in self._store.kv._entries if key.startswith(prefix)])

    def get_many(self, keys):
        kept = dict(self._store.kv._entries)
        values = super().get_many(keys)
        self._store.kv._entries = kept
        return values


@caught_by("test_the_lifetime_is_that_of_the_last_set")
class KeepsTheFirstLifetimeOfAKey(Kv):
    def set(self, key, value, ttl_s):
        old = self._store.kv._entries.get(key)
        super().set(key, value, ttl_s)
        if old is not None:
            self._store.kv._entries[key] = (value, old[1])


@caught_by("test_a_key_whose_lifetime_is_over_counts_as_absent_for_every_verb")
class AddsOnlyWhatWasNeverThere(Kv):
    def add_if_absent(self, key, value, ttl_s):
        return key not in self._store.kv._entries and super().add_if_absent(key, value, ttl_s)

    def get_many(self, keys):
        kept = dict(self._store.kv._entries)
        values = super().get_many(keys)
        self._store.kv._entries = kept
        return values


@caught_by("test_keys_are_there_after_closing_and_opening_if_the_store_is_durable")
class ForgetsKeysWhenClosed(SqliteKv):
    def close(self):
        if self._is_open:
            self.delete_many(list(self.scan("")))
        super().close()


# ---------------------------------------------------------------- scanning


@caught_by("test_a_prefix_is_no_pattern")
class ScansByPattern(SqliteKv):
    def scan(self, prefix):
        rows = self._store.main.read(
            lambda c: c.execute("select key from kv where key like ?", (prefix + "%",)).fetchall()
        )
        return iter([key for (key,) in rows])


@caught_by("test_a_scan_of_thousands_sees_all_that_stays_whatever_comes_and_goes")
class ScansTheFirstPieceOnly(SqliteKv):
    def scan(self, prefix):
        return iter(self._store.main.read(sqlite_kv.scan_after, prefix, None))


@caught_by("test_a_scan_of_thousands_sees_all_that_stays_whatever_comes_and_goes")
class ScansByCounting(SqliteKv):
    def scan(self, prefix):
        at = 0
        while keys := sorted(super().scan(prefix))[at : at + 100]:
            yield from keys
            at += 100


@caught_by("test_prefixes_at_the_end_of_the_alphabet_are_scanned_whole")
class ScansUpToTheLastCharacter(SqliteKv):
    def scan(self, prefix):
        return (key for key in super().scan(prefix) if key < prefix + "\U0010ffff")


@caught_by("test_who_leaves_a_scan_in_the_middle_is_in_nobodys_way")
class HoldsTheLockDuringAScan(Kv):
    def scan(self, prefix):
        with self._store.kv._lock:
            yield from super().scan(prefix)

    def set(self, key, value, ttl_s):
        thread = threading.Thread(target=super().set, args=(key, value, ttl_s), daemon=True)
        thread.start()
        thread.join(0.2)
        assert not thread.is_alive(), "stuck"


# ---------------------------------------------------------------- atomic verbs


@caught_by("test_only_an_absent_key_is_added", "test_random_histories_agree_with_the_reference")
class AddsWhateverIsThere(Kv):
    def add_if_absent(self, key, value, ttl_s):
        self.set(key, value, ttl_s)
        return True


@caught_by("test_of_many_threads_one_adds_each_key", "test_a_lock_keeps_threads_apart")
class LooksBeforeItAdds(Kv):
    def add_if_absent(self, key, value, ttl_s):
        if self.get_many([key])[0] is not None:
            return False
        time.sleep(0.0005)
        self.set(key, value, ttl_s)
        return True


@caught_by("test_additions_of_many_threads_are_all_counted_once")
class LooksBeforeItCounts(Kv):
    def incr(self, key, by, ttl_s):
        total = int(self.get_many([key])[0] or b"0") + by
        time.sleep(0.0005)
        self.set(key, b"%d" % total, ttl_s)
        return total


@caught_by("test_swaps_of_many_threads_lose_none")
class LooksBeforeItSwaps(Kv):
    def compare_and_set(self, key, old, new, ttl_s):
        if self.get_many([key])[0] != old:
            return False
        time.sleep(0.0005)
        self.set(key, new, ttl_s)
        return True


@caught_by("test_users_in_many_processes_are_kept_apart_too")
class KeepsOnlyThreadsApart(SqliteKv):
    mine = threading.Lock()

    def compare_and_set(self, key, old, new, ttl_s):
        with self.mine:
            if self.get_many([key])[0] != old:
                return False
            if new is None:
                self.delete_many([key])
            else:
                self.set(key, new, ttl_s)
            return True

    def add_if_absent(self, key, value, ttl_s):
        return self.compare_and_set(key, None, value, ttl_s)


@caught_by("test_an_addition_that_is_refused_leaves_the_lifetime_alone")
class RenewsWhatItRefuses(Kv):
    def add_if_absent(self, key, value, ttl_s):
        added = super().add_if_absent(key, value, ttl_s)
        if not added:
            self.set(key, self.get_many([key])[0], ttl_s)
        return added


@caught_by(
    "test_an_added_key_ends_with_its_lifetime", "test_the_lock_of_a_process_that_died_is_free_after_its_lifetime"
)
class AddsForEver(SqliteKv):
    def add_if_absent(self, key, value, ttl_s):
        return super().add_if_absent(key, value, None)


@caught_by("test_the_lifetime_of_a_number_is_that_of_its_first_addition")
class RenewsNumbers(Kv):
    def incr(self, key, by, ttl_s):
        total = super().incr(key, by, ttl_s)
        self.set(key, b"%d" % total, ttl_s)
        return total


@caught_by("test_numbers_of_64_bits_are_exact_and_larger_ones_are_rejected_unchanged")
class CountsInFloats(Kv):
    def incr(self, key, by, ttl_s):
        total = int(float(self.get_many([key])[0] or b"0") + by)
        self.set(key, b"%d" % total, ttl_s)
        return total


@caught_by("test_what_is_no_number_is_rejected_unchanged")
class TakesAnythingForANumber(Kv):
    def incr(self, key, by, ttl_s):
        value = self.get_many([key])[0]
        if value is not None and not value.isdigit():
            self.delete_many([key])
        return super().incr(key, by, ttl_s)


@caught_by("test_only_exactly_the_old_value_is_replaced")
class ComparesBeginnings(Kv):
    def compare_and_set(self, key, old, new, ttl_s):
        value = self.get_many([key])[0]
        return super().compare_and_set(key, value if value and old and value.startswith(old) else old, new, ttl_s)


@caught_by("test_an_absent_key_is_set_if_none_is_expected_and_only_then", "test_an_empty_value_is_a_value")
class TakesAbsentForEmpty(Kv):
    def compare_and_set(self, key, old, new, ttl_s):
        value = self.get_many([key])[0]
        return super().compare_and_set(key, value if not value and not old else old, new, ttl_s)


@caught_by("test_no_new_value_makes_the_key_absent")
class FreesTheLocksOfOthers(Kv):
    def compare_and_set(self, key, old, new, ttl_s):
        if new is None:
            self.delete_many([key])
            return True
        return super().compare_and_set(key, old, new, ttl_s)


@caught_by("test_a_swap_begins_a_new_lifetime_and_a_refused_one_does_not")
class SwapsWithinTheOldLifetime(Kv):
    def compare_and_set(self, key, old, new, ttl_s):
        entry = self._store.kv._entries.get(key)
        done = super().compare_and_set(key, old, new, ttl_s)
        if done and entry is not None and new is not None:
            self._store.kv._entries[key] = (new, entry[1])
        return done


@caught_by("test_what_no_store_can_hold_is_rejected_by_every_verb")
class AddsUnderTheEmptyKey(Kv):
    def add_if_absent(self, key, value, ttl_s):
        return super().add_if_absent(key or "empty", value, ttl_s)
