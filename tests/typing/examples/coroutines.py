"""Sending and waiting in coroutines, and tasks that are coroutine functions, as type checkers see them."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from typing_extensions import assert_type

from celeriac import AsyncResult, Celeriac, CoroutineTask, Task, shared_task

app = Celeriac("typing")


@app.task
def add(x: int, y: int = 0) -> int:
    return x + y


@app.task
async def fetch(url: str, size: int = 0) -> bytes:
    await asyncio.sleep(0)
    return b""


@app.task(name="named", queue="web")
async def named(url: str) -> list[str]:
    return [url]


@app.task(bind=True)
async def bound(self: Task[Any, Any], url: str) -> float:
    return 1.0


@shared_task
async def shared(url: str) -> bool:
    return True


@shared_task(bind=True, max_retries=5)
async def shared_bound(self: Task[Any, Any], url: str) -> int:
    return 1


class Fetcher(CoroutineTask[[str], bytes]):
    name = "fetcher"

    async def run(self, url: str) -> bytes:
        return b""


fetcher = app.register_task(Fetcher())


async def right() -> None:
    assert_type(await add.adelay(1, y=2), AsyncResult[int])
    assert_type(await (await add.adelay(1)), int)
    assert_type(await (await add.adelay(1)).aget(timeout=5), int)
    assert_type(await add.aapply_async((1,), countdown=5, priority="low"), AsyncResult[int])
    assert_type(await app.asend_task("any", (1,)), AsyncResult[Any])
    assert_type(fetch.delay("x"), AsyncResult[bytes])
    assert_type(fetch.delay("x").get(), bytes)
    body = assert_type(fetch("x"), Coroutine[Any, Any, bytes])
    assert_type(await body, bytes)
    assert_type(await fetch("x"), bytes)
    assert_type(await (await fetch.adelay("x")), bytes)
    assert_type(await (await named.adelay("x")), list[str])
    assert_type(await (await bound.adelay("x")), float)
    assert_type(await (await shared.adelay("x")), bool)
    assert_type(await (await shared_bound.adelay("x")), int)
    assert_type(await (await fetcher.adelay("x")), bytes)
    assert_type(await fetcher("x"), bytes)
    async for state, info in (await fetch.adelay("x")).astates():
        assert_type(state, str)
        assert_type(info, Any)
    async with app.batch():
        await add.adelay(1)


async def wrong() -> None:
    await add.adelay("x")  # E: [arg-type]
    await add.adelay()  # E: [call-arg]
    await add.adelay(1, z=2)  # E: [call-arg]
    await add.delay(1).aget(timeout="5")  # E: [arg-type]
    await add.aapply_async((1,), countdown="5")  # E: [arg-type]
    await add.aapply_async((1,), queue=5)  # E: [arg-type]
    await add.aapply_async(5)  # E: [arg-type]
    await app.asend_task(5)  # E: [arg-type]
    await fetch.adelay(5)  # E: [arg-type]
    await named.adelay()  # E: [call-arg]
    await bound.adelay(5)  # E: [arg-type]
    await shared.adelay(5)  # E: [arg-type]
    await fetcher.adelay(5)  # E: [arg-type]
    await add(1)  # E: [misc]
    for _ in (await fetch.adelay("x")).astates():  # E: [attr-defined]
        pass
    number: int = await (await fetch.adelay("x"))  # E: [assignment]
    missing_await: AsyncResult[int] = add.adelay(1)  # E: [assignment]
    missing_second: bytes = await fetch.adelay("x")  # E: [assignment]
    body: bytes = fetch("x")  # E: [assignment]
    sync: Task[[str, int], bytes] = fetch  # E: [assignment]
    (await fetch.adelay("x")).get().decode(5)  # E: [arg-type]
    print(number, missing_await, missing_second, body, sync)
