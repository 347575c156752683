"""A third party's adapter: installed beside us, found by its entry point, and just as good as ours.

The package is that of `docs/guides/write-a-broker.md`, to the letter; its own tests, in `third_party`, run with ours.
"""

from __future__ import annotations

import inspect
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import celeriac
from celeriac.model import facts, message, ports

try:
    import tomllib
except ImportError:  # Python 3.10, where pytest brings it
    import tomli as tomllib

SCALE = float(os.environ.get("CELERIAC_TEST_SCALE", "1"))
ROOT = Path(__file__).parents[2]
PACKAGE = Path(__file__).parent / "third_party"
PAGE = ROOT / "docs" / "guides" / "write-a-broker.md"
READING_LINES_MAX = 1500

APP = """
import os

from celeriac import Celeriac

app = Celeriac("hello", broker="shelf:///" + os.getcwd() + "/shelf")


@app.task
def add(x, y):
    return x + y


@app.task
def fail():
    raise ValueError("no")
"""

CALLER = """
from hello import add, fail

from celeriac.exceptions import OperationalError

one = add.delay(2, 3)
many = [add.delay(number, number) for number in range(20)]
bad = fail.delay()
print(one.get(timeout=20), sum(each.get(timeout=20) for each in many), repr(bad.get(timeout=20, propagate=False)))
"""


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A folder into which the package is installed, the way pip would, and nothing else."""
    project = tomllib.loads((PACKAGE / "pyproject.toml").read_text())["project"]
    site = tmp_path / "site"
    shutil.copytree(PACKAGE / "celeriac_shelf", site / "celeriac_shelf", ignore=shutil.ignore_patterns("__pycache__"))
    info = site / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    sections = [
        f"[{group}]\n" + "".join(f"{name} = {value}\n" for name, value in entries.items())
        for group, entries in project["entry-points"].items()
    ]
    (info / "entry_points.txt").write_text("\n".join(sections))
    return site


def environment(*folders: Path) -> dict[str, str]:
    source = Path(celeriac.__file__).parents[1]
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return {**kept, "PYTHONPATH": os.pathsep.join(map(str, (source, *folders))), "PYTHONWARNINGS": "error"}


def run(program: str, folder: Path, *folders: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", program] if "\n" in program or " " in program else [sys.executable, program],
        cwd=folder,
        env=environment(*folders),
        capture_output=True,
        text=True,
        timeout=60 * SCALE,
        check=False,
    )


@pytest.mark.parametrize("pool", ["prefork", "solo"])
def test_an_app_with_the_address_of_an_installed_adapter_sends_works_and_answers(pool: str, site: Path, tmp_path: Path):
    (tmp_path / "hello.py").write_text(APP)
    (tmp_path / "caller.py").write_text(CALLER)
    command = [sys.executable, "-m", "celeriac", "-A", "hello", "worker", "-P", pool, "-c", "2"]
    with (tmp_path / "worker.log").open("wb") as log:
        worker = subprocess.Popen(command, cwd=tmp_path, env=environment(site), stdout=log, stderr=log)
    try:
        done = run("caller.py", tmp_path, site)
        shown = (tmp_path / "worker.log").read_text(errors="replace")
        assert done.stdout == "5 380 ValueError('no')\n", f"{done.stderr}\nworker:\n{shown}"
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(30 * SCALE) == 0, (tmp_path / "worker.log").read_text(errors="replace")
    finally:
        if worker.poll() is None:
            worker.kill()
            worker.wait(10)


def test_what_a_killed_worker_of_it_had_is_done_by_the_next(site: Path, tmp_path: Path):
    (tmp_path / "hello.py").write_text(
        APP + "\n\n@app.task\ndef once(path):\n    import os, pathlib, time\n    seen = pathlib.Path(path)\n"
        "    if not seen.exists():\n        seen.write_text('1')\n        time.sleep(600)\n    return 'done'\n"
    )
    seen = tmp_path / "seen"
    command = [sys.executable, "-m", "celeriac", "-A", "hello", "worker", "-c", "1"]

    def start() -> subprocess.Popen[bytes]:
        with (tmp_path / "worker.log").open("ab") as log:
            return subprocess.Popen(
                command, cwd=tmp_path, env=environment(site), stdout=log, stderr=log, start_new_session=True
            )

    sent = run(f"from hello import once; print(once.delay({str(seen)!r}).id)", tmp_path, site)
    assert sent.returncode == 0, sent.stderr
    first = start()
    try:
        ends_at = time.monotonic() + 30 * SCALE
        while not seen.exists():
            assert time.monotonic() < ends_at, (tmp_path / "worker.log").read_text(errors="replace")
            time.sleep(0.01)
    finally:
        os.killpg(first.pid, signal.SIGKILL)
        first.wait(10)
    second = start()
    try:
        asked = f"from hello import app; print(app.AsyncResult({sent.stdout.strip()!r}).get(timeout=40))"
        done = run(asked, tmp_path, site)
        assert done.stdout == "done\n", done.stderr + (tmp_path / "worker.log").read_text(errors="replace")
    finally:
        second.send_signal(signal.SIGTERM)
        second.wait(30 * SCALE)


# ---------------------------------------------------------------- what is said when an address cannot be had

OPEN = """
import sys
from celeriac import Celeriac

app = Celeriac("x", broker=sys.argv[1])
try:
    app.send_task("t")
except Exception as exc:
    print(type(exc).__name__, exc)
"""


def refused(url: str, folder: Path, *folders: Path) -> str:
    (folder / "opens.py").write_text(OPEN)
    done = subprocess.run(
        [sys.executable, "opens.py", url],
        cwd=folder,
        env=environment(*folders),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_an_unknown_scheme_names_what_there_is_also_of_others_and_where_more_may_come_from(site: Path, tmp_path: Path):
    said = refused("shelv://user:secret@x", tmp_path, site)
    assert said.startswith("BrokerMisconfigured broker_url: nothing installed speaks shelv://")
    assert "memory://, sqlite://, shelf:// (celeriac-shelf 1.0)" in said
    assert "entry point celeriac.brokers" in said
    assert "secret" not in said


def test_a_scheme_whose_driver_is_an_extra_names_the_extra(tmp_path: Path):
    info = tmp_path / "with-extra" / "celeriac-9.9.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: celeriac\nVersion: 9.9\nProvides-Extra: mongodb\n")
    source = Path(celeriac.__file__).parents[1]
    found = run(
        f"import sys; sys.path.insert(0, {str(info.parent)!r}); sys.path.insert(1, {str(source)!r})\n"
        "from celeriac.catalogue import open_broker_class\n"
        "try:\n    open_broker_class('mongodb://x', {})\nexcept Exception as exc:\n    print(exc)\n",
        tmp_path,
    )
    assert "pip install 'celeriac[mongodb]'" in found.stdout, found.stderr


def test_an_adapter_that_cannot_be_loaded_names_its_distribution(site: Path, tmp_path: Path):
    (site / "celeriac_shelf" / "broker.py").write_text("import a_driver_that_is_not_there\n")
    said = refused("shelf:////tmp/never", tmp_path, site)
    assert "cannot load celeriac_shelf.broker:ShelfBroker of celeriac-shelf 1.0" in said
    assert "a_driver_that_is_not_there" in said


def test_a_scheme_that_two_distributions_declare_is_refused_with_both(site: Path, tmp_path: Path):
    other = site / "other_shelf-2.0.dist-info"
    other.mkdir()
    (other / "METADATA").write_text("Metadata-Version: 2.1\nName: other-shelf\nVersion: 2.0\n")
    (other / "entry_points.txt").write_text("[celeriac.brokers]\nshelf = other:Broker\n")
    said = refused("shelf:////tmp/never", tmp_path, site)
    assert "celeriac-shelf 1.0" in said
    assert "other-shelf 2.0" in said


def test_nobody_replaces_the_adapters_of_the_package(site: Path, tmp_path: Path):
    other = site / "other-2.0.dist-info"
    other.mkdir()
    (other / "METADATA").write_text("Metadata-Version: 2.1\nName: other\nVersion: 2.0\n")
    (other / "entry_points.txt").write_text("[celeriac.brokers]\nsqlite = other:Broker\n")
    assert refused(f"sqlite:///{tmp_path}/q.db", tmp_path, site) == ""


# ---------------------------------------------------------------- the page

FILES = [
    "pyproject.toml",
    "celeriac_shelf/shelf.py",
    "celeriac_shelf/broker.py",
    "celeriac_shelf/backend.py",
    "test_shelf.py",
    "conftest.py",
]


def test_the_code_on_the_page_is_the_package():
    blocks = re.findall(
        r"^```(?:python|toml)\n# celeriac-shelf/(\S+)\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL
    )
    assert [name for name, _ in blocks] == FILES
    for name, text in blocks:
        assert text == (PACKAGE / name).read_text(), f"{name} on the page and in the package differ"


def test_the_route_of_a_newcomer_is_short():
    read = [PAGE.read_text(), *(inspect.getsource(module) for module in (message, facts))]
    read += [inspect.getsource(port) for port in (ports.Broker, ports.Backend)]
    assert sum(text.count("\n") for text in read) < READING_LINES_MAX


def test_the_package_imports_nothing_of_ours_but_the_model():
    for path in (PACKAGE / "celeriac_shelf").glob("*.py"):
        imported = re.findall(r"^from (celeriac\.\S+) import", path.read_text(), re.MULTILINE)
        assert all(name.startswith("celeriac.model.") for name in imported), f"{path.name}: {imported}"


def test_the_page_has_a_row_for_each_fact():
    rows = re.findall(r"^\| `(\w+)` \|", PAGE.read_text(), re.MULTILINE)
    assert set(facts.BrokerFacts.__struct_fields__) - {"name"} <= set(rows)
