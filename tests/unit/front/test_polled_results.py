"""Results of a backend that cannot wait: it is looked at, with pauses."""

from __future__ import annotations

import asyncio
import itertools
import threading

import pytest

from celeriac import Celeriac
from celeriac.backends.memory import MemoryBackend
from celeriac.exceptions import BackendUnavailable, TimeoutError  # noqa: A004 - the public name
from celeriac.model.message import Record
from celeriac.model.ports import Waiter
from celeriac.result import ResultSet
from celeriac.worker.polling import PolledWatch
from celeriac.worker.watcher import Watcher

_numbers = itertools.count()


class Plain:
    """A backend that can be read and written, and no more. It counts looks."""

    def __init__(self):
        self.store = MemoryBackend(f"memory://plain-{next(_numbers)}", {})
        self.facts = self.store.facts
        self.open, self.close = self.store.open, self.store.close
        self.write, self.forget = self.store.write, self.store.forget
        self.looks = 0
        self.fails = False

    def read(self, ids):
        self.looks += 1
        if self.fails:
            raise BackendUnavailable("away")
        return self.store.read(ids)


@pytest.fixture
def plain(app: Celeriac) -> Plain:
    plain = Plain()
    assert not isinstance(plain, Waiter)
    app.watcher = Watcher(lambda: plain)
    return plain


def later(plain: Plain, *records: Record) -> threading.Timer:
    timer = threading.Timer(0.03, plain.write, [records])
    timer.start()
    return timer


def test_it_is_polled_until_the_end_comes(app, plain):
    assert app.watcher.address() == ""
    later(plain, Record("a", "STARTED", b'{"status":"STARTED"}'))
    later(plain, Record("a", "SUCCESS", b'{"status":"SUCCESS","result":1}'))
    assert app.AsyncResult("a").get(timeout=20) == 1
    assert plain.looks > 2
    with pytest.raises(TimeoutError):
        app.AsyncResult("never").get(timeout=0.05)


def test_states_intervals_and_many_work_as_elsewhere(app, plain):
    told, ticks = [], []
    plain.open()
    plain.write([Record("a", "PROGRESS", b'{"status":"PROGRESS","result":5}')])
    later(plain, *(Record(name, "SUCCESS", b'{"status":"SUCCESS","result":1}') for name in "abc"))
    result = app.AsyncResult("a").get(
        timeout=20, interval=0.001, on_message=lambda m: told.append(m["status"]), on_interval=lambda: ticks.append(1)
    )
    assert (result, told) == (1, ["PROGRESS", "SUCCESS"])
    assert ticks
    assert ResultSet([app.AsyncResult(name) for name in "abc"], app=app).get(timeout=20) == [1, 1, 1]


def test_coroutines_wait_and_follow_too(app, plain):
    async def main():
        results = [app.AsyncResult(name) for name in "abc"]
        waiting = [asyncio.ensure_future(result.aget(timeout=20)) for result in results]
        await asyncio.sleep(0)
        later(plain, *(Record(name, "SUCCESS", b'{"status":"SUCCESS","result":1}') for name in "abc"))
        assert [state async for state, _ in results[0].astates(timeout=20)] == ["SUCCESS"]
        assert await asyncio.gather(*waiting) == [1, 1, 1]

    asyncio.run(main())


def test_a_backend_that_is_away_is_told_to_all_who_wait(app, plain):
    plain.fails = True

    async def main():
        waits = [app.AsyncResult(name).aget(timeout=20) for name in "ab"]
        for error in await asyncio.gather(*waits, return_exceptions=True):
            assert isinstance(error, BackendUnavailable)
        plain.fails = False
        later(plain, Record("a", "SUCCESS", b'{"status":"SUCCESS","result":1}'))
        assert await app.AsyncResult("a").aget(timeout=20) == 1

    asyncio.run(main())
    plain.fails = True
    with pytest.raises(BackendUnavailable):
        app.AsyncResult("b").get(timeout=20)


def test_without_anything_to_look_at_nobody_looks(plain):
    plain.open()
    watch = PolledWatch(plain)
    assert not watch.wait(0.05)
    watch.wake()
    assert not watch.wait(20)
    assert plain.looks == 0
    watch.add(["a", "b"])
    watch.discard(["a"])
    plain.write([Record("a", "SUCCESS", b"1"), Record("b", "SUCCESS", b"2")])
    assert [record.id for record in watch.wait(20)] == ["b"]
    assert not watch.wait(0.02)
    watch.close()
    assert not watch.wait(20)
