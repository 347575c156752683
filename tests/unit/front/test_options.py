from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from celeriac.core.options import CALL_OPTIONS, TASK_OPTIONS, nearest
from celeriac.core.prepare import ArgumentCheck, SendDefaults, prepare
from celeriac.core.route import Router
from celeriac.exceptions import CeleriacWarning, QueueNotFound, UnknownOption
from celeriac.settings_table import SETTINGS

ROUTER = Router(None, None, "celery")
DEFAULTS = SendDefaults("task", {"serializer": "json"}, ROUTER, "celery")

anything = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=5),
    st.datetimes(),
    st.timedeltas(),
    st.lists(st.integers(), max_size=2),
    st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
    st.just(object()),
)


@pytest.mark.filterwarnings("ignore::celeriac.exceptions.CeleriacWarning")
@given(st.dictionaries(st.sampled_from(sorted(CALL_OPTIONS)) | st.text(max_size=12), anything, max_size=5))
def test_whatever_the_options_a_call_is_made_or_refused_by_name(options):
    try:
        call = prepare(DEFAULTS, (), {}, options, None, 1_700_000_000.0, lambda: "id")
    except (UnknownOption, TypeError, ValueError, NotImplementedError, QueueNotFound):
        pass
    else:
        assert call.id
        assert call.queue
        assert call.eta is None or call.eta.tzinfo is not None
        assert call.expires is None or call.expires.tzinfo is not None
        assert call.priority is None or call.priority in (*range(10), "low", "normal", "high")


@pytest.mark.parametrize("known", [CALL_OPTIONS, TASK_OPTIONS, sorted(SETTINGS)[::8]])
def test_one_exchange_of_neighbours_in_a_long_name_is_always_found(known):
    for name in known:
        if len(name) < 4:
            continue
        for at in range(len(name) - 1):
            typo = name[:at] + name[at + 1] + name[at] + name[at + 2 :]
            if typo not in known:
                assert nearest(typo, known) is not None, typo


@pytest.mark.parametrize("name", ["eat", "tenant", "MessageGroupId", "x-match", "my_own_option", "a", ""])
def test_names_that_are_no_typos_are_let_through(name):
    assert nearest(name, CALL_OPTIONS) is None


def test_the_nearest_name_wins():
    assert nearest("expirse", {"expires", "express"}) == "expires"


def positional(a, b=1, /): ...
def mixed(a, b=1, *args, c, d=2, **kw): ...
def plain(a, b, c=3): ...
def only(a, *, k): ...
def nothing(): ...


@given(
    st.sampled_from([positional, mixed, plain, only, nothing]),
    st.lists(st.integers(), max_size=5),
    st.dictionaries(st.sampled_from("abcdkz"), st.integers(), max_size=4),
)
def test_arguments_are_accepted_exactly_when_the_function_accepts_them(function, args, kwargs):
    try:
        function(*args, **kwargs)
    except TypeError:
        with pytest.raises(TypeError, match="task"):
            ArgumentCheck(function, "task")(args, kwargs)
    else:
        ArgumentCheck(function, "task")(args, kwargs)


def test_the_first_parameter_of_a_bound_task_is_no_argument():
    check = ArgumentCheck(plain, "task", skip_first=True)
    check((1,), {})
    check((), {"b": 1, "c": 2})
    with pytest.raises(TypeError):
        check((), {"a": 1, "b": 1})
    with pytest.raises(TypeError):
        check((1, 2, 3), {})


def test_a_decorated_function_is_checked_by_what_it_wraps():
    import functools

    @functools.wraps(plain)
    def wrapper(*args, **kwargs): ...

    with pytest.raises(TypeError, match="missing a required argument: 'b'"):
        ArgumentCheck(wrapper, "task")((1,), {})


def test_built_in_functions_without_a_signature_are_not_checked():
    ArgumentCheck(dict.fromkeys, "task")(([1],), {})
    ArgumentCheck(dict, "task")((), {"anything": 1})


def test_expires_takes_a_timedelta():
    call = prepare(DEFAULTS, (), {}, {"expires": timedelta(minutes=1)}, None, 1_700_000_000.0, lambda: "id")
    assert call.expires.timestamp() == 1_700_000_060


def test_a_warning_for_a_past_expiry_names_it():
    with pytest.warns(CeleriacWarning, match="2001"):
        prepare(DEFAULTS, (), {}, {"expires": datetime(2001, 1, 1)}, None, 1.7e9, lambda: "id")  # noqa: DTZ001
