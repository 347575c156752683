"""The long form of what the suites try at random: `make proof` runs it."""

import pytest

from celeriac.testing.faults import run_test
from celeriac.testing.histories import EXAMPLES_VARIABLE
from conformance import test_memory, test_sqlite

pytestmark = [pytest.mark.proof, pytest.mark.timeout(1800)]

ROUNDS = 50


@pytest.mark.parametrize(
    ("suite", "examples"),
    [
        (test_memory.TestMemoryBroker, 3000),
        (test_memory.TestMemoryBackend, 3000),
        (test_memory.TestMemoryKv, 3000),
        (test_sqlite.TestSqliteBroker, 1500),
        (test_sqlite.TestSqliteBackend, 1500),
        (test_sqlite.TestSqliteKv, 1500),
    ],
)
def test_thousands_of_random_histories_agree_with_the_reference(suite, examples, monkeypatch):
    monkeypatch.setenv(EXAMPLES_VARIABLE, str(examples))
    outcome = run_test(suite, "test_random_histories_agree_with_the_reference")
    assert outcome.kind == "passed", outcome.why


@pytest.mark.parametrize(
    ("suite", "test"),
    [
        (test_memory.TestMemoryBroker, "test_many_threads_lose_nothing_and_hold_nothing_twice"),
        (test_memory.TestMemoryBroker, "test_closing_under_load_ends_every_call_in_time_with_our_own_errors_only"),
        (test_memory.TestMemoryBackend, "test_of_many_successes_that_race_exactly_one_stays"),
        (test_sqlite.TestSqliteBroker, "test_many_threads_lose_nothing_and_hold_nothing_twice"),
        (test_sqlite.TestSqliteBroker, "test_many_processes_lose_nothing_and_hold_nothing_twice"),
        (test_sqlite.TestSqliteBroker, "test_closing_under_load_ends_every_call_in_time_with_our_own_errors_only"),
        (test_sqlite.TestSqliteBroker, "test_the_death_of_a_publisher_loses_nothing_that_was_confirmed"),
        (
            test_sqlite.TestSqliteBroker,
            "test_a_death_amid_settlements_leaves_each_done_with_all_that_belongs_to_it_or_not_at_all",
        ),
        (test_sqlite.TestSqliteBroker, "test_deaths_of_busy_takers_lose_nothing"),
        (test_sqlite.TestSqliteBroker, "test_the_death_of_a_known_holder_is_seen_at_once_and_counts_only_what_ran"),
        (test_sqlite.TestSqliteBackend, "test_the_death_of_a_writer_loses_nothing_that_was_confirmed"),
        (test_sqlite.TestSqliteBackend, "test_of_many_successes_that_race_exactly_one_stays"),
        (test_sqlite.TestSqliteBackend, "test_a_waiter_is_woken_by_another_process"),
        (test_sqlite.TestSqliteKv, "test_users_in_many_processes_are_kept_apart_too"),
        (test_sqlite.TestSqliteBroker, "test_half_of_all_pickups_take_no_more_than_a_message_and_no_poll"),
        (test_sqlite.TestSqliteBackend, "test_half_of_all_wake_ups_take_no_more_than_a_message_and_no_poll"),
        (test_sqlite.TestSqliteBus, "test_half_of_all_wake_ups_take_no_more_than_a_message_and_no_poll"),
        (test_sqlite.TestSqliteBroker, "test_renewing_holds_for_everything_and_ends_when_it_ends"),
        (test_sqlite.TestSqliteBroker, "test_closing_keeps_what_is_held_until_its_lease_ends"),
    ],
)
def test_crowds_and_deaths_do_no_harm_however_often_they_happen(suite, test):
    for number in range(ROUNDS):
        outcome = run_test(suite, test)
        assert outcome.kind == "passed", f"round {number}: {outcome.why}"
