from __future__ import annotations

import pickle

import pytest

from celeriac import AsyncResult, Celeriac
from celeriac.exceptions import TimeoutError  # noqa: A004 - the public name
from celeriac.result import GroupResult, ResultSet, allow_join_result, denied_join_result, result_from_tuple


@pytest.fixture
def div(app: Celeriac):
    @app.task
    def div(x, y):
        return x / y

    return div


def test_a_set_has_each_member_once_and_in_order(app):
    a, b, c = (app.AsyncResult(name) for name in "abc")
    members = ResultSet([a, b, a], app=app)
    assert members.results == [a, b]
    members.add(b)
    members.update([c, a, app.AsyncResult("b")])
    assert list(members) == [a, b, c]
    assert (len(members), members[1]) == (3, b)
    members.remove("a")
    members.discard("a")
    members.discard(c)
    with pytest.raises(KeyError):
        members.remove("a")
    assert members == ResultSet([b], app=app)
    members.clear()
    assert len(members) == 0


def test_a_set_counts_and_tells_how_its_members_ended(app, div, drain):
    members = ResultSet([div.delay(4, 2), div.delay(9, 3)], app=app)
    assert (members.ready(), members.waiting(), members.successful(), members.failed()) == (False, True, False, False)
    assert members.completed_count() == 0
    drain(app)
    assert (members.ready(), members.waiting(), members.successful(), members.failed()) == (True, False, True, False)
    assert members.completed_count() == 2
    assert members.maybe_throw() is None
    members.add(div.delay(1, 0))
    drain(app)
    assert (members.ready(), members.waiting(), members.successful(), members.failed()) == (True, False, False, True)
    assert members.completed_count() == 2
    with pytest.raises(ZeroDivisionError):
        members.maybe_throw()


def test_results_come_in_the_order_of_the_members(app, div, drain):
    members = ResultSet([div.delay(n, 1) for n in range(5)], app=app)
    drain(app)
    for wait in (members.get, members.join, members.join_native):
        assert wait(timeout=5) == [0, 1, 2, 3, 4]
    told = []
    members.join(timeout=5, callback=lambda task_id, value: told.append((task_id, value)))
    assert sorted(told) == sorted((member.id, value) for value, member in enumerate(members))
    assert sorted(members.iterate(timeout=5)) == [0, 1, 2, 3, 4]
    metas = dict(members.iter_native(timeout=5))
    assert {task_id: meta["result"] for task_id, meta in metas.items()} == dict(told)


def test_one_that_failed_is_raised_or_stands_in_the_list(app, div, drain):
    members = ResultSet([div.delay(1, 1), div.delay(1, 0)], app=app)
    drain(app)
    with pytest.raises(ZeroDivisionError):
        members.get(timeout=5)
    first, second = members.get(timeout=5, propagate=False)
    assert first == 1
    assert isinstance(second, ZeroDivisionError)


def test_members_that_do_not_end_time_out_with_the_name_of_one(app, div, drain):
    members = ResultSet([div.delay(1, 1)], app=app)
    drain(app)
    members.add(app.AsyncResult("never"))
    with pytest.raises(TimeoutError, match="never"):
        members.get(timeout=0.05)


def test_forget_and_revoke_reach_all_members(app, div, drain):
    members = ResultSet([div.delay(1, 1), div.delay(2, 1)], app=app)
    drain(app)
    assert members.ready()
    members.forget()
    assert [app.AsyncResult(task_id).state for task_id in members.as_list()] == ["PENDING", "PENDING"]
    others = ResultSet([div.delay(1, 1), div.delay(2, 1)], app=app)
    others.revoke()
    assert [member.state for member in others] == ["REVOKED", "REVOKED"]


def test_an_app_makes_and_restores_its_own_handles(app, div, drain):
    results = [div.delay(4, 2), div.delay(9, 3)]
    drain(app)
    assert app.ResultSet(results).get(timeout=1) == [2, 3]
    app.GroupResult("own", results).save()
    again = app.GroupResult.restore("own")
    assert (again.id, again.get(timeout=1), again.app) == ("own", [2, 3], app)
    assert app.GroupResult.restore("other") is None


def test_a_result_that_is_ignored_is_not_waited_for(app):
    result = app.AsyncResult("x")
    assert not result.ignored
    result.ignored = True
    assert result.get() is None


def test_waiting_within_a_task_can_be_denied_where_it_was_allowed(app, div, drain):
    @app.task
    def waits():
        with allow_join_result(), denied_join_result():
            return div.delay(1, 1).get(timeout=1)

    result = waits.delay()
    drain(app)
    with pytest.raises(RuntimeError, match="within a task"):
        result.get(timeout=1)


def test_a_group_is_saved_restored_and_deleted(app):
    parent = app.AsyncResult("before")
    group = GroupResult("g", [app.AsyncResult("a"), app.AsyncResult("b")], parent=parent, app=app)
    assert GroupResult.restore("g", app=app) is None
    assert group.save() == group
    again = GroupResult.restore("g", app=app)
    assert again == group
    assert again.parent == parent
    assert again.children == group.results
    assert app.AsyncResult("g").state == "PENDING"
    group.delete()
    assert GroupResult.restore("g", app=app) is None
    with pytest.raises(ValueError, match="without an id"):
        GroupResult(None, [], app=app).save()


def test_a_group_has_a_form_that_can_be_serialized_and_survives_pickling(app):
    inner = GroupResult("inner", [app.AsyncResult("x")], app=app)
    group = GroupResult("g", [app.AsyncResult("a"), inner], parent=AsyncResult("p", app=app), app=app)
    form = group.as_tuple()
    assert form == (("g", (("p", None), None)), [(("a", None), None), (("inner", None), [(("x", None), None)])])
    again = result_from_tuple(form, app)
    assert isinstance(again, GroupResult)
    assert again == group == "g"
    assert again.as_list() == ["a", "x"]
    assert pickle.loads(pickle.dumps(group)) == group
    assert (str(group), bool(group), bool(GroupResult())) == ("g", True, False)


def test_groups_in_groups_give_lists_in_lists(app, div, drain):
    inner = GroupResult("inner", [div.delay(2, 1), div.delay(3, 1)], app=app)
    outer = GroupResult("outer", [div.delay(1, 1), inner], app=app)
    drain(app)
    assert outer.get(timeout=5) == [1, [2, 3]]
    assert outer.completed_count() == 3
