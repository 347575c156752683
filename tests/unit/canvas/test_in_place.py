"""Workflows run in the caller's process: the same semantics as on workers."""

from __future__ import annotations

import pytest

from celeriac import EagerResult
from celeriac.canvas import chain, group, signature
from celeriac.exceptions import NotRegistered
from celeriac.result import GroupResult


@pytest.fixture(params=["apply", "always eager"])
def run(request, app):
    """Runs a signature in place, in either way."""
    if request.param == "apply":
        return lambda work, *args, **options: work.apply(args, **options)
    app.conf.task_always_eager = True
    return lambda work, *args, **options: work.apply_async(args, **options)


def test_a_chain_runs_in_place(run, tasks, peek):
    result = run(tasks.add.s(2) | tasks.mul.s(3) | tasks.add.s(4), 1, task_id="last")
    assert isinstance(result, EagerResult)
    assert (result.id, result.get(), result.parent.get(), result.parent.parent.get()) == ("last", 13, 9, 3)
    assert tasks.seen == [("add", 1, 2), ("mul", 3, 3), ("add", 9, 4)]
    assert peek(tasks.app) == []


def test_a_group_runs_in_place_in_order(run, tasks):
    result = run(group(tasks.add.s(1, i) for i in range(3)))
    assert isinstance(result, GroupResult)
    assert (result.get(), result.successful(), result.completed_count()) == ([1, 2, 3], True, 3)


def test_a_group_in_a_chain_and_chains_in_groups_run_in_place(run, tasks):
    inner = group(tasks.add.s(1) | tasks.mul.s(2), tasks.mul.s(10))
    result = run(tasks.add.s(1, 1) | inner)
    assert result.get() == [6, 20]
    assert result.parent.get() == 2


def test_callbacks_run_in_place(run, tasks):
    work = tasks.add.s(1, 1)
    work.link(tasks.mul.s(5))
    work.link(group(tasks.keep.s("a"), tasks.keep.s("b")))
    result = run(work)
    assert result.get() == 2
    assert tasks.seen == [("add", 1, 1), ("mul", 2, 5), ("keep", 2, "a"), ("keep", 2, "b")]
    assert len(result.children) == 2


def test_children_of_what_ran_in_place_are_known(run, tasks):
    work = tasks.add.s(1, 0)
    work.link(group(tasks.add.s(1), tasks.add.s(2) | tasks.mul.s(2)))
    work.link(tasks.mul.s(5) | tasks.add.s(1))
    result = run(work)
    first, members = sorted(result.children, key=lambda child: hasattr(child, "results"))
    assert isinstance(first, EagerResult)
    assert (first.get(timeout=1), first.name) == (5, "t.mul")
    assert [child.get(timeout=1) for child in first.children] == [6]
    assert members.get(timeout=1) == [2, 6]
    assert members.results[1].parent.get(timeout=1) == 3
    assert sorted(map(str, (value for _, value in result.collect()))) == ["1", "2", "5", "6", "6", "[2, 6]"]


def test_a_failure_ends_a_chain_in_place(run, tasks):
    work = tasks.add.s(1, 1) | tasks.fail.s() | tasks.add.s(1)
    work.link_error(tasks.on_error.s())
    work.link_error(tasks.on_error3.s())
    result = run(work)
    assert (result.state, result.parent.state, result.parent.parent.state) == ("FAILURE", "FAILURE", "SUCCESS")
    with pytest.raises(ValueError, match="no"):
        result.get()
    failed = result.parent.id
    assert [seen[:2] for seen in tasks.seen[2:]] == [("on_error3", failed), ("on_error", failed)]


def test_the_first_exception_is_raised_if_that_is_wanted(run, app, tasks):
    work = chain(tasks.add.s(1, 1), tasks.fail.s(), tasks.add.s(1)).on_error(tasks.on_error.s())
    app.conf.task_eager_propagates = True
    with pytest.raises(ValueError, match="no"):
        run(work)
    assert tasks.seen[-1][0] == "on_error"


def test_retries_keep_the_rest_of_the_chain_in_place(run, app, tasks):
    @app.task(bind=True, max_retries=3)
    def flaky(self, x):
        if self.request.retries < 2:
            raise self.retry(countdown=100)
        return x

    assert run(flaky.s(3) | tasks.mul.s(2)).get() == 6


def test_a_task_without_code_here_is_refused(tasks, app):
    with pytest.raises(NotRegistered):
        (tasks.add.s(1, 1) | signature("elsewhere")).apply()


def test_a_long_chain_in_place_needs_no_deep_stack(tasks):
    work = chain(tasks.add.s(0, 0), *(tasks.add.s(1) for _ in range(300)))
    assert work.apply().get() == 300
