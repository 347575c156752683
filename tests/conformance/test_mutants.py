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
from conformance import mutants_costs  # noqa: F401 - it plants more
from conformance.mutants import MUTANTS, Bus, SqliteBus
from conformance.mutants_kv import Kv, SqliteKv
from conformance.probes import MemoryProbe, SqliteProbe


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    """A fault shows as a wait in vain: let it be short. Honest adapters are tested with full patience elsewhere."""
    monkeypatch.setenv(SCALE_VARIABLE, "0.2")


def suite_for(adapter):
    kinds = (((Bus, SqliteBus), BusSuite), ((Kv, SqliteKv), KvSuite), ((MemoryBackend, SqliteBackend), BackendSuite))
    kind = next((suite for classes, suite in kinds if issubclass(adapter, classes)), BrokerSuite)
    on_file = issubclass(adapter, (SqliteBroker, SqliteBackend))
    fields = {
        "adapter": adapter,
        "same_histories": True,
        "shared": on_file,
        "cost_probe": lambda _, adapter: (SqliteProbe if on_file else MemoryProbe)(adapter),
        "new_url": lambda _, folder: f"sqlite:///{folder}/q.db" if on_file else f"memory://{folder.name}",
    }
    if kind is BrokerSuite:
        fields["backend_adapter"] = SqliteBackend if on_file else MemoryBackend
    return type("Planted", (kind,), fields)


CASES = [(mutant, test) for mutant in MUTANTS for test in mutant.CAUGHT_BY]


@pytest.mark.parametrize(("mutant", "test"), CASES, ids=[f"{mutant.__name__}-{test}" for mutant, test in CASES])
def test_a_planted_fault_is_caught(mutant, test):
    outcome = run_test(suite_for(mutant), test)
    assert outcome.kind == "failed", f"{mutant.__name__} is not caught by {test}: {outcome}"


def test_many_faults_of_each_kind_are_planted():
    kinds = [suite_for(mutant).__mro__[1] for mutant in MUTANTS]
    assert kinds.count(BrokerSuite) >= 15
    assert kinds.count(BackendSuite) >= 10
    assert kinds.count(BusSuite) >= 5
    assert kinds.count(KvSuite) >= 20


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
