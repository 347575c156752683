"""Hooks cost nothing where nobody defined one, and are called wherever somebody did."""

from __future__ import annotations

import pytest

from celeriac import Celeriac, Task

HOOKS = {"before_start", "on_success", "on_failure", "on_retry", "after_return"}


class Watched(Task):
    abstract = True

    def on_success(self, retval, task_id, args, kwargs):
        self.seen = retval


@pytest.fixture
def app():
    with Celeriac("hooks", broker="memory://", set_as_current=False) as app:
        yield app


def test_a_plain_task_has_no_hooks(app):
    assert app.task(lambda: 1, name="plain") is not None
    assert app.tasks["plain"].own_hooks == frozenset()


def test_hooks_of_a_class_are_found(app):
    task = app.task(name="watched", base=Watched)(lambda: 1)
    assert task.own_hooks == {"on_success"}


def test_a_hook_given_to_the_decorator_is_found_and_called(app):
    seen = []
    task = app.task(name="given", on_success=lambda self, retval, *_: seen.append(retval))(lambda: 7)
    task.apply()
    assert (task.own_hooks, seen) == ({"on_success"}, [7])


@pytest.mark.parametrize("hook", sorted(HOOKS - {"on_failure", "on_retry"}))
def test_a_hook_that_is_set_later_is_found_and_called(app, hook):
    task, seen = app.task(lambda: 7, name="later"), []
    setattr(task, hook, lambda *args: seen.append(hook))
    task.apply()
    assert (task.own_hooks, seen) == ({hook}, [hook])
