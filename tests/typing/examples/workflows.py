"""Signatures, chains and groups as type checkers see them."""

from __future__ import annotations

from typing import Any

from typing_extensions import assert_type

from celeriac import AsyncResult, Celeriac, GroupResult, Signature, chain, group, signature

app = Celeriac("typing")


@app.task
def add(x: int, y: int = 0) -> int:
    return x + y


@app.task
def text(x: int) -> str:
    return str(x)


# right

assert_type(add.s(1), Signature[int])
assert_type(add.si(1, y=2), Signature[int])
assert_type(add.signature((1,), countdown=5), Signature[int])
assert_type(add.s(1).delay(), AsyncResult[int])
assert_type(add.s(1).apply_async(countdown=5).get(), int)
assert_type(add.s(1) | text.s(), chain[str])
assert_type((add.s(1) | text.s()).delay().get(), str)
assert_type(chain(add.s(1), add.s(2), text.s())(), Any)
assert_type(chain(add.s(1), text.s()).apply_async(), AsyncResult[str])
assert_type(group(add.s(n) for n in range(3)).delay(), GroupResult[int])
assert_type(group(add.s(1), add.s(2)).delay().get(), list[int])
assert_type(~group(add.s(1)), list[int])
assert_type(~add.s(1), int)
assert_type(signature("any", (1,)), Signature[Any])
assert_type(add.s(1).set(queue="other"), Signature[int])
assert_type(add.s(1).clone((2,)), Signature[int])


async def right() -> None:
    assert_type(await add.s(1).adelay(), AsyncResult[int])
    assert_type(await (await group(add.s(1)).adelay()), list[int])


# wrong

add.si("x")  # E: [arg-type]
add.si()  # E: [call-arg]
add.si(1, z=2)  # E: [call-arg]
add.signature(5)  # E: [arg-type]
add.s(1).apply_async(5)  # E: [arg-type]
add.s(1).clone(5)  # E: [arg-type]
add.s(1) | add  # E: [operator]
add.s(1) | "text"  # E: [operator]
add.s(1).link(text)  # E: [type-var]
ended: int = (add.s(1) | text.s()).delay().get()  # E: [assignment]
grouped: AsyncResult[int] = group(add.s(1)).delay()  # E: [assignment]
members: list[str] = group(add.s(1), add.s(2)).delay().get()  # E: [assignment]
one: int = ~group(add.s(1))  # E: [assignment]
mine: Signature[str] = add.s(1)  # E: [assignment]
group(add.s(1)).skew(start="1")  # E: [arg-type]
