"""Examples of the contract of a broker: waiting, waking, and being prompt meanwhile."""
# ruff: noqa: D102 - the name of a test is its sentence

from __future__ import annotations

import select
import time
from collections.abc import Callable

import pytest

from celeriac.model.errors import OperationalError
from celeriac.model.message import Bury, Release, Settlement
from celeriac.model.ports import Pollable
from celeriac.testing.broker_bench import LONG_WAIT_S, NEVER_S, PROMPT_S, BrokerBench, ids_of
from celeriac.testing.clients import Call, scale, wait_until

_SHORT_WAIT_S = 0.25


class Waiting(BrokerBench):
    """A taker that waits is woken by whatever makes a message deliverable, and is in nobody's way."""

    def test_a_take_that_looks_once_returns_at_once(self) -> None:
        began = time.monotonic()
        assert not self.take(wait_s=0.0)
        assert time.monotonic() - began < PROMPT_S * scale()

    def test_a_take_of_nothing_returns_empty_after_about_its_wait(self) -> None:
        began = time.monotonic()
        assert not self.take(wait_s=_SHORT_WAIT_S)
        took_s = time.monotonic() - began
        assert took_s >= _SHORT_WAIT_S * 0.8, f"it gave up after {took_s:.3f} s of {_SHORT_WAIT_S}"
        assert took_s < _SHORT_WAIT_S + PROMPT_S * scale()

    def test_a_take_returns_one_message_without_waiting_for_its_limit(self) -> None:
        self.publish("a")
        began = time.monotonic()
        assert ids_of(self.take(limit=10, wait_s=LONG_WAIT_S)) == ["a"]
        assert time.monotonic() - began < PROMPT_S * scale()

    def test_a_waiting_taker_is_woken_by_a_publish(self) -> None:
        call = self.blocked_take()
        self.publish("a")
        self.assert_woken(call, "a")

    def test_a_waiting_taker_is_woken_by_a_publish_to_any_of_its_queues(self) -> None:
        for queue in ("one", "two", "three"):
            call = Call(lambda: self.broker.take(["one", "two", "three"], 1, LONG_WAIT_S * scale()))
            call.settle_in()
            self.publish(queue, queue=queue)
            self.assert_woken(call, queue)

    def test_a_waiting_taker_is_woken_by_another_object_of_the_same_store(self) -> None:
        other = self.open_broker()
        call = self.blocked_take()
        other.publish([self.message("a")])
        self.assert_woken(call, "a")

    def test_a_waiting_taker_is_woken_by_a_release(self) -> None:
        self.publish("a")
        receipt = self.take_one().receipt
        call = self.blocked_take()
        self.settle(receipt, Release())
        self.assert_woken(call, "a")

    def test_a_waiting_taker_is_woken_by_a_follow_up(self) -> None:
        self.needs(self.facts.atomic_commit, "takes no follow-ups")
        self.publish("a")
        receipt = self.take_one().receipt
        call = self.blocked_take("next")
        self.settle(receipt, follow_ups=(self.message("b", "next"),))
        self.assert_woken(call, "b")

    def test_a_waiting_taker_gets_a_delayed_message_when_it_is_due(self) -> None:
        self.needs(self.facts.delays, "does not keep messages until they are due")
        call = self.blocked_take()
        due_at = time.time() + 0.2
        self.publish("later", eta_at=time.time() + NEVER_S)
        self.publish("sooner", eta_at=due_at)
        assert ids_of(call.result(0.2 + PROMPT_S * scale())) == ["sooner"]
        assert time.time() >= due_at

    def test_a_waiting_taker_is_woken_when_its_queue_is_resumed(self) -> None:
        admin = self.admin
        admin.pause("q", True)
        self.publish("a")
        call = self.blocked_take()
        assert call.running, "a paused queue gives nothing"
        admin.pause("q", False)
        self.assert_woken(call, "a")

    def test_a_waiting_taker_is_woken_by_a_revival(self) -> None:
        admin = self.admin
        self.publish("a")
        self.settle(self.take_one().receipt, Bury("why"))
        call = self.blocked_take()
        admin.revive(["a"])
        self.assert_woken(call, "a")

    def test_each_of_several_waiting_takers_is_woken_when_there_is_enough_for_all(self) -> None:
        calls = [self.blocked_take() for _ in range(4)]
        self.publish("a", "b", "c", "d")
        got = [one for call in calls for one in ids_of(call.result(PROMPT_S * scale()))]
        assert sorted(got) == ["a", "b", "c", "d"]

    def test_a_taker_of_one_queue_does_not_keep_takers_of_another_asleep(self) -> None:
        calls = {queue: self.blocked_take(queue) for queue in ("one", "two")}
        for queue in ("two", "one"):
            self.publish(queue, queue=queue)
            self.assert_woken(calls[queue], queue)

    # ---------------------------------------------------------------- nobody is in the way of others

    def test_settle_is_prompt_while_another_thread_is_blocked_in_take(self) -> None:
        self.publish("a")
        receipt = self.take_one().receipt
        self._is_prompt_during_a_take(lambda: self.settle(receipt, Release(after_s=NEVER_S)))

    def test_extend_is_prompt_while_another_thread_is_blocked_in_take(self) -> None:
        self.publish("a")
        receipt = self.take_one().receipt
        self._is_prompt_during_a_take(lambda: self.broker.extend([receipt], 30.0))

    def test_publish_is_prompt_while_another_thread_is_blocked_in_take(self) -> None:
        self._is_prompt_during_a_take(lambda: self.publish("a", queue="elsewhere"))

    def test_take_is_prompt_while_another_thread_is_blocked_in_take(self) -> None:
        self.publish("a", queue="elsewhere")
        self._is_prompt_during_a_take(lambda: self.take("elsewhere"))

    def test_closing_ends_a_take_that_waits(self) -> None:
        call = self.blocked_take()
        self.broker.close()
        try:
            assert not call.result(PROMPT_S * scale())
        except OperationalError as exc:
            assert str(exc), "an error says what to do"  # noqa: PT017 - returning empty is just as good

    def _is_prompt_during_a_take(self, verb: Callable[[], object]) -> None:
        call = self.blocked_take("empty")
        Call(verb).result(PROMPT_S * scale())
        assert call.running, "nothing came for the taker that waits"
        self.publish("end", queue="empty")
        self.assert_woken(call, "end")

    # ---------------------------------------------------------------- bells

    def test_a_listener_hears_a_publish_and_is_quiet_after_looking(self) -> None:
        broker = self._pollable()
        bell = broker.listen(["q"])
        self.needs(bell is not None, "has no bell here")
        assert bell is not None
        assert not _readable(bell, 0.0)
        self.publish("a")
        assert _readable(bell, PROMPT_S * scale())
        assert broker.heard(), "no other listener could have been faster"
        self.take_one()
        assert not broker.heard(), "nothing was published since"
        assert not _readable(bell, 0.0), "the bell rings on after it was heard"

    def test_a_listener_hears_others_of_the_same_store(self) -> None:
        broker = self._pollable()
        other = self.open_broker()
        bell = broker.listen(["q"])
        self.needs(bell is not None, "has no bell here")
        assert bell is not None
        other.publish([self.message("a")])
        assert _readable(bell, PROMPT_S * scale())

    def test_a_listener_hears_a_release_a_delayed_publish_and_a_resumed_queue(self) -> None:
        broker, admin = self._pollable(), self.admin
        bell = broker.listen(["q"])
        self.needs(bell is not None, "has no bell here")
        assert bell is not None
        self.publish("a")
        receipt = self.take_one().receipt

        def resume() -> None:
            admin.pause("q", True)
            broker.heard()
            admin.pause("q", False)

        steps: tuple[tuple[str, Callable[[], object]], ...] = (
            ("a release", lambda: self.broker.settle([Settlement(receipt, Release())])),
            ("a delayed publish", lambda: self.publish("b", eta_at=time.time() + NEVER_S)),
            ("a pause that ends", resume),
            ("ring", lambda: broker.ring("q")),
        )
        for name, step in steps:
            broker.heard()
            step()
            assert _readable(bell, PROMPT_S * scale()), f"{name} rings no bell"

    def test_changed_sees_each_change_by_others_once(self) -> None:
        broker = self._pollable()
        broker.changed()
        assert not broker.changed(), "nothing happened since the last look"
        self.needs(self.facts.shared, "no other process can change it")
        client = self.client().ready()
        client.call("publish", [self.message("a")])
        wait_until(broker.changed, PROMPT_S * scale(), "the change of another process is seen")

    def test_next_due_at_is_that_of_the_next_delayed_message(self) -> None:
        broker = self._pollable()
        assert broker.next_due_at(["q"]) is None
        soon, later = time.time() + NEVER_S, time.time() + 2 * NEVER_S
        self.publish("later", eta_at=later)
        self.publish("soon", eta_at=soon)
        self.publish("sooner-elsewhere", queue="other", eta_at=soon - 5)
        due_at = broker.next_due_at(["q"])
        assert due_at is not None
        assert abs(due_at - soon) < 0.01

    def _pollable(self) -> Pollable:
        broker: object = self.broker
        if isinstance(broker, Pollable):
            return broker
        return pytest.skip(f"{self.facts.name} cannot be polled")


def _readable(descriptor: int, bound_s: float) -> bool:
    poller = select.poll()
    poller.register(descriptor, select.POLLIN)
    return bool(poller.poll(bound_s * 1000))
