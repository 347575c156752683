from __future__ import annotations

import asyncio
import threading
from datetime import datetime, timezone

import pytest

from celeriac.model.call import RequestFields
from celeriac.model.context import (
    Context,
    Place,
    Run,
    context_for,
    context_of,
    enter_run,
    get_current_run,
    get_worker_run,
    leave_run,
)
from celeriac.model.policy import TaskPolicy
from unit.execute.sample import SampleTask

ATTRIBUTES = [
    "id",
    "task",
    "args",
    "kwargs",
    "origin",
    "retries",
    "is_eager",
    "eta",
    "expires",
    "hostname",
    "delivery_info",
    "reply_to",
    "correlation_id",
    "called_directly",
    "timelimit",
    "callbacks",
    "errbacks",
    "chain",
    "chord",
    "utc",
    "headers",
    "root_id",
    "parent_id",
    "group",
    "group_index",
    "properties",
    "loglevel",
    "logfile",
    "replaced_task_nesting",
    "stamped_headers",
    "stamps",
    "shadow",
    "ignore_result",
    "children",
    "time_limit",
    "soft_time_limit",
    "argsrepr",
    "kwargsrepr",
    "lang",
]


def received(policy=None, place=None, redelivered=False, **fields):
    fields = RequestFields(**{"id": "id-1", "task": "proj.add", "queue": "celery"} | fields)
    return context_of(fields, policy or TaskPolicy("proj.add"), place or Place("node@here"), redelivered)


@pytest.mark.parametrize("name", ATTRIBUTES)
def test_every_attribute_of_a_request_is_there_with_and_without_a_message(name):
    assert hasattr(received(), name)
    assert hasattr(Context(), name)


def test_a_plain_call_says_so_and_has_no_id():
    context = Context()
    assert context.called_directly
    assert (context.id, context.retries, context.children) == (None, 0, [])


def test_a_received_request_shows_what_the_message_said():
    eta = datetime(2030, 1, 2, tzinfo=timezone.utc)
    context = received(args=[1], kwargs={"y": 2}, eta=eta, expires=eta, retries=3, root_id="r", reply_to="me")
    assert (context.id, context.task, context.args, context.kwargs) == ("id-1", "proj.add", [1], {"y": 2})
    assert (context.eta, context.expires) == ("2030-01-02T00:00:00+00:00",) * 2
    assert (context.retries, context.root_id, context.reply_to, context.correlation_id) == (3, "r", "me", "id-1")
    assert not context.called_directly
    assert context.hostname == "node@here"


def test_delivery_info_names_queue_priority_and_whether_it_came_before():
    info = received(priority=7, redelivered=True).delivery_info
    assert info == {"exchange": "", "routing_key": "celery", "priority": 7, "redelivered": True}


def test_limits_fall_back_from_message_to_task_to_worker():
    place = Place("node", time_limit_s=30, soft_time_limit_s=20)
    policy = TaskPolicy("proj.add", time_limit_s=10)
    context = received(policy, place)
    assert (context.timelimit, context.time_limit, context.soft_time_limit) == ([None, None], 10, 20)
    context = received(policy, place, time_limit_s=5, soft_time_limit_s=0.5)
    assert (context.timelimit, context.time_limit, context.soft_time_limit) == ([5, 0.5], 5, 0.5)


def test_headers_of_the_caller_are_attributes_unless_a_name_of_ours_hides_them():
    context = received(headers={"tenant": "acme", "id": "not this"})
    assert context.tenant == "acme"
    assert context.id == "id-1"
    assert context.headers == {"tenant": "acme", "id": "not this"}


def test_an_unknown_attribute_is_an_attribute_error_that_names_it():
    with pytest.raises(AttributeError, match="'tenant'"):
        _ = received().tenant
    assert received().get("tenant", "none") == "none"


def test_attributes_can_be_set_and_cleared():
    context = Context({"id": "a"}, retries=2)
    context.update({"note": 1}, id="b")
    assert (context.id, context.retries, context.note) == ("b", 2, 1)
    context.children.append("child")
    assert context.children == ["child"]
    context.clear()
    assert (context.id, context.retries, context.children) == (None, 0, [])


def test_nested_plain_calls_see_their_own_context_and_leave_the_outer_ones():
    outer, inner = SampleTask(None, "outer"), SampleTask(None, "inner")
    outer_run = Run(outer, received(), collects=True)
    first = enter_run(outer_run)
    inner_run = Run(inner, Context(task="inner"))
    second = enter_run(inner_run)
    assert get_current_run() is inner_run
    assert get_worker_run() is outer_run
    assert context_for(inner) is inner_run.context
    assert context_for(outer) is outer_run.context
    again = enter_run(Run(outer, Context()))
    assert context_for(outer).called_directly
    leave_run(again)
    leave_run(second)
    assert context_for(inner).id is None
    leave_run(first)
    assert get_current_run() is None
    assert get_worker_run() is None
    assert context_for(outer).called_directly


def test_other_threads_are_in_no_run():
    seen = []
    token = enter_run(Run(SampleTask(None), received()))
    try:
        thread = threading.Thread(target=lambda: seen.append(get_current_run()))
        thread.start()
        thread.join(10)
    finally:
        leave_run(token)
    assert seen == [None]


def test_coroutines_running_at_once_are_each_in_their_own_run():
    async def body(name, begun, all_begun):
        run = Run(SampleTask(None, name), Context(id=name))
        token = enter_run(run)
        begun.append(name)
        if len(begun) == 3:
            all_begun.set()
        await asyncio.wait_for(all_begun.wait(), 10)
        assert get_current_run() is run
        leave_run(token)
        return name

    async def main():
        begun, all_begun = [], asyncio.Event()
        return await asyncio.gather(*(body(name, begun, all_begun) for name in "abc"))

    assert asyncio.run(main()) == ["a", "b", "c"]
