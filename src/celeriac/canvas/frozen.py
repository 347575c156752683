"""`FrozenDict`: what a signature shows of itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn


class FrozenDict(dict[str, Any]):
    """A dictionary that says how to change what it was copied from, instead of changing without effect."""

    def _refuse(self, *_args: Any, **_kwargs: Any) -> NoReturn:
        raise TypeError(
            "this is a copy of what the signature says: change options with signature.set(name=value), and arguments "
            "with signature.clone(args, kwargs) or signature.replace(...)"
        )

    if not TYPE_CHECKING:
        __setitem__ = __delitem__ = __ior__ = _refuse
        clear = pop = popitem = setdefault = update = _refuse

    def __reduce__(self) -> tuple[Any, ...]:
        return (dict, (dict(self),))
