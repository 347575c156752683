"""The short repr: bounded, and never raising."""

from __future__ import annotations

from collections import OrderedDict, deque

import pytest

from celeriac.wire.saferepr import CHARS_MAX, saferepr


class Counted:
    shown = 0

    def __repr__(self):
        Counted.shown += 1
        return "counted"


@pytest.mark.parametrize(
    "value",
    [
        (),
        (1,),
        [1, "two", None],
        {"a": 1.5},
        {"a": [1, {2}]},
        (b"x",),
        frozenset({1}),
        "text",
        1,
        None,
        {1: (2,)},
        set(),
    ],
)
def test_short_values_are_shown_as_repr_shows_them(value):
    assert saferepr(value) == repr(value)


def test_only_as_many_items_are_looked_at_as_are_shown():
    Counted.shown = 0
    text = saferepr([Counted()] * 1_000_000)
    assert text.startswith("[counted, counted")
    assert text.endswith("...")
    assert Counted.shown < CHARS_MAX
    assert len(text) <= CHARS_MAX + 3


@pytest.mark.parametrize("value", ["x" * 10**7, b"x" * 10**7, ["x" * 10**7], {"k": "x" * 10**7}, {"x" * 10**7: 1}])
def test_long_text_is_cut(value):
    text = saferepr(value)
    assert len(text) <= CHARS_MAX + 3
    assert text.endswith("...")


def test_nesting_is_cut_at_three_levels():
    assert saferepr([[[["deep"]]]]) == "[[[[...]]]]"
    assert saferepr({"a": {"b": {"c": {"d": 1}}}}) == "{'a': {'b': {'c': {...}}}}"


def test_a_container_in_itself_is_cut():
    loop: list[object] = [1]
    loop.append(loop)
    assert saferepr(loop) == "[1, [1, [1, [...]]]]"


def test_an_object_whose_repr_raises_is_named():
    class Broken:
        def __repr__(self):
            raise RuntimeError("never")

    assert saferepr((1, Broken())) == "(1, <Broken whose repr raises RuntimeError>)"


def test_an_object_whose_repr_is_no_text_is_named():
    class Odd:
        def __repr__(self):
            return 5

    assert saferepr([Odd()]) == "[<Odd whose repr raises TypeError>]"


def test_a_subclass_with_its_own_repr_is_asked():
    class Secret(dict):
        def __repr__(self):
            return "<secret>"

    class Plain(dict):
        pass

    assert saferepr([Secret(password="x")]) == "[<secret>]"
    assert saferepr([Plain(a=1)]) == "[{'a': 1}]"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (deque(range(10**6)), "<deque of 1000000 items>"),
        (OrderedDict.fromkeys(range(1000)), "<OrderedDict of 1000 items>"),
        (bytearray(10**6), "<bytearray of 1000000 items>"),
        (deque([1]), "deque([1])"),
        (range(10**9), "range(0, 1000000000)"),
    ],
)
def test_large_library_containers_are_described(value, text):
    assert saferepr([value]) == f"[{text}]"


def test_the_length_of_a_users_object_is_never_asked():
    class Query:
        def __len__(self):
            raise AssertionError("this would ask the database")

        def __repr__(self):
            return "<query>"

    assert saferepr([Query()]) == "[<query>]"


def test_huge_integers_are_described():
    assert saferepr([10**100_000]) == "[<int of 332193 bits>]"
