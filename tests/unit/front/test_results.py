from __future__ import annotations

import asyncio
import pickle
import queue
import threading
import time
from datetime import datetime, timezone

import pytest

from celeriac import AsyncResult, Celeriac
from celeriac.control.words import decode_request
from celeriac.exceptions import TaskError, TaskRevokedError, TimeoutError  # noqa: A004 - the public name
from celeriac.model.context import Place
from celeriac.model.message import Settlement
from celeriac.result import allow_join_result, result_from_tuple
from celeriac.worker.env import Env, Seat
from celeriac.worker.perform import perform


class OwnError(Exception):
    pass


class Leaving(BaseException):
    pass


@pytest.fixture
def div(app: Celeriac):
    @app.task
    def div(x, y):
        if y == 0:
            raise OwnError("zero", x)
        return x / y

    return div


def test_a_result_goes_from_pending_to_success(app, div, drain):
    result = div.delay(4, 2)
    assert (result.state, result.ready(), result.result, result.exists()) == ("PENDING", False, None, False)
    drain(app)
    assert (result.state, result.status, result.ready(), result.successful(), result.failed()) == (
        "SUCCESS",
        "SUCCESS",
        True,
        True,
        False,
    )
    assert result.get(timeout=1) == result.wait() == result.result == result.info == 2
    assert abs((datetime.now(timezone.utc) - result.date_done).total_seconds()) < 60
    assert result.name == div.name


def test_a_failed_task_raises_its_own_exception_with_the_workers_traceback(app, div, drain):
    result = div.delay(4, 0)
    drain(app)
    assert (result.state, result.failed(), result.successful()) == ("FAILURE", True, False)
    with pytest.raises(OwnError) as caught:
        result.get(timeout=1)
    assert caught.value.args == ("zero", 4)
    assert 'raise OwnError("zero", x)' in str(caught.value.__cause__)
    assert "OwnError" in result.traceback
    with pytest.raises(OwnError):
        result.maybe_throw()
    assert isinstance(result.get(timeout=1, propagate=False), OwnError)
    assert isinstance(result.maybe_throw(propagate=False), OwnError)


@pytest.mark.parametrize("kind", [asyncio.CancelledError, GeneratorExit, Leaving])
def test_what_is_no_exception_is_raised_as_the_cause_of_one(app, drain, kind):
    @app.task
    def leave():
        raise kind("off")

    result = leave.delay()
    drain(app)
    for look in (lambda: result.get(timeout=1), result.maybe_throw, lambda: asyncio.run(result.aget(timeout=1))):
        with pytest.raises(TaskError, match=rf"{kind.__name__}\('off'\)") as caught:
            look()
        assert type(caught.value.__cause__) is kind
        assert "raise kind" in str(caught.value.__cause__.__cause__)
    assert type(result.get(timeout=1, propagate=False)) is type(result.result) is kind
    told: queue.Queue[BaseException] = queue.Queue()
    result.then(print, told.put)
    assert type(told.get(timeout=10)) is TaskError


def test_an_unknown_id_is_pending_and_times_out_with_id_and_state(app):
    result = app.AsyncResult("unknown")
    assert result.state == "PENDING"
    assert result.maybe_throw() is None
    with pytest.raises(TimeoutError, match=r"no result of unknown after 0.01 s; its state is PENDING"):
        result.get(timeout=0.01)
    with pytest.raises(AsyncResult.TimeoutError):
        result.get(timeout=0)


def test_get_wakes_when_the_result_arrives(app, div, drain):
    result = div.delay(6, 2)
    got = []
    waiting = threading.Thread(target=lambda: got.append(result.get(timeout=20)))
    waiting.start()
    drain(app)
    waiting.join(timeout=20)
    assert got == [3]


def test_get_tells_each_state_on_the_way(app, drain):
    seen = []

    @app.task(bind=True)
    def slow(self):
        self.update_state(state="PROGRESS", meta={"done": 1})
        deadline = time.monotonic() + 10
        while len(seen) < 1 and time.monotonic() < deadline:
            time.sleep(0.002)
        return "end"

    result = slow.delay()
    got = []
    told = lambda message: seen.append((message["status"], message["result"]))  # noqa: E731
    waiting = threading.Thread(target=lambda: got.append(result.get(timeout=20, on_message=told)))
    waiting.start()
    drain(app)
    waiting.join(timeout=20)
    assert got == ["end"]
    assert seen == [("PROGRESS", {"done": 1}), ("SUCCESS", "end")]


def test_callback_and_interval_are_called(app, div, drain):
    result = div.delay(6, 2)
    calls = []

    def tick():
        if not calls:
            drain(app)
        calls.append("tick")

    assert result.get(timeout=10, interval=0.01, on_interval=tick, callback=lambda *got: calls.append(got)) == 3
    assert calls[0] == "tick"
    assert calls[-1] == (result.id, 3)


def test_an_ignored_result_is_none_at_once_and_stays_pending(app, drain):
    @app.task(ignore_result=True)
    def silent():
        return 5

    @app.task
    def loud():
        return 5

    for result in (silent.delay(), loud.apply_async(ignore_result=True)):
        assert result.get(timeout=5) is None
        drain(app)
        assert result.state == "PENDING"
    kept = silent.apply_async(ignore_result=False)
    drain(app)
    assert kept.get(timeout=5) == 5


def test_forget_deletes_the_record(app, div, drain):
    result = div.delay(1, 1)
    drain(app)
    assert result.get(timeout=1) == 1
    result.forget()
    assert result.state == "PENDING"


def test_waiting_within_a_task_is_refused_unless_allowed(app, div, drain):
    errors = []

    @app.task
    def waits(how):
        other = div.delay(2, 1)
        try:
            if how == "plain":
                other.get(timeout=0.01)
            elif how == "option":
                other.get(timeout=0.01, disable_sync_subtasks=False)
            else:
                with allow_join_result():
                    other.get(timeout=0.01)
        except (RuntimeError, TimeoutError) as exc:
            errors.append(type(exc).__name__)

    for how in ("plain", "option", "context"):
        waits.delay(how)
    drain(app)
    assert errors == ["RuntimeError", "TimeoutError", "TimeoutError"]


def test_a_revoked_task_does_not_run_and_its_result_says_so(app, drain):
    ran = []
    app.task(name="never")(lambda: ran.append(1))
    result = app.tasks["never"].delay()
    ear = app.sender.broker().subscribe(["control"])
    result.revoke(terminate=True, signal="SIGKILL")
    assert result.state == "REVOKED"
    with pytest.raises(TaskRevokedError, match="revoked"):
        result.get(timeout=1)
    assert isinstance(result.get(timeout=1, propagate=False), TaskRevokedError)
    heard = ear.receive(5)
    ear.close()
    said = decode_request(heard[0][1])
    expected = {"task_id": [result.id], "terminate": True, "signal": "SIGKILL", "stored": True}
    assert (said.command, dict(said.arguments)) == ("revoke", expected)
    assert app.sender.broker().take(["celery"], 1, 0)[0].cancelled


def test_a_revoke_does_not_undo_a_success_and_works_for_ids_no_one_knows(app, div, drain):
    result = div.delay(1, 1)
    drain(app)
    app.revoke([result.id, "never-sent"])
    assert app.AsyncResult(result.id).state == "SUCCESS"
    assert app.AsyncResult("never-sent").state == "REVOKED"


def test_what_a_node_has_when_it_is_revoked_ends_as_the_node_says(app, div, drain):
    held, waiting, delayed = div.delay(6, 2), div.delay(1, 1), div.apply_async((1, 1), countdown=3600)
    node = app.make_broker()
    node.open()
    (delivery,) = node.take(["celery"], 1, 0)
    assert delivery.message.id == held.id
    app.revoke([held.id, waiting.id, delayed.id])
    assert [each.state for each in (held, waiting, delayed)] == ["PENDING", "REVOKED", "REVOKED"]
    seat = Seat(Env(Place("n"), app.worker_config().results))
    ended = perform(app.tasks, delivery.message, seat)
    seat.close()
    node.settle([Settlement(delivery.receipt, ended.verdict, ended.records)])
    node.close()
    assert held.get(timeout=1) == 3


def test_handles_of_one_id_are_equal_and_survive_pickling(app, div):
    result = div.delay(1, 1)
    same = app.AsyncResult(result.id)
    assert result == same == result.id
    assert hash(result) == hash(same)
    assert {result: 1}[same] == 1
    assert result != app.AsyncResult("other")
    assert str(result) == result.id == result.task_id
    assert pickle.loads(pickle.dumps(result)) == result
    assert repr(result) == f"<AsyncResult: {result.id}>"


def test_a_handle_needs_an_id():
    for wrong in (None, "", 5):
        with pytest.raises(ValueError, match="needs the id"):
            AsyncResult(wrong)


def test_a_handle_has_a_form_that_can_be_serialized(app):
    parent = app.AsyncResult("p")
    child = AsyncResult("c", app=app, parent=parent)
    assert child.as_tuple() == (("c", (("p", None), None)), None)
    again = result_from_tuple(child.as_tuple(), app)
    assert (again, again.parent) == (child, parent)
    assert child.as_list() == ["c", "p"]


def test_extended_results_tell_name_arguments_and_place(app, div, drain):
    app.conf.result_extended = True
    result = div.delay(4, 2)
    drain(app)
    fresh = app.AsyncResult(result.id)
    assert (fresh.name, fresh.args, fresh.kwargs, fresh.worker, fresh.retries, fresh.queue) == (
        div.name,
        [4, 2],
        {},
        "celery@test",
        0,
        "celery",
    )


def test_a_returned_handle_is_stored_as_its_tuple(app, div, drain):
    @app.task
    def starts():
        return div.delay(4, 2)

    result = starts.delay()
    drain(app)
    inner = result_from_tuple(result.get(timeout=1), app)
    assert inner.get(timeout=1) == 2


def test_without_a_backend_results_say_what_to_do():
    app = Celeriac("disabled", broker="memory://disabled", backend="disabled", set_as_current=False)
    result = app.task(name="x")(lambda: 1).delay()
    with pytest.raises(NotImplementedError, match="set result_backend"):
        result.get(timeout=1)
    result.revoke()
    app.close()


def test_update_state_needs_a_state_and_an_id(app):
    @app.task(bind=True)
    def me(self): ...

    with pytest.raises(RuntimeError, match="needs a task_id"):
        me.update_state(state="X")
    with pytest.raises(TypeError, match="needs a state"):
        me.update_state("some-id")
    me.update_state("some-id", "X", {"a": 1})
    assert (app.AsyncResult("some-id").state, app.AsyncResult("some-id").info) == ("X", {"a": 1})


def test_pickled_results_are_refused_unless_accepted(app, div, drain):
    app.conf.result_serializer = "pickle"
    result = div.delay(4, 2)
    drain(app)
    with pytest.raises(Exception, match="accept_content"):
        _ = result.state
    app.conf.result_accept_content = ["pickle"]
    assert result.get(timeout=1) == 2


def test_states_on_the_way_do_not_end_a_wait(app, div, drain):
    result = div.delay(6, 2)
    got = []
    waiting = threading.Thread(target=lambda: got.append(result.get(timeout=20)))
    waiting.start()
    for done in range(5):
        app.store_state(result.id, "PROGRESS", {"done": done})
    assert got == []
    drain(app)
    waiting.join(timeout=20)
    assert got == [3]
