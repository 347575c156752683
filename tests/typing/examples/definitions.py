"""Tasks as functions, methods and classes, as type checkers see them."""

from __future__ import annotations

from typing import Any

from typing_extensions import assert_type

from celeriac import AsyncResult, Celeriac, Task, shared_task

app = Celeriac("typing")


@app.task(bind=True)
def bound(self: Task[Any, Any], x: int) -> str:
    return f"{self.request.id} {x}"


@shared_task
def shared(x: int) -> float:
    return x / 2


@shared_task(name="shared-named", max_retries=1)
def shared_named(x: int) -> str:
    return str(x)


@shared_task(bind=True)
def shared_bound(self: Task[Any, Any], x: int) -> bool:
    if self.request.retries > 3:
        raise self.retry(countdown=5, max_retries=10)
    return bool(x)


class Adder(Task[[int, int], int]):
    name = "adder"

    def run(self, x: int, y: int) -> int:
        return x + y


class Loose(Task[..., Any]):
    name = "loose"

    def run(self, x: int) -> int:
        return x


class Base(Task[..., Any]):
    """A class of the user's own for all tasks of an app."""

    def on_failure(self, exc: BaseException, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
        print(task_id.upper(), exc.args)


adder = app.register_task(Adder())
loose = app.register_task(Loose)
own = Celeriac("own", task_cls=Base)

# right

assert_type(bound.delay(1), AsyncResult[str])
assert_type(bound(1), str)
assert_type(shared.delay(1), AsyncResult[float])
assert_type(shared_named.delay(1), AsyncResult[str])
assert_type(shared_bound.delay(1), AsyncResult[bool])
assert_type(adder, Adder)
assert_type(adder.delay(1, 2).get(), int)
assert_type(adder(1, 2), int)
assert_type(app.tasks["any"], Task[Any, Any])
loose.delay(1, anything="goes")


@app.task(bind=True, autoretry_for=(OSError,), retry_backoff=True)
def tries(self: Task[[str], int], url: str) -> int:
    self.update_state(state="PROGRESS", meta={"url": url})
    return self.request.retries


# wrong

bound.delay("x")  # E: [arg-type]
bound.delay()  # E: [call-arg]
bound.delay(bound, 1)  # E: [call-arg, arg-type]
shared.delay("x")  # E: [arg-type]
shared_named.delay(None)  # E: [arg-type]
shared_bound.delay()  # E: [call-arg]
adder.delay("1", 2)  # E: [arg-type]
adder.delay(1)  # E: [call-arg]
adder.delay(1, 2, 3)  # E: [call-arg]
app.register_task(adder.run)  # E: [arg-type]
app.task("name")  # E: [call-overload]
app.task(name=5)  # E: [call-overload]
shared_task("name")  # E: [call-overload]
Celeriac("x", broker=5)  # E: [arg-type]
Celeriac(5)  # E: [arg-type]
Celeriac("x", strict_typing="no")  # E: [arg-type]
Celeriac("x", "sqlite:///x.db")  # E: [call-arg]
Celeriac("x", task_cls=Adder())  # E: [arg-type]
app.revoke(5)  # E: [arg-type]


class Wrong(Task[[int], int]):
    name = 5  # E: [assignment]
    max_retries = "many"  # E: [assignment]

    def run(self, x: str) -> int:  # E: [override]
        return 1


@app.task(bind=True)
def wrong_retries(self: Task[Any, Any], x: int) -> int:
    self.retry(countdown="5")  # E: [arg-type]
    self.retry(eta=5)  # E: [arg-type]
    self.retry(exc="reason")  # E: [arg-type]
    self.retry(max_retries="3")  # E: [arg-type]
    self.retry(args=5)  # E: [arg-type]
    self.update_state(state=5)  # E: [arg-type]
    self.request.id.upper()  # E: [union-attr]
    raise self.retry  # E: [misc]
