from __future__ import annotations

import asyncio

import pytest

from celeriac import Celeriac, EagerResult
from celeriac.exceptions import (
    AlwaysEagerIgnored,
    EncodeError,
    Ignore,
    QueueNotFound,
    TaskRevokedError,
    UnknownOption,
)


@pytest.fixture
def eager(app: Celeriac) -> Celeriac:
    app.conf.task_always_eager = True
    return app


def test_always_eager_runs_in_place_and_keeps_the_id(eager, peek):
    @eager.task(bind=True)
    def add(self, x, y):
        assert self.request.is_eager
        assert not self.request.called_directly
        assert self.request.id
        return x + y

    result = add.apply_async((1, 2), task_id="mine")
    assert isinstance(result, EagerResult)
    assert (result.id, result.state, result.get(), result.ready(), result.successful()) == (
        "mine",
        "SUCCESS",
        3,
        True,
        True,
    )
    assert peek(eager) == []


def test_arguments_and_results_pass_the_serializer(eager):
    @eager.task
    def echo(value):
        return value, {1: "one"}

    assert echo.delay((1, 2)).get() == [[1, 2], {"1": "one"}]
    with pytest.raises(EncodeError, match=r"args\[0\]"):
        echo.delay(object())

    @eager.task
    def unserializable():
        return object()

    result = unserializable.delay()
    assert result.state == "FAILURE"
    with pytest.raises(EncodeError):
        result.get()


def test_options_and_routes_are_checked(eager):
    task = eager.task(name="checked")(lambda: 1)
    with pytest.raises(UnknownOption):
        task.apply_async(countdwon=1)
    with pytest.raises(ValueError, match="priority"):
        task.apply_async(priority=99)
    eager.conf.task_create_missing_queues = False
    with pytest.raises(QueueNotFound):
        task.apply_async(queue="nowhere")


def test_limits_eta_and_expiry_are_ignored(eager):
    task = eager.task(name="now")(lambda: "ran")
    assert task.apply_async(countdown=3600, expires=1, time_limit=1, soft_time_limit=1).get() == "ran"


def test_an_error_is_kept_unless_it_is_to_propagate(eager):
    @eager.task
    def fails():
        raise KeyError("x")

    result = fails.delay()
    assert (result.state, result.failed()) == ("FAILURE", True)
    assert "KeyError" in result.traceback
    with pytest.raises(KeyError):
        result.get()
    assert isinstance(result.get(propagate=False), KeyError)
    with pytest.raises(KeyError):
        fails.apply(throw=True)
    eager.conf.task_eager_propagates = True
    with pytest.raises(KeyError):
        fails.delay()
    assert fails.apply(throw=False).failed()


def test_retries_follow_at_once(eager):
    @eager.task(bind=True, max_retries=3)
    def flaky(self, until):
        if self.request.retries < until:
            raise self.retry(countdown=3600, exc=ValueError("again"))
        return self.request.retries

    result = flaky.delay(2)
    assert (result.get(), result.retries) == (2, 2)
    with pytest.raises(ValueError, match="again"):
        flaky.delay(9).get()


def test_automatic_retries_follow_at_once(eager):
    @eager.task(bind=True, autoretry_for=(ValueError,), retry_backoff=True)
    def flaky(self):
        if self.request.retries < 3:
            raise ValueError
        return self.request.retries

    assert flaky.delay().get() == 3


def test_hooks_are_called_as_in_a_worker(eager):
    called = []

    class Hooked(eager.Task):
        def on_success(self, retval, task_id, args, kwargs):
            called.append(("success", retval))

        def on_retry(self, exc, task_id, args, kwargs, einfo):
            called.append("retry")

        def after_return(self, status, *_):
            called.append(status)

    @eager.task(base=Hooked, bind=True)
    def work(self):
        if self.request.retries == 0:
            raise self.retry()
        return 1

    work.delay()
    assert called == ["retry", ("success", 1), "SUCCESS"]


def test_an_ignored_run_says_so(eager):
    @eager.task
    def ignored():
        raise Ignore

    assert ignored.delay().state == "IGNORED"


def test_waiting_within_an_eager_task_is_refused(eager):
    inner = eager.task(name="inner")(lambda: 1)

    @eager.task
    def outer():
        return inner.delay().get()

    with pytest.raises(RuntimeError, match="within a task"):
        outer.delay().get()


def test_results_are_stored_if_wanted(eager):
    task = eager.task(name="stored")(lambda x: 1 // x)
    task.delay(1)
    assert eager.AsyncResult(task.delay(1).id).state == "PENDING"
    eager.conf.task_store_eager_result = True
    assert eager.AsyncResult(task.delay(1).id).get(timeout=1) == 1
    assert eager.AsyncResult(task.delay(0).id).state == "FAILURE"


def test_apply_runs_in_place_without_the_setting(app):
    task = app.task(name="applied")(lambda x: x + 1)
    assert task.apply((1,)).get() == 2
    assert task.apply(kwargs={"x": 1}, task_id="given").id == "given"


def test_coroutines_run_also_inside_an_event_loop(eager):
    @eager.task
    async def later(x):
        await asyncio.sleep(0)
        return x

    async def main():
        return later.delay(2).get()

    assert later.delay(1).get() == 1
    assert asyncio.run(main()) == 2


def test_a_failing_coroutine_inside_an_event_loop_fails(eager):
    @eager.task
    async def fails():
        raise KeyError("inside")

    async def main():
        return fails.delay()

    assert asyncio.run(main()).failed()


def test_send_task_is_not_eager_and_says_so(eager, peek):
    with pytest.warns(AlwaysEagerIgnored):
        eager.send_task("anything")
    assert len(peek(eager)) == 1


def test_an_eager_result_can_be_revoked_and_forgotten(eager):
    result = eager.task(name="gone")(lambda: 1).delay()
    result.forget()
    assert result.get() == 1
    result.revoke()
    assert result.state == "REVOKED"
    with pytest.raises(TaskRevokedError):
        result.get()


def test_what_an_eager_task_sends_knows_its_parent(eager):
    seen = []

    @eager.task(bind=True)
    def child(self):
        seen.append((self.request.root_id, self.request.parent_id))

    @eager.task(bind=True)
    def parent(self):
        child.delay()

    result = parent.delay()
    assert seen == [(result.id, result.id)]
