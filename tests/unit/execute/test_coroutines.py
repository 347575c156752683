from __future__ import annotations

import asyncio
import contextvars
import os
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from celeriac.worker.coroutines import CoroutineRunner

name = contextvars.ContextVar("name", default="none")


async def loop_of_coroutine():
    await asyncio.sleep(0)
    return asyncio.get_running_loop()


@pytest.fixture
def runner():
    runner = CoroutineRunner()
    yield runner
    runner.close()


def test_one_loop_serves_all_coroutines_of_a_process(runner):
    assert runner(loop_of_coroutine()) is runner(loop_of_coroutine())


def test_what_a_coroutine_left_on_the_loop_goes_on_during_the_next_one(runner):
    seen = []

    async def background():
        await asyncio.sleep(0)
        seen.append("background")

    async def body():
        seen.append(asyncio.ensure_future(background()))

    async def next_body():
        await seen[0]

    runner(body())
    runner(next_body())
    assert seen[1] == "background"


def test_a_forked_copy_makes_a_loop_of_its_own(runner):
    loop = runner(loop_of_coroutine())
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            code = 0 if runner(loop_of_coroutine()) is not loop else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_a_coroutine_sees_the_context_of_its_caller(runner):
    async def body():
        return name.get()

    token = name.set("caller")
    try:
        assert runner(body()) == "caller"
    finally:
        name.reset(token)


@pytest.mark.parametrize("error", [ValueError("no"), asyncio.CancelledError()])
def test_what_a_coroutine_raises_is_raised_and_the_runner_goes_on(runner, error):
    async def body():
        await asyncio.sleep(0)
        raise error

    with pytest.raises(type(error)):
        runner(body())
    assert runner(loop_of_coroutine())


def test_nothing_is_broken_into_when_nothing_waits(runner):
    assert not runner.break_in(ValueError())
    runner(loop_of_coroutine())
    assert not runner.break_in(ValueError())


def test_inside_a_running_loop_the_coroutine_runs_beside_it_in_the_callers_context(runner):
    async def body():
        return name.get(), asyncio.get_running_loop()

    async def main():
        name.set("caller")
        return runner(body()), asyncio.get_running_loop()

    (seen, inner), outer = asyncio.run(main())
    assert seen == "caller"
    assert inner is not outer


def test_inside_a_running_loop_errors_come_back_too(runner):
    async def body():
        raise ValueError("no")

    async def main():
        runner(body())

    with pytest.raises(ValueError, match="no"):
        asyncio.run(main())


def test_many_threads_may_run_coroutines_at_once(runner):
    barrier = threading.Barrier(4)

    async def body(number):
        barrier.wait(10)
        await asyncio.sleep(0)
        return number

    with ThreadPoolExecutor(4) as threads:
        ends = [threads.submit(runner, body(number)) for number in range(4)]
        assert [end.result(10) for end in ends] == [0, 1, 2, 3]


def test_closing_twice_and_using_it_again_works(runner):
    runner(loop_of_coroutine())
    runner.close()
    runner.close()
    assert runner(loop_of_coroutine())
