"""More brokers that break one line of the contract each, so that each sentence of the suite has its fault. See `mutants.py`."""

import os
import threading
import time

from msgspec.structs import replace

from celeriac.brokers.sqlite import SqliteBroker
from celeriac.model.errors import CeleriacError
from celeriac.model.message import Ack, Bury, Depth, Receipt, Release, Settled, Settlement
from conformance.mutants import Broker, caught_by


class OnFile(SqliteBroker):
    """Shared between processes."""

    def change(self, statement):
        self._store.main.write(lambda conn: conn.execute(statement).rowcount)


def publishing(name, test, change):
    """A broker that changes each batch before it publishes it."""

    def publish(self, messages):
        super(planted, self).publish(change(messages))

    planted = type(name, (Broker,), {"publish": publish, "__module__": __name__})
    globals()[name] = planted
    caught_by(test)(planted)


def settling(name, test, change):
    """A broker that changes each settlement before it carries it out."""

    def settle(self, settlements, then_take=None):
        return super(planted, self).settle([change(each) for each in settlements], then_take)

    planted = type(name, (Broker,), {"settle": settle, "__module__": __name__})
    globals()[name] = planted
    caught_by(test)(planted)


# ---------------------------------------------------------------- publishing

publishing(
    "PublishesToTheFirstQueue",
    "test_a_batch_goes_to_all_the_queues_it_names",
    lambda batch: [replace(m, queue=batch[0].queue) for m in batch],
)
publishing(
    "DeliversLate",
    "test_a_message_whose_time_is_past_is_delivered_at_once",
    lambda batch: [replace(m, eta_at=m.eta_at and m.eta_at + 3600) for m in batch],
)
publishing(
    "PutsThoseWithoutPriorityLast",
    "test_a_message_without_priority_stands_at_normal",
    lambda batch: [replace(m, priority=0 if m.priority is None else m.priority) for m in batch],
)
publishing(
    "CutsBodies",
    "test_an_empty_body_and_a_body_of_a_megabyte_arrive_intact",
    lambda batch: [replace(m, body=m.body[:65536]) for m in batch],
)
publishing("DropsLargeBatches", "test_many_delayed_messages_become_due_together", lambda batch: batch[:500])
publishing(
    "StumblesOverNothing",
    "test_publishing_nothing_and_settling_nothing_do_nothing",
    lambda batch: [batch[0], *batch[1:]],
)


@caught_by("test_many_publishers_in_threads_and_processes_lose_nothing")
class LosesOneBatchInThirty(OnFile):
    count = 0

    def publish(self, messages):
        self.count += 1
        super().publish(messages if self.count % 30 else [])


# ---------------------------------------------------------------- taking


@caught_by("test_a_first_delivery_is_neither_redelivered_nor_crashed_nor_cancelled")
class CallsEverythingRedelivered(Broker):
    def take(self, queues, limit, wait_s):
        return [replace(each, redelivered=True) for each in super().take(queues, limit, wait_s)]


@caught_by("test_a_delayed_message_does_not_hold_up_others")
class WaitsForTheDelayed(Broker):
    def take(self, queues, limit, wait_s):
        if any(line.delayed for line in self._store.lines.values()):
            time.sleep(wait_s)
            return []
        return super().take(queues, limit, wait_s)


@caught_by("test_a_taker_gets_nothing_from_queues_it_did_not_name")
class TakesFromAnywhere(Broker):
    def take(self, queues, limit, wait_s):
        return super().take(list(self._store.lines) or queues, limit, wait_s)


@caught_by("test_a_take_that_looks_once_returns_at_once")
class WaitsEvenToLook(Broker):
    def take(self, queues, limit, wait_s):
        return super().take(queues, limit, max(wait_s, 1.0))


@caught_by(
    "test_a_taker_of_one_queue_does_not_keep_takers_of_another_asleep",
    "test_take_is_prompt_while_another_thread_is_blocked_in_take",
)
class LetsOneTakerInAtATime(Broker):
    def __init__(self, url, options):
        super().__init__(url, options)
        self._one = threading.Lock()

    def take(self, queues, limit, wait_s):
        with self._one:
            return super().take(queues, limit, min(wait_s, 2.0))


@caught_by("test_receipts_of_different_messages_have_different_keys")
class UsesKeysAgain(Broker):
    def take(self, queues, limit, wait_s):
        got = super().take(queues, limit, wait_s)
        return [replace(each, receipt=Receipt(each.receipt.key % 10, each.receipt.attempt)) for each in got]


@caught_by("test_a_waiting_taker_is_woken_by_another_process")
class HearsOnlyItsOwnPublishes(OnFile):
    mine = frozenset()

    def publish(self, messages):
        self.mine |= {message.id for message in messages}
        super().publish(messages)

    def take(self, queues, limit, wait_s):
        deadline = time.monotonic() + wait_s
        while time.monotonic() < deadline and not self.mine:
            time.sleep(0.01)
        return super().take(queues, limit, 0.0)


@caught_by("test_many_processes_lose_nothing_and_hold_nothing_twice")
class DeliversSomeTwiceToOthers(OnFile):
    count = 0

    def take(self, queues, limit, wait_s):
        got = super().take(queues, limit, wait_s)
        self.count += bool(got)
        if got and self.count % 3 == 0:
            self.publish([got[0].message])
        return got


# ---------------------------------------------------------------- settling

settling(
    "ReleasesWhatIsBuried",
    "test_a_buried_message_is_not_delivered",
    lambda one: replace(one, verdict=Release()) if isinstance(one.verdict, Bury) else one,
)
settling(
    "ReleasesWhatIsAcknowledged",
    "test_an_acknowledged_message_is_gone_and_its_settlement_is_not_stale",
    lambda one: replace(one, verdict=Release()) if isinstance(one.verdict, Ack) else one,
)
settling(
    "ForgetsTheTimeOfFollowUps",
    "test_a_follow_up_with_a_time_waits_for_it",
    lambda one: replace(one, follow_ups=tuple(replace(m, eta_at=None) for m in one.follow_ups)),
)
settling(
    "ForgetsReasons",
    "test_dead_letters_keep_message_reason_time_and_crashes",
    lambda one: replace(one, verdict=replace(one.verdict, reason="")) if isinstance(one.verdict, Bury) else one,
)


@caught_by("test_a_batch_of_settlements_concludes_each_by_its_own_verdict")
class SettlesAllByTheFirstVerdict(Broker):
    def settle(self, settlements, then_take=None):
        return super().settle([replace(each, verdict=settlements[0].verdict) for each in settlements], then_take)


@caught_by("test_a_late_settlement_before_the_next_delivery_is_stale_too")
class SettlesWhatWaits(Broker):
    def settle(self, settlements, then_take=None):
        waiting = {Receipt(key, held.attempt) for key, held in self._store.waiting.items()}
        settled = super().settle(settlements, then_take)
        return replace(settled, stale=tuple(receipt for receipt in settled.stale if receipt not in waiting))


@caught_by("test_a_message_that_came_back_is_delivered_before_those_published_after_it")
class PublishesWhatIsReleasedAnew(Broker):
    def settle(self, settlements, then_take=None):
        for each in settlements:
            if isinstance(each.verdict, Release) and self._store.holds(self._holder, each.receipt):
                self.publish([self._store.claimed[each.receipt.key][0].message])
        acks = [replace(s, verdict=Ack()) if isinstance(s.verdict, Release) else s for s in settlements]
        return super().settle(acks, then_take)


@caught_by("test_a_message_that_came_back_keeps_its_priority")
class ReleasesAtNormal(Broker):
    def settle(self, settlements, then_take=None):
        for each in settlements:
            if each.receipt is not None and self._store.holds(self._holder, each.receipt):
                self._store.claimed[each.receipt.key][0].level = 5
        return super().settle(settlements, then_take)


@caught_by("test_a_stale_settlement_in_a_batch_leaves_the_others_alone")
class GivesUpABatchWithAStaleOne(Broker):
    def settle(self, settlements, then_take=None):
        held = [each for each in settlements if self._store.holds(self._holder, each.receipt)]
        if len(held) < len(settlements):
            return Settled(tuple(each.receipt for each in settlements if each not in held))
        return super().settle(settlements, then_take)


@caught_by("test_a_success_is_final_for_records_that_come_with_verdicts_too")
class OverwritesSuccessInSettle(Broker):
    def settle(self, settlements, then_take=None):
        self._store.results.forget([record.id for each in settlements for record in each.records])
        return super().settle(settlements, then_take)


@caught_by("test_what_is_held_of_a_paused_queue_can_be_settled")
class SettlesNothingWhilePaused(Broker):
    def settle(self, settlements, then_take=None):
        if any(line.paused for line in self._store.lines.values()):
            return Settled(tuple(each.receipt for each in settlements))
        return super().settle(settlements, then_take)


@caught_by("test_then_take_returns_at_once_when_there_is_nothing")
class WaitsInSettle(Broker):
    def settle(self, settlements, then_take=None):
        settled = super().settle(settlements, then_take)
        if then_take and not settled.deliveries:
            time.sleep(1.0)
        return settled


@caught_by("test_then_take_sees_what_the_same_settlement_released_and_published")
class ClaimsBeforeItSettles(Broker):
    def settle(self, settlements, then_take=None):
        deliveries = tuple(self.take(then_take.queues, then_take.limit, 0.0)) if then_take else ()
        return replace(super().settle(settlements), deliveries=deliveries)


# ---------------------------------------------------------------- leases and deaths


@caught_by("test_closing_keeps_what_is_held_until_its_lease_ends")
class ReleasesWhenItCloses(Broker):
    def close(self):
        if self._holder.is_open:
            held = [
                Receipt(key, held.attempt) for key, (held, who) in self._store.claimed.items() if who == self._holder.id
            ]
            self.settle([Settlement(receipt, Release()) for receipt in held])
        super().close()


@caught_by("test_renewing_holds_for_everything_and_ends_when_it_ends")
class RenewsOnlyWhenSomethingIsNamed(Broker):
    def extend(self, receipts, lease_s):
        return super().extend(receipts, lease_s) if receipts else []


@caught_by("test_renewing_holds_for_everything_and_ends_when_it_ends")
class RenewsForEver(Broker):
    def extend(self, receipts, lease_s):
        return super().extend(receipts, 1e6)


@caught_by("test_what_a_living_process_renews_stays_with_it")
class RenewsNothingOnFile(OnFile):
    SCALE = "1"  # the store gives who seems dead a moment of its own to renew

    def extend(self, receipts, lease_s):
        return []


@caught_by("test_deaths_of_busy_takers_lose_nothing")
class LosesWhatTheDeadHeld(OnFile):
    def sweep(self):
        self.change(
            "delete from claimed where node in (select id from node where id<>0) and "
            f"node<>{self._holder.node} and (select count(*) from claimed)>0"
        )
        return super().sweep()


@caught_by("test_each_death_of_a_running_holder_counts_one_crash")
class SweepsAndSaysNothing(OnFile):
    def sweep(self):
        super().sweep()
        return 0


@caught_by("test_a_holder_that_joined_is_seen_by_itself_too")
class NeverSeesItself(OnFile):
    def is_joined(self):
        return False


@caught_by("test_attempts_go_on_growing_after_closing_and_opening")
class ForgetsAttemptsWhenOpened(OnFile):
    def open(self):
        super().open()
        self.change("update ready set attempt=0")


@caught_by("test_everything_is_there_after_closing_and_opening_if_the_broker_is_durable")
class ForgetsDeadLettersWhenClosed(OnFile):
    def close(self):
        if self._holder.is_open:
            self.change("delete from dead")
        super().close()


# ---------------------------------------------------------------- life


@caught_by("test_facts_are_known_before_opening_and_do_not_change")
class LearnsItsFactsWhenOpened(Broker):
    def open(self):
        super().open()
        self.with_facts(priorities=3)


@caught_by("test_opening_and_closing_twice_do_nothing_more_and_open_works_again")
class OpensOnlyOnce(Broker):
    closed = False

    def open(self):
        if not self.closed:
            super().open()

    def close(self):
        self.closed = True
        super().close()


@caught_by("test_two_fresh_stores_share_nothing", "test_the_store_id_is_that_of_the_store")
class HasOneStoreForAll(Broker):
    def __init__(self, url, options):
        super().__init__(f"memory://all-{os.getpid()}", options)


@caught_by("test_an_address_that_cannot_work_is_refused_with_our_own_error")
class RaisesForeignErrorsForBadPlaces(OnFile):
    def __init__(self, url, options):
        try:
            super().__init__(url, options)
        except CeleriacError as exc:
            raise OSError from exc

    def open(self):
        try:
            super().open()
        except CeleriacError as exc:
            raise OSError from exc


# ---------------------------------------------------------------- tools


@caught_by("test_depth_follows_every_verdict")
class CountsNothingClaimed(Broker):
    def depth(self, queues=()):
        return [replace(each, claimed=0) for each in super().depth(queues)]


@caught_by("test_depth_of_a_queue_that_never_was_shows_nothing_in_it")
class CountsOneOfTheUnknown(Broker):
    def depth(self, queues=()):
        return [
            Depth(name, ready=1)
            if name not in self._store.lines
            else super(CountsOneOfTheUnknown, self).depth([name])[0]
            for name in queues or self._store.lines
        ]


@caught_by("test_depth_of_all_queues_is_sorted_by_name_and_depth_of_some_names_only_those")
class ListsQueuesAsTheyCame(Broker):
    def depth(self, queues=()):
        order = list(self._store.lines)
        return sorted(super().depth(queues), key=lambda each: order.index(each.queue) if each.queue in order else 0)


@caught_by("test_peek_gives_no_more_than_its_limit_in_the_order_of_delivery")
class PeeksBeyondItsLimit(Broker):
    def peek(self, queue, limit, *state):
        return super().peek(queue, limit + 1, *state)


@caught_by("test_only_the_named_letters_are_revived")
class RevivesAll(Broker):
    def revive(self, ids=(), *, parked_tasks=()):
        everything = [letter.message.id for letter in self.dead(None, 1000)] if ids else ()
        return super().revive(everything, parked_tasks=parked_tasks)


@caught_by("test_parked_letters_are_revived_by_the_name_of_their_task_and_failed_ones_are_not")
class RevivesTheFailedByName(Broker):
    def revive(self, ids=(), *, parked_tasks=()):
        named = [letter.message.id for letter in self.dead(None, 1000) if letter.message.task in parked_tasks]
        return super().revive([*ids, *named])


@caught_by("test_parked_letters_are_listed_as_parked")
class ListsTheParkedAsDead(Broker):
    def dead(self, queue, limit):
        return [replace(each, parked=False) for each in super().dead(queue, limit)]


@caught_by("test_a_queue_can_be_paused_before_its_first_message_and_for_every_object")
class PausesOnlyItself(Broker):
    shut = frozenset()

    def pause(self, queue, paused):
        self.shut = self.shut | {queue} if paused else self.shut - {queue}

    def take(self, queues, limit, wait_s):
        return super().take([queue for queue in queues if queue not in self.shut], limit, wait_s)


@caught_by("test_a_cancellation_of_an_absent_task_runs_out")
class KeepsCancellationsForEver(Broker):
    def cancel(self, ids, keep_s=86400.0):
        super().cancel(ids, 1e6)


@caught_by("test_a_cancelled_task_is_delivered_as_cancelled_wherever_its_message_was")
class CancelsOnlyWhatNobodyHolds(Broker):
    def cancel(self, ids, keep_s=86400.0):
        held = {held.message.id for held, _ in self._store.claimed.values()}
        super().cancel([one for one in ids if one not in held], keep_s)


@caught_by("test_a_cancelled_task_that_was_parked_is_delivered_as_cancelled_and_what_is_dead_stays")
class LeavesTheCancelledParked(Broker):
    def cancel(self, ids, keep_s=86400.0):
        with self._store.lock:
            kept = dict(self._store.dead)
            self._store.dead.clear()
            super().cancel(ids, keep_s)
            self._store.dead.update(kept)


@caught_by("test_a_cancelled_task_that_was_parked_is_delivered_as_cancelled_and_what_is_dead_stays")
class RevivesTheDeadByCancelling(Broker):
    def cancel(self, ids, keep_s=86400.0):
        super().cancel(ids, keep_s)
        self.revive(ids)


# ---------------------------------------------------------------- bells


@caught_by("test_a_listener_hears_a_publish_and_is_quiet_after_looking")
class RingsOn(Broker):
    def heard(self):
        return True


class _RingsNobody(Broker):
    def quietly(self, verb, *arguments):
        bells, self._store.bells = self._store.bells, set()
        try:
            return verb(*arguments)
        finally:
            self._store.bells = bells


@caught_by("test_a_listener_hears_a_release_a_delayed_publish_and_a_resumed_queue")
class RingsForNoRelease(_RingsNobody):
    def settle(self, settlements, then_take=None):
        return self.quietly(super().settle, settlements, then_take)


@caught_by("test_a_listener_hears_others_of_the_same_store")
class RingsOnlyForItself(_RingsNobody):
    def publish(self, messages):
        self.quietly(super().publish, messages)
        if self._bell is not None:
            self._bell.ring()


@caught_by("test_changed_sees_each_change_by_others_once")
class ChangesAllTheTime(Broker):
    def changed(self):
        return True


@caught_by("test_changed_sees_each_change_by_others_once")
class SeesNoChange(OnFile):
    def changed(self):
        return False


@caught_by("test_next_due_at_is_that_of_the_next_delayed_message")
class TellsWhatIsDueElsewhere(Broker):
    def next_due_at(self, queues):
        return super().next_due_at(list(self._store.lines))
