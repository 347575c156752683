"""More backends that break one line of the contract each, so that each sentence of the suite has its fault."""

import os
import threading
import time

from msgspec.structs import replace

from celeriac.backends.memory import MemoryBackend
from celeriac.backends.sqlite import SqliteBackend
from celeriac.model.errors import BackendRejected, CeleriacError
from celeriac.model.ids import random_id
from celeriac.model.states import SUCCESS
from celeriac.stores.memory_results import MemoryWatch
from conformance.mutants import caught_by


class Backend(MemoryBackend):
    """White-box: the mutants below reach into the store."""

    def states(self, ids):
        return {record.id: record.state for record in self.read(ids) if record is not None}


class OnFile(SqliteBackend):
    """Shared between processes."""


def writing(name, test, change):
    """A backend that changes each batch before it writes it."""

    def write(self, records):
        super(planted, self).write(change(self, records))

    planted = type(name, (Backend,), {"write": write, "__module__": __name__})
    globals()[name] = planted
    caught_by(test)(planted)


def waiting(name, *tests):
    """A backend that waits in the way of the decorated function."""

    def plant(wait):
        planted = type(name, (Backend,), {"wait": wait, "__module__": __name__})
        globals()[name] = planted
        caught_by(*tests)(planted)
        return wait

    return plant


# ---------------------------------------------------------------- writing and reading

writing(
    "ForgetsContentTypes",
    "test_a_record_is_read_as_it_was_written",
    lambda self, batch: [replace(record, content_type="application/json") for record in batch],
)
writing(
    "KeepsTheFirstInABatch",
    "test_the_last_record_of_an_id_in_a_batch_wins",
    lambda self, batch: list({record.id: record for record in reversed(batch)}.values()),
)
writing(
    "DropsABatchWithARefusedOne",
    "test_a_write_that_a_success_repels_leaves_the_rest_of_its_batch_alone",
    lambda self, batch: [] if SUCCESS in self.states([record.id for record in batch]).values() else batch,
)
writing(
    "StumblesOverNoRecords",
    "test_writing_reading_and_forgetting_nothing_do_nothing",
    lambda self, batch: [batch[0], *batch[1:]],
)


@caught_by("test_states_that_users_invent_are_kept")
class KnowsOnlyItsOwnStates(Backend):
    def write(self, records):
        if any(record.state not in {"STARTED", "RETRY", "FAILURE", "SUCCESS", "REVOKED"} for record in records):
            raise BackendRejected("state is unknown")
        super().write(records)


@caught_by("test_after_forgetting_even_a_success_is_written_anew", "test_an_expired_success_can_be_written_anew")
class RemembersSuccessForEver(Backend):
    done = frozenset()

    def write(self, records):
        super().write([record for record in records if record.id not in self.done])
        self.done |= {record.id for record in records if record.state == SUCCESS}


@caught_by("test_many_records_are_read_at_once_in_order")
class ReadsAThousandAtMost(Backend):
    def read(self, ids):
        return [*super().read(ids[:1000]), *([None] * len(ids[1000:]))]


@caught_by("test_many_threads_lose_no_record")
class WritesBackWhatItRead(Backend):
    def write(self, records):
        results = self._store.results
        before = dict(results._records)
        super().write(records)
        written = {record.id: results._records[record.id] for record in records}
        time.sleep(0.0005)
        results._records = {**before, **written}


@caught_by("test_of_many_successes_that_race_exactly_one_stays")
class OverwritesSuccessWhenThreadsMeet(Backend):
    def write(self, records):
        fresh = SUCCESS not in self.states([record.id for record in records]).values()
        time.sleep(0.002)
        if fresh:
            self.forget([record.id for record in records])
        super().write(records)


@caught_by("test_records_are_there_after_closing_and_opening_if_the_backend_is_durable")
class ForgetsRecordsWhenClosed(OnFile):
    def close(self):
        if self._is_open:
            self._store.main.write(lambda conn: conn.execute("delete from result").rowcount)
        super().close()


# ---------------------------------------------------------------- waiting


@waiting("WaitsEvenForWhatIsThere", "test_a_wait_for_a_record_that_is_there_returns_it_at_once")
def _(self, ids, wait_s, final=False):
    time.sleep(min(wait_s, 1.0))
    return MemoryBackend.wait(self, ids, 0.0, final)


@waiting("GivesUpWaitingAtOnce", "test_a_wait_for_nothing_that_comes_returns_empty_after_about_its_time")
def _(self, ids, wait_s, final=False):
    return MemoryBackend.wait(self, ids, 0.0, final)


@waiting("FindsNothingInNoTime", "test_a_wait_of_no_time_looks_once")
def _(self, ids, wait_s, final=False):
    return MemoryBackend.wait(self, ids, wait_s, final) if wait_s > 0 else []


@waiting("WaitsForEndsAlways", "test_a_state_before_the_end_wakes_too")
def _(self, ids, wait_s, final=False):
    return MemoryBackend.wait(self, ids, wait_s, final=True)


@waiting(
    "WakesForAnyState",
    "test_a_wait_for_ends_returns_those_that_are_there_and_no_state_before",
    "test_a_wait_for_the_end_sleeps_through_states_before_it",
)
def _(self, ids, wait_s, final=False):
    return MemoryBackend.wait(self, ids, wait_s)


@waiting("WaitsForAll", "test_a_waiter_is_woken_by_the_first_of_many")
def _(self, ids, wait_s, final=False):
    deadline = time.monotonic() + wait_s
    while len(found := MemoryBackend.wait(self, ids, 0.0)) < len(ids) and time.monotonic() < deadline:
        time.sleep(0.005)
    return found


@waiting("WakesForAnything", "test_a_waiter_sleeps_on_when_records_of_others_come")
def _(self, ids, wait_s, final=False):
    deadline = time.monotonic() + wait_s
    while not self._store.results._records and time.monotonic() < deadline:
        time.sleep(0.005)
    return MemoryBackend.wait(self, ids, 0.0)


@waiting(
    "GivesTheLatestWhoeverItIs",
    "test_several_waiters_of_different_records_each_get_their_own",
    "test_many_waiting_threads_each_get_what_they_wait_for",
)
def _(self, ids, wait_s, final=False):
    found = MemoryBackend.wait(self, ids, wait_s)
    return MemoryBackend.read(self, list(self._store.results._records)[-1:]) if found else []


@waiting("HoldsTheLockWhileItWaits", "test_reading_and_writing_are_prompt_while_another_thread_waits")
def _(self, ids, wait_s, final=False):
    with self._store.lock:
        deadline = time.monotonic() + min(wait_s, 1.0)
        while not (found := MemoryBackend.wait(self, ids, 0.0)) and time.monotonic() < deadline:
            time.sleep(0.01)
        return found


class _Hiding(Backend):
    """Waiters do not see some of what is written."""

    def __init__(self, url, options):
        super().__init__(url, options)
        self.hidden = set()

    def wait(self, ids, wait_s, final=False):
        deadline = time.monotonic() + wait_s
        while True:
            found = [record for record in super().wait(ids, 0.0, final) if record.id not in self.hidden]
            if found or time.monotonic() >= deadline:
                return found
            time.sleep(0.01)


@caught_by("test_a_waiter_is_woken_by_a_record_addressed_to_somebody_who_is_gone")
class LeavesToOthersWhatIsAddressedToThem(_Hiding):
    def write(self, records):
        self.hidden |= {record.id for record in records if record.reply_to not in {"", self.address}}
        super().write(records)


@caught_by("test_a_waiter_is_woken_by_another_object_of_the_same_store")
class HearsOnlyItself(_Hiding):
    mine = frozenset()

    def write(self, records):
        self.mine |= {record.id for record in records}
        super().write(records)

    def wait(self, ids, wait_s, final=False):
        self.hidden = set(ids) - self.mine
        deadline = time.monotonic() + wait_s
        while not (found := super().wait(ids, 0.0, final)) and time.monotonic() < deadline:
            self.hidden = set(ids) - self.mine
            time.sleep(0.01)
        return found


@caught_by("test_a_waiter_that_comes_back_for_a_forgotten_record_waits")
class RemembersWhatItTold(Backend):
    def __init__(self, url, options):
        super().__init__(url, options)
        self.told = {}

    def wait(self, ids, wait_s, final=False):
        if known := [self.told[one] for one in ids if one in self.told]:
            return known
        found = super().wait(ids, wait_s, final)
        self.told.update({record.id: record for record in found})
        return found


@caught_by("test_several_waiters_of_one_record_are_all_woken")
class TellsOneWaiter(Backend):
    def __init__(self, url, options):
        super().__init__(url, options)
        self.told = set()

    def wait(self, ids, wait_s, final=False):
        found = [record for record in super().wait(ids, wait_s, final) if record.id not in self.told]
        self.told |= {record.id for record in found}
        if not found:
            time.sleep(min(wait_s, 1.0))
        return found


@caught_by("test_what_a_waiter_was_told_is_what_is_read")
class TellsWhatItRefused(Backend):
    def __init__(self, url, options):
        super().__init__(url, options)
        self.last = {}

    def write(self, records):
        super().write(records)
        self.last.update({record.id: record for record in records})

    def wait(self, ids, wait_s, final=False):
        return [self.last.get(record.id, record) for record in super().wait(ids, wait_s, final)]


@caught_by("test_the_address_is_text_and_stays_the_same")
class MovesAllTheTime(Backend):
    @property
    def address(self):
        return random_id()


class _ClosesWhenNobodyWaits(Backend):
    def __init__(self, url, options):
        super().__init__(url, options)
        self.busy = threading.RLock()

    def close(self):
        with self.busy:
            super().close()


@caught_by("test_closing_is_prompt_while_a_thread_waits_and_the_wait_ends_in_time")
class ClosesAfterTheLastWait(_ClosesWhenNobodyWaits):
    def wait(self, ids, wait_s, final=False):
        with self.busy:
            return super().wait(ids, wait_s, final)


# ---------------------------------------------------------------- standing waits


def watching(*tests, base=Backend):
    """A backend whose watches are of the decorated class, which has the backend as `backend`."""

    def plant(watch):
        def make(self):
            made = watch(self._store.results)
            made.backend = self
            return made

        planted = type(f"Has{watch.__name__}", (base,), {"watch": make, "__module__": __name__})
        globals()[planted.__name__] = planted
        caught_by(*tests)(planted)
        return watch

    return plant


class Watch(MemoryWatch):
    """A watch to be broken."""

    def quietly_add(self, ids):
        with self._arrived:
            self._wanted.add(ids)


@watching("test_a_closed_watch_ends_its_wait_and_closing_again_does_no_harm")
class AWatchThatCloseDoesNotEnd(Watch):
    def close(self):
        pass


@watching("test_a_watch_can_be_woken_before_and_while_it_waits")
class AWatchThatCannotBeWoken(Watch):
    def wake(self):
        pass

    def wait(self, wait_s):
        return super().wait(min(wait_s, 1.0))


@watching("test_a_watch_for_many_is_told_all_of_them")
class AWatchForAThousand(Watch):
    def add(self, ids):
        super().add(ids[:1000])


@watching("test_a_watch_for_nothing_that_comes_returns_empty_after_about_its_time")
class AWatchThatGivesUp(Watch):
    def wait(self, wait_s):
        return super().wait(0.0)


@watching("test_a_watch_is_woken_for_ids_that_are_added_while_it_waits")
class AWatchThatAddsUnheard(Watch):
    def add(self, ids):
        self.quietly_add(ids)


@watching("test_a_watch_tells_nothing_of_ids_that_were_discarded")
class AWatchThatDiscardsNothing(Watch):
    def discard(self, ids):
        pass


@watching("test_a_watch_tells_nothing_twice")
class AWatchThatRepeatsItself(Watch):
    def wait(self, wait_s):
        found = super().wait(wait_s)
        self.discard([record.id for record in found])
        self.quietly_add([record.id for record in found])
        return found


@watching("test_a_watch_tells_what_is_there_already")
class AWatchOfChangesOnly(Watch):
    def add(self, ids):
        self.discard([record.id for record in self._results.read(ids) if record is not None])
        super().add([one for one, record in zip(ids, self._results.read(ids), strict=True) if record is None])

    def wait(self, wait_s):
        return super().wait(min(wait_s, 1.0))


@watching("test_a_watch_is_woken_by_each_change_in_turn")
class AWatchOfFirstStates(Watch):
    def wait(self, wait_s):
        found = super().wait(wait_s)
        self.discard([record.id for record in found])
        return found


@watching("test_a_large_record_is_told_whole")
class AWatchThatCuts(Watch):
    def wait(self, wait_s):
        return [replace(record, payload=record.payload[:65536]) for record in super().wait(wait_s)]


@watching("test_several_watches_and_waits_are_all_told")
class AWatchAlone(Watch):
    def wait(self, wait_s):
        if self._results._watches[0] is not self._wanted:
            time.sleep(min(wait_s, 1.0))
            return []
        return super().wait(wait_s)


@watching("test_watches_leave_neither_descriptors_nor_threads_behind")
class AWatchThatLeaks(Watch):
    def __init__(self, results):
        super().__init__(results)
        self.leaked = os.dup(0)


@watching("test_closing_the_backend_is_prompt_while_a_watch_waits_and_ends_it_in_time", base=_ClosesWhenNobodyWaits)
class AWatchThatCloseWaitsFor(Watch):
    def wait(self, wait_s):
        with self.backend.busy:
            return super().wait(wait_s)


class _OfWhatIsWritten(Backend):
    """Remembers what was written, and to whom."""

    def __init__(self, url, options):
        super().__init__(url, options)
        self.written = []

    def write(self, records):
        super().write(records)
        self.written += records


@watching("test_a_success_that_was_told_stays_one", base=_OfWhatIsWritten)
class AWatchThatTellsWhatWasRefused(Watch):
    def wait(self, wait_s):
        found = super().wait(wait_s)
        return found or self.backend.written[1:]


@watching("test_a_watch_is_woken_by_a_record_addressed_to_nobody", base=_OfWhatIsWritten)
class AWatchOfItsOwnPost(Watch):
    def wait(self, wait_s):
        found = super().wait(wait_s)
        return found if all(record.reply_to for record in self.backend.written) else []


@watching("test_a_watch_is_told_by_another_object_of_the_same_store", base=_OfWhatIsWritten)
class AWatchOfItsOwnObject(Watch):
    def wait(self, wait_s):
        mine = {record.id for record in self.backend.written}
        return [record for record in super().wait(wait_s) if record.id in mine]


@caught_by("test_a_watch_is_told_by_another_process")
class WatchesItsOwnProcess(OnFile):
    def watch(self):
        watch, mine = super().watch(), self.mine
        wait = watch.wait

        def own(wait_s):
            deadline = time.monotonic() + wait_s
            while not (found := [one for one in wait(0.05) if one.id in mine]) and time.monotonic() < deadline:
                pass
            return found

        watch.wait = own
        return watch

    def __init__(self, url, options):
        super().__init__(url, options)
        self.mine = set()

    def write(self, records):
        self.mine |= {record.id for record in records}
        super().write(records)


# ---------------------------------------------------------------- life


@caught_by("test_facts_are_known_before_opening_and_name_the_store")
class LearnsItsFactsWhenOpened(Backend):
    def open(self):
        super().open()
        self._facts = replace(self._facts, name="opened")


@caught_by("test_opening_and_closing_twice_do_nothing_more_and_open_works_again")
class OpensOnlyOnce(Backend):
    closed = False

    def open(self):
        if not self.closed:
            super().open()

    def close(self):
        self.closed = True
        super().close()


@caught_by("test_two_fresh_stores_share_nothing_and_two_objects_of_one_store_do")
class HasOneStoreForAll(Backend):
    def __init__(self, url, options):
        super().__init__(f"memory://all-{os.getpid()}", options)


@caught_by("test_closing_releases_descriptors_and_threads")
class LeaksADescriptor(Backend):
    def open(self):
        self.leaked = os.dup(0)
        super().open()


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
