"""Handles of results for workflows: from what `core.workflow` says to what users hold."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from celeriac.core.workflow.start import Handle
from celeriac.model import states
from celeriac.result import AsyncResult, EagerResult, GroupResult
from celeriac.wire.records import Meta

if TYPE_CHECKING:
    from celeriac.app import Celeriac


def result_of(handle: Handle | None, app: Celeriac, known: Mapping[str, Meta] | None = None) -> Any:
    """The AsyncResult or GroupResult of a workflow, with its parents; None for an empty chain. `known` is what came of
    one that was run in place."""
    line: list[Handle] = []
    while handle is not None:
        line.append(handle)
        handle = handle.parent
    result: Any = None
    for step in reversed(line):
        if step.members is None and known is not None:
            meta = known.get(step.id) or Meta(task_id=step.id, status=states.PENDING)
            eager: EagerResult[Any] = EagerResult(meta, step.task, app, known)
            eager.parent, result = result, eager
        elif step.members is None:
            result = AsyncResult(
                step.id, task_name=step.task, app=app, parent=result, ignored=_is_ignored(step.task, app)
            )
        else:
            members = [result_of(member, app, known) for member in step.members]
            result = GroupResult(step.id, members, parent=result, app=app)
    return result


def _is_ignored(name: str | None, app: Celeriac) -> bool:
    """True if the task keeps no result: nobody should wait for one."""
    task = app.tasks.get(name) if name else None
    return task is not None and task.policy.ignore_result
