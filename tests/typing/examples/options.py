"""Options of calls as type checkers see them: those that are known have types, other names are the user's own."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

from typing_extensions import assert_type

from celeriac import AsyncResult, Celeriac

app = Celeriac("typing")
NOW = datetime.now(timezone.utc)


@app.task
def add(x: int, y: int = 0) -> int:
    return x + y


# right

add.apply_async((1, 2), countdown=1.5, queue="other", priority="high", headers={"a": 1})
add.apply_async([1], {"y": 2}, task_id="id", eta=NOW, expires=timedelta(hours=1))
add.apply_async((1,), expires=NOW, priority=9, ignore_result=True, time_limit=5, soft_time_limit=4.5)
add.apply_async((1,), retry=False, retry_policy={"max_retries": 1}, serializer="json", compression="gzip")
add.apply_async((1,), link=add.s(1), link_error=[add.s(2)], shadow="name", my_property="passes through")
add.apply_async()
assert_type(add.apply_async((1,)), AsyncResult[int])

# wrong

add.apply_async(1)  # E: [arg-type]
add.apply_async({"x": 1})  # E: [arg-type]
add.apply_async((1,), [2])  # E: [arg-type]
add.apply_async((1,), {5: 2})  # E: [dict-item]
add.apply_async((1,), countdown="5")  # E: [arg-type]
add.apply_async((1,), countdown=timedelta(1))  # E: [arg-type]
add.apply_async((1,), eta=5)  # E: [arg-type]
add.apply_async((1,), eta="2030-01-01")  # E: [arg-type]
add.apply_async((1,), expires="tomorrow")  # E: [arg-type]
add.apply_async((1,), priority="urgent")  # E: [arg-type]
add.apply_async((1,), priority=1.5)  # E: [arg-type]
add.apply_async((1,), queue=5)  # E: [arg-type]
add.apply_async((1,), queue=["a", "b"])  # E: [arg-type]
add.apply_async((1,), serializer=True)  # E: [arg-type]
add.apply_async((1,), compression=9)  # E: [arg-type]
add.apply_async((1,), headers=[("a", 1)])  # E: [arg-type]
add.apply_async((1,), ignore_result="no")  # E: [arg-type]
add.apply_async((1,), time_limit="1m")  # E: [arg-type]
add.apply_async((1,), soft_time_limit=timedelta(1))  # E: [arg-type]
add.apply_async((1,), retry=3.5)  # E: [arg-type]
add.apply_async((1,), retry_policy=3)  # E: [arg-type]
add.apply_async((1,), task_id=5)  # E: [arg-type]
add.apply_async((1,), shadow=5)  # E: [arg-type]
add.apply_async((1,), add_to_parent="no")  # E: [arg-type]
