"""What the program makes of its words, before anything is opened."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from celeriac import Celeriac, __version__
from celeriac.cli import main
from celeriac.cli.invocation import Invocation
from celeriac.cli.worker import _config, worker
from celeriac.worker.config import WorkerConfig


@pytest.fixture(autouse=True)
def untouched(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The program exports addresses and changes folders: each test gets its own environment."""
    monkeypatch.chdir(tmp_path)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("CELERY_", "NO_COLOR"))}
    monkeypatch.setattr(os, "environ", kept)


@pytest.fixture
def app() -> Iterator[Celeriac]:
    with Celeriac("words", broker="memory://words", set_as_current=False) as made:
        yield made


def config(app: Celeriac, *words: str, invocation: Invocation | None = None) -> WorkerConfig:
    """The worker that these words would start."""
    params = worker.make_context("worker", list(words)).params
    return _config(invocation or Invocation(), app, params)


def test_help_teaches_every_verb_and_shows_examples(capsys: pytest.CaptureFixture[str]):
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    for words in ("worker", "call", "result", "queues", "purge", "report", "-A, --app", "Examples:", "CELERY_APP"):
        assert words in text
    assert "worker-child" not in text
    assert main([]) == 0
    assert capsys.readouterr().out == text


@pytest.mark.parametrize("verb", ["worker", "call", "result", "queues", "purge"])
def test_the_help_of_a_verb_has_examples_of_it(verb: str, capsys: pytest.CaptureFixture[str]):
    assert main([verb, "--help"]) == 0
    assert f"celeriac -A proj {verb}" in capsys.readouterr().out


def test_version(capsys: pytest.CaptureFixture[str]):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"celeriac {__version__}\n"


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["workr"], "Did you mean `worker`?"),
        (["frobnicate"], "The verbs are worker, call"),
        (["beat"], "not there yet"),
        (["queues", "pek", "q"], "Did you mean `peek`?"),
    ],
)
def test_an_unknown_verb_ends_with_a_hint(words: list[str], hint: str, capsys: pytest.CaptureFixture[str]):
    assert main(words) == 2
    assert hint in capsys.readouterr().err


@pytest.mark.parametrize("option", ["-A", "--app", "-b", "--broker", "--workdir", "--config", "--result-backend"])
def test_a_global_option_after_the_verb_is_explained(option: str, capsys: pytest.CaptureFixture[str]):
    assert main(["worker", option, "x"]) == 2
    error = capsys.readouterr().err
    assert f"{option} belongs before the verb" in error
    assert f"celeriac {option} " in error
    assert main(["queues", "peek", option, "x"]) == 2
    assert "queues peek" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["worker", "-D"], "--detach"),
        (["worker", "--autoscale", "10,3"], "-c"),
        (["worker", "-P", "gevent"], "not there yet"),
        (["worker", "-c", "0"], "x>=1"),
        (["worker", "nonsense"], "name=value"),
        (["call", "x", "--eta", "2030-01-01", "--countdown", "3"], "--countdown"),
        (["call", "x", "--eta", "2030-01-02", "--expires", "2030-01-01"], "before it may start"),
        (["queues", "revive"], "--all"),
        (["queues", "revive", "--all", "some-id"], "either"),
    ],
)
def test_words_that_cannot_be_meant_are_refused(words: list[str], said: str, capsys: pytest.CaptureFixture[str]):
    assert main(["-b", f"sqlite:///{os.getcwd()}/x.db", *words]) == 2  # noqa: PTH109 - an address is text
    assert said in capsys.readouterr().err


def test_a_folder_that_is_not_there_is_named(capsys: pytest.CaptureFixture[str]):
    assert main(["--workdir", "/no/such/folder", "report"]) == 2
    assert "/no/such/folder" in capsys.readouterr().err


def test_workdir_is_where_the_app_and_its_database_are(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "innerproj.py").write_text("from celeriac import Celeriac\napp = Celeriac('inner')\n")
    assert main(["--workdir", "inner", "-A", "innerproj", "report"]) == 0
    assert str(tmp_path / "inner" / "celeriac.db") in capsys.readouterr().out


def test_settings_of_a_module_stand_where_the_app_sets_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "extra_conf.py").write_text("result_expires = 11\ntask_default_queue = 'extra'\n")
    (tmp_path / "confproj.py").write_text(
        "from celeriac import Celeriac\napp = Celeriac('c', task_default_queue='own')\n"
    )
    words = ["-A", "confproj", "--config", "extra_conf", "purge", "-f"]
    assert main(words) == 0
    assert "from own" in capsys.readouterr().out
    assert main(["-A", "confproj", "--config", "no_such_conf", "purge", "-f"]) == 70
    assert "no_such_conf" in capsys.readouterr().err


def test_a_program_can_hand_in_its_own_app(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    with Celeriac("handed", broker=f"sqlite:///{tmp_path}/handed.db", set_as_current=False) as app:
        assert main(["call", "some.task"], app=app) == 0
        task_id = capsys.readouterr().out.strip()
        assert main(["queues", "peek", "celery", "--json"], app=app) == 0
        assert task_id in capsys.readouterr().out


def test_the_words_of_a_worker_become_its_options(app: Celeriac):
    found = config(
        app,
        *("-n", "w@box", "-c", "3", "-Q", "a,b", "-l", "debug", "-f", "%n.log", "--log-json", "--grace", "0"),
        *("--time-limit", "9", "--soft-time-limit", "8.5", "--max-tasks-per-child", "7"),
        *("--max-memory-per-child", "6000", "--prefetch-multiplier", "2"),
    )
    assert (found.hostname, found.queues, found.loglevel, found.logfile) == ("w@box", ("a", "b"), "DEBUG", "%n.log")
    assert (found.log_json, found.grace_s) == (True, 0.0)
    assert (found.tasks_per_child_max, found.memory_per_child_max_kib) == (7, 6000)
    policy = found.policy
    assert (policy.pools[0].children, policy.prefetch_multiplier) == (3, 2)
    assert (policy.time_limit_s, policy.soft_time_limit_s) == (9.0, 8.5)


def test_what_is_not_said_comes_from_the_settings(app: Celeriac):
    app.conf.worker_concurrency = 5
    app.conf.worker_prefetch_multiplier = 4
    app.conf.worker_log_json = True
    found = config(app)
    assert (found.policy.pools[0].children, found.policy.prefetch_multiplier, found.log_json) == (5, 4, True)
    assert found.loglevel == "WARNING"


def test_a_queue_can_be_left_out(app: Celeriac):
    assert config(app, "-Q", "a,b,c", "-X", "b").queues == ("a", "c")


def test_a_worker_of_an_app_that_was_handed_in_forks_its_children(app: Celeriac):
    assert config(app, invocation=Invocation(app=app)).start == "fork"
    assert config(app, invocation=Invocation(app_path="proj")).app_path == "proj"


def test_options_of_a_verb_come_from_the_environment():
    os.environ["CELERY_WORKER_CONCURRENCY"] = "6"
    context = worker.make_context("worker", [], auto_envvar_prefix="CELERY_WORKER")
    assert context.params["concurrency"] == 6
