"""Walking from a result to what followed from it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TextIO

from celeriac.model.errors import IncompleteStream
from celeriac.results.base import ResultBase


class ResultTree(ResultBase):
    """A result from which others followed: the tasks that a task sent, the steps after a step of a chain."""

    __slots__ = ()

    def iterdeps(self, intermediate: bool = False) -> Iterator[tuple[ResultBase | None, ResultBase]]:
        """``(parent, result)`` of this result and all that followed, level by level.

        Raises IncompleteStream at one that has not ended; with `intermediate` it is given, and what is behind it is
        left out.
        """
        queue: deque[tuple[ResultBase | None, ResultBase]] = deque([(None, self)])
        while queue:
            parent, result = queue.popleft()
            yield parent, result
            if result.ready():
                queue.extend((result, child) for child in result.children or ())
            elif not intermediate:
                raise IncompleteStream(f"{result} has not ended, so what follows from it is not known; wait for it")

    def collect(self, intermediate: bool = False, **kwargs: Any) -> Iterator[tuple[ResultBase, Any]]:
        """``(result, value)`` of this result and all that followed, each waited for; `kwargs` are those of `get`.

        Raises IncompleteStream as `iterdeps` does.
        """
        for _, result in self.iterdeps(intermediate=intermediate):
            yield result, result.get(**kwargs)

    def get_leaf(self) -> Any:
        """The value of the last of all that followed."""
        value: Any = None
        for _, result in self.iterdeps():
            value = result.get()
        return value

    def build_graph(self, intermediate: bool = False, formatter: Callable[[Any], str] | None = None) -> ResultGraph:
        """What followed from what."""
        return ResultGraph(self.iterdeps(intermediate=intermediate), formatter)

    @property
    def graph(self) -> ResultGraph:
        """What followed from what. Raises IncompleteStream if a result has not ended."""
        return self.build_graph()


class ResultGraph:
    """Results, and from which each followed.

    :param steps: pairs of parent and result
    :param formatter: what a result is called; default: its id
    """

    def __init__(
        self, steps: Iterable[tuple[ResultBase | None, ResultBase]], formatter: Callable[[Any], str] | None = None
    ) -> None:
        self._name = formatter or str
        self.adjacent: dict[ResultBase, list[ResultBase]] = {}
        """Of each result those that followed from it."""
        for parent, result in steps:
            self.adjacent.setdefault(result, [])
            if parent is not None:
                self.adjacent.setdefault(parent, []).append(result)

    def edges(self) -> Iterator[tuple[ResultBase, ResultBase]]:
        """``(parent, result)`` of each that has a parent."""
        return ((parent, result) for parent, followers in self.adjacent.items() for result in followers)

    def to_dot(self, fh: TextIO, formatter: Callable[[Any], str] | None = None) -> None:
        """Write it in the language of Graphviz."""
        fh.write(self._dot(formatter or self._name) + "\n")

    def _dot(self, name: Callable[[Any], str]) -> str:
        def quoted(result: ResultBase) -> str:
            return '"' + name(result).replace("\\", "\\\\").replace('"', '\\"') + '"'

        lines = [f"    {quoted(result)};" for result in self.adjacent]
        lines += [f"    {quoted(parent)} -> {quoted(result)};" for parent, result in self.edges()]
        return "\n".join(["digraph results {", *lines, "}"])

    def __iter__(self) -> Iterator[ResultBase]:
        return iter(self.adjacent)

    def __contains__(self, result: object) -> bool:
        return result in self.adjacent

    def __len__(self) -> int:
        return len(self.adjacent)

    def __str__(self) -> str:
        return self._dot(self._name)
