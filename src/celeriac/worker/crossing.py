"""From a thread to event loops: calls go over in one crossing per loop, whatever their number."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop

_log = logging.getLogger("celeriac.results")

Call = tuple[Callable[..., object], tuple[Any, ...]]


def pass_on(calls: Iterable[tuple[AbstractEventLoop | None, Call]]) -> None:
    """Make calls on their loops; those without one here and now. What they raise is logged; on a loop, what is to end
    the process does. A loop that is closed makes none: nobody waits there any more."""
    by_loop: dict[AbstractEventLoop | None, list[Call]] = {}
    for loop, call in calls:
        by_loop.setdefault(loop, []).append(call)
    for loop, its_calls in by_loop.items():
        if loop is None:
            try:
                make_calls(its_calls)
            except (KeyboardInterrupt, SystemExit):
                _log.exception("a callback of a result wanted to end the process, which only its main thread can")
            continue
        try:
            loop.call_soon_threadsafe(make_calls, its_calls)
        except RuntimeError:
            continue


def make_calls(calls: Sequence[Call]) -> None:
    """Make each call; one that raises does not keep the others. Raises what is to end the process, at the end."""
    ends: BaseException | None = None
    for function, arguments in calls:
        try:
            function(*arguments)
        except (KeyboardInterrupt, SystemExit) as exc:
            ends = exc
        except BaseException:  # noqa: BLE001 - callbacks are user code
            _log.exception("a callback of a result failed")
    if ends is not None:
        try:
            raise ends
        finally:
            ends = None  # it holds this frame


def own_copy(error: BaseException) -> BaseException:
    """The same error for one of many who get it: each adds a traceback of his own."""
    try:
        copied = copy.copy(error)
    except Exception:  # noqa: BLE001 - its class may want other arguments
        return error
    copied.__cause__ = error.__cause__ or error
    return copied
