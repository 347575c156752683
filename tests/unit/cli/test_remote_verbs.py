"""The verbs that are made of declarations: their words, their help, their completion."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from celeriac import Celeriac
from celeriac.cli import main
from celeriac.cli.inspect import _lines
from celeriac.cli.invocation import Invocation
from celeriac.cli.remote import Asking, Heard, tell_missing
from celeriac.control.commands import COMMANDS, commands_of


@pytest.fixture(autouse=True)
def untouched(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The program exports addresses: each test gets its own environment and folder."""
    monkeypatch.chdir(tmp_path)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("CELERY_", "NO_COLOR"))}
    monkeypatch.setattr(os, "environ", kept)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What would be asked, in place of asking it."""
    said: list[Any] = []

    def note(_app: Any, command: str, arguments: dict[str, Any], asking: Any) -> Any:
        said.append((command, arguments, asking.timeout_s, asking.destination, asking.wants_json))
        raise KeyboardInterrupt

    for module in ("inspect", "control"):
        monkeypatch.setattr(f"celeriac.cli.{module}.asked", note)
    return said


@pytest.mark.parametrize("verb", ["status", "inspect", "control", "shell", "result"])
def test_the_help_of_a_verb_has_examples_of_it(verb: str, capsys: pytest.CaptureFixture[str]):
    assert main([verb, "--help"]) == 0
    shown = capsys.readouterr().out
    assert f"celeriac -A proj {verb}" in shown
    assert "Examples:" in shown


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_and_stands_whole_in_the_list(name: str, capsys: pytest.CaptureFixture[str]):
    command = COMMANDS[name]
    assert main([command.kind, "--help"]) == 0
    assert f"{name} " in capsys.readouterr().out
    assert main([command.kind, name, "--help"]) == 0
    shown = capsys.readouterr().out
    assert command.help in shown
    assert "stored" not in shown, "what is of no use to people is not shown"


def test_the_names_of_commands_are_listed_for_programs(capsys: pytest.CaptureFixture[str]):
    assert main(["inspect", "--list"]) == 0
    assert capsys.readouterr().out.split() == [command.name for command in commands_of("inspect")]
    assert main(["control", "-l"]) == 0
    assert "shutdown" in capsys.readouterr().out.split()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["inspect", "ping"], ("ping", {}, 1.0, None, False)),
        (["inspect", "-t", "5", "ping", "-j"], ("ping", {}, 5.0, None, True)),
        (["inspect", "-t", "5", "ping", "-t", "0"], ("ping", {}, 0.0, None, False)),
        (["inspect", "-d", "a,b", "active"], ("active", {}, 1.0, ("a", "b"), False)),
        (["inspect", "dump_active"], ("active", {}, 1.0, None, False)),
        (["inspect", "query_task", "x", "y"], ("query_task", {"ids": ["x", "y"]}, 1.0, None, False)),
        (["inspect", "conf", "--with-defaults"], ("conf", {"with_defaults": True}, 1.0, None, False)),
        (["inspect", "registered", "rate_limit"], ("registered", {"taskinfoitems": ["rate_limit"]}, 1.0, None, False)),
        (["control", "shutdown", "-d", "w1@h"], ("shutdown", {}, 1.0, ("w1@h",), False)),
    ],
)
def test_words_become_a_request(words: list[str], expected: Any, asked: list[Any]):
    with Celeriac("words", set_as_current=False) as app:
        main(words, app=app)
    command, arguments, *rest = asked[0]
    said = {name: value for name, value in arguments.items() if value not in (False, [])}
    assert (command, said, *rest) == expected


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["inspect", "pnig"], "Did you mean `ping`?"),
        (["inspect", "shutdown"], "celeriac control shutdown"),
        (["control", "ping"], "celeriac inspect ping"),
        (["inspect", "query_task"], "ID"),
        (["control", "revoke"], "ID"),
        (["inspect", "ping", "extra"], "extra"),
        (["inspect", "ping", "-t", "-1"], "-1"),
        (["inspect", "ping", "-A", "proj"], "before the verb"),
    ],
)
def test_words_that_cannot_be_meant_are_refused(words: list[str], said: str, capsys: pytest.CaptureFixture[str]):
    assert main(words) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("typed", "offered"), [("celeriac inspect act", {"active", "active_queues"}), ("celeriac sta", {"status"})]
)
def test_the_tab_key_completes_verbs_and_commands(
    typed: str, offered: set[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setitem(os.environ, "_CELERIAC_COMPLETE", "bash_complete")
    monkeypatch.setitem(os.environ, "COMP_WORDS", typed)
    monkeypatch.setitem(os.environ, "COMP_CWORD", str(len(typed.split()) - 1))
    with pytest.raises(SystemExit):
        main([])
    assert {line.partition(",")[2] for line in capsys.readouterr().out.split()} == offered


def test_nested_answers_are_shown_a_line_per_value():
    answer = {"a": {"b": [1, 2], "c": None}, "d": [], "e": 1.5, "f": [{"x": 1, "y": 2}]}
    assert list(_lines(answer)) == ["a:", "  b:", "    1", "    2", "  c: -", "d: -", "e: 1.5", "f:", "  x: 1, y: 2"]
    assert list(_lines([])) == ["-"]


def test_what_is_odd_about_the_answers_is_told(capsys: pytest.CaptureFixture[str]):
    fine = Heard({"a": {"ok": "pong"}, "b": {"ok": "pong"}}, 2, 2)
    tell_missing(Invocation(), fine, Asking())
    assert capsys.readouterr().err == ""
    tell_missing(Invocation(), Heard({"a": 1}, 1, 3), Asking(timeout_s=2.5))
    assert "2 nodes did not answer within 2.5 s" in capsys.readouterr().err
    tell_missing(Invocation(), Heard({"a": 1}, 2, 2), Asking())
    assert "same name" in capsys.readouterr().err
    tell_missing(Invocation(), Heard({"a": 1}, 1, 9), Asking(destination=("a",)))
    tell_missing(Invocation(quiet=True), Heard({"a": 1}, 1, 9), Asking())
    assert capsys.readouterr().err == ""


def test_a_node_that_could_not_makes_the_program_end_with_1():
    assert Heard({"a": {"ok": "pong"}, "b": [1]}, 2, 2).exit_code == 0
    assert Heard({"a": {"ok": "pong"}, "b": {"error": "no such thing"}}, 2, 2).exit_code == 1
