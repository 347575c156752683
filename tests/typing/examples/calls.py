"""Calls as type checkers see them. A line that must be an error ends with what mypy says in brackets."""

from __future__ import annotations

from typing import Any

from typing_extensions import assert_type

from celeriac import AsyncResult, Celeriac, EagerResult

app = Celeriac("typing")


@app.task
def add(x: int, y: int = 0) -> int:
    return x + y


@app.task(name="named", max_retries=3)
def named(text: str, *more: str, upper: bool = False) -> list[str]:
    return [text, *more]


@app.task()
def nothing() -> None: ...


# right

assert_type(add.delay(1), AsyncResult[int])
assert_type(add.delay(1, y=2).get(timeout=1), int)
assert_type(add(1, 2), int)
assert_type(add.apply_async((1,), countdown=5).get(), int)
assert_type(add.apply((1, 2)), EagerResult[int])
assert_type(named.delay("x", "y", upper=True).get(), list[str])
assert_type(nothing.delay(), AsyncResult[None])
assert_type(add.AsyncResult("id"), AsyncResult[int])
assert_type(app.send_task("any"), AsyncResult[Any])
assert_type(app.AsyncResult("id"), AsyncResult[Any])
with app.batch():
    add.delay(1)

# wrong

add.delay("x")  # E: [arg-type]
add.delay()  # E: [call-arg]
add.delay(1, 2, 3)  # E: [call-arg]
add.delay(1, z=2)  # E: [call-arg]
add.delay(1, y=None)  # E: [arg-type]
add("x")  # E: [arg-type]
add()  # E: [call-arg]
named.delay(1)  # E: [arg-type]
named.delay("x", 1)  # E: [arg-type]
named.delay("x", upper="yes")  # E: [arg-type]
named.delay("x", countdown=5)  # E: [call-arg]
nothing.delay(1)  # E: [call-arg]
wrong: str = add.delay(1).get()  # E: [assignment]
wrong_result: AsyncResult[str] = add.delay(1)  # E: [assignment]
add.dealy(1)  # E: [attr-defined]
app.send_task(add)  # E: [arg-type]
app.send_task("any", {"x": 1})  # E: [arg-type]
app.AsyncResult(5)  # E: [arg-type]
