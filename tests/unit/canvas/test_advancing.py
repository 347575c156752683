"""Workflows run on a worker in the test's thread: what follows what."""

from __future__ import annotations

import asyncio
import threading

import pytest

from celeriac.canvas import chain, group, signature
from celeriac.core.engine.effects import Final
from celeriac.exceptions import CeleriacError, EncodeError, TaskRevokedError
from celeriac.model.call import Call
from celeriac.model.context import Place
from celeriac.model.message import Bury
from celeriac.result import result_from_tuple
from celeriac.wire.protocol2 import decode_request, encode_call
from celeriac.wire.records import decode_record
from celeriac.worker.env import Env, Seat
from celeriac.worker.perform import perform, perform_async


@pytest.fixture
def perform_message(app):
    """What becomes of one message, without settling it."""
    seat = Seat(Env(Place("n"), app.worker_config().results))
    yield lambda message, conclude=None: perform(app.tasks, message, seat, conclude=conclude)
    seat.close()


def test_each_step_gets_the_result_of_the_one_before(tasks, drain):
    result = (tasks.add.s(1, 2) | tasks.add.s(3) | tasks.mul.s(10)).delay()
    assert [end.state for end in drain(tasks.app)] == ["SUCCESS"] * 3
    assert tasks.seen == [("add", 1, 2), ("add", 3, 3), ("mul", 6, 10)]
    assert (result.get(), result.parent.get(), result.parent.parent.get(), result.parent.parent.parent) == (
        60,
        6,
        3,
        None,
    )


def test_an_immutable_step_ignores_the_result(tasks, drain):
    result = chain(tasks.add.s(1, 2), tasks.add.si(5, 5)).delay()
    drain(tasks.app)
    assert result.get() == 10


def test_a_step_is_sent_with_its_place_in_the_workflow(tasks, drain, peek):
    result = (tasks.add.s(1, 2) | tasks.add.s(3) | tasks.mul.s(10)).apply_async(task_id="last", priority=7)
    first = decode_request(peek(tasks.app)[0])
    assert first.priority == 7
    drained = drain(tasks.app)
    second, third = (decode_request(end.follow_ups[0]) for end in drained[:2])
    ids = [result.parent.parent.id, result.parent.id, "last"]
    assert [first.id, second.id, third.id] == ids
    assert [(each.root_id, each.parent_id) for each in (second, third)] == [(ids[0], ids[0]), (ids[0], ids[1])]
    assert third.chain == []
    assert second.reply_to == third.reply_to == first.reply_to != ""
    assert (second.priority, third.priority) == (None, None)


def test_a_failure_ends_the_chain_and_who_waits_is_told(tasks, drain):
    result = (tasks.add.s(1, 2) | tasks.fail.s() | tasks.add.s(1) | group(tasks.add.s(1), tasks.mul.s(2))).delay()
    drain(tasks.app)
    assert [name for name, *_ in tasks.seen] == ["add", "fail"]
    with pytest.raises(ValueError, match="no"):
        result.get(timeout=1)
    assert result.failed()
    assert [member.state for member in result.results] == ["FAILURE", "FAILURE"]
    assert "raise ValueError" in result.results[0].traceback
    assert result.parent.state == "FAILURE"
    assert result.parent.parent.parent.get() == 3


def test_error_callbacks_of_a_chain_run_once_with_the_failed_id(tasks, drain):
    work = chain(tasks.add.s(1, 2), tasks.fail.s(), tasks.add.s(1))
    work.link_error(tasks.on_error.s())
    work.link_error(tasks.on_error3.s())
    result = work.delay()
    drain(tasks.app)
    failed = result.parent.id
    assert tasks.seen[2:] == [
        ("on_error3", failed, "ValueError('no', 3)", "ValueError: ('no', 3)"),
        ("on_error", failed),
    ]


def test_an_error_callback_that_is_sent_is_a_group_with_the_failed_task_as_parent(tasks, drain):
    result = tasks.fail.apply_async(link_error=tasks.on_error.s())
    failed, errback = drain(tasks.app)
    request = decode_request(failed.follow_ups[0])
    assert (request.args, request.parent_id, request.root_id) == ([result.id], result.id, result.id)
    assert request.group
    assert request.group_index == 0
    assert errback.state == "SUCCESS"


def test_error_callbacks_that_are_bound_or_unknown_are_sent(app, tasks, drain):
    @app.task(bind=True)
    def bound(self, failed_id, more):
        tasks.seen.append(("bound", failed_id, more))

    result = tasks.fail.apply_async(link_error=[bound.s("more"), signature("elsewhere")])
    assert [end.state for end in drain(app)] == ["FAILURE", "SUCCESS", "REJECTED"]
    assert ("bound", result.id, "more") in tasks.seen


def test_an_error_callback_that_fails_changes_nothing(app, tasks, drain, caplog):
    @app.task
    def clumsy(request, exc, traceback):
        raise KeyError("clumsy")

    result = tasks.fail.apply_async(link_error=[clumsy.s(), tasks.on_error3.s()])
    drain(app)
    with pytest.raises(ValueError, match="no"):
        result.get(timeout=1)
    assert [name for name, *_ in tasks.seen] == ["fail", "on_error3"]
    assert "its error callback" in caplog.text


def test_an_error_callback_may_be_a_coroutine_function(app, tasks, drain):
    @app.task
    async def on_error(request, exc, traceback):
        tasks.seen.append(("async", request.id))

    result = tasks.fail.apply_async(link_error=on_error.s())
    drain(app)
    assert tasks.seen[-1] == ("async", result.id)


def test_an_error_callback_of_a_coroutine_does_not_hold_up_the_loop(app, tasks, peek):
    begun, release = threading.Event(), threading.Event()

    @app.task
    async def fails():
        raise ValueError("no")

    @app.task
    def on_error(request, exc, traceback):
        begun.set()
        tasks.seen.append((request.id, release.wait(10)))

    @app.task
    async def later(request, exc, traceback):
        tasks.seen.append((request.id, await asyncio.sleep(0, "later")))

    result = fails.apply_async(link_error=[on_error.s(), later.s(), tasks.on_error.s()])

    async def main():
        seat = Seat(Env(Place("n"), app.worker_config().results))
        performing = asyncio.ensure_future(perform_async(app.tasks, peek(app)[0], seat))
        assert await asyncio.to_thread(begun.wait, 10)
        performing.cancel()  # as one who ends all tasks of the loop does
        await asyncio.sleep(0.01)
        release.set()
        ended = await performing
        seat.close()
        return ended

    ended = asyncio.run(main())
    assert tasks.seen == [(result.id, True), (result.id, "later")]
    assert (ended.state, [message.task for message in ended.follow_ups]) == ("FAILURE", ["t.on_error"])


def test_a_callback_gets_the_result_in_front_of_its_own_arguments(tasks, drain):
    result = tasks.add.apply_async((2, 2), link=tasks.mul.s(10))
    drain(tasks.app)
    assert tasks.seen == [("add", 2, 2), ("mul", 4, 10)]
    (child,) = result.children
    assert child.get() == 40


def test_several_callbacks_leave_as_one_group_and_groups_of_their_own(tasks, drain):
    many = group(tasks.mul.s(3), tasks.mul.s(4))
    result = tasks.add.apply_async((1, 1), link=[tasks.mul.s(2), many, tasks.keep.si("told")])
    first = drain(tasks.app)[0]
    sent = [decode_request(message) for message in first.follow_ups]
    groups = {}
    for request in sent:
        groups.setdefault(request.group, []).append((request.task, request.group_index))
    assert sorted(groups.values()) == [[("t.mul", 0), ("t.keep", 1)], [("t.mul", 0), ("t.mul", 1)]]
    assert {request.parent_id for request in sent} == {result.id}
    assert sorted(child.id for child in result.children) == sorted(groups)


def test_callbacks_run_when_the_result_is_ignored(tasks, drain):
    tasks.keep.apply_async((5,), link=tasks.add.s(1))
    drain(tasks.app)
    assert tasks.seen == [("keep", 5), ("add", 5, 1)]


def test_callbacks_do_not_run_after_a_failure_nor_error_callbacks_after_a_success(tasks, drain):
    tasks.fail.apply_async(link=tasks.add.s(1))
    tasks.add.apply_async((1, 1), link_error=tasks.on_error.s())
    drain(tasks.app)
    assert sorted(name for name, *_ in tasks.seen) == ["add", "fail"]


def test_a_group_after_a_task_gives_each_member_the_result(tasks, drain):
    result = (tasks.add.s(1, 1) | group(tasks.add.s(1), tasks.mul.s(5), tasks.add.si(0, 0))).delay()
    drain(tasks.app)
    assert result.get(timeout=1) == [3, 10, 0]
    assert result.parent.get() == 2
    (child,) = result.parent.children
    assert child.id == result.id
    assert [member.id for member in child.results] == [member.id for member in result.results]


def test_a_retry_keeps_callbacks_chain_and_place(app, tasks, drain):
    @app.task(bind=True, max_retries=3)
    def flaky(self, x):
        tasks.seen.append(("flaky", self.request.retries))
        if self.request.retries < 2:
            raise self.retry(countdown=0)
        return x

    result = (flaky.s(1) | tasks.add.s(1)).apply_async(link=tasks.mul.s(2), link_error=tasks.on_error.s())
    drain(app)
    assert tasks.seen == [("flaky", 0), ("flaky", 1), ("flaky", 2), ("add", 1, 1), ("mul", 2, 2)]
    assert result.get() == 2


def test_a_retry_beside_a_result_carries_the_workflow_on_alone(app, tasks, drain):
    @app.task(bind=True)
    def twice(self, x):
        if self.request.retries == 0:
            self.retry(countdown=0, throw=False)
        return x

    (twice.s(1) | tasks.add.s(1)).delay()
    drain(app)
    assert tasks.seen == [("add", 1, 1)]


def hooked(app, tasks, hook):
    """A task that fails at first, and whose hook asks for a repetition then."""

    @app.task(bind=True, name=f"t.{hook}", **{hook: lambda self, *_: self.request.retries or again(self)})
    def hooked(self, x):
        tasks.seen.append(("hooked", self.request.retries))
        if not self.request.retries:
            raise ValueError("not yet")
        return x

    def again(task):
        task.retry(countdown=0, throw=False)

    return hooked


@pytest.mark.parametrize("hook", ["on_failure", "after_return"])
def test_a_retry_that_a_hook_asks_for_carries_the_workflow_on(app, tasks, peek, drain, perform_message, hook):
    work = chain(hooked(app, tasks, hook).s(1), tasks.add.s(1))
    work.link_error(tasks.on_error3.s())
    result = work.delay()
    failed = perform_message(peek(app)[0])
    assert [record.id for record in failed.records] == [result.parent.id]
    assert [message.id for message in failed.follow_ups] == [result.parent.id]
    tasks.seen.clear()
    drain(app)
    assert tasks.seen == [("hooked", 0), ("hooked", 1), ("add", 1, 1)]
    assert result.get() == 2


def test_a_hook_that_asks_for_a_retry_of_a_lost_run_gets_it(app, tasks, peek, perform_message):
    work = chain(hooked(app, tasks, "on_failure").s(1), tasks.add.s(1))
    result = work.apply_async(link_error=tasks.on_error.s())
    told = perform_message(peek(app)[0], Final("FAILURE", "WorkerLostError", ("gone",)))
    assert ([record.id for record in told.records], told.state) == ([result.parent.id], "FAILURE")
    assert [(message.id, message.task) for message in told.follow_ups] == [(result.parent.id, "t.on_failure")]


def test_a_coroutine_whose_hook_asks_for_a_retry_carries_its_workflow_on(app, tasks, peek):
    @app.task(bind=True, on_failure=lambda self, *_: self.retry(countdown=0, throw=False))
    async def fails(self):
        raise ValueError("not yet")

    result = (fails.s() | tasks.add.s(1)).apply_async(link_error=tasks.on_error3.s())

    async def main():
        seat = Seat(Env(Place("n"), app.worker_config().results))
        ended = await perform_async(app.tasks, peek(app)[0], seat)
        seat.close()
        return ended

    ended = asyncio.run(main())
    assert [record.id for record in ended.records] == [result.parent.id]
    assert [message.id for message in ended.follow_ups] == [result.parent.id]
    assert tasks.seen == []


def test_a_retry_of_a_hook_is_run_in_place_too(app, tasks):
    app.conf.task_always_eager = True
    result = (hooked(app, tasks, "on_failure").s(1) | tasks.add.s(1)).apply_async(link_error=tasks.on_error3.s())
    assert result.get() == 2
    assert tasks.seen == [("hooked", 0), ("hooked", 1), ("add", 1, 1)]


def test_what_follows_but_cannot_be_sent_fails_the_task(app, tasks, drain):
    app.conf.task_queues = ["celery"]
    app.conf.task_create_missing_queues = False
    result = (tasks.add.s(1, 1) | tasks.add.s(1).set(queue="nowhere") | tasks.mul.s(2)).delay()
    done = drain(app)
    assert [end.state for end in done] == ["FAILURE"]
    for handle in (result, result.parent, result.parent.parent):
        with pytest.raises(CeleriacError, match=r"t\.add, which follows, cannot be sent: .*nowhere"):
            handle.get(timeout=1)


def test_a_result_that_the_next_step_cannot_be_sent_with_fails_the_task_by_name(app, tasks, drain):
    @app.task(ignore_result=True)
    def odd():
        return object()

    result = (odd.s() | tasks.keep.s()).apply_async(link_error=tasks.on_error.s())
    drain(app)
    with pytest.raises(EncodeError, match=r"t\.keep, which follows, cannot be sent: .*object of type object"):
        app.AsyncResult(result.id).get(timeout=1)
    assert tasks.seen == [("on_error", result.parent.id)]


def test_what_follows_a_result_that_cannot_be_told_is_taken_back(app, tasks, drain):
    @app.task
    def odd():
        return object()

    result = odd.apply_async(link=[tasks.add.si(1, 1), tasks.add.si(2, 2)], link_error=tasks.on_error.s())
    drain(app)
    with pytest.raises(EncodeError, match="object of type object"):
        result.get(timeout=1)
    assert result.children == []
    assert tasks.seen == [("on_error", result.id)]


def test_results_in_results_travel_on_as_tuples(app, tasks, drain):
    @app.task
    def spawn():
        return tasks.add.delay(1, 1)

    (spawn.s() | tasks.keep.s()).delay()
    drain(app)
    assert tasks.seen[-1][1][1] is None


def test_ids_of_what_follows_are_the_same_when_a_run_is_repeated(tasks, peek, perform_message):

    tasks.add.apply_async((1, 1), link=[tasks.mul.s(2), tasks.mul.s(3), group(tasks.mul.s(4), tasks.mul.s(5))])
    message = peek(tasks.app)[0]
    runs = [perform_message(message) for _ in range(2)]
    ids = [[each.id for each in run.follow_ups] for run in runs]
    assert ids[0] == ids[1]
    assert len(set(ids[0])) == 4
    groups = [[decode_request(each).group for each in run.follow_ups] for run in runs]
    assert groups[0] == groups[1]


def test_a_message_that_belongs_to_a_chord_is_not_run_and_its_chain_told(app, tasks, drain):
    body = {"task": "t.add", "args": [], "kwargs": {}, "options": {"task_id": "b"}, "subtask_type": None}
    chord = {"task": "celery.chord", "subtask_type": "chord", "kwargs": {"header": [], "body": body}, "options": {}}
    app.sender.broker().publish([encode_call(Call(id="x", task="t.add", queue="celery", args=(1, 1), chain=[chord]))])
    (end,) = drain(app)
    assert (end.state, type(end.verdict)) == ("FAILURE", Bury)
    for task_id in ("x", "b"):
        with pytest.raises(CeleriacError, match="chords come in a later release"):
            app.AsyncResult(task_id).get(timeout=1)
    assert tasks.seen == []


def test_a_task_may_send_return_and_lead_to_long_chains(app, tasks, peek, perform_message):
    def long():
        return chain(tasks.add.s(0, 0), *(tasks.add.s(1) for _ in range(700)))

    @app.task
    def sends():
        return group(long(), long()).delay()

    sends.apply_async(link=group(long(), long()))
    ended = perform_message(peek(app)[0])
    assert ended.state == "SUCCESS"
    meta = decode_record(ended.records[0])
    handles = [result_from_tuple(told, app) for told in (meta.result, *meta.children)]
    assert handles[0].id == handles[1].id
    assert [len(member.as_list()) > 100 for handle in handles for member in handle.results] == [True] * 6


ODD = [[], ["chain"], {}, {"x": 1}, 0, -1, 1.5, True, "", "chain", "group", None]
"""Values where others are expected, as JSON can carry them."""


@pytest.mark.parametrize("field", ["callbacks", "errbacks", "chain"])
@pytest.mark.parametrize("part", ["task", "args", "kwargs", "options", "subtask_type", "immutable", "tasks", "task_id"])
@pytest.mark.parametrize("conclude", [None, Final("FAILURE", "WorkerLostError", ("gone",))])
def test_what_follows_may_be_of_any_shape_and_harms_nobody_but_its_task(tasks, perform_message, field, part, conclude):
    for odd in ODD:
        follower: dict[str, object] = {"task": "t.add", "args": [], "kwargs": {}, "options": {}, "subtask_type": None}
        if part == "tasks":
            follower.update(subtask_type="chain", kwargs={"tasks": odd})
        elif part == "task_id":
            names = ("task_id", "group_id", "stamped_headers", "link", "link_error", "retries", "chain", "headers")
            follower["options"] = dict.fromkeys(names, odd)
        else:
            follower[part] = odd
        call = Call(id="x", task="t.add", queue="celery", args=(1, 1), **{field: [follower]})
        ended = perform_message(encode_call(call), conclude)
        assert ended.state in ("SUCCESS", "FAILURE")
        assert conclude is None or ended.state == conclude.state


def test_a_task_whose_callback_is_of_no_known_type_is_not_run(tasks, perform_message):
    callback = {"task": "t.add", "args": [], "kwargs": {}, "options": {}, "subtask_type": ["chain"]}
    ended = perform_message(encode_call(Call(id="x", task="t.add", queue="celery", args=(1, 1), callbacks=[callback])))
    assert (ended.state, type(ended.verdict)) == ("FAILURE", Bury)
    assert "not run: a signature has the unknown type" in ended.verdict.reason
    assert tasks.seen == []


def test_a_task_that_was_cancelled_or_expired_revokes_what_follows(app, tasks, peek, perform_message):

    result = (tasks.add.s(1, 1) | tasks.add.s(1) | group(tasks.mul.s(1), tasks.mul.s(2))).apply_async(
        link_error=tasks.on_error3.s()
    )
    (message,) = peek(app)
    ended = perform_message(message, Final("REVOKED", "TaskRevokedError", ("expired",)))
    metas = {record.id: decode_record(record) for record in ended.records}
    members = [member.id for member in result.results]
    assert list(metas) == [message.id, *members, result.parent.id]
    assert {meta.status for meta in metas.values()} == {"REVOKED"}
    assert all(isinstance(meta.result, TaskRevokedError) for meta in metas.values())
    assert ended.follow_ups == ()
    assert tasks.seen == []


def test_an_unregistered_task_that_has_failed_for_good_has_its_error_callbacks(app, tasks, peek, perform_message):

    chain(signature("elsewhere", app=app), tasks.add.s(1)).apply_async(link_error=tasks.on_error.s())
    (message,) = peek(app)
    ended = perform_message(message, Final("FAILURE", "NotRegistered", ("elsewhere",)))
    assert [message.task for message in ended.follow_ups] == ["t.on_error"]
    assert [record.state for record in ended.records] == ["FAILURE", "FAILURE"]
