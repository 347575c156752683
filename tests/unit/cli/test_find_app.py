from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from celeriac import Celeriac
from celeriac.cli.find_app import AppNotFound, find_app, here_first

Project = Callable[..., None]

APP = "from celeriac import Celeriac\n"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Project]:
    """Write modules into a folder of their own and stand in it; what they were imported as is forgotten after."""
    before = set(sys.modules)

    def write(**files: str) -> None:
        for name, text in files.items():
            path = tmp_path / f"{name.replace('__', '/')}.py"
            for folder in [path.parent, *path.parent.parents]:
                if folder == tmp_path:
                    break
                folder.mkdir(parents=True, exist_ok=True)
                (folder / "__init__.py").touch()
            path.write_text(text)
        importlib.invalidate_caches()

    monkeypatch.chdir(tmp_path)
    yield write
    for name in set(sys.modules) - before:
        if getattr(sys.modules[name], "__file__", None) and str(tmp_path) in str(sys.modules[name].__file__):
            del sys.modules[name]


def refusal(path: str) -> AppNotFound:
    with pytest.raises(AppNotFound) as caught:
        find_app(path)
    assert caught.value.hint
    return caught.value


def test_a_module_is_asked_for_app_then_celery_then_anything(project: Project):
    project(
        p1=APP + "other = Celeriac('other')\ncelery = Celeriac('celery')\napp = Celeriac('app')\n",
        p2=APP + "other = Celeriac('other')\ncelery = Celeriac('celery')\n",
        p3=APP + "queue = Celeriac('queue')\n",
    )
    assert [find_app(name).main for name in ("p1", "p2", "p3")] == ["app", "celery", "queue"]


def test_a_colon_or_a_dot_names_the_attribute(project: Project):
    project(p4=APP + "app = Celeriac('app')\nother = Celeriac('other')\nclass Box:\n    inner = Celeriac('inner')\n")
    assert find_app("p4:other").main == "other"
    assert find_app("p4.other").main == "other"
    assert find_app("p4:Box.inner").main == "inner"
    assert find_app("p4:").main == "app"


def test_a_package_is_looked_into(project: Project):
    project(p5__celery=APP + "app = Celeriac('below')\n", p5__tasks="", p6__core__main=APP + "app = Celeriac('deep')\n")
    assert find_app("p5").main == "below"
    assert find_app("p5.celery").main == "below"
    assert find_app("p6.core.main").main == "deep"
    assert find_app("p6.core.main:app").main == "deep"


def test_an_app_of_another_kind_does_not_hide_the_real_one(project: Project):
    project(p7=APP + "class Flask: ...\napp = Flask()\ncelery_app = Celeriac('real')\n")
    assert find_app("p7").main == "real"


def test_the_stand_in_of_the_current_app_is_not_taken_for_one(project: Project):
    project(p8="from celeriac import current_app\nx = 1\n")
    assert "holds no Celeriac app" in refusal("p8").message


def test_a_missing_module_says_where_it_was_looked_for(project: Project, tmp_path: Path):
    error = refusal("nowhere_to_be_found")
    assert "'nowhere_to_be_found'" in error.message
    assert str(tmp_path) in error.message
    assert "--workdir" in error.hint
    assert error.details == ""


def test_a_missing_import_inside_the_module_is_told_apart_with_its_traceback(project: Project):
    project(p9="import no_such_library.part\n", p10__celery="import no_such_library\n")
    for name in ("p9", "p10"):
        error = refusal(name)
        assert "is there, but it imports 'no_such_library" in error.message
        assert "Install 'no_such_library'" in error.hint
        assert "import no_such_library" in error.details
        assert "importlib" not in error.details


def test_an_import_that_fails_or_exits_shows_the_line(project: Project):
    project(p11="x = 1\nx / 0\n", p12="import sys\nsys.exit('bad day')\n", p13="def f(:\n")
    assert "ZeroDivisionError" in refusal("p11").message
    assert "x / 0" in refusal("p11").details
    assert "bad day" in refusal("p12").message
    assert "def f(:" in refusal("p13").details


def test_a_missing_attribute_lists_what_the_module_has(project: Project):
    project(p14=APP + "queue = Celeriac('queue')\nhost = 1\n", p15__a="")
    for name in ("p14:ap", "p14.ap"):
        error = refusal(name)
        assert "'ap'" in error.message
        assert "Celeriac, host, queue" in error.message
        assert error.hint == "Write -A p14:queue"
    assert "no sub-module 'b'" in refusal("p15.b").message


def test_a_long_listing_is_cut(project: Project):
    project(p16="\n".join(f"name{n} = {n}" for n in range(500)))
    assert "and 492 more" in refusal("p16").message


def test_an_object_that_is_no_app_is_named(project: Project):
    project(p17="def make():\n    pass\nnumber = 3\n")
    assert "Call it" in refusal("p17:make").hint
    assert "builtins.int" in refusal("p17:number").message


def test_the_name_of_a_file_is_answered_with_the_name_of_its_module(project: Project):
    assert refusal("proj/app.py").hint.endswith("-A proj.app")
    assert refusal("proj.py").hint.endswith("-A proj")
    assert refusal("./proj.py").hint.endswith("-A proj")


@pytest.mark.parametrize("name", ["", ":", ".", ".proj", "proj..app", ":app"])
def test_what_cannot_be_a_name_is_refused(name: str):
    assert "no name of a module" in refusal(name).message


def test_the_working_directory_is_first_on_the_path_only_while_looking(project: Project, tmp_path: Path):
    here = str(tmp_path)
    assert here not in sys.path
    with here_first():
        assert sys.path[0] == os.getcwd()  # noqa: PTH109 - sys.path holds text
    assert here not in sys.path
    project(p18=APP + "app = Celeriac('app')\n")
    assert isinstance(find_app("p18"), Celeriac)
    assert here not in sys.path
