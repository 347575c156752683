"""Calls as type checkers see them. A line that must be an error ends with what mypy says in brackets."""

from __future__ import annotations

from typing import Any

from typing_extensions import assert_type

from celeriac import AsyncResult, Celeriac, Task, shared_task

app = Celeriac("typing")


@app.task
def add(x: int, y: int = 0) -> int:
    return x + y


@app.task(name="named", max_retries=3)
def named(text: str) -> list[str]:
    return [text]


@app.task(bind=True)
def bound(self: Task[Any, Any], x: int) -> str:
    return f"{self.request.id} {x}"


@shared_task
def shared(x: int) -> float:
    return x / 2


@shared_task(bind=True)
def shared_bound(self: Task[Any, Any], x: int) -> bool:
    return bool(x)


assert_type(add.delay(1), AsyncResult[int])
assert_type(add.delay(1, y=2).get(timeout=1), int)
assert_type(add(1, 2), int)
assert_type(add.apply_async((1,), countdown=5).get(), int)
assert_type(named.delay("x").get(), list[str])
assert_type(bound.delay(1), AsyncResult[str])
assert_type(shared.delay(1), AsyncResult[float])
assert_type(shared_bound.delay(1), AsyncResult[bool])
assert_type(add.AsyncResult("id"), AsyncResult[int])
assert_type(app.send_task("any"), AsyncResult[Any])

add.delay("x")  # E: [arg-type]
add.delay()  # E: [call-arg]
add.delay(1, z=2)  # E: [call-arg]
named.delay(1)  # E: [arg-type]
bound.delay("x")  # E: [arg-type]
shared.delay("x")  # E: [arg-type]
wrong: str = add.delay(1).get()  # E: [assignment]


class Adder(Task[[int, int], int]):
    name = "adder"

    def run(self, x: int, y: int) -> int:
        return x + y


adder = app.register_task(Adder())
assert_type(adder.delay(1, 2).get(), int)
adder.delay("1", 2)  # E: [arg-type]


class Loose(Task[..., Any]):
    name = "loose"

    def run(self, x: int) -> int:
        return x


app.register_task(Loose).delay(1)
