"""The desk of a node: it answers, and nothing that is asked of it does harm."""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from celeriac import Celeriac
from celeriac.brokers.memory import MemoryBroker
from celeriac.control.words import Request, decode_reply
from celeriac.core.engine.events import Cancelled, Now
from celeriac.core.engine.state import State
from celeriac.worker.commands import Commands
from celeriac.worker.desk import Asked, Desk, Sparing
from celeriac.worker.sight import look
from celeriac.worker.threads import cancelled_by

_numbers = itertools.count()


class Office:
    """A desk with everything behind it but a node."""

    def __init__(self) -> None:
        self.app = Celeriac("desk", broker=f"memory://desk-{next(_numbers)}", set_as_current=False)
        self.app.task(name="proj.add", max_retries=7)(lambda x: x)
        config = self.app.worker_config(hostname="w1@h")
        self.broker: Any = self.app.sender.broker()
        assert isinstance(self.broker, MemoryBroker)
        self.commands = Commands(config, self.app, self.app.load_tasks(), self.broker, self.app.backend)
        self.posted: list[Any] = []
        self.commands.post = self.posted.append
        self.ended = 0
        self.desk = Desk("w1@h", self.commands, self.broker, self.end, time.time)
        self.state = State(config.policy, {})
        self.ear = self.broker.subscribe(["reply.x"])
        self.desk.start()

    def end(self) -> None:
        self.ended += 1

    def hand(self, command: str, arguments: Mapping[str, Any] | None = None, expires_at: float | None = None) -> None:
        request = Request(command, arguments or {}, ticket="t", reply_to="reply.x", expires_at=expires_at)
        sight = look(self.state, {}, {"proj.add": 3}, Now(0.0, time.time()))
        self.desk.hand_over([Asked(request)], sight)

    def ask(self, command: str, **arguments: Any) -> Any:
        self.hand(command, arguments)
        (word,) = self.ear.receive(10)
        reply = decode_reply(word[1])
        assert (reply.ticket, reply.node) == ("t", "w1@h")
        return reply.answer

    def close(self) -> None:
        self.ear.close()
        self.desk.close()
        assert not self.desk.is_alive()
        self.app.close()


@pytest.fixture
def office() -> Iterator[Office]:
    made = Office()
    yield made
    made.close()


def test_stats_have_celerys_keys(office: Office):
    stats = office.ask("stats")
    assert stats["total"] == {"proj.add": 3}
    assert stats["clock"] == "0"
    assert set(stats) >= {"pid", "uptime", "pool", "broker", "prefetch_count", "rusage"}
    assert set(stats["pool"]) >= {"implementation", "max-concurrency", "processes", "max-tasks-per-child", "timeouts"}
    assert stats["broker"]["transport"] == "memory"
    assert stats["rusage"]["maxrss"] > 0


def test_registered_shows_names_with_attributes(office: Office):
    # Shared tasks of whatever else was imported into this process are in the registry, too.
    assert [line for line in office.ask("registered") if line.startswith("proj.")] == ["proj.add"]
    lines = office.ask("registered", taskinfoitems=["max_retries", "no_such"])
    assert [line for line in lines if line.startswith("proj.")] == ["proj.add [max_retries=7]"]


def test_settings_are_shown_without_secrets(office: Office):
    office.app.conf.security_key_password = "hunter2"
    office.app.conf.result_backend = "redis://user:hunter3@host/1"
    shown = str(office.ask("conf")) + office.ask("report")["ok"]
    assert "hunter" not in shown
    assert "security_key_password" in shown
    assert len(office.ask("conf", with_defaults=True)) > len(office.ask("conf"))


def test_values_of_settings_that_json_has_no_form_for_are_shown_as_text(office: Office):
    office.app.conf.task_routes = [lambda name, *_: None]
    assert "function" in office.ask("conf")["task_routes"][0]


def test_delayed_tasks_are_scheduled_and_ready_ones_are_not(office: Office):
    office.app.send_task("proj.add", (1,))
    later = office.app.send_task("proj.add", (2,), {"deep": "x"}, countdown=100, priority=3)
    (entry,) = office.ask("scheduled")
    assert entry["priority"] == 6
    assert entry["eta"].endswith("+00:00")
    assert entry["request"] == {
        "id": later.id,
        "name": "proj.add",
        "args": "(2,)",
        "kwargs": "{'deep': 'x'}",
        "type": "proj.add",
        "hostname": "w1@h",
        "time_start": None,
        "acknowledged": False,
        "delivery_info": {"exchange": "", "routing_key": "celery", "priority": 3, "redelivered": False},
        "worker_pid": None,
    }


def test_an_unknown_command_is_answered_with_an_error(office: Office):
    assert office.ask("no_such") == {"error": "unknown command 'no_such'"}
    assert "no argument 'x'" in office.ask("ping", x=1)["error"]


def test_long_names_and_many_failures_do_not_fill_the_log(office: Office, caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.WARNING):
        answer = office.ask("x" * 100_000)
        for number in range(50):
            assert "unknown command" in office.ask(f"no_such_{number}")["error"]
    assert len(answer["error"]) < 200
    lines = [record.getMessage() for record in caplog.records if record.name == "celeriac.worker"]
    assert lines[1] == "the remote command 'no_such_0' failed: unknown command 'no_such_0'"
    assert 2 <= len(lines) <= 25
    assert max(map(len, lines)) < 400


def test_what_is_not_told_one_by_one_is_counted():
    sparing = Sparing(2, 10.0)
    assert [sparing.is_told(1.0 + number) for number in range(5)] == [True, True, False, False, False]
    assert sparing.left_out(10.9) == 0
    assert sparing.left_out(11.0) == 3
    assert sparing.left_out(11.0) == 0
    assert [sparing.is_told(12.0) for _ in range(3)] == [True, True, False]
    assert sparing.is_told(30.0)
    assert sparing.left_out(30.0) == 1


def test_a_command_that_fails_is_answered_with_an_error_and_the_next_one_with_its_answer(
    office: Office, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    def broken() -> str:
        raise RuntimeError("no report today")

    monkeypatch.setattr(office.app, "bugreport", broken, raising=True)
    with caplog.at_level(logging.WARNING):
        assert "no report today" in office.ask("report")["error"]
    assert "report" in caplog.text
    assert office.ask("ping") == {"ok": "pong"}


def test_an_answer_that_cannot_be_written_is_answered_with_an_error(office: Office, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(office.app, "bugreport", lambda: "\ud800 half a character")
    assert "error" in office.ask("report")
    assert office.ask("ping") == {"ok": "pong"}


def test_an_expired_request_is_neither_answered_nor_obeyed(office: Office):
    office.hand("shutdown", expires_at=time.time() - 60)
    assert office.ask("ping") == {"ok": "pong"}
    assert office.ended == 0


def test_shutdown_is_answered_first_and_done_once(office: Office):
    assert "ok" in office.ask("shutdown")
    assert "ok" in office.ask("shutdown")
    office.ask("ping")
    assert office.ended == 1


def test_a_worker_that_ends_already_is_not_hastened(office: Office):
    office.state.stopping = True
    office.ask("shutdown")
    office.ask("ping")
    assert office.ended == 0


def test_revoke_by_another_client_is_marked_in_the_store_and_told_to_the_node(office: Office):
    sent = office.app.send_task("proj.add", (1,))
    assert office.ask("revoke", task_id=[sent.id]) == {"ok": f"tasks {{'{sent.id}'}} flagged as revoked"}
    assert office.posted == [Cancelled((sent.id,), False, "SIGTERM")]
    assert sent.state == "REVOKED"
    assert office.broker.take(["celery"], 1, 0.0)[0].cancelled
    assert office.ask("revoked") == [sent.id]


def test_a_task_that_a_node_has_is_not_revoked_in_its_result(office: Office):
    sent = office.app.send_task("proj.add", (1,))
    (delivery,) = office.broker.take(["celery"], 1, 0.0)
    assert delivery.message.id == sent.id
    assert "flagged" in office.ask("revoke", task_id=[sent.id, "other"])["ok"]
    assert sent.state == "PENDING"
    assert office.app.AsyncResult("other").state == "REVOKED"


def test_revoke_by_our_own_client_is_not_marked_again(office: Office):
    assert "flagged" in office.ask("revoke", task_id=["x"], stored=True)["ok"]
    assert office.posted == []
    assert office.app.AsyncResult("x").state == "PENDING"


def test_terminating_what_is_not_here_says_so_and_a_bad_signal_is_refused(office: Office):
    assert office.ask("terminate", task_id=["x"], signal="KILL") == {"ok": "terminate: tasks unknown"}
    assert "no signal" in office.ask("revoke", task_id=["x"], terminate=True, signal="SIGNONSENSE")["error"]


def test_the_engine_is_told_at_once_what_the_store_has_already():
    told = cancelled_by(Request("revoke", {"task_id": ["a"], "terminate": True, "stored": True}))
    assert told == Cancelled(("a",), True, "SIGTERM")
    assert cancelled_by(Request("terminate", {"task_id": "a", "signal": "9", "stored": True})) == Cancelled(
        ("a",), True, "9"
    )
    for other in (
        Request("revoke", {"task_id": ["a"]}),
        Request("revoke", {"task_id": [1], "stored": True}),
        Request("ping", {"stored": True}),
        Request("nothing", {"stored": True}),
    ):
        assert cancelled_by(other) is None


def test_a_flood_of_requests_is_dropped_not_kept(
    office: Office, caplog: pytest.LogCaptureFixture, eventually: Callable[..., None]
):
    with caplog.at_level(logging.WARNING):
        for _ in range(5000):
            office.hand("ping")
    assert [record for record in caplog.records if getattr(record, "action", "") == "control_flooded"]
    eventually(lambda: not office.ear.receive(0.2), what="what was taken is answered")
    assert office.ask("ping") == {"ok": "pong"}
