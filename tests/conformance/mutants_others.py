"""More buses and stores of keys that break one line of the contract each, so that each sentence has its fault."""

import os
import struct
import time

from msgspec.structs import replace

from conformance.mutants import Bus, SqliteBus, caught_by
from conformance.mutants_kv import Kv, SqliteKv


class Ear:
    """A subscription in other hands."""

    def __init__(self, ear, receive=None, close=None):
        self._ear = ear
        self._receive = receive or (lambda ear, wait_s: ear.receive(wait_s))
        self._close = close or (lambda ear: ear.close())

    def receive(self, wait_s):
        return self._receive(self._ear, wait_s)

    def close(self):
        self._close(self._ear)


def hearing(name, *tests, base=Bus, **ways):
    """A bus whose subscriptions receive or close in another way."""

    def subscribe(self, topics):
        return Ear(super(planted, self).subscribe(topics), **ways)

    planted = type(name, (base,), {"subscribe": subscribe, "__module__": __name__})
    globals()[name] = planted
    caught_by(*tests)(planted)


def _holding_the_lock(ear, wait_s):
    with ear._arrived:
        deadline = time.monotonic() + min(wait_s, 1.0)
        while not (got := ear.receive(0.0)) and time.monotonic() < deadline:
            time.sleep(0.01)
        return got


hearing("HearsAfterItsEnd", "test_a_closed_subscription_hears_nothing_and_disturbs_nobody", close=lambda ear: None)
hearing(
    "EndsNoWait",
    "test_closing_a_subscription_ends_a_thread_that_waits_in_it",
    close=lambda ear: ear._topics.leave(ear),
)
hearing(
    "GivesUpHearingAtOnce",
    "test_receiving_nothing_returns_empty_after_about_its_wait",
    receive=lambda ear, wait_s: ear.receive(0.0),
)
hearing(
    "SortsByData",
    "test_messages_of_many_threads_are_all_heard_each_thread_in_its_order",
    receive=lambda ear, wait_s: sorted(ear.receive(wait_s), key=lambda pair: pair[1]),
)
hearing(
    "HoldsTheLockWhileItHears",
    "test_publishing_and_subscribing_are_prompt_while_another_thread_waits",
    receive=_holding_the_lock,
)


@caught_by("test_another_object_of_the_same_store_is_heard")
class HearsOnlyItself(Bus):
    def publish_topic(self, topic, data):
        return super().publish_topic(f"{topic}-{id(self)}", data)

    def subscribe(self, topics):
        mine = [f"{topic}-{id(self)}" for topic in topics]
        return Ear(
            super().subscribe(mine),
            receive=lambda ear, wait_s: [(name.rsplit("-", 1)[0], data) for name, data in ear.receive(wait_s)],
        )


@caught_by("test_closed_subscriptions_release_descriptors_and_threads")
class LeaksWithEachEar(Bus):
    def subscribe(self, topics):
        os.dup(0)
        return super().subscribe(topics)


@caught_by("test_two_fresh_stores_share_nothing")
class HasOneBusForAll(Bus):
    def __init__(self, url, options):
        super().__init__(f"memory://all-{os.getpid()}", options)


@caught_by("test_other_processes_are_heard_if_and_only_if_the_bus_is_shared")
class HearsOnlyItsOwnProcess(SqliteBus):
    def publish_topic(self, topic, data):
        return super().publish_topic(f"{topic}-{os.getpid()}", data)

    def subscribe(self, topics):
        mine = [f"{topic}-{os.getpid()}" for topic in topics]
        return Ear(
            super().subscribe(mine),
            receive=lambda ear, wait_s: [(name.rsplit("-", 1)[0], data) for name, data in ear.receive(wait_s)],
        )


@caught_by("test_the_death_of_a_publisher_disturbs_nobody")
class SaysItWithTheNext(SqliteBus):
    waiting = ()

    def publish_topic(self, topic, data):
        for word in self.waiting:
            super().publish_topic(*word)
        self.waiting = ((topic, data),)


# ---------------------------------------------------------------- stores of keys


@caught_by("test_a_key_whose_lifetime_was_over_is_set_anew")
class KeepsTombs(Kv):
    def __init__(self, url, options):
        super().__init__(url, options)
        self.seen = set()

    def set(self, key, value, ttl_s):
        if key not in self.seen or self.get_many([key])[0] is not None:
            super().set(key, value, ttl_s)
        self.seen.add(key)


@caught_by("test_a_number_is_read_and_set_as_decimal_digits")
class KeepsNumbersInBytes(Kv):
    numbers = frozenset()

    def incr(self, key, by, ttl_s):
        self.numbers |= {key}
        return super().incr(key, by, ttl_s)

    def get_many(self, keys):
        values = super().get_many(keys)
        return [
            struct.pack("=q", int(value)) if value is not None and key in self.numbers else value
            for key, value in zip(keys, values, strict=True)
        ]


@caught_by("test_a_scan_gives_each_key_with_the_prefix_once_and_no_other")
class ScansAnywhereInAKey(Kv):
    def scan(self, prefix):
        return iter([key for key in super().scan("") if prefix in key])


@caught_by("test_after_close_atomic_verbs_work_or_raise_our_own_error")
class RaisesForeignErrorsOfNumbers(Kv):
    def incr(self, key, by, ttl_s):
        if not self._is_open:
            raise ValueError("closed")
        return super().incr(key, by, ttl_s)


@caught_by("test_keys_of_all_kinds_are_kept_apart")
class EndsKeysAtNul(Kv):
    def set(self, key, value, ttl_s):
        super().set(key.split("\0")[0], value, ttl_s)

    def get_many(self, keys):
        return super().get_many([key.split("\0")[0] for key in keys])


@caught_by("test_many_values_are_read_at_once")
class ReadsFiveHundredAtMost(Kv):
    def get_many(self, keys):
        return [*super().get_many(keys[:500]), *([None] * len(keys[500:]))]


@caught_by("test_numbers_begin_at_nothing_and_go_up_and_down")
class OnlyCountsUp(Kv):
    def incr(self, key, by, ttl_s):
        return super().incr(key, max(by, 0), ttl_s)


@caught_by("test_other_processes_reach_the_same_keys_if_and_only_if_the_store_is_shared")
class ClaimsItsKeysAreShared(Kv):
    def __init__(self, url, options):
        super().__init__(url, options)
        self._facts = replace(self._facts, shared=True)


@caught_by("test_the_death_of_a_writer_loses_nothing_that_was_confirmed")
class ConfirmsBeforeItSets(SqliteKv):
    waiting = ()

    def set(self, key, value, ttl_s):
        for entry in self.waiting:
            super().set(*entry)
        self.waiting = ((key, value, ttl_s),)
