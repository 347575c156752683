"""Examples of the contract of a backend: writing, reading, forgetting, lifetimes; and its facts."""
# ruff: noqa: D102 - the name of a test is its sentence

from __future__ import annotations

import time

import pytest

from celeriac.model.errors import CeleriacError, OperationalError
from celeriac.model.message import Record
from celeriac.model.ports import Backend, Waiter
from celeriac.testing.backend_bench import BackendBench
from celeriac.testing.clients import let_pass, scale, wait_until
from celeriac.testing.store_bench import PROMPT_S

_SHORT_LIFE_S = 0.3


class Keeping(BackendBench):
    """What was written last is read, but a success is final."""

    def test_a_record_is_read_as_it_was_written(self) -> None:
        payload = bytes(range(256))
        written = Record("6e6f-ü", "FAILURE", payload, expires_s=3600.0, content_type="application/x-none")
        self.backend.write([written])
        (found,) = self.backend.read(["6e6f-ü"])
        assert found is not None
        assert (found.id, found.state, found.payload) == (written.id, written.state, payload)
        assert found.content_type == written.content_type

    def test_an_empty_payload_and_one_of_megabytes_are_kept_intact(self) -> None:
        large = bytes(range(256)) * 12_000
        self.write("empty", payload=b"")
        self.write("large", payload=large)
        assert self.payload("empty") == b""
        assert self.payload("large") == large

    def test_states_that_users_invent_are_kept(self) -> None:
        self.write("a", "PROGRESS")
        assert self.states("a") == ["PROGRESS"]

    def test_an_unknown_id_reads_as_none(self) -> None:
        assert list(self.backend.read(["never"])) == [None]

    def test_records_are_read_in_the_order_asked_for_with_none_between(self) -> None:
        self.backend.write([Record(name, "SUCCESS", name.encode()) for name in "abc"])
        found = self.backend.read(["c", "never", "a", "c", "b"])
        assert [each and each.id for each in found] == ["c", None, "a", "c", "b"]

    def test_many_records_are_read_at_once_in_order(self) -> None:
        names = [f"id-{number}" for number in range(1500)]
        self.backend.write([Record(name, "SUCCESS", name.encode()) for name in names])
        found = self.backend.read(list(reversed(names)))
        assert [each and each.id for each in found] == list(reversed(names))

    def test_writing_reading_and_forgetting_nothing_do_nothing(self) -> None:
        self.backend.write([])
        self.backend.forget([])
        assert list(self.backend.read([])) == []

    def test_the_last_record_of_an_id_wins(self) -> None:
        for state in ("STARTED", "RETRY", "FAILURE", "STARTED", "SUCCESS"):
            self.write("a", state, state.encode())
            assert (self.states("a"), self.payload("a")) == ([state], state.encode())

    def test_the_last_record_of_an_id_in_a_batch_wins(self) -> None:
        self.backend.write([Record("a", "STARTED", b"1"), Record("b", "STARTED", b"2"), Record("a", "RETRY", b"3")])
        assert self.states("a", "b") == ["RETRY", "STARTED"]
        assert self.payload("a") == b"3"

    def test_nothing_replaces_a_success(self) -> None:
        self.write("a", "SUCCESS", b"first")
        for state in ("FAILURE", "STARTED", "PENDING", "REVOKED", "SUCCESS"):
            self.write("a", state, b"later")
            assert (self.states("a"), self.payload("a")) == (["SUCCESS"], b"first"), f"replaced by {state}"

    def test_nothing_replaces_a_success_within_a_batch(self) -> None:
        self.backend.write([Record("a", "SUCCESS", b"first"), Record("a", "FAILURE", b"later")])
        assert (self.states("a"), self.payload("a")) == (["SUCCESS"], b"first")

    def test_a_write_that_a_success_repels_leaves_the_rest_of_its_batch_alone(self) -> None:
        self.write("a", "SUCCESS", b"first")
        self.backend.write([Record("b", "STARTED", b"1"), Record("a", "FAILURE", b"x"), Record("c", "STARTED", b"2")])
        assert self.states("a", "b", "c") == ["SUCCESS", "STARTED", "STARTED"]

    def test_forgotten_records_are_gone_and_unknown_ids_are_ignored(self) -> None:
        self.write("a")
        self.write("b")
        self.backend.forget(["a", "never"])
        assert self.states("a", "b") == [None, "SUCCESS"]

    def test_after_forgetting_even_a_success_is_written_anew(self) -> None:
        self.write("a", "SUCCESS", b"first")
        self.backend.forget(["a"])
        self.write("a", "FAILURE", b"second")
        assert (self.states("a"), self.payload("a")) == (["FAILURE"], b"second")

    # ---------------------------------------------------------------- lifetimes

    def test_a_record_expires_after_its_lifetime_and_not_before_if_the_backend_expires(self) -> None:
        began = time.monotonic()
        self.write("short", expires_s=_SHORT_LIFE_S)
        self.write("hour", expires_s=3600.0)
        self.write("ever")
        states = self.states("short")
        assert states == ["SUCCESS"] or time.monotonic() - began >= _SHORT_LIFE_S, "it expired early"
        let_pass(_SHORT_LIFE_S + 0.1)
        if self.facts.expires:
            wait_until(lambda: self.states("short") == [None], PROMPT_S * scale(), "the record expires")
        else:
            assert self.states("short") == ["SUCCESS"], "the facts deny that records expire"
        assert self.states("hour", "ever") == ["SUCCESS", "SUCCESS"]

    def test_an_expired_success_can_be_written_anew(self) -> None:
        self.needs(self.facts.expires, "does not expire records")
        self.write("a", "SUCCESS", b"first", expires_s=0.05)
        wait_until(lambda: self.states("a") == [None], PROMPT_S * scale(), "the record expires")
        self.write("a", "STARTED", b"second")
        assert (self.states("a"), self.payload("a")) == (["STARTED"], b"second")

    def test_the_lifetime_is_that_of_the_last_record(self) -> None:
        self.needs(self.facts.expires, "does not expire records")
        self.write("kept", "STARTED", expires_s=_SHORT_LIFE_S)
        self.write("kept", "RETRY")
        self.write("short", "STARTED")
        self.write("short", "RETRY", expires_s=_SHORT_LIFE_S)
        wait_until(lambda: self.states("short") == [None], PROMPT_S * scale() + _SHORT_LIFE_S, "the record expires")
        assert self.states("kept") == ["RETRY"]

    # ---------------------------------------------------------------- facts and life

    def test_facts_are_known_before_opening_and_name_the_store(self) -> None:
        backend = self.make(self.url)
        assert backend.facts == self.facts
        assert self.facts.store_id
        assert self.make(self.fresh_url()).facts.store_id != self.facts.store_id

    def test_two_fresh_stores_share_nothing_and_two_objects_of_one_store_do(self) -> None:
        self.write("a")
        assert list(self.open_backend(self.fresh_url()).read(["a"])) == [None]
        assert self.open_backend().read(["a"])[0] is not None

    def test_other_processes_reach_the_same_records_if_and_only_if_the_backend_is_shared(self) -> None:
        client = self.client().ready()
        self.write("ours")
        client.call("write", [Record("theirs", "SUCCESS", b"2")])
        found = client.call("read", ["ours"])[0]
        assert (found is not None) == self.facts.shared
        assert (self.states("theirs") == ["SUCCESS"]) == self.facts.shared

    def test_records_are_there_after_closing_and_opening_if_the_backend_is_durable(self) -> None:
        self.needs(self.facts.durability != "none", "promises to survive nothing")
        self.write("a", payload=b"kept")
        self.backend.close()
        self.backend = self.open_backend()
        assert self.payload("a") == b"kept"

    def test_the_death_of_a_writer_loses_nothing_that_was_confirmed(self) -> None:
        self.needs(self.facts.shared and self.facts.durability != "none", "promises to survive no process")
        client = self.client().ready()
        client.ask("write_on", "m")
        confirmed: list[str] = []
        while len(confirmed) < 30:
            confirmed.extend(client.confirmed())
        client.kill()
        confirmed.extend(client.last_words())
        found = self.backend.read(confirmed)
        assert [each and each.payload for each in found] == [name.encode() for name in confirmed]

    def test_opening_and_closing_twice_do_nothing_more_and_open_works_again(self) -> None:
        self.backend.open()
        self.backend.close()
        self.backend.close()
        self.backend.open()
        self.write("a")
        assert self.states("a") == ["SUCCESS"]

    def test_closing_releases_descriptors_and_threads(self) -> None:
        def use(backend: Backend) -> None:
            backend.write([Record("a", "SUCCESS", b"1")])
            if isinstance(backend, Waiter):
                backend.wait(["a", "b"], 0.01)
                backend.wait(["b"], 0.01)

        self.backend.close()
        self.assert_releases(self.adapter, use)

    def test_after_close_every_verb_works_or_raises_our_own_error(self) -> None:
        self.backend.close()
        for call in (lambda: self.write("a"), lambda: self.states("a"), lambda: self.backend.forget(["a"])):
            try:
                call()
            except OperationalError as exc:
                assert str(exc), "an error says what to do"  # noqa: PT017 - working is just as good

    def test_an_address_that_cannot_work_is_refused_with_our_own_error(self) -> None:
        self.needs(bool(self.bad_urls), "the suite names no bad_urls")
        for url in self.bad_urls:
            with pytest.raises(CeleriacError):
                self.open_backend(url.format(folder=self.folder))
