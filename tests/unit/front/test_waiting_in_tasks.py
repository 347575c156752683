"""Waiting for a result inside a task: what its pool is told, and when."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from celeriac import Celeriac
from celeriac.model.context import enter_run, get_current_run, get_worker_run, leave_run
from celeriac.result import ResultSet, allow_join_result


@pytest.fixture
def div(app: Celeriac):
    @app.task
    def div(x, y):
        return x / y

    return div


@pytest.fixture
def pool(app: Celeriac, drain):
    """Runs a function as a task's body, in a pool that notes waits and resumes, and runs others in the meantime."""
    notes: list[str] = []

    @contextmanager
    def waiting() -> Iterator[None]:
        notes.append("waits")
        others = threading.Thread(target=drain, args=(app,))
        others.start()
        try:
            yield
        finally:
            others.join(timeout=20)
            notes.append("resumes")

    def run(body):
        @app.task(name="outer")
        def outer():
            run = get_current_run()
            assert run is get_worker_run()
            run.waiting = waiting
            got = body()
            return asyncio.run(got) if asyncio.iscoroutine(got) else got

        result = outer.apply(throw=True)
        told = notes.copy()
        notes.clear()
        app.tasks.unregister("outer")
        return result.get(), told

    return run


def test_a_wait_that_is_answered_at_once_is_not_told(app, div, drain, pool):
    known = [div.delay(4, 2), div.delay(9, 3)]
    drain(app)

    async def awaits():
        return [await known[0], *await ResultSet(known, app=app)]

    with allow_join_result():
        assert pool(lambda: known[0].get(timeout=5)) == (2, [])
        assert pool(lambda: app.AsyncResult(known[1].id).get(timeout=5)) == (3, [])
        assert pool(lambda: ResultSet(known, app=app).get(timeout=5)) == ([2, 3], [])
    assert pool(awaits) == ([2, 2, 3], [])


def test_a_wait_for_what_is_to_come_is_told_for_as_long_as_it_takes(app, div, pool):
    assert pool(lambda: div.delay(4, 2).get(timeout=20, disable_sync_subtasks=False)) == (2, ["waits", "resumes"])
    with allow_join_result():
        assert pool(lambda: ResultSet([div.delay(4, 2), div.delay(9, 3)], app=app).join(timeout=20)) == (
            [2, 3],
            ["waits", "resumes"],
        )


def test_a_coroutine_awaits_without_asking(app, div, pool):
    async def one():
        return await (await div.adelay(4, 2)).aget(timeout=20)

    async def progress():
        return [state async for state, _ in div.delay(4, 2).astates(timeout=20)]

    assert pool(one) == (2, ["waits", "resumes"])
    assert pool(progress) == (["SUCCESS"], ["waits", "resumes"])


def test_get_within_a_task_is_refused_only_where_it_could_block(app, div, drain, pool):
    known = div.delay(4, 2)
    drain(app)

    async def as_they_end():
        ends = [result async for result in ResultSet([div.delay(9, 3), div.delay(1, 0)], app=app)]
        return sorted(str(result.get(propagate=False)) for result in ends)

    def blocks():
        with pytest.raises(RuntimeError, match="within a task"):
            known.get(timeout=5)
        return known.state, known.get()

    ends, told = pool(as_they_end)
    assert ends == ["3.0", "division by zero"]
    assert told in (["waits", "resumes"], ["waits", "resumes"] * 2)  # they end together, or one after the other
    assert pool(blocks) == (["SUCCESS", 2.0], [])


def test_a_pool_that_cannot_go_on_meanwhile_says_so(app, div, drain):
    @contextmanager
    def refuse() -> Iterator[None]:
        raise RuntimeError("nobody else could run it; use -P threads")
        yield

    known = div.delay(4, 2)
    drain(app)

    @app.task
    def outer(wait):
        run = get_current_run()
        run.waiting = refuse
        return wait()

    with allow_join_result():
        assert _run(outer, lambda: known.get(timeout=5)) == 2
        with pytest.raises(RuntimeError, match="use -P threads"):
            _run(outer, lambda: div.delay(1, 1).get(timeout=5))
    with pytest.raises(RuntimeError, match="use -P threads"):
        _run(outer, lambda: asyncio.run(div.delay(1, 1).aget(timeout=5)))


def _run(task, argument):
    """Run a body with an argument that no serializer takes, as a worker's run."""
    from celeriac.model.context import Context, Run

    token = enter_run(Run(task, Context(called_directly=False)))
    try:
        return task.run(argument)
    finally:
        leave_run(token)
