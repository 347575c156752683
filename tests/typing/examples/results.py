"""Results of one task and of many as type checkers see them."""

from __future__ import annotations

from typing import Any

from typing_extensions import assert_type

from celeriac import AsyncResult, Celeriac, EagerResult, GroupResult, ResultSet
from celeriac.result import ResultBase, allow_join_result, result_from_tuple

app = Celeriac("typing")


@app.task
def add(x: int, y: int = 0) -> int:
    return x + y


result = add.delay(1)
many: ResultSet[int] = ResultSet([result, add.delay(2)])
some: GroupResult[int] = GroupResult("id", [result])

# right

assert_type(result.get(), int)
assert_type(result.wait(timeout=1.5), int)
assert_type(result.id, str)
assert_type(result.state, str)
assert_type(result.ready(), bool)
assert_type(result.children, list[ResultBase] | None)
assert_type(result.parent, ResultBase | None)
assert_type(many.get(), list[int])
assert_type(many.join(timeout=5, propagate=False), list[int])
assert_type(many[0], AsyncResult[int])
assert_type(many[0].get(), int)
assert_type([each.get() for each in many], list[int])
assert_type(some.get(), list[int])
assert_type(some.save(), GroupResult[int])
assert_type(GroupResult.restore("id"), GroupResult[Any] | None)
assert_type(add.apply((1,)).get(), int)
result.then(lambda ended: print(ended.get() + 1), on_error=lambda error: print(error.args))
with allow_join_result():
    result.get(disable_sync_subtasks=False, callback=lambda task_id, value: print(task_id.upper(), value))


async def right() -> None:
    assert_type(await many, list[int])
    assert_type(await some.aget(timeout=5), list[int])
    async for each in many:
        assert_type(each, AsyncResult[int])


covariant: AsyncResult[float] = result
eager: AsyncResult[int] = add.apply((1,))

# wrong

result.get(timeout="5")  # E: [arg-type]
result.get(5, "no")  # E: [arg-type]
result.get(callback=print, on_mesage=print)  # E: [call-arg]
result.get(callback=lambda: None)  # E: [arg-type, misc]
result.get() + "x"  # E: [operator]
result.get().upper()  # E: [attr-defined]
result.then("callback")  # E: [arg-type]
result.then(lambda ended: ended.get().upper())  # E: [attr-defined]
result.revoke(terminate="yes")  # E: [arg-type]
result.revoke(signal=9)  # E: [arg-type]
result.state = "SUCCESS"  # E: [misc]
result.children[0]  # E: [index]
AsyncResult(5)  # E: [arg-type]
AsyncResult("id", parent="parent")  # E: [arg-type]
text: list[str] = many.get()  # E: [assignment]
one: int = many.get()  # E: [assignment]
first: AsyncResult[str] = many[0]  # E: [assignment]
many["id"]  # E: [index]
ResultSet(["id"])  # E: [list-item]
ResultSet(result)  # E: [arg-type]
many.add("id")  # E: [arg-type]
GroupResult(["id"])  # E: [arg-type]
GroupResult.restore("id").get()  # E: [union-attr]
exact: EagerResult[int] = result  # E: [assignment]
result_from_tuple()  # E: [call-arg]


async def wrong() -> None:
    for each in await some.aget(timeout="5"):  # E: [arg-type]
        print(each.upper())  # E: [attr-defined]
