"""The front's app, worker and view of queues, and a few tasks."""

from __future__ import annotations

import itertools
from types import SimpleNamespace

import pytest

from celeriac import Celeriac
from celeriac.canvas.sending import long_chains
from unit.front.conftest import drain, peek, plain_environment

__all__ = ["drain", "peek", "plain_environment"]

_numbers = itertools.count()


@pytest.fixture(autouse=True)
def no_word_of_long_chains(monkeypatch):
    """What is said once per process would be said in whatever test comes first."""
    monkeypatch.setattr(long_chains, "is_on", False)


@pytest.fixture
def app():
    app = Celeriac("canvas", broker=f"memory://canvas-{next(_numbers)}")
    yield app
    app.close()


@pytest.fixture
def tasks(app):
    """Tasks that note what they were called with, in order."""
    seen: list[tuple[object, ...]] = []

    @app.task(name="t.add")
    def add(x, y):
        seen.append(("add", x, y))
        return x + y

    @app.task(name="t.mul")
    def mul(x, y):
        seen.append(("mul", x, y))
        return x * y

    @app.task(name="t.fail")
    def fail(*args):
        seen.append(("fail", *args))
        raise ValueError("no", *args)

    @app.task(name="t.keep", ignore_result=True)
    def keep(*args, **kwargs):
        seen.append(("keep", *args, *sorted(kwargs.items())))
        return args[0] if args else None

    @app.task(name="t.on_error")
    def on_error(failed_id):
        seen.append(("on_error", failed_id))
        return f"saw {failed_id}"

    @app.task(name="t.on_error3")
    def on_error3(request, exc, traceback):
        seen.append(("on_error3", request.id, repr(exc), traceback.splitlines()[-1]))

    return SimpleNamespace(
        seen=seen, add=add, mul=mul, fail=fail, keep=keep, on_error=on_error, on_error3=on_error3, app=app
    )
