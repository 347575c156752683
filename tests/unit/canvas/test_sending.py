"""What leaves when a workflow is sent."""

from __future__ import annotations

import asyncio
import json
import pickle

import pytest

from celeriac import AsyncResult
from celeriac.canvas import chain, group, signature
from celeriac.canvas.sending import long_chains
from celeriac.exceptions import CeleriacWarning, EncodeError, TimeoutError  # noqa: A004 - the public name
from celeriac.result import GroupResult, result_from_tuple
from celeriac.wire.protocol2 import decode_request


def test_a_call_of_a_signature_runs_here(tasks):
    assert tasks.add.s(2)(1) == 3
    assert tasks.add.si(2, 2)(1) == 4


def test_a_signature_is_sent_with_its_options_and_those_of_the_call(tasks, peek):
    result = tasks.add.signature((2,), {}, headers={"a": 1}).apply_async((1,), task_id="mine", expires=60)
    (request,) = map(decode_request, peek(tasks.app))
    assert isinstance(result, AsyncResult)
    assert (request.id, request.args, request.headers) == ("mine", [1, 2], {"a": 1})
    assert request.expires is not None


def test_a_later_answer_to_the_same_question_holds(tasks, peek):
    tasks.add.s(1, 1).set(countdown=3600, queue="a").apply_async(eta=tasks.app.now(), routing_key="b")
    (request,) = map(decode_request, peek(tasks.app, "b"))
    assert request.eta <= tasks.app.now()


def test_the_result_of_a_long_chain_needs_no_deep_stack(tasks, drain):
    work = chain(tasks.add.s(0, 0), *(tasks.add.s(1) for _ in range(400)))
    result = work.delay()
    assert result.get(timeout=1) == 400 if drain(tasks.app) else None
    failed = chain(tasks.fail.s(), *(tasks.add.s(1) for _ in range(1500))).delay()
    drain(tasks.app)
    with pytest.raises(ValueError, match="no"):
        failed.get(timeout=1)


def test_the_cost_of_a_long_chain_is_said_once_where_it_is_sent(tasks, peek, monkeypatch):
    monkeypatch.setattr(long_chains, "is_on", True)

    def work(steps):
        return chain(tasks.add.s(0, 0), *(tasks.add.s(1) for _ in range(steps - 1)))

    work(200).delay()
    with pytest.warns(CeleriacWarning, match="a chain of 201 steps: .* the cost grows") as caught:
        group(tasks.add.s(1, 1), work(201)).delay()
    assert [warning.filename for warning in caught] == [__file__]
    work(300).delay()
    assert len(peek(tasks.app)) == 4


def test_handles_of_a_long_chain_need_no_deep_stack(tasks, drain):
    steps = 1500
    result = chain(tasks.add.s(0, 0), *(tasks.add.s(1) for _ in range(steps))).delay()
    ids = [result.id, *(parent.id for parent in result.parents())]
    assert result.as_list() == ids
    assert len(ids) == steps + 1
    again = pickle.loads(pickle.dumps(result))
    assert again.as_list() == ids
    assert (again.task_name, type(again)) == (result.task_name, AsyncResult)
    told = result_from_tuple(json.loads(json.dumps(result.as_tuple())), tasks.app)
    assert told.as_list() == ids[: len(told.as_list())]
    assert len(told.as_list()) > 100
    tasks.app.store_state(ids[-1], "SUCCESS", 0)
    tasks.app.store_state(ids[0], "SUCCESS", 0)
    result.forget()
    assert (result.state, tasks.app.AsyncResult(ids[-1]).state) == ("PENDING", "PENDING")


def test_what_fails_before_a_group_is_raised_for_it(tasks, drain):
    first = tasks.add.delay(1, 1)
    waiting = GroupResult("g", [tasks.app.AsyncResult("never-told")], parent=first, app=tasks.app)
    tasks.app.store_state(first.id, "FAILURE", ValueError("before"))
    with pytest.raises(ValueError, match="before"):
        waiting.get(timeout=5)
    with pytest.raises(ValueError, match="before"):
        asyncio.run(waiting.aget(timeout=5))
    for follow in ({"follow_parents": False}, {"propagate": False}):
        with pytest.raises(TimeoutError):
            waiting.get(timeout=0.05, **follow)
        with pytest.raises(TimeoutError):
            asyncio.run(waiting.aget(timeout=0.05, **follow))


def test_a_group_is_there_when_its_members_are_whatever_is_known_of_what_was_before(tasks, drain):
    member = tasks.add.delay(1, 1)
    drain(tasks.app)
    seen = []
    before = tasks.app.AsyncResult("forgotten")
    for wait in (lambda group: group.get(timeout=5, on_message=seen.append), lambda group: asyncio.run(group.aget(5))):
        assert wait(GroupResult("g", [tasks.app.AsyncResult(member.id)], parent=before, app=tasks.app)) == [2]
    assert [message["task_id"] for message in seen] == [member.id]


def test_a_workflow_that_lies_in_a_batch_is_not_waited_for(tasks):
    with tasks.app.batch():
        for work in ((tasks.add.s(1, 1) | tasks.add.s(1)), (tasks.add.s(1, 1) | group(tasks.add.s(1), tasks.mul.s(1)))):
            result = work.delay()
            with pytest.raises(RuntimeError, match="has not been sent"):
                result.get(timeout=5)


def test_names_that_nobody_knows_here_can_be_part_of_a_workflow(app, peek):
    chain(signature("there.one", (1,)), signature("there.two")).delay()
    group(app.signature("there.three"), app.signature("there.four")).delay()
    assert [message.task for message in peek(app)] == ["there.one", "there.three", "there.four"]


def test_an_empty_chain_does_nothing(tasks, peek):
    assert chain(app=tasks.app).apply_async() is None
    assert chain(app=tasks.app)() is None
    assert chain(app=tasks.app).apply() is None
    assert peek(tasks.app) == []


def test_a_chain_of_one_is_that_task(tasks, drain):
    result = chain(tasks.add.s(1, 1)).apply_async(task_id="one")
    drain(tasks.app)
    assert (result.id, result.get(), result.parent) == ("one", 2, None)


def test_a_chain_of_one_group_is_that_group(tasks, drain):
    result = chain(group(tasks.add.s(1, 1), tasks.add.s(2, 2))).delay()
    drain(tasks.app)
    assert isinstance(result, GroupResult)
    assert result.get() == [2, 4]


def test_options_of_a_chain_are_for_its_first_task_and_the_id_for_its_last(tasks, peek):
    work = chain(tasks.add.s(1, 1), tasks.add.s(2))
    result = work.apply_async(queue="other", countdown=10, priority=3, task_id="last", link=tasks.keep.s())
    (request,) = map(decode_request, peek(tasks.app, "other"))
    assert (request.queue, request.priority, request.callbacks) == ("other", 3, None)
    assert request.eta is not None
    (step,) = request.chain
    assert step["options"].keys() == {"task_id", "reply_to", "link"}
    assert step["options"]["task_id"] == result.id == "last"


def test_arguments_of_a_chain_are_for_its_first_task(tasks, drain):
    assert chain(tasks.add.s(1), tasks.mul.s(3)).delay(5).id
    drain(tasks.app)
    assert tasks.seen == [("add", 5, 1), ("mul", 6, 3)]


def test_a_group_is_one_publish_in_order_with_places(tasks, peek):
    published = []
    broker = tasks.app.sender.broker()
    publish = broker.publish
    broker.publish = lambda messages: published.append(len(messages)) or publish(messages)
    result = group(tasks.add.s(i, i) for i in range(4)).apply_async(task_id="g", queue="q")
    requests = [decode_request(message) for message in peek(tasks.app, "q")]
    assert published == [4]
    assert [(request.group, request.group_index) for request in requests] == [("g", i) for i in range(4)]
    assert [request.id for request in requests] == [member.id for member in result.results]
    assert result.id == "g"
    assert all(request.root_id == request.id for request in requests)


def test_groups_in_groups_are_one_flat_group(tasks, drain, peek):
    inner = group(tasks.add.s(1, 1), group(tasks.add.s(2, 2), group())).set(priority=2)
    result = group(tasks.add.s(0, 0), inner, chain(group(tasks.add.s(3, 3), tasks.add.s(4, 4)))).delay()
    requests = [decode_request(message) for message in peek(tasks.app)]
    assert sorted(request.group_index for request in requests) == [0, 1, 2, 3, 4]
    assert {request.group for request in requests} == {result.id}
    drain(tasks.app)
    assert result.get() == [0, 2, 4, 6, 8]


def test_a_chain_in_a_group_has_its_place_on_its_last_task(tasks, drain):
    result = group(chain(tasks.add.s(1, 1), tasks.mul.s(10)), tasks.add.s(2, 2)).delay()
    first, *_ = drain(tasks.app)
    step = decode_request(first.follow_ups[0])
    assert (step.group, step.group_index) == (result.id, 0)
    assert result.get() == [20, 4]
    assert result.results[0].parent.get() == 2


def test_a_chain_that_ends_in_a_group_gives_a_group_in_the_group(tasks, drain):
    result = group(chain(tasks.add.s(1, 1), group(tasks.add.s(1), tasks.add.s(2))), tasks.add.s(0, 0)).delay()
    drain(tasks.app)
    assert [type(member) for member in result.results] == [GroupResult, AsyncResult]
    assert result.get() == [[3, 4], 0]


def test_an_empty_group_is_ready_and_successful(app, peek):
    for empty in (group(), group([]), group(group(), chain())):
        result = empty.delay()
        assert (result.ready(), result.successful(), result.get(), list(result)) == (True, True, [], [])
    assert peek(app) == []


def test_a_callback_cannot_be_linked_to_a_group_as_it_is_sent(tasks, peek):
    with pytest.raises(TypeError, match="link"):
        group(tasks.add.s(1, 1)).apply_async(link=tasks.keep.s())
    assert peek(tasks.app) == []


def test_nothing_of_a_group_is_sent_when_a_member_cannot_be(tasks, peek):
    with pytest.raises(EncodeError, match=r"args\[0\]"):
        group(tasks.keep.s(1), tasks.keep.s(object())).delay()
    with pytest.raises(EncodeError, match=r"chain.*object"):
        (tasks.keep.s(1) | tasks.keep.s(object())).delay()
    with pytest.raises(TypeError, match=r"t\.add"):
        group(tasks.add.s(1, 1), tasks.add.s(1, 2, 3)).delay()
    assert peek(tasks.app) == []


@pytest.mark.parametrize("serializer", ["json", "msgpack", "yaml", "pickle"])
def test_signatures_travel_as_arguments_and_as_links_in_every_serializer(app, drain, serializer):
    app.conf.accept_content = ["json", "msgpack", "yaml", "pickle"]
    got = []

    @app.task(name="run", serializer=serializer)
    def run(work, *more):
        got.append((work, signature(work)))
        return 1

    work = run.s("inner") | run.s(group(run.s("a"), run.s("b")))
    run.apply_async((work,), link=signature("keep", ("linked",)))

    @app.task(name="keep")
    def keep(*args):
        got.append(args)

    drain(app)
    assert got[0][1] == work
    assert got[1] == (1, "linked")


def test_a_workflow_sent_from_a_task_belongs_to_it(app, tasks, drain):
    @app.task
    def parent():
        one = tasks.add.s(1, 1).delay()
        line = (tasks.add.s(2, 2) | tasks.mul.s(2)).delay()
        many = group(tasks.add.s(3, 3), tasks.add.s(4, 4)).delay()
        tasks.add.s(5, 5).apply_async(add_to_parent=False)
        return [one.id, line.parent.id, many.id]

    result = parent.delay()
    ended, *_ = drain(app)
    assert ended.state == "SUCCESS"
    assert [child.id for child in result.children] == result.get()
    assert [len(child.results) for child in result.children[2:]] == [2]
    assert tasks.add.AsyncResult(result.get()[1]).children[0].get() == 8


def test_the_priority_of_a_task_is_inherited_by_what_follows_it(app, tasks, drain):
    app.conf.task_inherit_parent_priority = True
    work = tasks.add.s(1, 1) | tasks.add.s(1) | tasks.add.s(1).set(priority=2)
    work.apply_async(priority=8, link=tasks.keep.s())
    done = drain(app)
    assert [message.priority for end in done for message in end.follow_ups] == [8, 2, 2]


def test_freezing_gives_the_ids_in_advance(tasks, drain):
    work = tasks.add.s(1, 1) | group(tasks.add.s(1), tasks.add.s(2))
    future = work.freeze()
    assert work.delay().id == future.id
    drain(tasks.app)
    assert future.get() == [3, 4]
    assert future.parent.get() == 2
    one = tasks.add.s(1, 1)
    assert one.freeze("mine").id == one.id == one.delay().id == "mine"


def test_a_stamped_signature_is_sent_with_its_stamps(tasks, drain, peek):
    (tasks.add.s(1, 1) | tasks.add.s(1).set(stamped_headers=["tenant"], tenant="acme")).delay()
    first, _ = drain(tasks.app)
    request = decode_request(first.follow_ups[0])
    assert (request.stamped_headers, request.stamps, request.properties) == (["tenant"], {"tenant": "acme"}, {})


def test_workflows_are_sent_from_coroutines(tasks, drain):
    async def send():
        one = await tasks.add.s(1).adelay(1)
        line = await (tasks.add.s(2, 2) | tasks.mul.s(2)).aapply_async(task_id="line")
        many = await group(tasks.add.s(3, 3), tasks.add.s(4, 4)).adelay()
        return one, line, many

    one, line, many = asyncio.run(send())
    drain(tasks.app)
    assert (one.get(), line.get(), line.id, many.get()) == (2, 8, "line", [6, 8])


def test_nothing_of_a_workflow_is_sent_from_a_coroutine_when_a_part_cannot_be(tasks, peek):
    async def send():
        with pytest.raises(EncodeError):
            await group(tasks.keep.s(1), tasks.keep.s(object())).adelay()

    asyncio.run(send())
    assert peek(tasks.app) == []


def test_workflows_run_in_place_beside_the_loop(tasks, app):
    app.conf.task_always_eager = True

    async def send():
        return await (tasks.add.s(1, 1) | tasks.mul.s(2)).adelay(), await tasks.add.s(1).adelay(1)

    assert [result.get() for result in asyncio.run(send())] == [4, 2]


def test_tilde_sends_and_waits(tasks, app):
    app.conf.task_always_eager = True
    assert ~tasks.add.s(1, 2) == 3
    assert ~(tasks.add.s(1, 2) | tasks.mul.s(2)) == 6
    assert ~group(tasks.add.s(1, 2), tasks.mul.s(2, 2)) == [3, 4]
