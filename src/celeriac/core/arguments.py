"""Checks a call's arguments against a function's signature, before anything is sent."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from types import CodeType
from typing import Any


class ArgumentCheck:
    """The signature of one task's function.

    :param function: what the worker will call
    :param name: the task's name, for errors
    :param skip_first: True if the first parameter is the task itself
    """

    def __init__(self, function: Callable[..., Any], name: str, skip_first: bool = False) -> None:
        self._function = function
        self._name = name
        self._skip = int(skip_first)
        self._signature: inspect.Signature | None = None
        code: CodeType | None = getattr(function, "__code__", None)
        is_plain = not hasattr(function, "__wrapped__") and not hasattr(function, "__signature__")
        self._is_plain = False
        if code is not None and is_plain and not code.co_flags & (inspect.CO_VARARGS | inspect.CO_VARKEYWORDS):
            defaults = getattr(function, "__defaults__", None) or ()
            only = code.co_varnames[code.co_argcount : code.co_argcount + code.co_kwonlyargcount]
            self._names: tuple[str, ...] = code.co_varnames[self._skip : code.co_argcount]
            self._required = code.co_argcount - len(defaults) - self._skip
            self._is_plain = self._required >= 0 and not only and not code.co_posonlyargcount

    def __call__(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        """Return if the function can be called so. Raises TypeError that names the task and what is wrong."""
        if self._is_plain:
            given = len(args)
            if not kwargs:
                if self._required <= given <= len(self._names):
                    return
            elif given <= len(self._names) and self._names_fit(given, kwargs):
                return
        self._check_fully(args, kwargs)

    def _names_fit(self, given: int, kwargs: Mapping[str, Any]) -> bool:
        free = self._names[given:]
        return all(name in free for name in kwargs) and all(
            name in kwargs for name in self._names[given : self._required]
        )

    def _check_fully(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        signature = self._signature
        if signature is None:
            try:
                signature = inspect.signature(self._function)
            except (TypeError, ValueError):  # built-in or compiled: there is nothing to check against
                return
            if self._skip:
                signature = signature.replace(parameters=list(signature.parameters.values())[1:])
            self._signature = signature
        try:
            signature.bind(*args, **kwargs)
        except TypeError as exc:
            raise TypeError(f"{self._name}{signature}: {exc}") from None
