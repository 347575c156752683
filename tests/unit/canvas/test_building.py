"""Signatures as values: building never changes what it is given, and what it says is what Celery's users know."""

from __future__ import annotations

import copy
import json
import pickle
from datetime import timedelta

import pytest

from celeriac import canvas
from celeriac.canvas import Signature, chain, group, maybe_signature, signature, subtask
from celeriac.exceptions import EncodeError, NotRegistered, UnknownOption

KEYS = ["task", "args", "kwargs", "options", "subtask_type", "immutable"]


def test_a_signature_is_a_mapping_of_six_keys(tasks):
    sig = tasks.add.s(1, y=2).set(queue="q")
    assert list(sig) == KEYS
    assert dict(sig) == {
        "task": "t.add",
        "args": [1],
        "kwargs": {"y": 2},
        "options": {"queue": "q"},
        "subtask_type": None,
        "immutable": False,
    }
    assert (sig.task, sig.name, sig.type, sig.args, sig.kwargs) == ("t.add", "t.add", tasks.add, (1,), {"y": 2})
    assert (sig.options, sig.subtask_type, sig.immutable, sig.id) == ({"queue": "q"}, None, False, None)


@pytest.mark.parametrize("kind", ["leaf", "linked", "chain", "group", "nested"])
def test_a_signature_survives_json_pickle_and_copies(tasks, kind):
    sig = {
        "leaf": tasks.add.si(1, 2),
        "linked": tasks.add.signature((1,), {"y": 2}, link=tasks.mul.s(3), link_error=[tasks.on_error.s()]),
        "chain": tasks.add.s(1, 2) | tasks.mul.s(3),
        "group": group(tasks.add.s(i, i) for i in range(3)).set(queue="q"),
        "nested": tasks.add.s(1, 2) | group(tasks.add.s(1) | tasks.mul.s(2), tasks.mul.s(tasks.add.s(1))),
    }[kind]
    text = json.dumps(sig.__json__(), default=dict)
    again = signature(json.loads(text))
    assert again.__json__() == json.loads(text)
    assert type(again) is type(sig)
    for other in (pickle.loads(pickle.dumps(sig)), copy.copy(sig), copy.deepcopy(sig), signature(sig), sig.clone()):
        assert other == sig
        assert type(other) is type(sig)
        assert other is not sig
    assert sig == dict(sig)


def test_what_a_signature_shows_of_itself_cannot_be_changed_without_effect(tasks):
    sig = tasks.add.s(1)
    with pytest.raises(TypeError, match=r"signature\.set"):
        sig.options["queue"] = "q"
    with pytest.raises(TypeError, match="copy"):
        sig.kwargs.update(y=1)
    assert json.dumps(sig.options) == "{}"
    assert pickle.loads(pickle.dumps(sig.kwargs)) == {}


def test_later_arguments_go_in_front_and_later_options_win(tasks):
    sig = tasks.add.signature((2,), {"z": 1}, countdown=10, queue="a")
    later = sig.clone((1,), {"z": 2}, queue="b")
    assert (later.args, later.kwargs, later.options) == ((1, 2), {"z": 2}, {"countdown": 10, "queue": "b"})
    assert (sig.args, sig.kwargs, sig.options) == ((2,), {"z": 1}, {"countdown": 10, "queue": "a"})
    fixed = tasks.add.si(2).clone((1,), {"z": 2}, queue="b")
    assert (fixed.args, fixed.kwargs, fixed.options) == ((2,), {}, {"queue": "b"})


def test_the_group_and_the_stamps_of_a_signature_are_kept(tasks):
    sig = tasks.add.s().set(group_id="g", stamped_headers=["tenant"], tenant="a")
    later = sig.clone(group_id="h", tenant="b", queue="q")
    assert later.options == {"group_id": "g", "stamped_headers": ["tenant"], "tenant": "a", "queue": "q"}


def test_answers_to_the_same_question_replace_each_other(tasks):
    sig = tasks.add.s().set(countdown=5, queue="a")
    assert sig.clone(routing_key="b").options == {"countdown": 5, "routing_key": "b"}


def test_replace_exchanges_arguments_and_options(tasks):
    sig = tasks.add.signature((1,), {"y": 2}, queue="q", link=tasks.mul.s())
    assert sig.replace(args=(3,)).args == (3,)
    assert sig.replace(kwargs={}).kwargs == {}
    assert sig.replace(options={}).options == {}
    assert sig.options["queue"] == "q"


def test_set_and_links_change_this_signature_alone(tasks):
    sig = tasks.add.s(1)
    whole = sig | tasks.mul.s(2)
    before = whole.clone()
    assert sig.set(queue="q", immutable=True) is sig
    callback = tasks.keep.s()
    assert sig.link(callback) is callback
    assert sig.link(tasks.keep.s()) == callback
    assert sig.link_error(tasks.on_error.s()) == tasks.on_error.s()
    assert sig.on_error(tasks.on_error.s()) is sig
    callback.set(queue="elsewhere")
    assert sig.options == {
        "queue": "q",
        "link": [dict(tasks.keep.s())],
        "link_error": [dict(tasks.on_error.s())],
    }
    assert sig.immutable
    assert whole == before


def test_building_does_not_change_what_it_is_given(tasks):
    a, b, c = tasks.add.s(1, 1), tasks.add.s(2), group(tasks.mul.s(3), tasks.mul.s(4))
    parts = [a.clone(), b.clone(), c.clone()]
    ab = a | b
    abc = ab | c
    grown = ab
    grown |= c
    assert [a, b, c] == parts
    assert len(ab.tasks) == 2
    assert abc == grown == chain(a, b, c) == chain([a, b, c]) == chain(part for part in (a, b, c))
    abc.freeze()
    abc.link_error(tasks.on_error.s())
    assert [a, b, c] == parts


def test_chains_in_chains_are_flattened_with_what_was_said_of_them(tasks):
    inner = chain(tasks.add.s(1), tasks.add.s(2)).set(queue="q", task_id="inner-last")
    outer = chain(tasks.add.s(0, 0), inner, chain(), tasks.add.s(3))
    assert repr(outer) == "t.add(0, 0) | t.add(1) | t.add(2) | t.add(3)"
    assert [step.options for step in outer.tasks] == [{}, {"queue": "q"}, {"task_id": "inner-last"}, {}]


def test_groups_of_one_in_chains_are_unrolled_and_empty_ones_left_out(tasks):
    work = chain(group(tasks.add.s(1, 1)), group(), tasks.mul.s(2), group([group([tasks.mul.s(3)])]))
    assert repr(work) == "t.add(1, 1) | t.mul(2) | t.mul(3)"


@pytest.mark.parametrize(
    "build",
    [
        lambda t: group(t.add.s(1, 1), t.add.s(2, 2)) | t.mul.s(2),
        lambda t: chain(t.add.s(1, 1), group(t.add.s(1), t.add.s(2)), t.mul.s(2)),
        lambda t: group(t.add.s(1, 1), t.add.s(2, 2)) | group(t.add.s(1), t.add.s(2)),
        lambda t: (t.add.s(1, 1) | group(t.add.s(1), t.add.s(2))) | t.mul.s(2),
        lambda t: canvas.chord([t.add.s(1, 1)], t.mul.s(2)),
        lambda t: canvas.chord([t.add.s(1, 1)])(t.mul.s(2)),
        lambda t: canvas.chunks(t.add, [(1, 2)], 10),
        lambda t: canvas.xmap(t.add, [1]),
        lambda t: canvas.xstarmap(t.add, [(1, 2)]),
        lambda t: t.add.map([1]),
        lambda t: t.add.starmap([(1, 2)]),
        lambda t: t.add.chunks([(1, 2)], 10),
        lambda t: signature({"task": "celery.chord", "subtask_type": "chord"}),
    ],
)
def test_what_comes_with_a_later_release_is_refused_where_it_is_built(tasks, build):
    with pytest.raises(NotImplementedError, match="later release"):
        build(tasks)


def test_signatures_look_as_they_are_written(tasks):
    assert repr(tasks.add.s(1, y="two")) == "t.add(1, y='two')"
    assert repr(tasks.add.s(1, 2) | tasks.mul.s(4)) == "t.add(1, 2) | t.mul(4)"
    assert repr(group(tasks.add.s(1, 2), tasks.mul.s(2, 3))) == "group([t.add(1, 2), t.mul(2, 3)])"
    assert repr(chain()) == "chain()"


def test_signatures_are_made_of_names_mappings_and_signatures(tasks, app):
    by_name = signature("t.add", (1,), {"y": 2}, {"queue": "q"}, immutable=True)
    assert dict(by_name) == dict(tasks.add.signature((1,), {"y": 2}, queue="q", immutable=True))
    assert by_name.type is tasks.add
    assert dict(signature("t.add", args=(1,), countdown=3))["options"] == {"countdown": 3}
    assert (
        signature(tasks.add, (1,))
        == tasks.add.s(1)
        == app.signature("t.add", (1,))
        == subtask({"task": "t.add", "args": [1]})
    )
    assert isinstance(signature(dict(chain(tasks.add.s(1, 2), tasks.mul.s(3)))), chain)
    assert isinstance(signature(dict(group(tasks.add.s(1, 2)))), group)
    assert maybe_signature(None) is None
    assert maybe_signature(by_name) is by_name
    assert maybe_signature(by_name, clone=True) is not by_name
    assert isinstance(maybe_signature({"task": "t.add"}), Signature)
    with pytest.raises(NotRegistered):
        _ = app.signature("unknown").type


@pytest.mark.parametrize(
    "wrong", [{}, {"task": 5}, {"task": "x", "args": "text"}, {"task": "x", "options": []}, 5, [1]]
)
def test_what_is_no_signature_is_refused(tasks, wrong):
    with pytest.raises(TypeError):
        chain(tasks.add.s(1, 1), wrong)
    with pytest.raises((TypeError, AttributeError)):
        signature(wrong)


@pytest.mark.parametrize("kind", [None, "chain", ["chain"], {"a": 1}, 7, True])
@pytest.mark.parametrize("part", ["options", "kwargs"])
def test_a_mapping_of_odd_types_is_refused_with_what_is_wrong(kind, part):
    names_odd = {"task": "x", "subtask_type": kind, part: {1: 2}}
    with pytest.raises(TypeError, match=r"no signature: .*(no text|unknown type)"):
        signature(names_odd)


def test_a_signature_that_holds_itself_is_refused():
    loop: dict = {"task": "celery.chain", "subtask_type": "chain", "kwargs": {}}
    loop["kwargs"]["tasks"] = [loop]
    with pytest.raises(TypeError, match="nested too deeply"):
        signature(loop)


def test_links_of_a_chain_go_to_its_last_task_and_errors_to_all(tasks):
    work = tasks.add.s(1, 1) | tasks.add.s(2)
    work.link(tasks.keep.s())
    work.link_error(tasks.on_error.s())
    first, last = work.tasks
    assert first.options == {"link_error": [dict(tasks.on_error.s())]}
    assert last.options == {"link": [dict(tasks.keep.s())], "link_error": [dict(tasks.on_error.s())]}
    assert [each.task for each in last.flatten_links()] == ["t.add", "t.keep"]


def test_links_of_a_group_go_to_its_first_member_and_errors_to_all(tasks):
    work = group(tasks.add.s(1, 1), tasks.add.s(2, 2))
    work.link(tasks.keep.s("done"))
    work.link_error(tasks.on_error.s())
    first, second = work.tasks
    assert first.options["link"] == [dict(tasks.keep.si("done"))]
    assert second.options == {"link_error": [dict(tasks.on_error.s())]}
    for empty in (group(), chain()):
        with pytest.raises(ValueError, match="empty"):
            empty.link(tasks.keep.s())


def test_an_option_that_must_be_a_typo_is_refused_when_sent_wherever_it_stands(tasks, peek):
    for work in (
        tasks.add.s(1, 1).set(countdwon=5),
        tasks.add.s(1, 1) | tasks.add.s(1).set(countdwon=5),
        group(tasks.add.s(1, 1), chain(tasks.add.s(1, 1), tasks.add.s(1).set(countdwon=5))),
        chain(tasks.add.s(1, 1), tasks.add.signature((1,), link=tasks.keep.s().set(countdwon=1))),
    ):
        with pytest.raises(UnknownOption, match="countdown"):
            work.delay()
    assert peek(tasks.app) == []


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"queue": 5}, TypeError),
        ({"serializer": "nope"}, EncodeError),
        ({"compression": "nope"}, EncodeError),
        ({"countdown": float("inf")}, ValueError),
        ({"expires": 1e12}, ValueError),
        ({"expires": timedelta.max}, ValueError),
    ],
)
def test_a_wrong_option_of_a_later_step_is_refused_when_the_workflow_is_sent(tasks, peek, options, error):
    wrong = tasks.add.s(1).set(**options)
    for work in (
        tasks.add.s(1, 1) | wrong,
        group(tasks.add.s(1, 1), tasks.add.s(1, 1) | wrong),
        tasks.add.s(1, 1) | tasks.add.signature((1,), link=[wrong]),
    ):
        with pytest.raises(error, match=next(iter(options))):
            work.delay()
    assert peek(tasks.app) == []


def test_set_immutable_of_a_group_is_that_of_its_members(tasks):
    work = group(tasks.add.s(1, 1), tasks.add.s(2, 2))
    work.set_immutable(True)
    assert all(member.immutable for member in work.tasks)


def test_members_of_a_group_can_start_one_after_the_other(tasks):
    work = group(tasks.add.s(i, i) for i in range(4))
    assert work.skew(start=2, step=3) is work
    assert [member.options["countdown"] for member in work.tasks] == [2, 5, 8, 11]
    assert [member.options["countdown"] for member in work.skew(start=0, stop=2).tasks] == [0, 1, 0, 1]
    with pytest.raises(ValueError, match="skew"):
        work.skew(step=0)


def test_a_long_chain_is_built_step_by_step_in_no_time(tasks):
    work = tasks.add.s(1, 1)
    for _ in range(2000):
        work |= tasks.add.s(1)
    assert len(work.tasks) == 2001


def nested(tasks, kind, depth=3000):
    """A signature in a signature in a signature."""
    made = tasks.add.s(1, 1)
    for _ in range(depth):
        outer = tasks.add.s(1, 1)
        if kind == "groups":
            outer = group(made, outer)
        else:
            getattr(outer, kind)(made)
        made = outer
    return made


@pytest.mark.parametrize("kind", ["link", "link_error", "groups"])
def test_what_is_nested_too_deeply_is_refused_by_name(app, tasks, peek, kind):
    deep = nested(tasks, kind)
    ways = [
        deep.delay,
        deep.apply,
        lambda: chain(tasks.add.s(1, 1), deep).delay(),
        lambda: group(deep, deep).delay(),
        lambda: tasks.keep.delay(deep),
        lambda: deep["kwargs"],
    ]
    if kind != "groups":
        ways.append(lambda: tasks.add.apply_async((1, 1), **{kind: deep}))
    for way in ways:
        with pytest.raises(EncodeError, match=r"link_error\), or groups and chains within each other, are nested too"):
            way()
    assert peek(app) == []
    assert len(repr(deep)) > 0


def test_the_part_of_a_message_that_is_nested_too_deeply_is_named(tasks):
    loop: list = []
    loop.append(loop)
    with pytest.raises(
        EncodeError, match=r'^links\["callbacks"\]\[0\] contains itself or is nested too deeply for JSON'
    ):
        tasks.add.apply_async((1, 1), link=tasks.add.s(loop))
    with pytest.raises(EncodeError, match=r"^args\[1\]\[0\] contains itself or is nested too deeply"):
        tasks.add.delay(1, loop)
