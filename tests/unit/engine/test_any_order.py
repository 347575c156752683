"""Whatever comes, in whatever order: every claim is in one place, is settled at most once, and time limits the wait."""

from __future__ import annotations

from collections import Counter

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from celeriac.core.engine.events import (
    Cancelled,
    ChildUp,
    Confirmed,
    Delivered,
    Died,
    Finished,
    LeaseLost,
    Resize,
    Returned,
    Started,
    Stop,
)
from celeriac.core.engine.step import wake_at
from celeriac.model.message import Ack, Receipt

children = st.integers(1, 4)
seqs = st.integers(1, 14)
some_seqs = st.lists(seqs, max_size=5, unique=True).map(tuple)
receipts = st.lists(st.builds(Receipt, st.integers(1, 12), st.just(1)), max_size=4, unique=True).map(tuple)
names = st.lists(st.integers(1, 12).map("id{}".format), max_size=3).map(tuple)
tasks = st.lists(st.sampled_from(["late", "once", "final", "back", "limited", "who"]), max_size=6).map(tuple)
happenings = st.one_of(
    st.tuples(st.just("deliver"), tasks),
    st.tuples(st.just("wait"), st.sampled_from([0.0, 0.001, 0.06, 0.5, 2.0, 6.0])),
    st.builds(ChildUp, children, st.just(2)),
    st.builds(Started, children, seqs, st.just(1000.0)),
    st.builds(Finished, children, seqs, st.just("SUCCESS"), st.just(Ack()), st.just(0.1), retiring=st.booleans()),
    st.builds(Returned, children, some_seqs),
    st.builds(Died, children, some_seqs, st.just("signal 9")),
    st.builds(Confirmed, receipts, st.just(())),
    st.builds(Confirmed, st.just(()), receipts),
    st.builds(LeaseLost, receipts),
    st.builds(Cancelled, names, st.booleans()),
    st.builds(Resize, st.integers(0, 3)),
    st.builds(Stop, st.sampled_from([None, 0.0, 3.0])),
)


def places(state):
    """How many places hold each claim."""
    held = Counter(flight.arrival.delivery.receipt for flight in state.backlog)
    for child in state.children.values():
        held.update(flight.arrival.delivery.receipt for flight in child.flights.values())
    in_children = {seq for child in state.children.values() for seq in child.flights}
    held.update(receipt for receipt, flight in state.confirming.items() if flight.seq not in in_children)
    return held


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(happenings, max_size=60), st.sampled_from([None, 0, 2]))
def test_every_claim_is_in_one_place_and_settled_once(desk, history, multiplier):
    node = desk(children=2, slots=2, prefetch_multiplier=multiplier)
    settled: Counter[Receipt] = Counter()
    lost: set[Receipt] = set()
    delivered: set[Receipt] = set()
    for happening in history:
        if isinstance(happening, tuple) and happening[0] == "wait":
            node.tick(happening[1])
        elif isinstance(happening, tuple):
            arrivals = tuple(node.arrival(task) for task in happening[1])
            delivered.update(arrival.delivery.receipt for arrival in arrivals)
            node.step(Delivered(arrivals))
        else:
            if isinstance(happening, LeaseLost):
                lost.update(happening.receipts)
            elif isinstance(happening, Confirmed):
                lost.update(happening.stale)
            node.step(happening)
        settled.update(item.receipt for item in node.items() if item.receipt is not None)
        held = places(node.state)
        assert not held or max(held.values()) == 1, "one place"
        assert not settled or max(settled.values()) == 1, "settled once"
        missing = delivered - settled.keys() - held.keys() - lost
        assert not missing, "neither held, settled nor lost"
        wake = wake_at(node.state, node.now())
        assert wake is None or wake >= node.t
