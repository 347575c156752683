"""What is declared of remote commands, and what becomes of arguments that do not fit."""

from __future__ import annotations

from typing import Any

import pytest

from celeriac.control.commands import (
    COMMANDS,
    BadArguments,
    Command,
    checked_arguments,
    commands_of,
    find_command,
)


def declared(name: str) -> Command:
    found = find_command(name)
    assert found is not None
    return found


def test_a_command_is_found_by_its_name_and_by_celerys_old_names():
    assert declared("dump_active") is declared("active")
    assert find_command("no_such") is None


def test_every_name_is_declared_once():
    names = [name for command in COMMANDS.values() for name in (command.name, *command.aliases)]
    assert len(names) == len(set(names))


def test_people_are_shown_each_kind_apart():
    assert {command.kind for command in commands_of("inspect")} == {"inspect"}
    assert {command.name for command in commands_of("control")} >= {"revoke", "shutdown", "terminate"}


def test_arguments_left_out_have_their_defaults():
    assert checked_arguments(declared("revoke"), {"task_id": "a"}) == {
        "task_id": ["a"],
        "terminate": False,
        "signal": "SIGTERM",
        "stored": False,
    }
    assert checked_arguments(declared("registered"), {}) == {"taskinfoitems": [], "builtins": False}


@pytest.mark.parametrize(
    ("given", "expected"),
    [(True, True), (False, False), ("yes", True), ("0", False), (1, True), ("", False)],
)
def test_a_flag_may_come_as_text(given: Any, expected: bool):
    assert checked_arguments(declared("conf"), {"with_defaults": given})["with_defaults"] is expected


def test_a_signal_may_be_a_number():
    assert checked_arguments(declared("revoke"), {"task_id": ["a"], "signal": 9})["signal"] == "9"


@pytest.mark.parametrize(
    ("name", "given", "said"),
    [
        ("ping", {"x": 1}, "no argument 'x'"),
        ("revoke", {"task_ids": ["a"]}, "did you mean 'task_id'"),
        ("revoke", {}, "needs 'task_id'"),
        ("revoke", {"task_id": []}, "needs 'task_id'"),
        ("revoke", {"task_id": [1]}, "no list of texts"),
        ("revoke", {"task_id": {"a": 1}}, "no list of texts"),
        ("revoke", {"task_id": "a", "terminate": "perhaps"}, "neither true nor false"),
        ("revoke", {"task_id": "a", "signal": ["KILL"]}, "no text"),
        ("terminate", {"task_id": "a"}, "needs 'signal'"),
    ],
)
def test_what_does_not_fit_is_named(name: str, given: dict[str, Any], said: str):
    with pytest.raises(BadArguments, match=said):
        checked_arguments(declared(name), given)
