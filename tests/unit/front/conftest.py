"""An app on a memory store of its own, and a worker that runs in the test's thread."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import pytest

from celeriac import Celeriac
from celeriac.model.context import Place
from celeriac.model.message import Ack, Settlement
from celeriac.worker.env import Env, Seat
from celeriac.worker.perform import Performed, perform

_numbers = itertools.count()

Drain = Callable[..., list[Performed]]


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("BROKER_URL", "BROKER_READ_URL", "BROKER_WRITE_URL", "RESULT_BACKEND", "CONFIG_MODULE"):
        for prefix in ("CELERY_", "CELERIAC_"):
            monkeypatch.delenv(prefix + name, raising=False)


@pytest.fixture
def app() -> Iterator[Celeriac]:
    app = Celeriac("front", broker=f"memory://front-{next(_numbers)}")
    yield app
    app.close()


@pytest.fixture
def drain() -> Drain:
    """Run what waits in the queues of an app until nothing is ready, as a worker would; return what became of each."""

    def run(app: Celeriac, *queues: str) -> list[Performed]:
        config = app.worker_config()
        seat = Seat(Env(Place("celery@test"), config.results))
        tasks = app.load_tasks()
        broker = app.make_broker()
        broker.open()
        done = []
        try:
            while deliveries := broker.take(queues or config.queues, 64, 0):
                for delivery in deliveries:
                    ended = perform(tasks, delivery.message, seat, redelivered=delivery.redelivered)
                    verdict = Ack() if delivery.cancelled else ended.verdict
                    broker.settle([Settlement(delivery.receipt, verdict, ended.records, ended.follow_ups)])
                    done.append(ended)
        finally:
            seat.close()
            broker.close()
        return done

    return run


@pytest.fixture
def peek() -> Callable[..., list]:
    """The messages that wait in a queue."""

    def look(app: Celeriac, queue: str = "celery") -> list:
        return [waiting.message for waiting in app.sender.broker().peek(queue, 1000)]

    return look
