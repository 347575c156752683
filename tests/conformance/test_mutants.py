"""The suites are tested too: each planted fault must be caught by the tests that stand for the broken line."""

import pytest

from celeriac.backends.memory import MemoryBackend
from celeriac.backends.sqlite import SqliteBackend
from celeriac.brokers.memory import MemoryBroker
from celeriac.brokers.sqlite import SqliteBroker
from celeriac.testing.backend_suite import BackendSuite
from celeriac.testing.broker_suite import BrokerSuite
from celeriac.testing.bus_suite import BusSuite
from celeriac.testing.clients import SCALE_VARIABLE
from celeriac.testing.faults import names_of_tests, run_test
from celeriac.testing.kv_suite import KvSuite
from conformance import mutants_backends, mutants_brokers, mutants_costs, mutants_others  # noqa: F401 - they plant more
from conformance.mutants import MUTANTS, Bus, SqliteBus
from conformance.mutants_kv import Kv, SqliteKv
from conformance.probes import MemoryProbe, SqliteProbe

IMPATIENT = "0.2"


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    """A fault shows as a wait in vain: let it be short. Honest adapters are tested with full patience elsewhere."""
    monkeypatch.setenv(SCALE_VARIABLE, IMPATIENT)


def suite_for(adapter):
    kinds = (((Bus, SqliteBus), BusSuite), ((Kv, SqliteKv), KvSuite), ((MemoryBackend, SqliteBackend), BackendSuite))
    kind = next((suite for classes, suite in kinds if issubclass(adapter, classes)), BrokerSuite)
    on_file = issubclass(adapter, (SqliteBroker, SqliteBackend))
    fields = {
        "adapter": adapter,
        "same_histories": True,
        "shared": on_file,
        "bad_urls": ("sqlite:///{folder}/missing/q.db",) if on_file else (),
        "cost_probe": lambda _, adapter: (SqliteProbe if on_file else MemoryProbe)(adapter),
        "new_url": lambda _, folder: f"sqlite:///{folder}/q.db" if on_file else f"memory://{folder.name}",
    }
    if kind is BrokerSuite:
        fields["backend_adapter"] = SqliteBackend if on_file else MemoryBackend
    return type("Planted", (kind,), fields)


CASES = [(mutant, test) for mutant in MUTANTS for test in mutant.CAUGHT_BY]


@pytest.mark.parametrize(("mutant", "test"), CASES, ids=[f"{mutant.__name__}-{test}" for mutant, test in CASES])
def test_a_planted_fault_is_caught(mutant, test, monkeypatch):
    monkeypatch.setenv(SCALE_VARIABLE, getattr(mutant, "SCALE", IMPATIENT))
    outcome = run_test(suite_for(mutant), test)
    assert outcome.kind == "failed", f"{mutant.__name__} is not caught by {test}: {outcome}"


NO_FAULT = {
    "test_what_a_killed_connection_held_comes_back_at_once": "no adapter here has leases of connections",
    "test_who_claims_atomic_commits_names_a_backend_to_prove_it": "about the suite: see below",
}
"""Sentences of the suites for which no fault can be planted, and why. It only shrinks."""


@pytest.mark.parametrize("suite", [BrokerSuite, BackendSuite, BusSuite, KvSuite])
def test_each_sentence_of_a_suite_has_a_fault_that_it_catches(suite):
    caught = {test for mutant, test in CASES if issubclass(suite_for(mutant), suite)}
    named = set(names_of_tests(suite))
    assert not caught - named, "faults that name no test"
    assert not named - caught - set(NO_FAULT), "plant a fault for these"
    assert not caught & set(NO_FAULT), "these are caught by now: take them off the list"


def test_who_claims_atomic_commits_must_name_a_backend():
    suite = suite_for(MemoryBroker)
    suite.backend_adapter = None
    assert run_test(suite, "test_who_claims_atomic_commits_names_a_backend_to_prove_it").kind == "failed"


def test_many_faults_of_each_kind_are_planted():
    kinds = [suite_for(mutant).__mro__[1] for mutant in MUTANTS]
    assert kinds.count(BrokerSuite) >= 150
    assert kinds.count(BackendSuite) >= 80
    assert kinds.count(BusSuite) >= 25
    assert kinds.count(KvSuite) >= 40


# What has no bound on time passes here too, so it is the fault that is caught and not the impatience.
HONEST = [
    (adapter, test)
    for adapters, tests in (
        (
            (MemoryBroker, SqliteBroker),
            (
                "test_a_late_settlement_of_an_old_attempt_is_reported_and_changes_nothing",
                "test_settling_twice_is_stale_the_second_time",
                "test_publishing_a_batch_is_one_round_trip_however_many_messages_and_queues",
                "test_settling_a_batch_is_one_round_trip_whatever_the_verdicts",
                "test_settling_and_claiming_what_comes_next_is_one_round_trip",
                "test_an_idle_taker_looks_rarely",
            ),
        ),
        (
            (MemoryBackend, SqliteBackend),
            (
                "test_reading_many_ids_is_one_round_trip_whether_they_are_there_or_not",
                "test_an_idle_waiter_looks_rarely_however_many_ids_it_waits_for",
            ),
        ),
        ((Bus, SqliteBus), ("test_a_message_costs_the_same_however_many_listen",)),
        ((Kv, SqliteKv), ("test_each_atomic_verb_is_one_round_trip_whether_it_changes_anything_or_not",)),
    )
    for adapter in adapters
    for test in tests
]


@pytest.mark.parametrize(("adapter", "test"), HONEST, ids=[f"{adapter.__name__}-{test}" for adapter, test in HONEST])
def test_an_honest_adapter_passes_what_catches_the_others(adapter, test):
    outcome = run_test(suite_for(adapter), test)
    assert outcome.kind == "passed", outcome.why


def test_no_name_of_a_test_hides_another():
    for suite in (BrokerSuite, BackendSuite, BusSuite, KvSuite):
        owners = [base for base in suite.__mro__ for name in vars(base) if name.startswith("test_")]
        assert len(owners) == len(names_of_tests(suite)), f"two parts of {suite.__name__} have a test of one name"
