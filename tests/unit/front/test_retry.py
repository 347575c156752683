from __future__ import annotations

import time
from datetime import datetime, timezone

import pytest

from celeriac.exceptions import MaxRetriesExceededError, Reject, Retry
from celeriac.wire.protocol2 import decode_request


def test_a_task_that_retries_runs_again_under_its_id_until_it_succeeds(app, drain):
    @app.task(bind=True)
    def third_time(self):
        if self.request.retries < 2:
            raise self.retry(countdown=0)
        return self.request.retries

    result = third_time.delay()
    assert [ended.state for ended in drain(app)] == ["RETRY", "RETRY", "SUCCESS"]
    assert result.get(timeout=1) == 2


def test_a_retry_waits_for_its_delay_and_the_state_tells_the_cause(app, drain, peek):
    @app.task(bind=True, default_retry_delay=60)
    def later(self):
        try:
            raise KeyError("cause")
        except KeyError as exc:
            raise self.retry(exc=exc)  # noqa: B904 - as users write it

    before = time.time()
    result = later.delay()
    drain(app)
    assert result.state == "RETRY"
    assert isinstance(result.info, KeyError)
    eta = decode_request(peek(app)[0]).eta
    assert before + 60 <= eta.timestamp() <= time.time() + 60


def test_eta_wins_over_countdown_and_the_default(app, drain, peek):
    moment = datetime(2099, 1, 1, tzinfo=timezone.utc)

    @app.task(bind=True)
    def later(self):
        raise self.retry(eta=moment, countdown=1)

    later.delay()
    drain(app)
    assert decode_request(peek(app)[0]).eta == moment


def test_a_retry_keeps_what_the_first_call_said(app, drain, peek):
    @app.task(bind=True, name="keeper")
    def keeper(self):
        raise self.retry(countdown=100)

    options = {
        "queue": "special",
        "priority": 7,
        "expires": 3600,
        "time_limit": 30,
        "soft_time_limit": 20,
        "headers": {"tenant": "t", "x-death": 1},
        "shadow": "alias",
        "group_id": "g",
        "group_index": 1,
        "root_id": "root",
        "parent_id": "parent",
        "ignore_result": True,
        "reply_to": "somewhere",
        "MessageGroupId": "m",
    }
    result = keeper.apply_async(**options)
    first = decode_request(peek(app, "special")[0])
    drain(app, "special")
    again = decode_request(peek(app, "special")[0])
    assert again.id == result.id
    assert again.retries == 1
    for name in [
        "queue",
        "priority",
        "expires",
        "time_limit_s",
        "soft_time_limit_s",
        "shadow",
        "group",
        "group_index",
        "root_id",
        "parent_id",
        "ignore_result",
        "reply_to",
        "origin",
        "properties",
    ]:
        assert getattr(again, name) == getattr(first, name), name
    assert again.headers == {"tenant": "t"}


def test_a_retry_may_change_arguments_and_options(app, drain, peek):
    @app.task(bind=True)
    def change(self, x, y=1):
        raise self.retry(args=(5,), kwargs={"y": 6}, countdown=100, queue="other", priority=2)

    change.delay(1)
    drain(app)
    again = decode_request(peek(app, "other")[0])
    assert (list(again.args), again.kwargs, again.priority) == ([5], {"y": 6}, 2)


def test_when_retries_are_used_up_the_cause_is_raised(app, drain):
    runs = []

    @app.task(bind=True, max_retries=2)
    def always(self):
        runs.append(self.request.retries)
        try:
            raise KeyError("cause")
        except KeyError as exc:
            raise self.retry(exc=exc, countdown=0)  # noqa: B904

    result = always.delay()
    drain(app)
    assert runs == [0, 1, 2]
    with pytest.raises(KeyError, match="cause"):
        result.get(timeout=1)


def test_without_a_cause_it_is_that_retries_are_used_up(app, drain):
    @app.task(bind=True, max_retries=0)
    def never(self):
        raise self.retry()

    result = never.delay()
    drain(app)
    with pytest.raises(MaxRetriesExceededError):
        result.get(timeout=1)


def test_max_retries_none_is_without_limit_and_a_call_may_set_its_own(app, drain):
    @app.task(bind=True, max_retries=None)
    def many(self, limit):
        if self.request.retries < 10:
            raise self.retry(countdown=0, max_retries=limit)
        return "through"

    unlimited, limited = many.delay(None), many.delay(3)
    drain(app)
    assert unlimited.get(timeout=1) == "through"
    assert isinstance(limited.get(timeout=1, propagate=False), MaxRetriesExceededError)


def test_automatic_retries_follow_for_the_named_exceptions_and_their_subclasses(app, drain):
    runs = []

    @app.task(bind=True, autoretry_for=(LookupError,), dont_autoretry_for=(IndexError,), retry_kwargs={"countdown": 0})
    def work(self, error):
        runs.append(error)
        raise {"key": KeyError, "index": IndexError, "value": ValueError}[error](error)

    results = {name: work.delay(name) for name in ("key", "index", "value")}
    drain(app)
    assert [runs.count(name) for name in ("key", "index", "value")] == [4, 1, 1]
    assert {name: result.state for name, result in results.items()} == dict.fromkeys(results, "FAILURE")
    with pytest.raises(KeyError):
        results["key"].get(timeout=1)


def test_automatic_retries_back_off(app, drain, peek):
    @app.task(autoretry_for=(ValueError,), retry_backoff=100, retry_jitter=False)
    def work():
        raise ValueError

    before = time.time()
    work.delay()
    drain(app)
    eta = decode_request(peek(app)[0]).eta
    assert before + 100 <= eta.timestamp() <= time.time() + 100


def test_retry_kwargs_may_limit_retries(app, drain):
    runs = []

    @app.task(autoretry_for=(ValueError,), retry_kwargs={"max_retries": 1, "countdown": 0})
    def work():
        runs.append(1)
        raise ValueError

    work.delay()
    drain(app)
    assert len(runs) == 2


def test_coroutines_are_retried_automatically(app, drain):
    @app.task(bind=True, autoretry_for=(ValueError,), retry_kwargs={"countdown": 0})
    async def work(self):
        if self.request.retries < 1:
            raise ValueError
        return "done"

    result = work.delay()
    drain(app)
    assert result.get(timeout=1) == "done"


def test_automatic_retry_leaves_a_retry_of_the_tasks_own_alone(app, drain):
    runs = []

    @app.task(bind=True, autoretry_for=(Exception,), max_retries=5)
    def work(self):
        runs.append(1)
        raise self.retry(countdown=0, max_retries=1)

    result = work.delay()
    drain(app)
    assert len(runs) == 2
    assert result.state == "FAILURE"


def test_a_reject_may_be_retried_automatically(app, drain):
    @app.task(bind=True, autoretry_for=(Exception,), retry_kwargs={"countdown": 0})
    def work(self):
        if self.request.retries == 0:
            raise Reject("not now")
        return "then"

    result = work.delay()
    drain(app)
    assert result.get(timeout=1) == "then"


def test_with_throw_false_the_run_ends_by_its_own_outcome_and_the_retry_follows(app, drain):
    @app.task(bind=True)
    def work(self):
        if self.request.retries == 0:
            assert isinstance(self.retry(throw=False, countdown=0), Retry)
        return self.request.retries

    work.delay()
    assert [ended.state for ended in drain(app)] == ["SUCCESS", "SUCCESS"]


def test_called_as_a_function_a_retry_raises_the_original_exception(app):
    @app.task(bind=True)
    def work(self, how):
        if how == "bare":
            raise self.retry()
        try:
            raise KeyError("original")
        except KeyError as exc:
            raise self.retry(exc=ValueError("given") if how == "given" else exc)  # noqa: B904

    with pytest.raises(KeyError):
        work("same")
    with pytest.raises(ValueError, match="given") as caught:
        work("given")
    assert isinstance(caught.value.__cause__, KeyError)
    with pytest.raises(Retry):
        work("bare")


def test_a_retry_with_a_wrong_option_is_a_failure_that_names_it(app, drain):
    @app.task(bind=True)
    def work(self):
        raise self.retry(priority=99)

    result = work.delay()
    drain(app)
    assert result.state == "FAILURE"
    assert "priority=99" in str(result.get(timeout=1, propagate=False))
