"""What a retry repeats: the call of the present run, a little later."""

# The type of a task is needed here, and a task's module imports this one.
# pyright: reportImportCycles=false

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from celeriac.core.prepare import prepare_again
from celeriac.model.context import get_current_run
from celeriac.model.errors import EncodeError, Reject, Retry
from celeriac.wire.serializers import by_content_type

if TYPE_CHECKING:
    from celeriac.task import Task


def collect_retry(
    task: Task[Any, Any],
    args: Sequence[Any] | None,
    kwargs: Mapping[str, Any] | None,
    options: Mapping[str, Any],
    cause: BaseException | None,
) -> None:
    """Put the repetition on the present run, which commits it with its end.

    Raises Reject if `options` are wrong, RuntimeError outside of a run that a worker or `apply` began.
    """
    request, run = task.request, get_current_run()
    fields = request.fields
    while run is not None and run.context is not request:
        run = run.parent
    if run is None or fields is None:
        raise RuntimeError(f"{task.name}: retry() needs a run that a worker or apply() began")
    try:
        call = prepare_again(
            fields,
            task.app.router(),
            by_content_type(fields.content_type).name,
            options,
            fields.args if args is None else args,
            fields.kwargs if kwargs is None else kwargs,
            time.time(),
        )
    except (TypeError, ValueError, EncodeError, LookupError) as exc:
        raise Reject(exc, requeue=False) from cause
    run.retry_calls.append(call)


def raise_original(exc: BaseException | None, current: BaseException | None) -> NoReturn:
    """Raise `exc`, else the exception being handled, else Retry: there is no run to repeat."""
    if exc is None and current is None:
        raise Retry("Task can be retried", None)
    if exc is None or exc is current:
        assert current is not None
        raise current
    raise exc from current
