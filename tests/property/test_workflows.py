"""Random workflows, run on the memory store by what a worker's child runs, equal a small interpreter of what they mean.

Some runs are lost before their end is committed, as in a crash, and repeated: what they lead to has the same ids.
"""

from __future__ import annotations

import functools
import itertools
import operator
import random
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from celeriac import Celeriac
from celeriac.canvas import Signature, chain, group
from celeriac.model.canvas import is_empty
from celeriac.model.context import Place
from celeriac.model.message import Settlement
from celeriac.result import GroupResult
from celeriac.wire.signatures import mapping_of, node_of
from celeriac.worker.env import Env, Seat
from celeriac.worker.perform import perform

_numbers = itertools.count()

# ---------------------------------------------------------------- what there is


@dataclass
class Leaf:
    """One task: `add` returns the sum of its arguments, `fail` raises, `flaky` first asks for retries."""

    kind: str
    number: int
    immutable: bool = False
    links: list[Any] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)


@dataclass
class Chain:
    parts: list[Any]
    links: list[Any] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)


@dataclass
class Group:
    parts: list[Any]
    links: list[Any] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)


KINDS = st.sampled_from(["add"] * 6 + ["fail", "flaky"])
ERRORS = st.lists(st.sampled_from(["sent", "inline"]), unique=True, max_size=2)


def _leaves(links):
    return st.builds(Leaf, KINDS, st.just(0), st.booleans(), links, ERRORS)


def _composed(parts):
    links = st.lists(parts, max_size=1)
    several = st.lists(parts, max_size=4)
    return st.one_of(
        _leaves(st.lists(parts, max_size=3)),
        st.builds(Chain, several, links, ERRORS),
        st.builds(Group, several, links, ERRORS),
    )


WORKFLOWS = st.recursive(_leaves(st.just([])), _composed, max_leaves=14)


def numbered(node, counter):
    """A copy in which each task has a number of its own, so that runs can be told apart."""
    links = [numbered(link, counter) for link in node.links]
    if isinstance(node, Leaf):
        return replace(node, number=next(counter), links=links)
    return replace(node, parts=[numbered(part, counter) for part in node.parts], links=links)


# ---------------------------------------------------------------- what it means


class NeedsChord(Exception):
    """A group is followed by something."""


@dataclass(frozen=True)
class Task:
    """A task with its callbacks, each with whether it gets the result."""

    leaf: Leaf
    links: tuple[Any, ...] = ()
    errors: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Steps:
    parts: tuple[Any, ...]


@dataclass(frozen=True)
class Members:
    parts: tuple[Any, ...]


def meaning(node):
    """The node with nested chains and groups made one, and its callbacks where they belong."""
    if isinstance(node, Leaf):
        links = tuple((meaning(link), True) for link in node.links)
        return Task(node, links, frozenset(node.errors))
    parts = tuple(each for part in node.parts for each in inside(meaning(part), type(node)))
    if isinstance(node, Chain) and any(isinstance(part, Members) for part in parts[:-1]):
        raise NeedsChord
    whole = Steps(parts) if isinstance(node, Chain) else Members(parts)
    if parts:
        for link in node.links:
            whole = with_link(whole, meaning(link), gets_result=True)
        whole = with_errors(whole, frozenset(node.errors))
    return whole


def inside(part, kind):
    """What a part comes to in a chain or group."""
    if isinstance(part, Task):
        return (part,)
    if isinstance(part, Steps) and kind is Group:
        if len(part.parts) > 1:
            return (part,)
        return tuple(each for one in part.parts for each in inside(one, kind))
    if isinstance(part, Members) and kind is Chain:
        return (part,) if len(part.parts) > 1 else tuple(each for one in part.parts for each in inside(one, kind))
    return part.parts


def with_link(whole, link, gets_result):
    if isinstance(whole, Task):
        return replace(whole, links=(*whole.links, (link, gets_result)))
    if isinstance(whole, Steps):
        return Steps((*whole.parts[:-1], with_link(whole.parts[-1], link, gets_result)))
    return Members((with_link(whole.parts[0], link, gets_result=False), *whole.parts[1:]))


def with_errors(whole, errors):
    if isinstance(whole, Task):
        return replace(whole, errors=whole.errors | errors)
    return type(whole)(tuple(with_errors(part, errors) for part in whole.parts))


class Interpreter:
    """Runs a workflow at once; counts what is run, and with what."""

    def __init__(self):
        self.runs = Counter()

    def run(self, what, given):
        """What the handle of it will show."""
        if isinstance(what, Members):
            return [self.run(member, given) for member in what.parts]
        if isinstance(what, Task):
            return self.task(what, given)
        ended = None
        for step in what.parts:
            if ended is not None and ended[0] == "FAILURE":
                ended = self.told(step, ended)
            else:
                ended = self.run(step, given)
                given = ended[1:] if isinstance(ended, tuple) else ()
        return ended

    def task(self, task, given):
        leaf = task.leaf
        args = () if leaf.immutable else tuple(given)
        self.runs[leaf.number, args] += 3 if leaf.kind == "flaky" else 1
        if leaf.kind == "fail":
            self.runs.update((error, leaf.number) for error in task.errors)
            return ("FAILURE", leaf.number)
        value = sum(args) + leaf.number
        for link, gets_result in task.links:
            self.run(link, (value,) if gets_result else ())
        return ("SUCCESS", value)

    def told(self, what, failed):
        """What is shown of tasks that do not run."""
        if isinstance(what, Task):
            return failed
        shown = [self.told(part, failed) for part in what.parts]
        return shown if isinstance(what, Members) else shown[-1]


# ---------------------------------------------------------------- what is there


class Bench:
    """An app, its tasks, and a worker that loses some of its runs."""

    def __init__(self, serializer, chance):
        self.app = Celeriac("flow", broker=f"memory://flow-{next(_numbers)}", set_as_current=False)
        self.app.conf.update(task_serializer=serializer, accept_content=["json", "msgpack", "pickle"])
        self.chance = chance
        self.log = []
        self.numbers = {}
        app = self.app

        def run(task, args):
            *given, number = args
            self.log.append((number, tuple(given)))
            self.numbers[task.request.id] = number
            return sum(args)

        @app.task(bind=True, name="add")
        def add(task, *args):
            return run(task, args)

        @app.task(bind=True, name="fail")
        def fail(task, *args):
            run(task, args)
            raise ValueError(args[-1])

        @app.task(bind=True, name="flaky")
        def flaky(task, *args):
            value = run(task, args)
            if task.request.retries < 2:
                raise task.retry(countdown=0)
            return value

        @app.task(name="sent")
        def sent(failed_id):
            self.log.append(("sent", failed_id))

        @app.task(name="inline")
        def inline(request, exc, traceback):
            self.log.append(("inline", request.id))

    def build(self, node):
        tasks = self.app.tasks
        if isinstance(node, Leaf):
            task = tasks[node.kind]
            made: Signature = task.si(node.number) if node.immutable else task.s(node.number)
        else:
            parts = [self.build(part) for part in node.parts]
            if isinstance(node, Group):
                made = group(parts)
            elif len(parts) > 1 and self.chance.random() < 0.5:
                made = functools.reduce(operator.or_, parts)
            else:
                made = chain(parts)
            if not is_empty(made.node):
                made = self._with_callbacks(made, node)
            return made
        return self._with_callbacks(made, node)

    def _with_callbacks(self, made, node):
        for link in node.links:
            made.link(self.build(link))
        for error in node.errors:
            made.link_error(self.app.tasks[error].s())
        return made

    def work(self):
        """Run what is there, and what follows, until nothing is left."""
        config = self.app.worker_config()
        seat = Seat(Env(Place("n"), config.results))
        broker = self.app.sender.broker()
        while deliveries := broker.take(("celery",), 64, 0):
            for delivery in deliveries:
                before = len(self.log)
                ended = perform(self.app.tasks, delivery.message, seat)
                if self.chance.random() < 0.2:  # lost before it was committed
                    del self.log[before:]
                    again = perform(self.app.tasks, delivery.message, seat)
                    assert [m.id for m in again.follow_ups] == [m.id for m in ended.follow_ups]
                    assert [r.id for r in again.records] == [r.id for r in ended.records]
                    ended = again
                broker.settle([Settlement(delivery.receipt, ended.verdict, ended.records, ended.follow_ups)])
        seat.close()

    def runs(self):
        """What has run, tasks by their numbers."""
        return Counter(
            (entry[0], self.numbers[entry[1]]) if entry[0] in {"sent", "inline"} else entry for entry in self.log
        )


def shown(result):
    """What a handle shows."""
    if result is None:
        return None
    if isinstance(result, GroupResult):
        return [shown(member) for member in result.results]
    return (result.state, result.result.args[0] if result.failed() else result.result)


def check_on_workers(workflow, serializer, seed):
    workflow = numbered(workflow, itertools.count(1))
    bench = Bench(serializer, random.Random(seed))
    try:
        try:
            meant = meaning(workflow)
        except NeedsChord:
            with pytest.raises(NotImplementedError, match="chord"):
                bench.build(workflow)
            return
        interpreter = Interpreter()
        expected = interpreter.run(meant, ())
        result = bench.build(workflow).delay()
        bench.work()
        assert shown(result) == expected
        assert bench.runs() == interpreter.runs
    finally:
        bench.app.close()


SERIALIZERS = st.sampled_from(["json", "msgpack", "pickle"])
SEEDS = st.integers(0, 2**32)


@settings(max_examples=60, deadline=None)
@given(WORKFLOWS, SERIALIZERS, SEEDS)
def test_a_workflow_on_workers_is_what_it_means(workflow, serializer, seed):
    check_on_workers(workflow, serializer, seed)


@pytest.mark.proof
@settings(max_examples=5000, deadline=None)
@given(WORKFLOWS, SERIALIZERS, SEEDS)
def test_many_workflows_on_workers_are_what_they_mean(workflow, serializer, seed):
    check_on_workers(workflow, serializer, seed)


@settings(max_examples=30, deadline=None)
@given(WORKFLOWS, SEEDS)
def test_a_workflow_in_place_is_what_it_means(workflow, seed):
    workflow = numbered(workflow, itertools.count(1))
    bench = Bench("json", random.Random(seed))
    try:
        try:
            meant = meaning(workflow)
        except NeedsChord:
            return
        interpreter = Interpreter()
        expected = interpreter.run(meant, ())
        result = bench.build(workflow).apply()
        assert shown(result) == expected
        assert bench.runs() == interpreter.runs
    finally:
        bench.app.close()


@settings(max_examples=60, deadline=None)
@given(WORKFLOWS, SEEDS)
def test_a_workflow_survives_its_form_on_the_wire(workflow, seed):
    bench = Bench("json", random.Random(seed))
    try:
        built = bench.build(numbered(workflow, itertools.count(1)))
    except NotImplementedError:
        return
    finally:
        bench.app.close()
    assert node_of(mapping_of(built.node)) == built.node
