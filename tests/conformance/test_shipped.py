"""The suites as others get them: without our own tools, maybe without pytest or Hypothesis."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import celeriac

try:
    import tomllib
except ImportError:  # Python 3.10, where pytest brings it
    import tomli as tomllib

SUITES = ("broker_suite", "backend_suite", "bus_suite", "kv_suite")
BLOCK = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {absent!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Absent())
"""


def run(code: str, *absent: str) -> subprocess.CompletedProcess[str]:
    source = str(Path(celeriac.__file__).parents[1])
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", BLOCK.format(absent=absent) + code],
        env={"PYTHONPATH": source, "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("name", SUITES)
def test_a_suite_imports_without_hypothesis(name):
    done = run(f"import celeriac.testing.{name}", "hypothesis", "_hypothesis_pytestplugin")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", SUITES)
def test_a_suite_does_not_load_hypothesis_before_a_test_needs_it(name):
    done = run(f"import celeriac.testing.{name}; assert 'hypothesis' not in sys.modules")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", SUITES)
def test_without_pytest_a_suite_names_the_extra_to_install(name):
    done = run(f"import celeriac.testing.{name}", "pytest")
    assert "ImportError" in done.stderr
    assert "pip install 'celeriac[testing]'" in done.stderr


def test_without_hypothesis_the_model_test_fails_and_names_the_extra_and_others_pass():
    done = run(
        """
from celeriac.backends.memory import MemoryBackend
from celeriac.testing.backend_suite import BackendSuite
from celeriac.testing.faults import run_test

class Mine(BackendSuite):
    adapter = MemoryBackend
    def new_url(self, folder):
        return f"memory://{folder.name}"

print(run_test(Mine, "test_random_histories_agree_with_the_reference"))
print(run_test(Mine, "test_nothing_replaces_a_success"))
""",
        "hypothesis",
    )
    model, other = done.stdout.splitlines()
    assert "failed" in model
    assert "pip install 'celeriac[testing]'" in model
    assert "passed" in other


def test_the_extra_that_the_errors_name_has_what_the_suites_need():
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    extra = project["optional-dependencies"]["testing"]
    assert {line.split(">")[0] for line in extra} == {"pytest", "hypothesis"}
