"""Adapters that keep the contract and cost too much: one fault each, for level five. See `mutants.py`."""

import time

from celeriac.backends.memory import MemoryBackend
from celeriac.backends.sqlite import SqliteBackend
from celeriac.brokers.memory import MemoryBroker
from celeriac.brokers.sqlite import SqliteBroker
from celeriac.model.message import Release, Settled
from conformance.mutants import Bus, SqliteBus, caught_by
from conformance.mutants_kv import Kv, SqliteKv

POLL_S = 0.05


def on_both(memory, sqlite, *tests):
    """The same fault planted in both embedded adapters; each is caught by the same tests."""

    def plant(mixin):
        for base, prefix in ((memory, "Memory"), (sqlite, "Sqlite")):
            name = prefix + mixin.__name__
            planted = type(name, (mixin, base), {"__module__": __name__})
            globals()[name] = planted
            caught_by(*tests)(planted)
        return mixin

    return plant


def brokers(*tests):
    return on_both(MemoryBroker, SqliteBroker, *tests)


def backends(*tests):
    return on_both(MemoryBackend, SqliteBackend, *tests)


def buses(*tests):
    return on_both(Bus, SqliteBus, *tests)


def stores_of_keys(*tests):
    return on_both(Kv, SqliteKv, *tests)


# ---------------------------------------------------------------- brokers


@brokers(
    "test_publishing_a_batch_is_one_round_trip_however_many_messages_and_queues",
    "test_delayed_messages_and_priorities_cost_no_round_trip_more",
)
class PublishesOneByOne:
    def publish(self, messages):
        for message in messages:
            super().publish([message])


@brokers("test_publishing_a_batch_is_one_round_trip_however_many_messages_and_queues")
class PublishesQueueByQueue:
    def publish(self, messages):
        for queue in {message.queue for message in messages}:
            super().publish([message for message in messages if message.queue == queue])


@brokers("test_settling_a_batch_is_one_round_trip_whatever_the_verdicts")
class SettlesOneByOne:
    def settle(self, settlements, then_take=None):
        stale = [receipt for each in settlements for receipt in super(SettlesOneByOne, self).settle([each]).stale]
        return Settled(tuple(stale), super().settle([], then_take).deliveries)


@brokers("test_settling_a_batch_is_one_round_trip_whatever_the_verdicts")
class SettlesVerdictByVerdict:
    def settle(self, settlements, then_take=None):
        acks = [each for each in settlements if not isinstance(each.verdict, Release)]
        rest = [each for each in settlements if isinstance(each.verdict, Release)]
        stale = super().settle(acks).stale if rest else ()
        settled = super().settle(rest or acks, then_take)
        return Settled((*stale, *settled.stale), settled.deliveries)


@brokers("test_settling_and_claiming_what_comes_next_is_one_round_trip")
class SettlesThenClaims:
    def settle(self, settlements, then_take=None):
        stale = super().settle(settlements).stale
        return Settled(stale, tuple(self.take(then_take.queues, then_take.limit, 0.0)) if then_take else ())


@brokers("test_records_and_follow_ups_are_in_the_round_trip_of_their_verdicts")
class PublishesFollowUpsFirst:
    def settle(self, settlements, then_take=None):
        if follow_ups := [message for each in settlements for message in each.follow_ups]:
            self.publish(follow_ups)
        return super().settle(settlements, then_take)


@brokers("test_renewing_leases_is_one_round_trip_whatever_is_held")
class RenewsOneByOne:
    def extend(self, receipts, lease_s):
        lost = list(super().extend(receipts[:1], lease_s))
        for receipt in receipts[1:]:
            lost += super().extend([receipt], lease_s)
        return lost


@brokers("test_taking_what_is_there_is_a_look_and_a_claim_however_much_it_is")
class TakesOneByOne:
    def take(self, queues, limit, wait_s):
        got = list(super().take(queues, 1, wait_s))
        while got and len(got) < limit and (more := super().take(queues, 1, 0.0)):
            got += more
        return got


@brokers("test_looking_at_empty_queues_is_one_round_trip_however_many_queues")
class LooksQueueByQueue:
    def take(self, queues, limit, wait_s):
        for queue in queues if wait_s <= 0 else ():
            if got := super().take([queue], limit, 0.0):
                return got
        return super().take(queues, limit, wait_s) if wait_s > 0 else []


@brokers("test_an_idle_taker_looks_rarely")
class LooksAllTheTime:
    def take(self, queues, limit, wait_s):
        deadline = time.monotonic() + wait_s
        while not (got := super().take(queues, limit, 0.0)) and time.monotonic() < deadline:
            time.sleep(0.002)
        return got


@brokers("test_half_of_all_pickups_take_no_more_than_a_message_and_no_poll")
class TakersOnlyPoll:
    def take(self, queues, limit, wait_s):
        deadline = time.monotonic() + wait_s
        while not (got := super().take(queues, limit, 0.0)) and time.monotonic() < deadline:
            time.sleep(POLL_S)
        return got


@brokers("test_a_taker_is_woken_with_few_round_trips")
class LooksTwentyTimesWhenWoken:
    def take(self, queues, limit, wait_s):
        got = super().take(queues, limit, wait_s)
        for _ in range(20 if got else 0):
            super().take(["nothing"], 1, 0.0)
        return got


# ---------------------------------------------------------------- backends


@backends("test_writing_a_batch_is_one_round_trip_however_many_records")
class WritesOneByOne:
    def write(self, records):
        for record in records:
            super().write([record])


@backends("test_reading_many_ids_is_one_round_trip_whether_they_are_there_or_not")
class ReadsOneByOne:
    def read(self, ids):
        return [super(ReadsOneByOne, self).read([one])[0] for one in ids]


@backends("test_forgetting_many_ids_is_one_round_trip")
class ForgetsOneByOne:
    def forget(self, ids):
        for one in ids:
            super().forget([one])


@backends("test_a_wait_for_what_is_there_is_one_look")
class WaitsForEachAlone:
    def wait(self, ids, wait_s):
        found = [record for one in ids for record in super(WaitsForEachAlone, self).wait([one], 0.0)]
        return found or super().wait(ids, wait_s)


@backends("test_an_idle_waiter_looks_rarely_however_many_ids_it_waits_for")
class WaitersLookAllTheTime:
    def wait(self, ids, wait_s):
        deadline = time.monotonic() + wait_s
        while not (found := super().wait(ids, 0.0)) and time.monotonic() < deadline:
            time.sleep(0.002)
        return found


@backends("test_half_of_all_wake_ups_take_no_more_than_a_message_and_no_poll")
class WaitersOnlyPoll:
    def wait(self, ids, wait_s):
        deadline = time.monotonic() + wait_s
        while not (found := super().wait(ids, 0.0)) and time.monotonic() < deadline:
            time.sleep(POLL_S)
        return found


@backends("test_a_waiter_is_woken_with_few_round_trips")
class ReadsTwentyTimesWhenWoken:
    def wait(self, ids, wait_s):
        found = super().wait(ids, wait_s)
        for _ in range(20 if found else 0):
            self.read(ids)
        return found


# ---------------------------------------------------------------- buses


@buses("test_a_message_costs_the_same_however_many_listen")
class TellsEachSubscriberAlone:
    listening = 0

    def subscribe(self, topics):
        self.listening += 1
        return super().subscribe(topics)

    def publish_topic(self, topic, data):
        super().publish_topic(topic, data)
        for _ in range(self.listening):
            super().publish_topic("nobody", data)


@buses("test_a_message_that_nobody_listens_to_costs_a_look_at_most")
class LooksTwiceForListeners:
    def publish_topic(self, topic, data):
        super().publish_topic("nobody", data)
        super().publish_topic(topic, data)


class Ear:
    """A subscription in other hands."""

    def __init__(self, ear, receive):
        self._ear = ear
        self._receive = receive

    def receive(self, wait_s):
        return self._receive(self._ear, wait_s)

    def close(self):
        self._ear.close()


def hearing(receive):
    return {"subscribe": lambda self, topics: Ear(super(type(self), self).subscribe(topics), receive)}


def polling(nap_s):
    def receive(ear, wait_s):
        deadline = time.monotonic() + wait_s
        while not (got := ear.receive(0.0)) and time.monotonic() < deadline:
            time.sleep(nap_s)
        return got

    return receive


def again_and_again(ear, wait_s):
    got = ear.receive(wait_s)
    for _ in range(20 if got else 0):
        ear.receive(0.0)
    return got


for kind, receive, tests in (
    ("HearsAllTheTime", polling(0.002), ["test_an_idle_subscriber_looks_rarely"]),
    ("SubscribersOnlyPoll", polling(POLL_S), ["test_half_of_all_wake_ups_take_no_more_than_a_message_and_no_poll"]),
    (
        "ListensTwentyTimesWhenWoken",
        again_and_again,
        [
            "test_a_subscriber_is_woken_with_few_round_trips",
            "test_hearing_all_that_was_said_costs_the_same_however_much_it_is",
        ],
    ),
):
    for base in (Bus, SqliteBus):
        name = base.__name__ + kind
        globals()[name] = type(name, (base,), {**hearing(receive), "__module__": __name__})
        caught_by(*tests)(globals()[name])


# ---------------------------------------------------------------- stores of keys


@stores_of_keys("test_reading_setting_and_deleting_are_one_round_trip_each_however_many_keys")
class GetsOneByOne:
    def get_many(self, keys):
        return [super(GetsOneByOne, self).get_many([key])[0] for key in keys]


@stores_of_keys("test_reading_setting_and_deleting_are_one_round_trip_each_however_many_keys")
class DeletesOneByOne:
    def delete_many(self, keys):
        for key in keys:
            super().delete_many([key])


@stores_of_keys("test_each_atomic_verb_is_one_round_trip_whether_it_changes_anything_or_not")
class LooksThenAdds:
    def add_if_absent(self, key, value, ttl_s):
        return self.get_many([key])[0] is None and super().add_if_absent(key, value, ttl_s)


@stores_of_keys("test_each_atomic_verb_is_one_round_trip_whether_it_changes_anything_or_not")
class CountsBySwapping:
    def incr(self, key, by, ttl_s):
        old = self.get_many([key])[0]
        new = int(old or b"0") + by
        assert self.compare_and_set(key, old, b"%d" % new, ttl_s)
        return new


@stores_of_keys("test_a_scan_reads_many_keys_at_a_time")
class LooksAtEachScannedKey:
    def scan(self, prefix):
        return (key for key in list(super().scan(prefix)) if self.get_many([key])[0] is not None)
