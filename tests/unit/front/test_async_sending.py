from __future__ import annotations

import asyncio
import gc
import itertools
import os
import subprocess
import sys
import threading
import weakref
from pathlib import Path

import pytest

from celeriac import Celeriac, EagerResult, Task, shared_task
from celeriac.brokers.memory import MemoryBroker
from celeriac.exceptions import BrokerRejected, BrokerUnavailable, EncodeError, UnknownOption
from celeriac.model.message import Message
from celeriac.worker import door
from celeriac.worker.retries import NO_RETRIES, PublishRetries
from celeriac.worker.sender import Sender

SOURCE = str(Path(__file__).resolve().parents[3] / "src")


class Whimsical(MemoryBroker):
    """A broker that notes how many come at once, refuses tasks named "bad", and is away for a while if told so."""

    numbers = itertools.count()

    def __init__(self):
        super().__init__(f"memory://whimsical-{next(self.numbers)}", {})
        self.batches = []
        self.away = 0
        self.open_door = threading.Event()
        self.open_door.set()

    def publish(self, messages):
        assert self.open_door.wait(20)
        self.batches.append([message.task for message in messages])
        if self.away:
            self.away -= 1
            raise BrokerUnavailable("away; try again")
        if any(message.task == "bad" for message in messages):
            raise BrokerRejected("bad is refused")
        super().publish(messages)


@pytest.fixture
def whim(app):
    """An app on a whimsical broker, and that broker."""
    broker = Whimsical()
    app.sender = Sender(lambda: broker)
    return broker


@pytest.fixture
def add(app: Celeriac):
    @app.task
    def add(x: int, y: int) -> int:
        return x + y

    return add


def queued(broker) -> list[str]:
    return [waiting.message.id for waiting in broker.peek("celery", 10_000)]


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate()]


def test_a_task_is_sent_from_a_coroutine_and_awaited(app, add, drain):
    async def main():
        result = await add.adelay(2, 3)
        other = await add.aapply_async((4,), {"y": 5}, countdown=-1, queue="other")
        third = await app.asend_task(add.name, (6, 7))
        await asyncio.to_thread(drain, app, "celery", "other")
        return await asyncio.gather(result, other, third)

    assert asyncio.run(main()) == [5, 9, 13]


def test_what_is_wrong_with_a_call_is_raised_as_by_delay(app, add, peek):
    async def main():
        for wrong, error in (
            (add.adelay(1), TypeError),
            (add.adelay(1, object()), EncodeError),
            (add.aapply_async((1, 2), countdwn=5), UnknownOption),
            (add.aapply_async("12"), TypeError),
            (add.aapply_async((1, 2), None, "id", priority=77), ValueError),
        ):
            with pytest.raises(error):
                await wrong

    asyncio.run(main())
    assert peek(app) == []


def test_those_who_send_at_once_share_one_publish(whim, add):
    async def main():
        await asyncio.gather(*(add.adelay(n, 1) for n in range(200)))
        await add.adelay(0, 0)

    asyncio.run(main())
    assert [len(batch) for batch in whim.batches] == [200, 1]
    assert len(queued(whim)) == 201


def test_messages_of_a_loop_arrive_in_the_order_they_were_sent(whim, add):
    async def main():
        return [result.id for result in await asyncio.gather(*(add.adelay(n, 1) for n in range(3000)))]

    assert asyncio.run(main()) == queued(whim)
    assert max(len(batch) for batch in whim.batches) <= 1024


def test_the_loop_goes_on_while_the_broker_works(whim, add):
    async def main():
        whim.open_door.clear()
        sending = asyncio.ensure_future(add.adelay(1, 1))
        for _ in range(50):
            await asyncio.sleep(0.001)
        assert not sending.done()
        whim.open_door.set()
        await sending

    asyncio.run(main())


def test_a_refused_message_fails_its_own_sender_only(app, whim, add):
    async def main():
        return await asyncio.gather(
            *(app.asend_task("bad") if n % 10 == 3 else add.adelay(n, 1) for n in range(40)), return_exceptions=True
        )

    outcomes = asyncio.run(main())
    errors = [outcome for outcome in outcomes if isinstance(outcome, BrokerRejected)]
    assert [n for n, outcome in enumerate(outcomes) if isinstance(outcome, BrokerRejected)] == [3, 13, 23, 33]
    assert len({id(error) for error in errors}) == 4, "each has an error of his own"
    assert queued(whim) == [outcome.id for outcome in outcomes if not isinstance(outcome, BrokerRejected)]


def test_a_broker_that_is_away_for_a_moment_is_tried_again(app, whim, add):
    whim.away = 2
    app.conf.task_publish_retry_policy = {"max_retries": 3, "interval_start": 0.001, "interval_step": 0.001}

    async def main():
        await asyncio.gather(*(add.adelay(n, 1) for n in range(5)))

    asyncio.run(main())
    assert [len(batch) for batch in whim.batches] == [5, 5, 5]
    assert len(queued(whim)) == 5


def test_a_broker_that_stays_away_is_an_error_after_the_senders_own_retries(whim, add):
    whim.away = 1000

    async def main():
        once = add.aapply_async((1, 1), retry=False)
        thrice = add.aapply_async((1, 1), retry_policy={"max_retries": 2, "interval_start": 0, "interval_step": 0})
        return await asyncio.gather(once, thrice, return_exceptions=True)

    outcomes = asyncio.run(main())
    assert [type(outcome) for outcome in outcomes] == [BrokerUnavailable, BrokerUnavailable]
    assert [len(batch) for batch in whim.batches] == [2, 1, 1]
    assert queued(whim) == []


def test_a_refusal_and_an_absence_in_one_batch_reach_their_own(app, whim, add):
    class LeavesAfterFirst(Whimsical):
        def publish(self, messages):
            if len(self.batches) == 1:
                self.away = 100
            super().publish(messages)

    broker = LeavesAfterFirst()
    app.sender = Sender(lambda: broker)

    async def main():
        sends = [add.aapply_async((1, 1), retry=False) for _ in range(5)]
        return await asyncio.gather(app.asend_task("bad"), *sends, return_exceptions=True)

    outcomes = asyncio.run(main())
    assert all(isinstance(outcome, BrokerUnavailable) for outcome in outcomes)
    assert len(broker.batches) < 10, "an absent broker is not asked once more for everybody"


def test_with_much_on_its_way_senders_wait_until_there_is_room(whim, add, monkeypatch):
    monkeypatch.setattr(door, "_LETTERS_MAX", 10)
    most = 0

    async def main():
        nonlocal most
        whim.open_door.clear()
        sending = [asyncio.ensure_future(add.adelay(n, 1)) for n in range(100)]
        for _ in range(20):
            await asyncio.sleep(0)
        (gate,) = whim_gates(add.app)
        most = gate._letters
        for task in sending[5:40]:  # some on their way, some waiting
            task.cancel()
        whim.open_door.set()
        outcomes = await asyncio.gather(*sending, return_exceptions=True)
        assert gate._letters == gate._bytes == 0
        return sum(not isinstance(outcome, asyncio.CancelledError) for outcome in outcomes)

    def whim_gates(app):
        return list(app.sender._door._gates.values())

    arrived = asyncio.run(main())
    assert most == 10
    assert arrived == 65
    assert len(queued(whim)) >= 65


def test_who_is_cancelled_in_the_moment_in_which_there_is_room_is_cancelled_and_no_more(monkeypatch):
    monkeypatch.setattr(door, "_LETTERS_MAX", 1)
    message = Message("i", "t", "q", b"", b"")

    async def main():
        loop, taken = asyncio.get_running_loop(), []
        gate = door._Gate(taken.extend)
        sending = [asyncio.ensure_future(gate.send(loop, (message,), NO_RETRIES)) for _ in range(3)]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        sending[1].cancel()
        gate.answer(taken)
        with pytest.raises(asyncio.CancelledError):
            await sending[1]
        await sending[0]
        await asyncio.sleep(0)
        gate.answer(taken[1:])
        await sending[2]
        assert (gate._letters, len(gate._queue)) == (0, 0)

    asyncio.run(main())


def test_large_bodies_wait_for_room_too(whim, add, monkeypatch):
    monkeypatch.setattr(door, "_BYTES_MAX", 10_000)

    async def main():
        await asyncio.gather(*(add.app.asend_task("large", ("x" * 6000,)) for _ in range(6)))

    asyncio.run(main())
    assert [len(batch) for batch in whim.batches] == [2, 2, 2]


def test_a_cancelled_sender_leaves_the_others_alone(whim, add):
    async def main():
        whim.open_door.clear()
        sending = [asyncio.ensure_future(add.adelay(n, 1)) for n in range(10)]
        await asyncio.sleep(0)
        sending[0].cancel()
        for _ in range(5):
            await asyncio.sleep(0)
        sending[1].cancel()
        whim.open_door.set()
        outcomes = await asyncio.gather(*sending, return_exceptions=True)
        assert [isinstance(outcome, asyncio.CancelledError) for outcome in outcomes] == [True] * 2 + [False] * 8
        assert {outcome.id for outcome in outcomes[2:]} <= set(queued(whim))

    asyncio.run(main())


def test_loops_in_several_threads_send_at_once_through_one_thread(whim, add):
    seen = set()

    def client():
        async def main():
            for _ in range(20):
                await asyncio.gather(*(add.adelay(n, 1) for n in range(10)))
                seen.update(threads())

        asyncio.run(main())

    clients = [threading.Thread(target=client, name=f"client-{number}") for number in range(4)]
    for each in clients:
        each.start()
    for each in clients:
        each.join(timeout=30)
    assert len(queued(whim)) == 800
    assert threads().count("celeriac-door") <= 1
    add.app.close()
    assert "celeriac-door" not in threads()


def test_closing_waits_for_what_is_on_its_way_and_the_next_send_opens_anew(whim, add):
    async def main():
        sending = [asyncio.ensure_future(add.adelay(n, 1)) for n in range(10)]
        for _ in range(5):
            await asyncio.sleep(0)
        add.app.close()
        assert len(whim.batches) == 1
        await asyncio.gather(*sending)
        await add.adelay(1, 1)

    asyncio.run(main())
    assert [len(batch) for batch in whim.batches] == [10, 1]
    add.app.close()


def test_a_loop_that_is_gone_is_not_kept(app, add):
    loops = []

    async def main():
        loops.append(weakref.ref(asyncio.get_running_loop()))
        await add.adelay(1, 1)

    for _ in range(3):
        asyncio.run(main())
    app.close()  # the thread that sends may still have the last one in hand
    gc.collect()
    assert [loop() for loop in loops] == [None, None, None]


def test_a_batch_takes_what_coroutines_send_inside_and_leaves_as_one(whim, add):
    async def main():
        async with add.app.batch():
            results = [await add.adelay(n, 1) for n in range(20)]
            results.append(add.delay(20, 1))
            with pytest.raises(RuntimeError, match="has not been sent"):
                await results[0]
            assert whim.batches == []
        assert [len(batch) for batch in whim.batches] == [21]
        with pytest.raises(ZeroDivisionError):
            async with add.app.batch():
                await add.adelay(1, 1)
                _ = 1 / 0
        with add.app.batch():
            await add.adelay(1, 1)
        async with add.app.batch():
            pass

    asyncio.run(main())
    assert [len(batch) for batch in whim.batches] == [21, 1]


def test_what_a_class_does_in_apply_async_is_done_for_coroutines_too(app, peek):
    class Marked(Task):
        def apply_async(self, args=None, kwargs=None, **options):
            return super().apply_async(args, kwargs, **{**options, "headers": {"mark": "here"}})

    @app.task(base=Marked)
    def marked():
        return 1

    asyncio.run(marked.adelay())
    (message,) = peek(app)
    assert b'"mark": "here"' in message.headers or b'"mark":"here"' in message.headers


def test_sent_from_within_a_task_it_is_a_child_of_that_run(app, add, drain):
    @app.task
    async def starts():
        return (await add.adelay(1, 2)).id

    result = starts.delay()
    drain(app)
    assert [child.id for child in result.children] == [result.get(timeout=5)]


def test_in_eager_mode_the_task_runs_beside_the_loop(app, add):
    app.conf.task_always_eager = True

    @app.task
    async def outer(x):
        inner = await add.adelay(x, 1)
        return await inner + threading.get_ident() * 0

    async def main():
        ticks = asyncio.ensure_future(asyncio.sleep(0))
        result = await outer.adelay(1)
        assert isinstance(result, EagerResult)
        assert ticks.done()
        return await result

    assert asyncio.run(main()) == 2


def test_a_shared_task_and_one_in_a_batch_of_another_app_are_sent(app, add):
    @shared_task(name="shared-for-async")
    def shared():
        return 1

    other = Celeriac("other", broker="memory://other-async", set_as_current=False)

    async def main():
        app.set_current()
        async with other.batch():
            result = await shared.adelay()
            assert result.id in queued(app.sender.broker())

    asyncio.run(main())
    other.close()


@pytest.mark.parametrize(
    ("mode", "call", "warned"),
    [
        ("-X dev", "add.delay(1, 1)", 1),
        ("-X dev", "group(add.s(1, 1), add.s(1, 1)).delay()", 1),
        ("-X dev", "(add.s(1, 1) | add.s(1)).apply_async()", 1),
        ("-X dev", "app.send_task('add', (1, 1))", 1),
        ("PYTHONASYNCIODEBUG=1", "with app.batch(): add.delay(1, 1)", 1),
        ("", "add.delay(1, 1)", 0),
    ],
)
def test_a_call_that_blocks_a_loop_warns_once_and_in_development_only(mode, call, warned, tmp_path):
    program = """
import asyncio, warnings
from celeriac import Celeriac, group
app = Celeriac("dev", broker="memory://dev")

@app.task
def add(x, y): return x + y

async def main():
    await add.adelay(1, 1)
    await group(add.s(1, 1)).adelay()
    async with app.batch():
        add.delay(1, 1)
        with app.batch():
            (add.s(1, 1) | add.s(1)).delay()
    assert len(app.sender.broker().peek("celery", 10)) == 5
    CALL  # HERE
    CALL
    add.apply_async((1, 1))

add.delay(1, 1)
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    asyncio.run(main())
found = [w for w in caught if w.category.__name__ == "BlockingCallWarning"]
lines = open(__file__).read().splitlines()
print(len(found), all("; there, use a" in str(w.message) and "HERE" in lines[w.lineno - 1] for w in found))
""".replace("CALL", call)
    path = tmp_path / "program.py"
    path.write_text(program)
    environment = {**os.environ, "PYTHONPATH": SOURCE}
    environment.pop("PYTHONASYNCIODEBUG", None)
    if "=" in mode:
        environment["PYTHONASYNCIODEBUG"] = "1"
    done = subprocess.run(
        [sys.executable, *(mode.split() if mode.startswith("-") else ()), str(path)],
        check=False,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout.split() == [str(warned), "True"], done.stdout + done.stderr


def test_a_sender_sends_many_as_one_and_coroutines_one_by_one(whim, app, add):
    with app.batch():
        add.delay(1, 1)
        add.delay(2, 2)
    messages = [waiting.message for waiting in whim.peek("celery", 5)]
    app.sender.send_many(messages, NO_RETRIES)
    app.sender.send_many([], NO_RETRIES)
    asyncio.run(app.sender.asend(messages[0], PublishRetries()))
    assert [len(batch) for batch in whim.batches] == [2, 2, 1]
    with app.batch():
        app.sender.send_many(messages, NO_RETRIES)
        assert len(whim.batches) == 3
    assert [len(batch) for batch in whim.batches] == [2, 2, 1, 2]


def test_the_thread_that_sends_ends_when_idle_and_comes_back(whim, add, monkeypatch):
    monkeypatch.setattr(door, "_IDLE_S", 0.001)

    async def main():
        for n in range(60):  # so that sending and ending meet
            await add.adelay(n, 1)
            await asyncio.sleep(0.0005 * (n % 5))
        for _ in range(2000):
            if "celeriac-door" not in threads():
                return
            await asyncio.sleep(0.005)

    asyncio.run(main())
    assert "celeriac-door" not in threads()
    assert len(queued(whim)) == 60
