"""Importing the package starts nothing and loads no driver."""

from __future__ import annotations

import json
import subprocess
import sys

from arch.source import PACKAGE

PROBE = """
import json, sys, threading
before = set(sys.modules)
import celeriac
for name in getattr(celeriac, "__all__", ()):
    {touch}
print(json.dumps({{
    "file": celeriac.__file__,
    "modules": sorted(set(sys.modules) - before),
    "threads": threading.active_count(),
}}))
"""

DRIVERS = {"sqlite3", "_sqlite3", "redis", "amqp", "pika", "kombu", "sqlalchemy", "psycopg", "boto3", "pymongo"}
SLOW_OR_FOR_PEOPLE = {"click", "rich", "asyncio", "multiprocessing", "yaml", "pytest", "hypothesis", "http", "email"}


def _import(touch: str) -> dict:
    code = PROBE.format(touch=touch)
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={"PYTHONPATH": str(PACKAGE.parent), "PATH": "/usr/bin:/bin"},
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_importing_the_package_loads_no_driver_nothing_for_people_and_starts_no_thread():
    found = _import("pass")
    assert found["file"].startswith(str(PACKAGE))
    loaded = {name.split(".")[0] for name in found["modules"]}
    assert not loaded & (DRIVERS | SLOW_OR_FOR_PEOPLE)
    assert found["threads"] == 1


def test_no_public_name_loads_a_driver_or_starts_a_thread_by_being_touched():
    found = _import("getattr(celeriac, name)")
    loaded = {name.split(".")[0] for name in found["modules"]}
    assert not loaded & (DRIVERS | {"click", "rich"})
    assert found["threads"] == 1
