"""The source of the package as data: modules, rooms, imports, definitions. Parsed once, read by every test here."""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "src" / "celeriac"

ROOMS = frozenset(
    {
        "model",
        "core",
        "wire",
        "stores",
        "brokers",
        "backends",
        "pools",
        "worker",
        "control",
        "events",
        "cli",
        "console",
        "contrib",
        "testing",
    }
)
"""Folders with import rules. Whatever else lies in the package is the front."""


@dataclass(frozen=True)
class Import:
    """One imported module, as seen from one line."""

    target: str
    line: int
    for_types_only: bool
    names: tuple[str, ...] = ()


@dataclass(frozen=True)
class Module:
    """One file."""

    name: str
    path: Path
    tree: ast.Module = field(repr=False, compare=False, hash=False)
    lines: int

    @property
    def room(self) -> str:
        """The folder with import rules it lies in, or `front`."""
        parts = self.name.split(".")
        if len(parts) > 1 and parts[1] in ROOMS:
            return parts[1]
        # `python -m celeriac` is the command line.
        return "cli" if parts[-1] == "__main__" else "front"

    @property
    def where(self) -> str:
        """Path below the repository, for messages."""
        return str(self.path.relative_to(ROOT))


@dataclass(frozen=True)
class Definition:
    """A function, method or class, with its dotted name below the module."""

    module: Module
    name: str
    node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef = field(compare=False, hash=False)
    parent: ast.AST | None = field(compare=False, hash=False)

    @property
    def key(self) -> str:
        """The name under which the ratchet file knows it."""
        return f"{self.module.name}:{self.name}"

    @property
    def lines(self) -> int:
        """From `def` to the last line of the body."""
        return (self.node.end_lineno or self.node.lineno) - self.node.lineno + 1

    @property
    def is_public(self) -> bool:
        """No part of its name starts with an underscore, nor does that of its module."""
        names = [*self.module.name.split(".")[1:], *self.name.split(".")]
        return not any(part.startswith("_") for part in names)

    @property
    def is_nested(self) -> bool:
        """It is defined inside a function."""
        return isinstance(self.parent, (ast.FunctionDef, ast.AsyncFunctionDef))

    @property
    def decorators(self) -> tuple[str, ...]:
        """Decorators as source text, without their arguments."""
        calls = (node.func if isinstance(node, ast.Call) else node for node in self.node.decorator_list)
        return tuple(ast.unparse(call) for call in calls)


@functools.cache
def modules() -> tuple[Module, ...]:
    """All modules of the package, sorted by name."""
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = list(path.relative_to(PACKAGE.parent).with_suffix("").parts)
        if parts[-1] == "__init__":
            parts.pop()
        text = path.read_text(encoding="utf-8")
        tree = ast.parse(text, filename=str(path))
        found.append(Module(".".join(parts), path, tree, len(text.splitlines())))
    return tuple(found)


@functools.cache
def names() -> frozenset[str]:
    """Names of all modules."""
    return frozenset(module.name for module in modules())


def definitions(module: Module) -> Iterator[Definition]:
    """Every function, method and class of a module, nested ones too."""

    def walk(node: ast.AST, prefix: str, parent: ast.AST | None) -> Iterator[Definition]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
                name = f"{prefix}{child.name}"
                yield Definition(module, name, child, parent)
                yield from walk(child, f"{name}.", child)
            else:
                yield from walk(child, prefix, parent)

    yield from walk(module.tree, "", None)


def all_definitions() -> Iterator[Definition]:
    """Every definition of the package."""
    for module in modules():
        yield from definitions(module)


def parameters(node: ast.FunctionDef | ast.AsyncFunctionDef) -> list[ast.arg]:
    """All parameters but self and cls; `*args` and `**kwargs` count."""
    spec = node.args
    found = [*spec.posonlyargs, *spec.args, *spec.kwonlyargs]
    if found and found[0].arg in {"self", "cls"}:
        found = found[1:]
    return [*found, *(arg for arg in (spec.vararg, spec.kwarg) if arg is not None)]


def _is_type_checking(test: ast.expr) -> bool:
    return ast.unparse(test) in {"TYPE_CHECKING", "typing.TYPE_CHECKING"}


def imports(module: Module) -> Iterator[Import]:
    """Every import of a module, inside functions too.

    `from celeriac.model import errors` is an import of `celeriac.model.errors`. Strings given to
    `import_module` or `__import__` count as imports as well, so that nothing hides there.
    """

    def walk(node: ast.AST, for_types_only: bool) -> Iterator[Import]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.If) and _is_type_checking(child.test):
                for part in child.body:
                    yield from visit(part, True)
                for part in child.orelse:
                    yield from visit(part, for_types_only)
            else:
                yield from visit(child, for_types_only)

    def visit(node: ast.AST, for_types_only: bool) -> Iterator[Import]:
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(alias.name, node.lineno, for_types_only)
        elif isinstance(node, ast.ImportFrom):
            yield from _import_from(module, node, for_types_only)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] in {"import_module", "__import__"}:
            first = node.args[0] if node.args else None
            if isinstance(first, ast.Constant) and isinstance(first.value, str):
                yield Import(first.value, node.lineno, for_types_only)
        yield from walk(node, for_types_only)

    yield from walk(module.tree, False)


def _import_from(module: Module, node: ast.ImportFrom, for_types_only: bool) -> Iterator[Import]:
    base = node.module or ""
    if node.level:
        own = module.name.split(".")
        is_package = module.path.name == "__init__.py"
        above = own[: len(own) - node.level + (1 if is_package else 0)]
        base = ".".join([*above, base] if base else above)
    plain = []
    for alias in node.names:
        full = f"{base}.{alias.name}"
        if full in names():
            yield Import(full, node.lineno, for_types_only)
        else:
            plain.append(alias.name)
    if plain:
        yield Import(base, node.lineno, for_types_only, tuple(plain))


def room_of(target: str) -> str | None:
    """The room of an imported name of ours, or None for a foreign one."""
    parts = target.split(".")
    if parts[0] != "celeriac":
        return None
    return parts[1] if len(parts) > 1 and parts[1] in ROOMS else "front"
