"""Tools to plant faults and to see whether a suite finds them.

A suite is itself a program that can be wrong: it may pass adapters that break the contract. So its author plants one
fault at a time in an adapter that passes, and runs the test that must fail. `run_test` runs one test of a suite in
this process, without pytest's collection, in milliseconds.
"""

from __future__ import annotations

from typing import Any, Literal

import pytest
from msgspec import Struct


class Outcome(Struct, frozen=True):
    """How one test of a suite ended."""

    kind: Literal["passed", "failed", "skipped"]
    why: str = ""


def names_of_tests(suite: type[Any]) -> list[str]:
    """The tests of a suite, in alphabetical order."""
    return [name for name in dir(suite) if name.startswith("test_")]


def run_test(suite: type[Any], name: str) -> Outcome:
    """Set up, run one test, tear down. Whatever it raises, foreign exceptions included, is a failure."""
    bench = suite()
    test = getattr(bench, name)
    try:
        bench.setup_method()
    except Exception as exc:
        return _failed(exc)
    try:
        test()
    except pytest.skip.Exception as exc:
        return Outcome("skipped", str(exc))
    except (Exception, pytest.fail.Exception) as exc:
        return _failed(exc)
    finally:
        bench.teardown_method()
    return Outcome("passed")


def _failed(exc: BaseException) -> Outcome:
    return Outcome("failed", f"{type(exc).__name__}: {exc}")
