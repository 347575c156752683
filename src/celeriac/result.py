"""Handles of results: `AsyncResult` of one task, `GroupResult` and `ResultSet` of many, `EagerResult` of one run in
place."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from celeriac.results.base import ResultBase, offer_rebuild
from celeriac.results.eager import EagerResult
from celeriac.results.groups import GroupResult
from celeriac.results.handle import AsyncResult
from celeriac.results.joining import E_WOULD_BLOCK, allow_join_result, assert_will_not_block, denied_join_result
from celeriac.results.sets import ResultSet

if TYPE_CHECKING:
    from celeriac.app import Celeriac

__all__ = [
    "E_WOULD_BLOCK",
    "AsyncResult",
    "EagerResult",
    "GroupResult",
    "ResultBase",
    "ResultSet",
    "allow_join_result",
    "assert_will_not_block",
    "denied_join_result",
    "result_from_tuple",
]

for _class in (ResultBase, AsyncResult, EagerResult, ResultSet, GroupResult):
    # What is pickled is found again where users import it from.
    _class.__module__ = __name__


def result_from_tuple(value: Any, app: Celeriac | None = None) -> Any:
    """The handle that `as_tuple` described: an AsyncResult, or a GroupResult if members are listed. A handle is
    returned as it is."""
    if isinstance(value, ResultBase):
        return value
    head, members = value
    known_id, parent = head if isinstance(head, (list, tuple)) else (head, None)
    before = result_from_tuple(parent, app) if parent else None
    if members is not None:
        return GroupResult[Any](known_id, [result_from_tuple(member, app) for member in members], before, app)
    return AsyncResult[Any](known_id, app=app, parent=before)


offer_rebuild(result_from_tuple)
