"""Who may import whom."""

from __future__ import annotations

import ast
import sys

import pytest

from arch.source import Module, imports, modules, names, room_of

BELOW = {"model", "core", "wire", "stores", "brokers", "backends", "pools", "control", "events", "worker", "front"}

MAY_IMPORT: dict[str, set[str]] = {
    "model": set(),
    "core": {"model"},
    "wire": {"model"},
    "stores": {"model"},
    "brokers": {"model", "wire", "stores"},
    "backends": {"model", "wire", "stores"},
    "pools": {"model", "wire"},
    "control": {"model", "wire"},
    "events": {"model", "wire"},
    # Brokers and backends are handed in; pools are the worker's own limbs (docs/adr/0002).
    "worker": {"model", "core", "wire", "pools", "control", "events"},
    "front": BELOW,
    # `celeriac chaos` carries out a proof that is shipped in `testing`.
    "cli": BELOW | {"testing"},
    "console": BELOW,
    "contrib": BELOW,
    "testing": BELOW,
}
"""Beside itself, a room may import these. Imports for types only count: a room that names another's types depends on it."""

CATALOGUE = "celeriac.catalogue"
"""The one module that knows adapters by URL scheme."""

DRIVERS = {
    "sqlite3": "sqlite",
    "redis": "redis",
    "amqp": "amqp",
    "pika": "amqp",
    "kombu": "kombu",
    "sqlalchemy": "sql",
    "psycopg": "sql",
    "boto3": "sqs",
    "botocore": "sqs",
    "pymongo": "mongodb",
    "pymemcache": "memcached",
}
"""Driver -> how the files that may import it begin, below stores, brokers or backends."""

BASE_DEPENDENCIES = {"msgspec"}
FOR_PEOPLE = {"click", "rich"}
"""What shows things to people; a worker's processes never load it."""

OPTIONAL = {
    ("yaml", "celeriac.wire"),
    ("pytest", "celeriac.testing"),
    ("hypothesis", "celeriac.testing"),
    ("IPython", "celeriac.cli.shell"),
    ("traitlets", "celeriac.cli.shell"),
    ("bpython", "celeriac.cli.shell"),
    ("gevent", "celeriac.pools"),
    ("eventlet", "celeriac.pools"),
}
"""(package, where it may be imported)."""

IMPURE = {
    "asyncio",
    "io",
    "logging",
    "multiprocessing",
    "os",
    "pathlib",
    "queue",
    "random",
    "secrets",
    "select",
    "selectors",
    "shutil",
    "signal",
    "socket",
    "sqlite3",
    "subprocess",
    "sys",
    "tempfile",
    "threading",
    "time",
    "uuid",
    "celeriac.model.ids",
}
"""What `core` must not import: I/O, threads, clocks and chance are passed in."""

IMPURE_CALLS = {"open", "print", "input", "now", "utcnow", "today"}


def _ids(module: Module) -> str:
    return module.name


@pytest.mark.parametrize("module", modules(), ids=_ids)
def test_a_room_imports_only_the_rooms_below_it(module: Module):
    allowed = MAY_IMPORT[module.room] | {module.room}
    wrong = [
        f"{module.where}:{found.line} imports {found.target} ({room_of(found.target)})"
        for found in imports(module)
        if room_of(found.target) not in allowed | {None}
    ]
    assert not wrong, f"{module.room} may import {sorted(allowed)}: {wrong}"


def test_adapters_never_import_each_other():
    wrong = []
    for module in modules():
        if module.room not in {"brokers", "backends"}:
            continue
        own = module.name.split(".")[:3]
        for found in imports(module):
            target = found.target.split(".")
            # kv.py is the base of a whole family of backends.
            is_other = len(target) > 2 and target[:3] != own and target[2] != "kv"
            if is_other and room_of(found.target) == module.room:
                wrong.append(f"{module.where}:{found.line} imports {found.target}")
    assert not wrong


def test_only_the_catalogue_loads_adapters():
    adapters = {"brokers", "backends", "stores"}
    wrong = [
        f"{module.where}:{found.line} imports {found.target}"
        for module in modules()
        if module.room not in adapters | {"testing", "contrib"} and module.name != CATALOGUE
        for found in imports(module)
        if room_of(found.target) in adapters
    ]
    assert not wrong


def test_no_import_cycle_not_even_inside_functions():
    graph: dict[str, set[str]] = {}
    for module in modules():
        graph[module.name] = {
            found.target
            for found in imports(module)
            if not found.for_types_only and found.target in names() and found.target != module.name
        }
    cycles = [component for component in _strong_components(graph) if len(component) > 1]
    assert not cycles, cycles


def _strong_components(graph: dict[str, set[str]]) -> list[list[str]]:
    """Kosaraju's two walks: by the order of finishing, then backwards."""
    finished: list[str] = []
    seen: set[str] = set()
    for start, first in graph.items():
        stack = [(start, iter(sorted(first)))] if start not in seen else []
        seen.add(start)
        while stack:
            name, targets = stack[-1]
            target = next(targets, None)
            if target is None:
                finished.append(name)
                stack.pop()
            elif target not in seen:
                seen.add(target)
                stack.append((target, iter(sorted(graph[target]))))
    backwards: dict[str, set[str]] = {name: set() for name in graph}
    for name, targets in graph.items():
        for target in targets:
            backwards[target].add(name)
    components: list[list[str]] = []
    placed: set[str] = set()
    for start in reversed(finished):
        component: list[str] = []
        todo = [start]
        while todo:
            name = todo.pop()
            if name not in placed:
                placed.add(name)
                component.append(name)
                todo.extend(backwards[name])
        if component:
            components.append(sorted(component))
    return components


def test_the_search_for_cycles_finds_one():
    graph = {"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}
    assert [c for c in _strong_components(graph) if len(c) > 1] == [["a", "b", "c"]]


def test_a_driver_is_imported_only_in_its_own_files():
    wrong = []
    for module in modules():
        parts = module.name.split(".")
        for found in imports(module):
            stem = DRIVERS.get(found.target.split(".")[0])
            if stem is None:
                continue
            is_own = module.room in {"stores", "brokers", "backends"} and any(p.startswith(stem) for p in parts[2:])
            if not is_own:
                wrong.append(f"{module.where}:{found.line} imports {found.target}")
    assert not wrong


def test_nothing_but_the_declared_dependencies_is_imported():
    known = set(sys.stdlib_module_names) | BASE_DEPENDENCIES | set(DRIVERS)
    wrong = []
    for module in modules():
        for found in imports(module):
            package = found.target.split(".")[0]
            if package in known or package == "celeriac":
                continue
            if package in FOR_PEOPLE and module.room in {"cli", "console"}:
                continue
            if any(package == name and module.name.startswith(where) for name, where in OPTIONAL):
                continue
            wrong.append(f"{module.where}:{found.line} imports {found.target}")
    assert not wrong


def test_core_has_no_io_threads_clock_or_chance():
    wrong = []
    for module in modules():
        if module.room != "core":
            continue
        wrong += [
            f"{module.where}:{found.line} imports {found.target}"
            for found in imports(module)
            if {found.target, found.target.split(".")[0]} & IMPURE or "SystemClock" in found.names
        ]
        for node in ast.walk(module.tree):
            if isinstance(node, ast.Call):
                called = ast.unparse(node.func)
                if called in {"open", "print", "input"} or (
                    called.split(".")[-1] in IMPURE_CALLS - {"open"} and "datetime" in called
                ):
                    wrong.append(f"{module.where}:{node.lineno} calls {called}")
    assert not wrong
