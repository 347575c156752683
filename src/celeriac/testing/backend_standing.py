"""Examples of the contract of waiting for last states, and of a standing wait (`Watch`)."""
# ruff: noqa: D102 - the name of a test is its sentence

from __future__ import annotations

import time
from collections.abc import Sequence

from celeriac.model.errors import OperationalError
from celeriac.model.message import Record
from celeriac.model.watch import Watch
from celeriac.testing.backend_bench import BackendBench
from celeriac.testing.clients import Call, let_pass, scale, wait_until
from celeriac.testing.store_bench import LONG_WAIT_S, PROMPT_S, held_resources

_MANY = 1500
"""More than any adapter looks up at once."""
_SHORT_WAIT_S = 0.25


class Standing(BackendBench):
    """Who waits for ends sleeps through what comes before; who watches is told each change."""

    def watch(self, *ids: str) -> Watch:
        """A standing wait for these, closed after the test."""
        watch = self.waiter.watch()
        self._stack.callback(watch.close)
        watch.add(ids)
        return watch

    def told(self, watch: Watch, count: int) -> list[tuple[str, str]]:
        """The next `count` changes that the watch tells of, sorted."""
        found: list[tuple[str, str]] = []
        ends_at = time.monotonic() + LONG_WAIT_S * scale()
        while len(found) < count and time.monotonic() < ends_at:
            found += [(record.id, record.state) for record in watch.wait(PROMPT_S)]
        return sorted(found)

    def watching(self, watch: Watch) -> Call[Sequence[Record]]:
        """A wait of the watch under way on another thread."""
        call: Call[Sequence[Record]] = Call(lambda: watch.wait(LONG_WAIT_S * scale()))
        call.settle_in()
        return call

    # waiting for last states

    def test_a_wait_for_ends_returns_those_that_are_there_and_no_state_before(self) -> None:
        self.write("a", "STARTED")
        self.write("b")
        self.write("c", "FAILURE")
        self.write("d", "REVOKED")
        self.write("e", "RETRY")
        found = self.waiter.wait(["a", "b", "c", "d", "e"], LONG_WAIT_S, final=True)
        assert sorted((each.id, each.state) for each in found) == [("b", "SUCCESS"), ("c", "FAILURE"), ("d", "REVOKED")]
        assert not self.waiter.wait(["a", "e"], _SHORT_WAIT_S, final=True)

    def test_a_wait_for_the_end_sleeps_through_states_before_it(self) -> None:
        waiter = self.waiter
        call: Call[Sequence[Record]] = Call(lambda: waiter.wait(["a"], LONG_WAIT_S * scale(), final=True))
        call.settle_in()
        for number, state in enumerate(("STARTED", "PROGRESS", "PROGRESS", "RETRY")):
            self.write("a", state, str(number).encode(), reply_to=waiter.address)
            let_pass(0.02)
        assert call.running, "the task has not ended"
        self.write("a", reply_to=waiter.address)
        (found,) = call.result(PROMPT_S * scale())
        assert found.state == "SUCCESS"

    # a standing wait

    def test_a_watch_tells_what_is_there_already(self) -> None:
        self.write("a", payload=b"there")
        (found,) = self.watch("a", "b").wait(LONG_WAIT_S)
        assert (found.id, found.state, found.payload) == ("a", "SUCCESS", b"there")

    def test_a_watch_tells_nothing_twice(self) -> None:
        self.write("a", "STARTED")
        watch = self.watch("a")
        assert watch.wait(LONG_WAIT_S)
        watch.add(["a"])
        self.write("a", "STARTED", reply_to=self.waiter.address)
        assert not watch.wait(_SHORT_WAIT_S)

    def test_a_watch_for_nothing_that_comes_returns_empty_after_about_its_time(self) -> None:
        watch = self.watch("never")
        self.write("other", reply_to=self.waiter.address)
        began = time.monotonic()
        assert not watch.wait(_SHORT_WAIT_S)
        took_s = time.monotonic() - began
        assert _SHORT_WAIT_S * 0.8 <= took_s < _SHORT_WAIT_S + PROMPT_S * scale()

    def test_a_watch_is_woken_by_each_change_in_turn(self) -> None:
        watch = self.watch("a")
        for number, state in enumerate(("STARTED", "PROGRESS", "PROGRESS", "SUCCESS")):
            call = self.watching(watch)
            self.write("a", state, str(number).encode(), reply_to=self.waiter.address)
            (found,) = call.result(PROMPT_S * scale())
            assert (found.state, found.payload) == (state, str(number).encode())

    def test_a_watch_is_woken_by_a_record_addressed_to_nobody(self) -> None:
        call = self.watching(self.watch("a"))
        self.write("a")
        self.assert_woken(call, "a")

    def test_a_watch_is_woken_for_ids_that_are_added_while_it_waits(self) -> None:
        watch = self.watch("a")
        self.write("b")
        call = self.watching(watch)
        watch.add(["b"])
        self.assert_woken(call, "b")
        call = self.watching(watch)
        watch.add(["c"])
        self.write("c", reply_to=self.waiter.address)
        self.assert_woken(call, "c")

    def test_a_watch_tells_nothing_of_ids_that_were_discarded(self) -> None:
        watch = self.watch("a", "b", "c")
        watch.discard(["a", "unknown"])
        self.write("a", reply_to=self.waiter.address)
        self.write("b", reply_to=self.waiter.address)
        assert self.told(watch, 1) == [("b", "SUCCESS")]
        assert not watch.wait(_SHORT_WAIT_S)
        watch.add(["a"])
        assert self.told(watch, 1) == [("a", "SUCCESS")]

    def test_a_watch_for_many_is_told_all_of_them(self) -> None:
        names = [f"id-{number:04}" for number in range(_MANY)]
        self.backend.write([Record(name, "SUCCESS", b"1") for name in names[::2]])
        watch = self.watch(*names)
        assert self.told(watch, _MANY // 2) == [(name, "SUCCESS") for name in names[::2]]
        address = self.waiter.address
        for start in range(0, _MANY, 100):
            self.backend.write(
                [Record(name, "FAILURE", b"1", None, address) for name in names[1::2][start : start + 100]]
            )
        assert self.told(watch, _MANY // 2) == [(name, "FAILURE") for name in names[1::2]]

    def test_a_success_that_was_told_stays_one(self) -> None:
        watch = self.watch("a")
        self.write("a", reply_to=self.waiter.address)
        assert self.told(watch, 1) == [("a", "SUCCESS")]
        self.write("a", "FAILURE", b"later", reply_to=self.waiter.address)
        assert not watch.wait(_SHORT_WAIT_S)

    def test_a_large_record_is_told_whole(self) -> None:
        large = bytes(range(256)) * 4000
        call = self.watching(self.watch("a"))
        self.write("a", payload=large, reply_to=self.waiter.address)
        (found,) = call.result(PROMPT_S * scale())
        assert found.payload == large

    def test_several_watches_and_waits_are_all_told(self) -> None:
        calls = [self.watching(self.watch("a")) for _ in range(2)]
        calls += [self.blocked_wait("a") for _ in range(2)]
        calls += [self.watching(self.watch("b", "a"))]
        self.write("a", reply_to=self.waiter.address)
        for call in calls:
            self.assert_woken(call, "a")

    def test_a_watch_can_be_woken_before_and_while_it_waits(self) -> None:
        watch = self.watch("never")
        watch.wake()
        began = time.monotonic()
        assert not watch.wait(LONG_WAIT_S)
        assert time.monotonic() - began < PROMPT_S * scale()
        call = self.watching(watch)
        watch.wake()
        assert not call.result(PROMPT_S * scale())

    def test_a_closed_watch_ends_its_wait_and_closing_again_does_no_harm(self) -> None:
        watch = self.watch("never")
        call = self.watching(watch)
        watch.close()
        assert not call.result(PROMPT_S * scale())
        watch.close()

    def test_a_watch_is_told_by_another_object_of_the_same_store(self) -> None:
        watch = self.watch("a")
        self.open_backend().write([Record("a", "SUCCESS", b"1", reply_to=self.waiter.address)])
        assert self.told(watch, 1) == [("a", "SUCCESS")]

    def test_a_watch_is_told_by_another_process(self) -> None:
        self.needs(self.facts.shared, "is not shared")
        client = self.client().ready()
        call = self.watching(self.watch("a"))
        client.call("write", [Record("a", "SUCCESS", b"1", reply_to=self.waiter.address)])
        self.assert_woken(call, "a")

    def test_watches_leave_neither_descriptors_nor_threads_behind(self) -> None:
        waiter = self.waiter
        call = self.blocked_wait("here")  # what waiting sets up is set up then
        self.write("here", reply_to=waiter.address)
        self.assert_woken(call, "here")
        before = held_resources()
        for _ in range(20):
            watch = waiter.watch()
            watch.add(["a"])
            watch.wait(0.0)
            watch.close()
        wait_until(
            lambda: all(now <= then for now, then in zip(held_resources(), before, strict=True)),
            PROMPT_S * scale(),
            lambda: f"descriptors and threads are released: {before} before, {held_resources()} after",
        )

    def test_closing_the_backend_is_prompt_while_a_watch_waits_and_ends_it_in_time(self) -> None:
        watch = self.watch("never")
        call = Call(lambda: watch.wait(0.5))
        call.settle_in()
        Call(self.backend.close).result(PROMPT_S * scale())
        try:
            assert not call.result(0.5 + PROMPT_S * scale())
        except OperationalError as exc:
            assert str(exc), "an error says what to do"  # noqa: PT017 - returning empty is just as good
