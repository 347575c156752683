"""Random histories: a backend and a dictionary live through the same verbs and must agree after each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from celeriac.model.message import Record
from celeriac.model.ports import Backend, Waiter
from celeriac.testing.backend_bench import BackendBench

_IDS = ("a", "b", "c", "d")
_records = st.lists(
    st.builds(
        Record,
        st.sampled_from(_IDS),
        st.sampled_from(("STARTED", "RETRY", "FAILURE", "SUCCESS", "PROGRESS")),
        st.binary(max_size=8),
        st.sampled_from((None, 3600.0)),
    ),
    max_size=5,
)
_ids = st.lists(st.sampled_from((*_IDS, "never")), max_size=6)


class BackendMachine(RuleBasedStateMachine):
    """One history on a fresh store."""

    bench: ClassVar[BackendBench]
    """Makes the stores."""

    def __init__(self) -> None:
        super().__init__()
        self.backend: Backend = self.bench.make(self.bench.fresh_url())
        self.backend.open()
        self.model: dict[str, tuple[str, bytes]] = {}

    def teardown(self) -> None:
        """Close the store."""
        self.backend.close()

    @rule(records=_records)
    def write(self, records: Sequence[Record]) -> None:
        """The last one wins, unless a success is there."""
        self.backend.write(records)
        for record in records:
            if self.model.get(record.id, ("", b""))[0] != "SUCCESS":
                self.model[record.id] = (record.state, record.payload)

    @rule(ids=_ids)
    def forget(self, ids: Sequence[str]) -> None:
        """Gone."""
        self.backend.forget(ids)
        for one in ids:
            self.model.pop(one, None)

    @rule(ids=_ids)
    def read(self, ids: Sequence[str]) -> None:
        """In the order asked for."""
        found = self.backend.read(ids)
        assert [each and (each.state, each.payload) for each in found] == [self.model.get(one) for one in ids]

    @precondition(lambda self: isinstance(self.backend, Waiter))
    @rule(ids=st.lists(st.sampled_from((*_IDS, "never")), min_size=1, max_size=4, unique=True))
    def wait(self, ids: Sequence[str]) -> None:
        """All that are there."""
        assert isinstance(self.backend, Waiter)
        found = {each.id: (each.state, each.payload) for each in self.backend.wait(ids, 0.0)}
        assert found == {one: self.model[one] for one in ids if one in self.model}

    @precondition(lambda self: self.backend.facts.durability != "none")
    @rule()
    def reopen(self) -> None:
        """Close and open."""
        self.backend.close()
        self.backend.open()

    @invariant()
    def all_agree(self) -> None:
        """Every record is what the model says."""
        found = self.backend.read(_IDS)
        assert [each and (each.state, each.payload) for each in found] == [self.model.get(one) for one in _IDS]
