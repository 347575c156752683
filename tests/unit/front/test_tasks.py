from __future__ import annotations

import pickle
import sys
import types

import pytest

import celeriac
from celeriac import Celeriac, Task, current_app, current_task, shared_task
from celeriac.exceptions import CeleriacWarning, UnknownOption


def test_a_function_becomes_a_task_that_is_still_callable(app):
    @app.task
    def add(x, y):
        """Adds."""
        return x + y

    assert add(2, 3) == 5
    assert add.run(2, 3) == add.__wrapped__(2, 3) == 5
    assert add.__doc__ == "Adds."
    assert add.name == f"{__name__}.add"
    assert isinstance(add, Task)
    assert app.tasks[add.name] is add


def test_a_name_is_given_or_module_and_function_with_main_for_the_script(app):
    @app.task(name="given")
    def one(): ...

    def two(): ...

    two.__module__ = "__main__"
    assert one.name == "given"
    assert app.task(two).name == "front.two"


def test_a_bound_task_is_given_itself(app):
    @app.task(bind=True)
    def me(self, x):
        return self.name, x

    assert me(3) == (me.name, 3)
    with pytest.raises(TypeError, match="'x'"):
        me.delay()


def test_the_decorator_takes_keywords_only(app):
    with pytest.raises(TypeError, match="keyword arguments only"):
        app.task("name")


def test_a_mistyped_task_option_is_refused_and_an_unknown_one_is_an_attribute(app):
    with pytest.raises(UnknownOption, match="did you mean 'max_retries'"):
        app.task(max_retires=3)

    @app.task(my_extra=7)
    def extra(): ...

    assert extra.my_extra == 7


def test_a_wrong_task_option_is_refused_where_the_task_is_made(app):
    with pytest.raises(ValueError, match=r"task front\.bad: priority=11"):
        app.task(name="front.bad", priority=11)(lambda: None)


def test_an_option_that_comes_later_is_said(app):
    with pytest.warns(CeleriacWarning, match="rate_limit has no effect in this version yet"):
        app.task(name="limited", rate_limit="10/m")(lambda: None)


def test_the_first_of_two_tasks_of_one_name_stays(app):
    first = app.task(name="twice")(lambda: 1)
    second = app.task(name="twice")(lambda: 2)
    assert second is first
    assert second() == 1


def test_decorator_options_win_over_the_base_class_and_that_over_settings(app):
    class Base(Task):
        ignore_result = True
        max_retries = 9

    app.conf.task_ignore_result = False
    app.conf.task_serializer = "pickle"

    @app.task(base=Base, max_retries=1)
    def derived(): ...

    assert (derived.ignore_result, derived.max_retries, derived.serializer) == (True, 1, "pickle")
    assert derived.policy.ignore_result is True
    assert derived.acks_late is None


def test_one_instance_per_name_keeps_its_attributes(app):
    class Counting(Task):
        def __init__(self) -> None:
            self.count = 0

    @app.task(base=Counting, bind=True, name="c.one")
    def one(self):
        self.count += 1
        return self.count

    @app.task(base=Counting, bind=True, name="c.two")
    def two(self):
        return self.count

    assert (one(), one(), two()) == (1, 2, 0)


def test_a_class_based_task_is_registered_and_runs(app, drain):
    class Adder(Task):
        name = "class.adder"

        def run(self, x, y):
            return x + y

    adder = app.register_task(Adder())
    result = adder.delay(1, 2)
    drain(app)
    assert result.get(timeout=1) == 3
    with pytest.raises(TypeError, match="missing"):
        adder.delay(1)

    class Unnamed(Task):
        def run(self):
            return None

    assert app.register_task(Unnamed).name == f"{__name__}.Unnamed"


def test_a_task_class_without_run_says_so(app):
    class Empty(Task):
        name = "empty"

    with pytest.raises(NotImplementedError, match="empty defines no run"):
        app.register_task(Empty())()


def test_the_apps_task_class_is_the_base_of_all_its_tasks():
    class Base(Task):
        marker = "base"

    sys.modules["front_base"] = types.SimpleNamespace(Base=Base)  # type: ignore[assignment]
    for cls in (Base, "front_base:Base"):
        app = Celeriac("based", broker="memory://based", task_cls=cls, set_as_current=False)
        assert app.task(name="m")(lambda: None).marker == "base"
    del sys.modules["front_base"]


def test_a_custom_call_is_used_by_the_worker_and_may_hand_on(app, drain):
    class Loud(Task):
        def __call__(self, *args, **kwargs):
            return "loud", super().__call__(*args, **kwargs)

    @app.task(base=Loud, bind=True)
    def speak(self, x):
        return [x, self.request.id, self.request.called_directly]

    result = speak.delay(1)
    drain(app)
    assert result.get(timeout=1) == ["loud", [1, result.id, False]]
    assert speak(2) == ("loud", [2, None, True])


def test_hooks_are_called_in_order(app, drain):
    called = []

    class Hooked(Task):
        def before_start(self, task_id, args, kwargs):
            called.append(("before", args))

        def on_success(self, retval, task_id, args, kwargs):
            called.append(("success", retval))

        def on_failure(self, exc, task_id, args, kwargs, einfo):
            called.append(("failure", repr(exc)))

        def after_return(self, status, retval, task_id, args, kwargs, einfo):
            called.append(("after", status))

    @app.task(base=Hooked)
    def work(x):
        return 1 // x

    work.delay(1)
    work.delay(0)
    drain(app)
    assert called == [
        ("before", [1]),
        ("success", 1),
        ("after", "SUCCESS"),
        ("before", [0]),
        ("failure", "ZeroDivisionError('integer division or modulo by zero')"),
        ("after", "FAILURE"),
    ]


def test_the_request_is_the_runs_own_and_current_task_names_the_innermost(app, drain):
    seen = []

    @app.task(bind=True)
    def inner(self):
        seen.append((self.request.called_directly, current_task.name))

    @app.task(bind=True)
    def outer(self, x):
        seen.append((self.request.id, self.request.retries, list(self.request.args), self.request.tenant))
        inner()
        seen.append((current_task.name, app.current_worker_task.name))

    result = outer.apply_async((5,), headers={"tenant": "t"})
    drain(app)
    assert seen == [(result.id, 0, [5], "t"), (True, inner.name), (outer.name, outer.name)]
    assert not current_task
    assert app.current_task is None


def test_what_a_task_sends_knows_its_parent_and_root(app, drain, peek):
    from celeriac.wire.protocol2 import decode_request

    @app.task
    def leaf(): ...

    @app.task
    def root():
        leaf.apply_async(queue="leaves")

    result = root.delay()
    drain(app)
    fields = decode_request(peek(app, "leaves")[0])
    assert (fields.root_id, fields.parent_id) == (result.id, result.id)
    assert [child.id for child in result.children] == [fields.id]


def test_shared_tasks_belong_to_every_app():
    before = Celeriac("before", broker="memory://b", set_as_current=False)

    @shared_task(name="shared.one")
    def one(x):
        return x

    after = Celeriac("after", broker="memory://a")
    assert before.tasks["shared.one"](1) == after.tasks["shared.one"](1) == one(1) == 1
    assert one.app is after
    assert isinstance(one, Task)
    with before:
        before.set_current()
        assert one.app is before


def test_the_current_app_is_the_last_one_made_and_one_is_made_when_asked():
    app = Celeriac("last", broker="memory://last")
    assert current_app == app
    assert current_app.main == "last"
    hidden = Celeriac("hidden", broker="memory://hidden", set_as_current=False)
    assert current_app != hidden
    app.close()
    celeriac.current.unset(celeriac.current.get_current_app())
    assert current_app.main == "default"


def test_tasks_pickle_by_name():
    app = Celeriac("pickled", broker="memory://pickled")
    task = app.task(name="pickled.one")(lambda: 1)
    assert pickle.loads(pickle.dumps(task)) is task


def test_without_autofinalize_tasks_are_used_after_finalize():
    app = Celeriac("late", autofinalize=False, set_as_current=False)
    with pytest.raises(RuntimeError, match="finalize"):
        _ = app.tasks
    app.finalize()
    assert "late.none" not in app.tasks


def test_modules_of_tasks_are_imported_when_tasks_are_loaded(tmp_path, monkeypatch):
    (tmp_path / "front_pkg").mkdir()
    (tmp_path / "front_pkg" / "__init__.py").write_text("")
    (tmp_path / "front_pkg" / "tasks.py").write_text(
        "from celeriac import shared_task\n@shared_task\ndef found(): return 1\n"
    )
    (tmp_path / "front_bare.py").write_text("")
    (tmp_path / "front_broken.py").write_text("import front_missing_dependency\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    app = Celeriac("loading", broker="memory://loading", include=["front_bare"])
    app.autodiscover_tasks(lambda: ["front_pkg", "front_bare"])
    assert "front_pkg.tasks" not in sys.modules
    assert "front_pkg.tasks.found" in app.load_tasks()
    app.conf.imports = ["front_broken"]
    with pytest.raises(ModuleNotFoundError, match="front_missing_dependency"):
        app.load_tasks()


def test_a_request_can_be_simulated(app):
    @app.task(bind=True)
    def me(self):
        return self.request.id

    me.push_request(id="simulated", called_directly=False)
    try:
        assert me.request.id == "simulated"
        assert me.run() == "simulated"
    finally:
        me.pop_request()
    assert me.request.id is None


def test_acks_options_become_the_policy(app):
    @app.task(acks_late=False, acks_on_failure_or_timeout=False, time_limit=5, reject_on_worker_lost=False)
    def risky(): ...

    policy = risky.policy
    assert (policy.acks_late, policy.acks_on_failure, policy.acks_on_timeout) == (False, False, False)
    assert (policy.time_limit_s, policy.reject_on_worker_lost) == (5, False)

    @app.task(acks_on_failure_or_timeout=False, acks_on_failure=True)
    def mixed(): ...

    assert (mixed.policy.acks_on_failure, mixed.policy.acks_on_timeout) == (True, False)


def test_exception_options_are_one_class_or_several_and_nothing_else(app):
    @app.task(autoretry_for=KeyError, throws=[ValueError])
    def several(): ...

    assert several.throws == (ValueError,)
    with pytest.raises(TypeError, match="autoretry_for='KeyError' is no exception class"):
        app.task(name="wrong", autoretry_for="KeyError")(lambda: None)


def test_what_comes_with_a_later_release_says_so(app):
    task = app.task(name="plain")(lambda: None)
    with pytest.raises(AttributeError, match="comes with a later release"):
        task.replace(task.s(1))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = task.nothing
