"""Random histories: a store of keys and a dictionary live through the same verbs and must agree after each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from celeriac.model.ports import KvAtomic
from celeriac.testing.clients import let_pass
from celeriac.testing.kv_bench import KvBench

_KEYS = ("a", "ab", "b", "é")
_a_key = st.sampled_from(_KEYS)
_a_value = st.sampled_from((b"", b"0", b"1", b"12", b"x"))
_a_life = st.sampled_from((None, 3600.0))
_no_value_too = st.one_of(st.none(), _a_value)


def _is_atomic(machine: KvMachine) -> bool:
    return isinstance(machine.kv, KvAtomic)


class KvMachine(RuleBasedStateMachine):
    """One history on a fresh store."""

    bench: ClassVar[KvBench]
    """Makes the stores."""

    def __init__(self) -> None:
        super().__init__()
        # Its verbs are those of `KvAtomic` where the rules that use them apply, and of `Backend`.
        self.kv: Any = self.bench.make_kv(self.bench.fresh_url())
        self.kv.open()
        self.model: dict[str, bytes] = {}

    def teardown(self) -> None:
        """Close the store."""
        self.kv.close()

    @rule(key=_a_key, value=_a_value, ttl_s=_a_life)
    def set(self, key: str, value: bytes, ttl_s: float | None) -> None:
        """The last one wins."""
        self.kv.set(key, value, ttl_s)
        self.model[key] = value

    @rule(keys=st.lists(_a_key, max_size=3))
    def delete(self, keys: Sequence[str]) -> None:
        """Absent."""
        self.kv.delete_many(keys)
        for key in keys:
            self.model.pop(key, None)

    @rule(key=_a_key)
    def outlive(self, key: str) -> None:
        """A key whose lifetime is over."""
        self.kv.set(key, b"1", 0.001)
        let_pass(0.003)
        self.model.pop(key, None)

    @rule(prefix=st.sampled_from(("", "a", "ab", "b", "é", "c")))
    def scan(self, prefix: str) -> None:
        """Those with the prefix."""
        assert sorted(self.kv.scan(prefix)) == sorted(key for key in self.model if key.startswith(prefix))

    @precondition(_is_atomic)
    @rule(key=_a_key, value=_a_value, ttl_s=_a_life)
    def add_if_absent(self, key: str, value: bytes, ttl_s: float | None) -> None:
        """Only if absent."""
        assert self.kv.add_if_absent(key, value, ttl_s) == (key not in self.model)
        self.model.setdefault(key, value)

    @precondition(_is_atomic)
    @rule(key=_a_key, by=st.integers(-3, 3), ttl_s=_a_life)
    def incr(self, key: str, by: int, ttl_s: float | None) -> None:
        """Of numbers."""
        old = self.model.get(key, b"0")
        if old.isdigit() or old[1:].isdigit():
            total = int(old) + by
            assert self.kv.incr(key, by, ttl_s) == total
            self.model[key] = str(total).encode()

    @precondition(_is_atomic)
    @rule(key=_a_key, old=_no_value_too, new=_no_value_too, ttl_s=_a_life)
    def compare_and_set(self, key: str, old: bytes | None, new: bytes | None, ttl_s: float | None) -> None:
        """Only exactly the old one."""
        fits = self.model.get(key) == old
        assert self.kv.compare_and_set(key, old, new, ttl_s) == fits
        if fits and new is None:
            self.model.pop(key, None)
        elif fits and new is not None:
            self.model[key] = new

    @precondition(lambda self: self.kv.facts.durability != "none")
    @rule()
    def reopen(self) -> None:
        """Close and open."""
        self.kv.close()
        self.kv.open()

    @invariant()
    def all_agree(self) -> None:
        """Every key is what the model says."""
        assert list(self.kv.get_many(_KEYS)) == [self.model.get(key) for key in _KEYS]
