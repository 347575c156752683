"""Examples of the contract of a backend that can wait (`Waiter`), and of many threads at one backend."""
# ruff: noqa: D102 - the name of a test is its sentence

from __future__ import annotations

import statistics
import time
from functools import partial

from celeriac.model.errors import OperationalError
from celeriac.model.message import Record
from celeriac.model.ports import Waiter
from celeriac.testing.backend_bench import BackendBench
from celeriac.testing.clients import Call, let_pass, scale, wait_until
from celeriac.testing.store_bench import LONG_WAIT_S, PROMPT_S

_SHORT_WAIT_S = 0.25
_AT_ONCE_S = 0.2
"""Half of the wake-ups of a backend that pushes take less than this: under what polling with backoff would take."""
_THREADS = 4
_EACH = 60


class Watching(BackendBench):
    """Who waits for a record is woken by it, whoever wrote it."""

    def test_the_address_is_text_and_stays_the_same(self) -> None:
        address = self.waiter.address
        assert isinstance(address, str)
        assert self.waiter.address == address

    def test_a_wait_for_a_record_that_is_there_returns_it_at_once(self) -> None:
        self.write("a", payload=b"there")
        began = time.monotonic()
        (found,) = self.waiter.wait(["a"], LONG_WAIT_S)
        assert (found.id, found.state, found.payload) == ("a", "SUCCESS", b"there")
        assert time.monotonic() - began < PROMPT_S * scale()

    def test_a_wait_returns_all_records_that_are_there_and_none_that_are_not(self) -> None:
        self.write("a")
        self.write("c", "FAILURE")
        self.write("not asked for")
        found = self.waiter.wait(["a", "b", "c"], LONG_WAIT_S)
        assert sorted((each.id, each.state) for each in found) == [("a", "SUCCESS"), ("c", "FAILURE")]

    def test_a_wait_for_nothing_that_comes_returns_empty_after_about_its_time(self) -> None:
        began = time.monotonic()
        assert not self.waiter.wait(["never"], _SHORT_WAIT_S)
        took_s = time.monotonic() - began
        assert took_s >= _SHORT_WAIT_S * 0.8, f"it gave up after {took_s:.3f} s of {_SHORT_WAIT_S}"
        assert took_s < _SHORT_WAIT_S + PROMPT_S * scale()

    def test_a_wait_of_no_time_looks_once(self) -> None:
        assert not self.waiter.wait(["a"], 0.0)
        self.write("a")
        assert [each.id for each in self.waiter.wait(["a"], 0.0)] == ["a"]

    def test_a_waiter_is_woken_by_a_record_addressed_to_it(self) -> None:
        call = self.blocked_wait("a")
        self.write("a", reply_to=self.waiter.address)
        self.assert_woken(call, "a")

    def test_a_waiter_is_woken_by_a_record_addressed_to_nobody(self) -> None:
        call = self.blocked_wait("a")
        self.write("a")
        self.assert_woken(call, "a")

    def test_a_waiter_is_woken_by_a_record_addressed_to_somebody_who_is_gone(self) -> None:
        call = self.blocked_wait("a")
        self.write("a", reply_to="0e984725-c51c-4bf4-9960-e1c80e27aba0")
        self.assert_woken(call, "a")

    def test_a_waiter_is_woken_by_the_first_of_many(self) -> None:
        call = self.blocked_wait("a", "b", "c")
        self.write("b", reply_to=self.waiter.address)
        self.assert_woken(call, "b")

    def test_a_waiter_sleeps_on_when_records_of_others_come(self) -> None:
        call = self.blocked_wait("a")
        self.write("other", reply_to=self.waiter.address)
        let_pass(0.1)
        assert call.running, "the record was not the one it waits for"
        self.write("a", reply_to=self.waiter.address)
        self.assert_woken(call, "a")

    def test_a_state_before_the_end_wakes_too(self) -> None:
        call = self.blocked_wait("a")
        self.write("a", "STARTED", reply_to=self.waiter.address)
        (found,) = call.result(PROMPT_S * scale())
        assert found.state == "STARTED"

    def test_a_large_record_arrives_whole(self) -> None:
        large = bytes(range(256)) * 4000
        call = self.blocked_wait("a")
        self.write("a", payload=large, reply_to=self.waiter.address)
        (found,) = call.result(PROMPT_S * scale())
        assert found.payload == large

    def test_several_waiters_of_one_record_are_all_woken(self) -> None:
        calls = [self.blocked_wait("a") for _ in range(3)]
        self.write("a", reply_to=self.waiter.address)
        for call in calls:
            self.assert_woken(call, "a")

    def test_several_waiters_of_different_records_each_get_their_own(self) -> None:
        calls = {name: self.blocked_wait(name) for name in "abc"}
        for name in "cab":
            self.write(name, reply_to=self.waiter.address)
        for name, call in calls.items():
            self.assert_woken(call, name)

    def test_what_a_waiter_was_told_is_what_is_read(self) -> None:
        call = self.blocked_wait("a")
        self.write("a", "SUCCESS", b"first", reply_to=self.waiter.address)
        self.write("a", "FAILURE", b"later", reply_to=self.waiter.address)
        (found,) = call.result(PROMPT_S * scale())
        assert (found.state, found.payload) == ("SUCCESS", b"first")
        assert self.payload("a") == b"first"
        (again,) = self.waiter.wait(["a"], PROMPT_S)
        assert (again.state, again.payload) == ("SUCCESS", b"first"), "a success is final for waiters too"

    def test_a_waiter_that_comes_back_for_a_forgotten_record_waits(self) -> None:
        self.write("a", reply_to=self.waiter.address)
        assert self.waiter.wait(["a"], PROMPT_S)
        self.backend.forget(["a"])
        assert not self.waiter.wait(["a"], 0.05)

    def test_a_waiter_is_woken_by_another_object_of_the_same_store(self) -> None:
        other = self.open_backend()
        call = self.blocked_wait("a")
        other.write([Record("a", "SUCCESS", b"1", reply_to=self.waiter.address)])
        self.assert_woken(call, "a")

    def test_a_waiter_is_woken_by_another_process(self) -> None:
        self.needs(self.facts.shared, "is not shared")
        client = self.client().ready()
        call = self.blocked_wait("a")
        client.call("write", [Record("a", "SUCCESS", b"1", reply_to=self.waiter.address)])
        self.assert_woken(call, "a")
        client.ask("wait", ["b"], LONG_WAIT_S)
        self.write("b")
        assert [each.id for each in client.answer(PROMPT_S)] == ["b"]

    def test_a_backend_that_pushes_wakes_at_once(self) -> None:
        self.needs(self.facts.pushes, "does not push")
        assert isinstance(self.backend, Waiter), "a backend that pushes can wait"
        took: list[float] = []
        for name in "abcde":
            call = self.blocked_wait(name)
            began = time.monotonic()
            self.write(name, reply_to=self.waiter.address)
            self.assert_woken(call, name)
            took.append(time.monotonic() - began)
        assert statistics.median(took) < _AT_ONCE_S * scale(), f"wake-ups took {took}"

    def test_reading_and_writing_are_prompt_while_another_thread_waits(self) -> None:
        call = self.blocked_wait("a")
        for verb in (lambda: self.write("b"), lambda: self.states("b"), lambda: self.backend.forget(["b"])):
            Call(verb).result(PROMPT_S * scale())
        assert call.running, "nothing came for the waiter"
        self.write("a")
        self.assert_woken(call, "a")

    def test_closing_is_prompt_while_a_thread_waits_and_the_wait_ends_in_time(self) -> None:
        waiter = self.waiter
        call = Call(lambda: waiter.wait(["never"], 0.5))
        call.settle_in()
        Call(self.backend.close).result(PROMPT_S * scale())
        try:
            assert not call.result(0.5 + PROMPT_S * scale())
        except OperationalError as exc:
            assert str(exc), "an error says what to do"  # noqa: PT017 - returning empty is just as good


class Crowding(BackendBench):
    """Many writers and readers at once."""

    def test_many_threads_lose_no_record(self) -> None:
        calls = [Call(partial(self._write_many, number)) for number in range(_THREADS)]
        for call in calls:
            call.result(LONG_WAIT_S * scale())
        names = [f"{number}-{index}" for number in range(_THREADS) for index in range(_EACH)]
        found = self.backend.read(names)
        assert [each and each.payload for each in found] == [name.encode() for name in names]

    def _write_many(self, number: int) -> None:
        for index in range(_EACH):
            name = f"{number}-{index}"
            self.write(name, payload=name.encode())
            assert self.payload(name) == name.encode(), "a thread reads what it wrote"

    def test_of_many_successes_that_race_exactly_one_stays(self) -> None:
        for name in ("a", "b", "c"):
            seen = [Call(partial(self._race, name, number)) for number in range(_THREADS)]
            told = {call.result(LONG_WAIT_S * scale()) for call in seen}
            assert told == {self.payload(name)}, f"different threads saw different successes: {told}"

    def _race(self, name: str, number: int) -> bytes | None:
        self.write(name, "STARTED", b"started")
        self.write(name, "SUCCESS", str(number).encode())
        return self.payload(name)

    def test_many_waiting_threads_each_get_what_they_wait_for(self) -> None:
        waiter = self.waiter
        names = [f"id-{number}" for number in range(12)]
        calls = {name: Call(partial(waiter.wait, [name], LONG_WAIT_S * scale())) for name in names}
        for name in reversed(names):
            self.write(name, reply_to=waiter.address)
        for name, call in calls.items():
            self.assert_woken(call, name)

    def test_writers_in_other_processes_lose_no_record(self) -> None:
        self.needs(self.facts.shared, "is not shared")
        clients = [self.client() for _ in range(2)]
        for number, client in enumerate(clients):
            client.ready().ask("write_on", f"p{number}")
        self._write_many(0)
        confirmed = [name for client in clients for _ in range(30) for name in client.confirmed()]
        for client in clients:
            client.kill()
        wait_until(
            lambda: all(each is not None for each in self.backend.read(confirmed)), PROMPT_S, "all confirmed are read"
        )
