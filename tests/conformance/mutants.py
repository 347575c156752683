"""Adapters that break one line of the contract each, on purpose. `CAUGHT_BY` names the tests that must fail.

They stand in a module of their own, so that clients in other processes can import them.
"""

import os
import time

from msgspec.structs import replace

from celeriac.backends.memory import MemoryBackend
from celeriac.backends.sqlite import SqliteBackend
from celeriac.brokers.memory import MemoryBroker
from celeriac.brokers.sqlite import SqliteBroker
from celeriac.model.message import Receipt, Release, Settled, Settlement

MUTANTS = []


def caught_by(*tests):
    def register(mutant):
        mutant.CAUGHT_BY = tests
        MUTANTS.append(mutant)
        return mutant

    return register


class Broker(MemoryBroker):
    """White-box: the mutants below reach into the store."""

    def with_facts(self, **changes):
        self._facts = replace(self._facts, **changes)


def claiming(changes):
    """A broker that declares other facts than those it has."""

    class Claiming(Broker):
        def __init__(self, url, options):
            super().__init__(url, options)
            self.with_facts(**changes)

    Claiming.__name__ = Claiming.__qualname__ = "Claims" + "".join(f"_{k}_{v}" for k, v in changes.items())
    globals()[Claiming.__name__] = Claiming
    return Claiming


# ---------------------------------------------------------------- publishing and taking


@caught_by(
    "test_messages_of_one_queue_come_in_the_order_of_publishing",
    "test_random_histories_agree_with_the_reference",
)
class LosesAMessageNowAndThen(Broker):
    count = 0

    def publish(self, messages):
        self.count += 1
        super().publish(messages[:-1] if self.count % 9 == 0 else messages)


@caught_by("test_a_message_is_not_delivered_before_its_time_and_promptly_after_it")
class DeliversEarly(Broker):
    def publish(self, messages):
        super().publish([replace(m, eta_at=m.eta_at and m.eta_at - 0.25) for m in messages])


@caught_by("test_a_published_message_is_delivered_with_all_its_fields")
class LosesAField(Broker):
    def publish(self, messages):
        super().publish([replace(m, reply_to="") for m in messages])


@caught_by(
    "test_names_of_priorities_order_deliveries_high_normal_low",
    "test_the_priority_a_message_was_given_is_delivered_with_it",
)
class ForgetsPriority(Broker):
    def publish(self, messages):
        super().publish([replace(m, priority=None) for m in messages])


@caught_by("test_messages_of_one_queue_come_in_the_order_of_publishing", "test_priority_decides_within_one_take_too")
class YoungestFirst(Broker):
    def take(self, queues, limit, wait_s):
        return super().take(queues, limit, wait_s)[::-1]


@caught_by(
    "test_a_message_is_delivered_once_while_it_is_held",
    "test_many_threads_lose_nothing_and_hold_nothing_twice",
    "test_a_taker_that_is_one_of_many_objects_of_a_process_sees_each_message_once",
)
class DeliversWhatIsHeld(Broker):
    def take(self, queues, limit, wait_s):
        got = super().take(queues, limit, wait_s)
        self._store.settle(self._holder, [Settlement(each.receipt, Release()) for each in got], None)
        return got


@caught_by("test_many_threads_lose_nothing_and_hold_nothing_twice", "test_random_histories_agree_with_the_reference")
class DeliversOneInSixTwice(Broker):
    count = 0
    last = None

    def take(self, queues, limit, wait_s):
        got = list(super().take(queues, max(1, limit - 1), wait_s))
        self.count += 1
        if self.last is not None and self.count % 6 == 0 and len(got) < limit:
            got.append(self.last)
        if got:
            self.last = got[0]
        return got


@caught_by("test_a_take_gives_no_more_than_its_limit_and_leaves_the_rest")
class GivesOneMoreThanTheLimit(Broker):
    def take(self, queues, limit, wait_s):
        return super().take(queues, limit + 1, wait_s)


@caught_by("test_no_queue_starves_while_another_is_never_empty")
class ServesTheFirstQueueFirst(Broker):
    def take(self, queues, limit, wait_s):
        for queue in queues:
            if got := super().take([queue], limit, 0):
                return got
        return super().take(queues, limit, wait_s)


@caught_by("test_two_messages_with_one_id_are_both_delivered")
class DropsSecondMessagesOfAnId(Broker):
    def publish(self, messages):
        seen = {held.message.id for held in self._store.waiting.values()}
        super().publish([m for m in messages if m.id not in seen])


@caught_by("test_a_batch_with_a_bad_message_is_rejected_and_stored_not_at_all_if_batches_are_atomic")
class StoresBatchesInPart(Broker):
    def publish(self, messages):
        for message in messages:
            super().publish([message])


@caught_by("test_a_priority_out_of_range_is_rejected_by_name_and_nothing_is_stored")
class AcceptsAnyPriority(Broker):
    def publish(self, messages):
        clamped = [
            replace(m, priority=max(0, min(9, m.priority))) if isinstance(m.priority, int) else m for m in messages
        ]
        super().publish(clamped)


@caught_by(
    "test_after_close_every_verb_works_or_raises_our_own_error",
    "test_closing_under_load_ends_every_call_in_time_with_our_own_errors_only",
)
class RaisesForeignErrors(Broker):
    def publish(self, messages):
        if not self._holder.is_open:
            raise RuntimeError("closed")
        super().publish(messages)


@caught_by("test_closing_releases_descriptors_and_threads")
class LeaksADescriptor(Broker):
    def open(self):
        self.leaked = os.dup(0)
        super().open()


# ---------------------------------------------------------------- waiting


@caught_by(
    "test_a_waiting_taker_is_woken_by_a_publish",
    "test_a_waiting_taker_is_woken_by_a_release",
    "test_a_waiting_taker_gets_a_delayed_message_when_it_is_due",
    "test_a_waiting_taker_is_woken_when_its_queue_is_resumed",
    "test_a_waiting_taker_is_woken_by_a_follow_up",
    "test_a_waiting_taker_is_woken_by_a_publish_to_any_of_its_queues",
    "test_a_waiting_taker_is_woken_by_a_revival",
    "test_a_waiting_taker_is_woken_by_another_object_of_the_same_store",
    "test_each_of_several_waiting_takers_is_woken_when_there_is_enough_for_all",
)
class NeverWakes(Broker):
    def take(self, queues, limit, wait_s):
        if got := super().take(queues, limit, 0):
            return got
        time.sleep(wait_s)
        return super().take(queues, limit, 0)


@caught_by("test_a_take_of_nothing_returns_empty_after_about_its_wait")
class GivesUpAtOnce(Broker):
    def take(self, queues, limit, wait_s):
        return super().take(queues, limit, 0)


@caught_by("test_a_take_returns_one_message_without_waiting_for_its_limit")
class WaitsForAFullBatch(Broker):
    def take(self, queues, limit, wait_s):
        deadline = time.monotonic() + min(wait_s, 1.0)
        got = []
        while len(got) < limit and (not got or time.monotonic() < deadline):
            got += super().take(queues, limit - len(got), 0.05)
            if not got and time.monotonic() > deadline:
                break
        return got


@caught_by(
    "test_settle_is_prompt_while_another_thread_is_blocked_in_take",
    "test_extend_is_prompt_while_another_thread_is_blocked_in_take",
    "test_publish_is_prompt_while_another_thread_is_blocked_in_take",
)
class SettlesOnlyWhenNobodyWaits(Broker):
    def take(self, queues, limit, wait_s):
        with self._store.lock:
            deadline = time.monotonic() + min(wait_s, 1.0)
            while not (got := super().take(queues, limit, 0)) and time.monotonic() < deadline:
                time.sleep(0.01)
            return got


@caught_by("test_closing_ends_a_take_that_waits")
class LeavesTakersBehind(Broker):
    def close(self):
        pass


# ---------------------------------------------------------------- settling


@caught_by("test_settling_twice_is_stale_the_second_time")
class HidesWhatIsStale(Broker):
    def settle(self, settlements, then_take=None):
        return replace(super().settle(settlements, then_take), stale=())


@caught_by(
    "test_a_late_settlement_of_an_old_attempt_is_reported_and_changes_nothing",
    "test_random_histories_agree_with_the_reference",
    "test_a_receipt_that_never_was_is_stale",
)
class IgnoresTheAttempt(Broker):
    def settle(self, settlements, then_take=None):
        def current(receipt):
            claim = receipt and self._store.claimed.get(receipt.key)
            return Receipt(receipt.key, claim[0].attempt) if claim else receipt

        return super().settle([replace(s, receipt=current(s.receipt)) for s in settlements], then_take)


@caught_by("test_a_released_message_is_delivered_again_with_a_larger_attempt")
class ForgetsAttempts(Broker):
    def settle(self, settlements, then_take=None):
        settled = super().settle(settlements, then_take)
        for held in self._store.waiting.values():
            held.attempt = 0
        return settled


@caught_by("test_a_receipt_from_before_the_burial_is_stale_after_the_revival")
class RevivesWithTheFirstAttempt(Broker):
    def revive(self, ids=(), *, parked_tasks=()):
        for buried in self._store.dead.values():
            buried.held.attempt = 0
        return super().revive(ids, parked_tasks=parked_tasks)


@caught_by("test_follow_ups_are_published_with_the_verdict_or_refused")
class DropsFollowUps(Broker):
    def settle(self, settlements, then_take=None):
        return super().settle([replace(s, follow_ups=()) for s in settlements], then_take)


@caught_by("test_records_are_written_with_the_verdict_or_refused")
class DropsRecords(Broker):
    def settle(self, settlements, then_take=None):
        return super().settle([replace(s, records=()) for s in settlements], then_take)


@caught_by("test_a_stale_settlement_writes_no_record_and_publishes_no_follow_up")
class CommitsWhatIsStale(Broker):
    def settle(self, settlements, then_take=None):
        settled = super().settle([Settlement(s.receipt, s.verdict) for s in settlements], then_take)
        super().settle([replace(s, receipt=None) for s in settlements])
        return settled


@caught_by("test_without_a_receipt_records_and_follow_ups_are_committed_all_the_same")
class WantsAReceipt(Broker):
    def settle(self, settlements, then_take=None):
        return super().settle([s for s in settlements if s.receipt is not None], then_take)


@caught_by("test_a_follow_up_with_the_id_of_the_message_it_replaces_is_kept")
class AcknowledgesById(Broker):
    def settle(self, settlements, then_take=None):
        ids = {held.message.id for held, _ in self._store.claimed.values()}
        clean = [replace(s, follow_ups=tuple(m for m in s.follow_ups if m.id not in ids)) for s in settlements]
        return super().settle(clean, then_take)


@caught_by("test_a_rejected_follow_up_undoes_the_whole_batch")
class SettlesBatchesInPart(Broker):
    def settle(self, settlements, then_take=None):
        stale = []
        for each in settlements:
            stale.extend(super().settle([each]).stale)
        return Settled(tuple(stale), super().settle([], then_take).deliveries)


@caught_by(
    "test_a_release_with_a_delay_is_delivered_when_it_is_over_and_not_before",
    "test_a_release_for_an_hour_is_not_delivered_now",
)
class ReleasesAtOnce(Broker):
    def settle(self, settlements, then_take=None):
        def hasty(verdict):
            return replace(verdict, after_s=0.0) if isinstance(verdict, Release) else verdict

        return super().settle([replace(s, verdict=hasty(s.verdict)) for s in settlements], then_take)


@caught_by("test_crashes_are_counted_by_releases_that_say_so_and_by_no_others")
class CountsEveryReleaseAsACrash(Broker):
    def settle(self, settlements, then_take=None):
        def crashed(verdict):
            return replace(verdict, crashed=True) if isinstance(verdict, Release) else verdict

        return super().settle([replace(s, verdict=crashed(s.verdict)) for s in settlements], then_take)


@caught_by("test_then_take_claims_in_the_same_step_or_is_ignored")
class ClaimsInSettleWithoutHolding(Broker):
    def settle(self, settlements, then_take=None):
        settled = super().settle(settlements, then_take)
        super().settle([Settlement(each.receipt, Release()) for each in settled.deliveries])
        return settled


@caught_by("test_a_receipt_twice_in_one_batch_counts_once")
class TakesAReceiptTwice(Broker):
    def settle(self, settlements, then_take=None):
        with self._store.lock:
            held = {s.receipt for s in settlements if s.receipt and self._store.holds(self._holder, s.receipt)}
            settled = super().settle(settlements, then_take)
        return replace(settled, stale=tuple(receipt for receipt in settled.stale if receipt not in held))


# ---------------------------------------------------------------- leases


@caught_by("test_extend_names_what_is_no_longer_held_and_nothing_else")
class ExtendTellsNothing(Broker):
    def extend(self, receipts, lease_s):
        super().extend(receipts, lease_s)
        return []


@caught_by("test_a_claim_that_is_extended_outlives_its_first_lease")
class ExtendDoesNothing(Broker):
    def extend(self, receipts, lease_s):
        with self._store.lock:
            return [receipt for receipt in receipts if not self._store.holds(self._holder, receipt)]


@caught_by("test_a_claim_comes_back_uncounted_after_its_lease_or_is_held_for_good")
class HoldsForGood(Broker):
    def __init__(self, url, options):
        super().__init__(url, options)
        self._holder.lease_s = 1e6


@caught_by("test_a_claim_comes_back_uncounted_after_its_lease_or_is_held_for_good")
class CountsALostLeaseAsACrash(Broker):
    def take(self, queues, limit, wait_s):
        got = super().take(queues, limit, wait_s)
        return [replace(each, crashes=each.crashes + each.redelivered) for each in got]


@caught_by("test_a_claim_comes_back_uncounted_after_its_lease_or_is_held_for_good")
class LeasesTooShort(Broker):
    def __init__(self, url, options):
        super().__init__(url, options)
        self._holder.lease_s /= 4


# ---------------------------------------------------------------- tools


@caught_by("test_a_paused_queue_takes_messages_in_and_gives_none_out_until_it_is_resumed")
class ForgetsPauses(Broker):
    def pause(self, queue, paused):
        pass


@caught_by("test_then_take_honours_priority_delays_and_pauses", "test_random_histories_agree_with_the_reference")
class ClaimsFromPausedQueuesInSettle(Broker):
    def settle(self, settlements, then_take=None):
        with self._store.lock:
            paused = [line for line in self._store.lines.values() if line.paused]
            for line in paused:
                line.paused = False
            settled = super().settle(settlements, then_take)
            for line in paused:
                line.paused = True
        return settled


@caught_by("test_a_task_cancelled_before_it_was_sent_is_cancelled_at_its_first_delivery")
class CancelsOnlyWhatIsThere(Broker):
    def cancel(self, ids, keep_s=86400.0):
        there = {held.message.id for held in self._store.waiting.values()}
        there |= {held.message.id for held, _ in self._store.claimed.values()}
        super().cancel([one for one in ids if one in there], keep_s)


@caught_by("test_a_cancellation_is_kept_as_long_as_its_message")
class ForgetsCancellationsTooSoon(Broker):
    def take(self, queues, limit, wait_s):
        now = time.time()
        with self._store.lock:
            for task_id in [key for key, flag in self._store.flags.items() if flag.until_at < now]:
                del self._store.flags[task_id]
        return super().take(queues, limit, wait_s)


@caught_by("test_purge_deletes_what_waits_and_leaves_what_is_held_and_dead")
class PurgesDeadLettersToo(Broker):
    def purge(self, queue):
        super().drop([letter.message.id for letter in super().dead(queue, 1000)])
        return super().purge(queue)


@caught_by("test_dead_letters_are_listed_newest_first_by_queue_and_up_to_the_limit")
class ListsTheOldestFirst(Broker):
    def dead(self, queue, limit):
        return super().dead(queue, limit)[::-1]


@caught_by("test_a_revived_letter_is_delivered_again_with_its_crashes_forgotten")
class RemembersCrashesOfTheRevived(Broker):
    def revive(self, ids=(), *, parked_tasks=()):
        crashes = {key: buried.held.crashes for key, buried in self._store.dead.items()}
        count = super().revive(ids, parked_tasks=parked_tasks)
        for key, held in self._store.waiting.items():
            held.crashes = crashes.get(key, held.crashes)
        return count


@caught_by("test_random_histories_agree_with_the_reference")
class RevivesAtTheLowestPriority(Broker):
    def revive(self, ids=(), *, parked_tasks=()):
        for buried in self._store.dead.values():
            buried.held.level = 0
        return super().revive(ids, parked_tasks=parked_tasks)


@caught_by("test_reviving_deletes_the_record_of_the_failure_in_the_same_step")
class LeavesTheFailureOfTheRevived(Broker):
    def revive(self, ids=(), *, parked_tasks=()):
        kept = dict(self._store.results._records)
        count = super().revive(ids, parked_tasks=parked_tasks)
        self._store.results._records.update(kept)
        return count


@caught_by("test_dropped_letters_are_gone")
class DropsNothing(Broker):
    def drop(self, ids):
        return sum(letter.message.id in ids for letter in self.dead(None, 1000))


@caught_by("test_depth_counts_messages_by_what_they_wait_for")
class CountsDelayedAsReady(Broker):
    def depth(self, queues=()):
        return [replace(d, ready=d.ready + d.delayed, delayed=0) for d in super().depth(queues)]


@caught_by("test_peek_shows_what_comes_next_and_claims_nothing")
class PeeksByTaking(Broker):
    def peek(self, queue, limit, state=None):
        seen = super().peek(queue, limit, state)
        super().take([queue], 1, 0)
        return seen


@caught_by("test_peek_shows_those_of_one_state_alone_when_told_which")
class PeeksAtAllStates(Broker):
    def peek(self, queue, limit, state=None):
        return super().peek(queue, limit)


@caught_by("test_peek_shows_those_of_one_state_alone_when_told_which")
class PeeksAndThenChooses(Broker):
    def peek(self, queue, limit, state=None):
        return [each for each in super().peek(queue, limit) if state in {None, each.state}]


# ---------------------------------------------------------------- facts

for changes, tests in (
    ({"shared": True}, ["test_other_processes_reach_the_same_queues_if_and_only_if_the_broker_is_shared"]),
    ({"priorities": 1}, ["test_as_many_levels_of_priority_are_kept_apart_as_declared"]),
    ({"priorities": 4}, ["test_as_many_levels_of_priority_are_kept_apart_as_declared"]),
    ({"delays": False}, ["test_a_broker_that_does_not_keep_delays_delivers_with_the_time_at_once"]),
    ({"atomic_commit": False}, ["test_follow_ups_are_published_with_the_verdict_or_refused"]),
    ({"claims_in_settle": False}, ["test_then_take_claims_in_the_same_step_or_is_ignored"]),
    ({"counts_crashes": False}, ["test_crashes_are_counted_by_releases_that_say_so_and_by_no_others"]),
    ({"cancels": False}, ["test_a_task_cancelled_before_it_was_sent_is_cancelled_at_its_first_delivery"]),
    ({"lease": "connection"}, ["test_a_claim_comes_back_uncounted_after_its_lease_or_is_held_for_good"]),
    ({"body_bytes_max": 1000}, ["test_a_body_over_the_limit_is_rejected_and_one_at_the_limit_is_not"]),
    ({"store_id": "memory://"}, ["test_the_store_id_is_that_of_the_store"]),
    ({"durability": "process"}, ["test_what_a_dead_process_had_published_survives_it_if_the_broker_is_durable"]),
):
    caught_by(*tests)(claiming(changes))


@caught_by("test_as_many_levels_of_priority_are_kept_apart_as_declared")
class MergesTwoLevels(Broker):
    def publish(self, messages):
        super().publish(messages)
        for held in self._store.waiting.values():
            held.level = 3 if held.level == 4 else held.level

    def take(self, queues, limit, wait_s):
        for line in self._store.lines.values():
            line.ready = sorted((-self._store.waiting[key].level, key) for _, key in line.ready)
        return super().take(queues, limit, wait_s)


# ---------------------------------------------------------------- backends


@caught_by("test_nothing_replaces_a_success", "test_random_histories_agree_with_the_reference")
class OverwritesSuccess(MemoryBackend):
    def write(self, records):
        self.forget([record.id for record in records])
        super().write(records)


@caught_by("test_nothing_replaces_a_success_within_a_batch")
class OverwritesSuccessInABatch(MemoryBackend):
    def write(self, records):
        super().write(list({record.id: record for record in records}.values()))


@caught_by("test_the_last_record_of_an_id_wins")
class KeepsTheFirst(MemoryBackend):
    def write(self, records):
        super().write([record for record in records if self.read([record.id])[0] is None])


@caught_by("test_records_are_read_in_the_order_asked_for_with_none_between")
class ReadsInItsOwnOrder(MemoryBackend):
    def read(self, ids):
        return super().read(sorted(ids))


@caught_by("test_records_are_read_in_the_order_asked_for_with_none_between", "test_an_unknown_id_reads_as_none")
class LeavesOutTheUnknown(MemoryBackend):
    def read(self, ids):
        return [record for record in super().read(ids) if record is not None]


@caught_by("test_forgotten_records_are_gone_and_unknown_ids_are_ignored")
class ForgetsNothing(MemoryBackend):
    def forget(self, ids):
        pass


@caught_by("test_forgotten_records_are_gone_and_unknown_ids_are_ignored")
class StumblesOverTheUnknown(MemoryBackend):
    def forget(self, ids):
        for one in ids:
            if self.read([one])[0] is None:
                raise KeyError(one)
        super().forget(ids)


@caught_by("test_a_record_expires_after_its_lifetime_and_not_before_if_the_backend_expires")
class NeverExpires(MemoryBackend):
    def write(self, records):
        super().write([replace(record, expires_s=None) for record in records])


@caught_by("test_the_lifetime_is_that_of_the_last_record")
class KeepsTheFirstLifetime(MemoryBackend):
    def __init__(self, url, options):
        super().__init__(url, options)
        self._lives = {}

    def write(self, records):
        super().write([replace(r, expires_s=self._lives.setdefault(r.id, r.expires_s)) for r in records])


@caught_by("test_a_waiter_is_woken_by_a_record_addressed_to_it", "test_a_backend_that_pushes_wakes_at_once")
class NeverWakesWaiters(MemoryBackend):
    def wait(self, ids, wait_s):
        if found := super().wait(ids, 0):
            return found
        time.sleep(wait_s)
        return super().wait(ids, 0)


@caught_by("test_a_waiter_is_woken_by_a_record_addressed_to_nobody")
class WakesOnlyWhoIsAddressed(MemoryBackend):
    def __init__(self, url, options):
        super().__init__(url, options)
        self._hidden = set()

    def write(self, records):
        self._hidden |= {record.id for record in records if not record.reply_to}
        super().write(records)

    def wait(self, ids, wait_s):
        deadline = time.monotonic() + wait_s
        while True:
            found = [record for record in super().wait(ids, 0) if record.id not in self._hidden]
            if found or time.monotonic() >= deadline:
                return found
            time.sleep(0.01)


@caught_by("test_a_backend_that_pushes_wakes_at_once")
class PollsAndCallsItPushing(MemoryBackend):
    def wait(self, ids, wait_s):
        deadline = time.monotonic() + wait_s
        while not (found := super().wait(ids, 0)) and time.monotonic() < deadline:
            time.sleep(0.25)
        return found


@caught_by("test_a_wait_returns_all_records_that_are_there_and_none_that_are_not")
class WaitReturnsTheFirstOnly(MemoryBackend):
    def wait(self, ids, wait_s):
        return super().wait(ids, wait_s)[:1]


@caught_by("test_a_large_record_arrives_whole", "test_an_empty_payload_and_one_of_megabytes_are_kept_intact")
class CutsLargePayloads(MemoryBackend):
    def write(self, records):
        super().write([replace(record, payload=record.payload[:65536]) for record in records])


@caught_by("test_after_close_every_verb_works_or_raises_our_own_error")
class BackendRaisesForeignErrors(MemoryBackend):
    def forget(self, ids):
        if not self._is_open:
            raise ValueError("I/O on closed store")
        super().forget(ids)


for name, changes, tests in (
    (
        "OverclaimsShared",
        {"shared": True},
        ["test_other_processes_reach_the_same_records_if_and_only_if_the_backend_is_shared"],
    ),
    (
        "DeniesExpiry",
        {"expires": False},
        ["test_a_record_expires_after_its_lifetime_and_not_before_if_the_backend_expires"],
    ),
):

    def _init(self, url, options, changes=changes):
        MemoryBackend.__init__(self, url, options)
        self._facts = replace(self._facts, **changes)

    globals()[name] = type(name, (MemoryBackend,), {"__init__": _init, "__module__": __name__})
    caught_by(*tests)(globals()[name])


# ---------------------------------------------------------------- buses


class Bus(MemoryBroker):
    """Marks mutants that are run by the suite of buses."""


class SqliteBus(SqliteBroker):
    """The same, shared between processes."""


@caught_by("test_what_is_published_while_nobody_receives_is_kept_for_the_subscriber")
class KeepsOnlyTheLatest(Bus):
    def publish_topic(self, topic, data):
        for ear in self._store.topics._ears:
            ear.mailbox.clear()
        super().publish_topic(topic, data)


@caught_by("test_a_message_is_heard_once", "test_a_subscriber_hears_what_is_published_with_its_bytes_intact")
class SaysItTwice(Bus):
    def publish_topic(self, topic, data):
        super().publish_topic(topic, data)
        super().publish_topic(topic, data)


@caught_by("test_publishing_tells_how_many_listen_or_that_nobody_knows")
class CountsWhoListensToAnything(Bus):
    def publish_topic(self, topic, data):
        super().publish_topic(topic, data)
        return len(self._store.topics._ears)


@caught_by("test_a_subscriber_hears_only_its_own_topics")
class MatchesPrefixes(Bus):
    def publish_topic(self, topic, data):
        topics = self._store.topics
        for ear in topics._ears:
            if any(topic.startswith(name) and topic != name for name in ear.names):
                ear.mailbox.append((topic, data))
        super().publish_topic(topic, data)


@caught_by("test_a_subscriber_hears_nothing_from_before_it_listened", "test_publishing_to_nobody_does_nothing")
class TellsTheLatecomers(Bus):
    history = ()

    def publish_topic(self, topic, data):
        self.history = (*self.history, (topic, data))
        super().publish_topic(topic, data)

    def subscribe(self, topics):
        ear = super().subscribe(topics)
        ear.mailbox.extend(pair for pair in self.history if pair[0] in topics)
        return ear


@caught_by("test_every_subscriber_hears_every_message")
class TellsOnlyOne(Bus):
    def publish_topic(self, topic, data):
        topics = self._store.topics
        others = list(topics._ears)[1:]
        topics._ears -= set(others)
        super().publish_topic(topic, data)
        topics._ears |= set(others)


@caught_by("test_messages_come_in_the_order_of_publishing_over_all_topics")
class SortsByTopic(Bus):
    def subscribe(self, topics):
        ear = super().subscribe(topics)
        receive = ear.receive
        ear.receive = lambda wait_s: sorted(receive(wait_s), key=lambda pair: pair[0])
        return ear


@caught_by("test_who_waits_is_woken_by_a_message")
class SleepsThrough(Bus):
    def subscribe(self, topics):
        ear = super().subscribe(topics)
        receive = ear.receive

        def late(wait_s):
            if got := receive(0):
                return got
            time.sleep(wait_s)
            return receive(0)

        ear.receive = late
        return ear


# ---------------------------------------------------------------- deaths of processes: on SQLite, which is shared


@caught_by("test_each_death_of_a_running_holder_counts_one_crash")
class SweepsNothing(SqliteBroker):
    def sweep(self):
        return 0


@caught_by(
    "test_what_a_killed_process_held_comes_back_after_its_lease_uncounted",
    "test_a_mark_that_was_cleared_counts_no_crash",
)
class CountsEveryDeathAsACrash(SqliteBroker):
    def take(self, queues, limit, wait_s):
        return [replace(each, crashes=each.crashes + each.redelivered) for each in super().take(queues, limit, wait_s)]


@caught_by("test_the_death_of_a_known_holder_is_seen_at_once_and_counts_only_what_ran")
class HandsOutMarksNobodyReads(SqliteBroker):
    def join(self, marks_bytes):
        super().join(marks_bytes)
        return os.memfd_create("marks")


@caught_by("test_the_death_of_a_publisher_loses_nothing_that_was_confirmed")
class ConfirmsBeforeItStores(SqliteBroker):
    waiting = ()

    def publish(self, messages):
        self.waiting = [*self.waiting, *messages]
        super().publish(self.waiting[:-50])
        self.waiting = self.waiting[-50:]


@caught_by("test_a_death_amid_settlements_leaves_each_done_with_all_that_belongs_to_it_or_not_at_all")
class SettlesInTwoSteps(SqliteBroker):
    def settle(self, settlements, then_take=None):
        settled = super().settle([Settlement(each.receipt, each.verdict) for each in settlements], then_take)
        time.sleep(0.02)  # so that most deaths fall between the two
        super().settle([replace(each, receipt=None) for each in settlements])
        return settled


@caught_by("test_a_process_that_hung_past_its_lease_learns_that_it_lost_its_claims")
class ThinksItHoldsWhatItLost(SqliteBroker):
    def extend(self, receipts, lease_s):
        super().extend(receipts, lease_s)
        return []


@caught_by("test_other_processes_reach_the_same_queues_if_and_only_if_the_broker_is_shared")
class DeniesThatItIsShared(SqliteBroker):
    @property
    def facts(self):
        return replace(super().facts, shared=False)


@caught_by(
    "test_the_death_of_a_writer_loses_nothing_that_was_confirmed", "test_writers_in_other_processes_lose_no_record"
)
class ConfirmsBeforeItWrites(SqliteBackend):
    waiting = ()

    def write(self, records):
        self.waiting = [*self.waiting, *records]
        super().write(self.waiting[:-50])
        self.waiting = self.waiting[-50:]


@caught_by("test_a_waiter_is_woken_by_another_process")
class HearsOnlyItsOwnProcess(SqliteBackend):
    own = frozenset()

    def write(self, records):
        self.own |= {record.id for record in records}
        super().write(records)

    def wait(self, ids, wait_s):
        deadline = time.monotonic() + wait_s
        while True:
            found = [record for record in super().wait(ids, 0) if record.id in self.own]
            if found or time.monotonic() >= deadline:
                return found
            time.sleep(0.01)
