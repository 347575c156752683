"""Reviving a dead letter takes back the failures that it has brought upon the tasks behind it."""

from __future__ import annotations

import itertools
from types import SimpleNamespace

import pytest

from celeriac import Celeriac, group, signature
from celeriac.cli.followers import forget_failures
from celeriac.cli.letters import LETTERS_MAX
from celeriac.exceptions import Reject
from celeriac.model.call import Call
from celeriac.wire.protocol2 import encode_call
from unit.front.conftest import drain, plain_environment

__all__ = ["drain", "plain_environment"]

_numbers = itertools.count()


@pytest.fixture
def app():
    app = Celeriac("followers", broker=f"memory://followers-{next(_numbers)}")
    yield app
    app.close()


@pytest.fixture
def tasks(app):
    ill = [True]

    @app.task
    def fragile(x):
        if ill:
            raise Reject("ill", requeue=False)
        return x

    @app.task
    def add(x, y):
        return x + y

    return SimpleNamespace(fragile=fragile, add=add, cure=ill.clear)


def revive(app):
    """What the command does."""
    broker = app.sender.broker()
    letters = broker.dead(None, LETTERS_MAX)
    forget_failures(app, letters)
    return broker.revive([letter.message.id for letter in letters])


def states(result):
    return [leaf.state for leaf in (*reversed(result.leaves_before()), *result.leaves())]


def test_the_tasks_behind_a_revived_one_are_pending_again_and_end_as_they_end(app, tasks, drain):
    result = (tasks.add.s(1, 1) | tasks.fragile.s() | tasks.add.s(1) | group(tasks.add.s(2), tasks.add.s(3))).delay()
    drain(app)
    assert states(result) == ["SUCCESS", "FAILURE", "FAILURE", "FAILURE", "FAILURE"]
    tasks.cure()
    assert revive(app) == 1
    assert states(result) == ["SUCCESS", "PENDING", "PENDING", "PENDING", "PENDING"]
    drain(app)
    assert result.get(timeout=1) == [5, 6]


def test_what_did_not_fail_with_the_letter_is_kept(app, tasks, drain):
    result = (tasks.fragile.s(1) | tasks.add.s(1) | tasks.add.s(1)).delay()
    drain(app)
    app.store_state(result.parent.id, "REVOKED", None, None)
    app.store_state(result.id, "SUCCESS", 7, None)
    assert revive(app) == 1
    assert states(result) == ["PENDING", "REVOKED", "SUCCESS"]


def test_letters_that_are_parked_unreadable_or_alone_are_revived_as_ever(app, tasks, drain):
    (signature("no.such", app=app) | tasks.add.s(1)).delay()
    tasks.fragile.delay(1)
    broker = app.sender.broker()
    odd = encode_call(Call(id="odd", task=tasks.add.name, queue="celery", args=(1, 1), chain=[{"x": 1}]))
    bad = encode_call(Call(id="bad", task=tasks.add.name, queue="celery", args=(1,), serializer="pickle"))
    broker.publish([odd, bad])
    drain(app)
    assert len(broker.dead(None, 10)) == 4
    assert revive(app) == 4


def test_without_results_there_is_nothing_to_forget(app, tasks, drain):
    app.conf.result_backend = "disabled://"
    (tasks.fragile.s(1) | tasks.add.s(1)).delay()
    drain(app)
    assert revive(app) == 1
