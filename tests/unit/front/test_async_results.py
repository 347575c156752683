from __future__ import annotations

import asyncio
import sys
import threading

import pytest

from celeriac import AsyncResult, Celeriac
from celeriac.exceptions import BackendUnavailable, IncompleteStream, TaskRevokedError, TimeoutError  # noqa: A004 - the public name
from celeriac.result import GroupResult, ResultSet
from celeriac.worker import lookout


@pytest.fixture
def div(app: Celeriac):
    @app.task
    def div(x, y):
        return x / y

    return div


async def drained(app, drain):
    """Let others on this loop get as far as they can, then run all that waits."""
    for _ in range(5):
        await asyncio.sleep(0)
    return await asyncio.to_thread(drain, app)


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate()]


async def until(condition) -> None:
    for _ in range(2000):
        if condition():
            return
        await asyncio.sleep(0.005)
    raise AssertionError("it did not come to that")


def test_a_result_is_awaited_while_the_loop_goes_on(app, div, drain):
    async def main():
        result = div.delay(6, 2)
        waiting = [asyncio.ensure_future(result.aget(timeout=20)), asyncio.ensure_future(wrap(result))]
        await drained(app, drain)
        return await asyncio.gather(*waiting)

    async def wrap(result):
        return await result

    assert asyncio.run(main()) == [3, 3]


def test_an_awaited_failure_is_raised_with_the_workers_traceback(app, div, drain):
    async def main():
        result = div.delay(1, 0)
        await drained(app, drain)
        with pytest.raises(ZeroDivisionError) as caught:
            await result
        assert "return x / y" in str(caught.value.__cause__)
        assert isinstance(await result.aget(timeout=5, propagate=False), ZeroDivisionError)
        other = div.delay(1, 1)
        await asyncio.to_thread(other.revoke)
        with pytest.raises(TaskRevokedError):
            await other.aget(timeout=5)

    asyncio.run(main())


def test_an_awaited_result_times_out_with_the_state_it_is_in(app, div):
    async def main():
        result = div.delay(1, 1)
        with pytest.raises(TimeoutError, match=r"no result of .*div.* after 0.05 s; its state is PENDING"):
            await result.aget(timeout=0.05)
        with pytest.raises(TimeoutError, match="PENDING"):
            await result.aget(timeout=0)
        await asyncio.to_thread(app.store_state, result.id, "PROGRESS", {})
        with pytest.raises(TimeoutError, match="PROGRESS"):
            await result.aget(timeout=0.05)
        assert len(app.watcher.lookout) == 0

    asyncio.run(main())


def test_who_no_longer_waits_leaves_nothing_behind(app, div, drain):
    async def main():
        results = [div.delay(n, 1) for n in range(20)]
        waiting = [asyncio.ensure_future(result.aget()) for result in results]
        await until(lambda: len(app.watcher.lookout) == 20)
        for each in waiting[:10]:
            each.cancel()
        await until(lambda: len(app.watcher.lookout) == 10)
        await drained(app, drain)
        assert await asyncio.gather(*waiting[10:]) == list(range(10, 20))
        assert len(app.watcher.lookout) == 0
        assert await results[0].aget(timeout=5) == 0

    asyncio.run(main())


def test_thousands_who_wait_cost_one_thread(app, drain):
    @app.task
    def same(x):
        return x

    async def main():
        with app.batch():
            results = [same.delay(n) for n in range(2000)]
        before = threads()
        waiting = [asyncio.ensure_future(result.aget(timeout=30)) for result in results]
        await until(lambda: len(app.watcher.lookout) == 2000)
        assert set(threads()) - set(before) <= {"celeriac-results"}
        assert threads().count("celeriac-results") == 1
        await drained(app, drain)
        assert await asyncio.gather(*waiting) == list(range(2000))

    asyncio.run(main())


def test_loops_in_several_threads_wait_at_once(app, div, drain):
    results = [div.delay(n, 1) for n in range(40)]
    got = {}

    def client(number):
        async def main():
            own = results[number * 10 : number * 10 + 10]
            got[number] = await asyncio.gather(*(result.aget(timeout=30) for result in own))

        asyncio.run(main())

    clients = [threading.Thread(target=client, args=(number,)) for number in range(4)]
    for each in clients:
        each.start()
    drain(app)
    for each in clients:
        each.join(timeout=30)
    assert got == {number: list(range(number * 10, number * 10 + 10)) for number in range(4)}


def test_states_are_told_as_they_change(app, drain):
    @app.task
    def end():
        return "end"

    async def main():
        result = end.delay()
        seen = []
        async for state, info in result.astates(timeout=20):
            seen.append((state, info))
            if state == "PROGRESS" and info["done"] == 3:
                await drained(app, drain)
            elif state == "PROGRESS":
                await asyncio.to_thread(app.store_state, result.id, "PROGRESS", {"done": info["done"] + 1})
        return seen

    async def run():
        main_task = asyncio.ensure_future(main())
        await until(lambda: len(app.watcher.lookout) == 1)
        waiting = app.sender.broker().peek("celery", 5)
        app.store_state(waiting[0].message.id, "PROGRESS", {"done": 1})
        return await main_task

    seen = asyncio.run(run())
    assert seen == [("PROGRESS", {"done": 1}), ("PROGRESS", {"done": 2}), ("PROGRESS", {"done": 3}), ("SUCCESS", "end")]


def test_one_who_comes_later_is_told_the_state_that_is(app, div):
    async def first_of(result):
        async for state, info in result.astates(timeout=5):
            return state, info
        return None

    async def main():
        app.store_state("some", "PROGRESS", {"done": 1})
        result = app.AsyncResult("some")
        stays = asyncio.ensure_future(result.aget())
        assert await first_of(result) == ("PROGRESS", {"done": 1})
        assert await first_of(result) == ("PROGRESS", {"done": 1})
        stays.cancel()
        with pytest.raises(TimeoutError, match="its state is PROGRESS"):
            async for _ in result.astates(timeout=0.05):
                pass

    asyncio.run(main())


def test_messages_and_callback_are_called_on_the_loop(app, div, drain):
    async def main():
        result, told, here = div.delay(6, 2), [], threading.get_ident()
        waiting = asyncio.ensure_future(
            result.aget(
                timeout=20,
                on_message=lambda message: told.append((message["status"], threading.get_ident() == here)),
                callback=lambda task_id, value: told.append((task_id, value)),
            )
        )
        await drained(app, drain)
        assert await waiting == 3
        assert told == [("SUCCESS", True), (result.id, 3)]

    asyncio.run(main())


def test_members_of_a_set_are_given_as_they_end(app, div, drain):
    async def main():
        slow, fast, failing = app.AsyncResult("slow"), div.delay(4, 2), div.delay(1, 0)
        members = ResultSet([slow, fast, failing], app=app)
        ended = []
        await drained(app, drain)
        async for result in members:
            ended.append((result.id, result.state))
            if len(ended) == 2:
                app.store_state("slow", "SUCCESS", "late")
        assert sorted(ended[:2]) == sorted([(fast.id, "SUCCESS"), (failing.id, "FAILURE")])
        assert ended[2:] == [("slow", "SUCCESS")]
        with pytest.raises(ZeroDivisionError):
            await members
        slow, fast, failing = await members.aget(timeout=5, propagate=False)
        assert (slow, fast, type(failing)) == ("late", 2, ZeroDivisionError)

    asyncio.run(main())


def test_a_group_is_awaited_in_the_order_of_its_members(app, div, drain):
    async def main():
        inner = GroupResult("inner", [div.delay(2, 1), div.delay(3, 1)], app=app)
        group = GroupResult("outer", [div.delay(1, 1), inner], app=app)
        waiting = asyncio.ensure_future(group.aget(timeout=20))
        await drained(app, drain)
        assert await waiting == await group == [1, [2, 3]]
        with pytest.raises(TimeoutError, match="1 of 1 results"):
            await GroupResult("g", [app.AsyncResult("never")], app=app).aget(timeout=0.05)
        assert await ResultSet([], app=app) == []

    asyncio.run(main())


def test_then_calls_on_the_loop_it_was_called_on(app, div, drain):
    async def main():
        calls, here = [], threading.get_ident()

        def note(value):
            calls.append((value, threading.get_ident() == here))

        good, bad = div.delay(6, 2), div.delay(1, 0)
        good.then(note)
        bad.then(note, on_error=lambda error: note(type(error)))
        bad.then(note)
        ResultSet([good, bad], app=app).then(note, on_error=lambda error: note("set failed"))
        await drained(app, drain)
        await until(lambda: len(calls) == 4)
        assert {type(value) if isinstance(value, AsyncResult) else value for value, _ in calls} == {
            AsyncResult,
            ZeroDivisionError,
            "set failed",
        }
        assert all(on_loop for _, on_loop in calls)
        good.then(note)
        assert len(calls) == 4, "a callback is never called from within then()"
        await until(lambda: len(calls) == 5)

    asyncio.run(main())


def test_then_without_a_loop_calls_on_the_thread_that_waits(app, div, drain, caplog):
    done, names = threading.Event(), []

    def note(result):
        names.append((threading.current_thread().name, result.get()))
        done.set()

    def fails(result):
        raise OSError("of the user's")

    result = div.delay(6, 2)
    result.then(fails)
    result.then(note)
    result.then(lambda _: names.append("never"), weak=True)
    drain(app)
    assert done.wait(20)
    assert names == [("celeriac-results", 3)]
    assert "of the user's" in caplog.text
    with pytest.raises(TypeError, match="calls a function"):
        result.then(None)


@pytest.mark.parametrize("leaving", [SystemExit, KeyboardInterrupt, GeneratorExit])
def test_a_callback_that_wants_to_end_the_process_keeps_no_other_from_its_result(app, div, drain, caplog, leaving):
    calls = []

    def leaves(result):
        raise leaving("by a callback")

    async def main():
        result = div.delay(6, 2)
        waiting = asyncio.ensure_future(result.aget(timeout=20))
        await asyncio.sleep(0)
        await asyncio.to_thread(result.then, leaves)
        await asyncio.to_thread(result.then, lambda _: calls.append("second"))
        await drained(app, drain)
        assert await waiting == 3
        await until(lambda: calls)

    asyncio.run(main())
    assert "by a callback" in caplog.text


def test_on_a_loop_what_ends_the_process_does_so_when_the_others_are_told(app, div, drain):
    calls = []

    async def main():
        result = div.delay(6, 2)
        result.then(lambda _: sys.exit(3))
        result.then(lambda _: calls.append("second"))
        await drained(app, drain)
        await asyncio.sleep(20)

    with pytest.raises(SystemExit, match="3"):
        asyncio.run(main())
    assert calls == ["second"]


def test_an_eager_result_is_awaited_like_any_other(app, div):
    async def main():
        result = div.apply((6, 2))
        assert await result == 3
        assert [change async for change in result.astates()] == [("SUCCESS", 3)]
        assert await ResultSet([result, div.apply((4, 2))], app=app) == [3, 2]
        with pytest.raises(ZeroDivisionError):
            await div.apply((1, 0))

    asyncio.run(main())


def test_an_id_that_no_store_can_hold_is_refused_and_disturbs_nobody(tmp_path):
    app = Celeriac("own", broker=f"sqlite:///{tmp_path}/q.db", set_as_current=False)

    async def main():
        waiting = asyncio.ensure_future(app.AsyncResult("ä good one").aget(timeout=20))
        await asyncio.sleep(0)
        with pytest.raises(ValueError, match=r"id='a.ud800' cannot be encoded"):
            await app.AsyncResult("a\ud800").aget(timeout=5)
        await asyncio.to_thread(app.store_state, "ä good one", "SUCCESS", 5)
        assert await waiting == 5

    asyncio.run(main())
    app.close()


def test_closing_the_app_tells_those_who_wait(app, div):
    async def main():
        waiting = asyncio.ensure_future(div.delay(1, 1).aget(timeout=30))
        await until(lambda: len(app.watcher.lookout) == 1)
        app.close()
        with pytest.raises(BackendUnavailable, match="closed"):
            await waiting

    asyncio.run(main())
    assert "celeriac-results" not in threads()


def test_a_backend_that_cannot_be_opened_is_told_to_all_who_wait():
    app = Celeriac("disabled", broker="memory://disabled", backend="disabled", set_as_current=False)
    result = app.task(name="x")(lambda: 1).delay()

    async def main():
        for error in await asyncio.gather(result.aget(), result.aget(), return_exceptions=True):
            assert isinstance(error, NotImplementedError)
            assert "set result_backend" in str(error)

    asyncio.run(main())
    app.close()


def test_a_failure_before_it_is_raised_for_a_step_that_never_runs(app, div, drain):
    first = div.delay(1, 0)
    second = AsyncResult("second", app=app, parent=GroupResult("g", [div.delay(1, 1), first], app=app))
    third = AsyncResult("third", app=app, parent=second)
    drain(app)
    with pytest.raises(ZeroDivisionError):
        third.get(timeout=20)
    with pytest.raises(ZeroDivisionError):
        asyncio.run(third.aget(timeout=20))
    with pytest.raises(TimeoutError):
        third.get(timeout=0.05, follow_parents=False)
    with pytest.raises(TimeoutError):
        asyncio.run(third.aget(timeout=0.05, propagate=False))
    app.store_state("third", "SUCCESS", 3)
    assert third.get(timeout=20) == 3


def test_what_followed_from_a_result_is_walked(app, div, drain):
    @app.task
    def leaf(x):
        return x

    @app.task
    def root():
        return [leaf.delay(1).id, leaf.delay(2).id]

    result = root.delay()
    with pytest.raises(IncompleteStream, match="has not ended"):
        list(result.iterdeps())
    assert list(result.iterdeps(intermediate=True)) == [(None, result)]
    drain(app)
    ids = result.get(timeout=5)
    assert [child.id for child in result.children] == ids
    assert list(result.collect()) == [(result, ids), (result.children[0], 1), (result.children[1], 2)]
    assert result.get_leaf() == 2
    graph = result.graph
    assert (len(graph), set(graph)) == (3, {result, *result.children})
    assert str(graph).splitlines()[-3:] == [
        f'    "{result.id}" -> "{ids[0]}";',
        f'    "{result.id}" -> "{ids[1]}";',
        "}",
    ]


def test_the_thread_that_waits_ends_when_nobody_waits_and_comes_back(app, div, drain, monkeypatch):
    monkeypatch.setattr(lookout, "_WAIT_S", 0.001)

    async def main():
        for n in range(40):  # so that waiting and ending meet
            result = div.delay(n, 1)
            waiting = asyncio.ensure_future(result.aget(timeout=20))
            await drained(app, drain)
            assert await waiting == n
            await asyncio.sleep(0.0005 * (n % 5))
        await until(lambda: "celeriac-results" not in threads())

    asyncio.run(main())
