from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from celeriac.cli.banner import DURABILITY_IN_WORDS, WIDTH, BannerFacts, Look, compose, database_file
from celeriac.model.policy import EnginePolicy, PoolPolicy
from celeriac.model.run import ResultPolicy
from celeriac.worker.config import WorkerConfig

CONFIG = WorkerConfig(
    hostname="celery@box",
    queues=("celery", "mail"),
    policy=EnginePolicy(pools=(PoolPolicy("prefork", children=4),)),
    results=ResultPolicy(),
)
FACTS = BannerFacts(
    version="9.8.7",
    app="proj",
    broker="redis://user:secret@host/0",
    durability="process",
    backend="redis://user:secret@host/1",
    tasks=("proj.add", "proj.mail"),
)
PLAIN = Look(color=False)


def banner(look: Look = PLAIN, config: WorkerConfig = CONFIG, **changes: Any) -> str:
    return compose(config, structs.replace(FACTS, **changes), look)


def test_it_tells_who_where_and_what():
    text = banner()
    for words in (
        "9.8.7",
        "celery@box",
        "proj",
        "redis://user:**@host/0",
        "4 (prefork)",
        "celery, mail",
        "redis://user:**@host/1",
    ):
        assert words in text


def test_every_pool_is_named_with_its_slots():
    pools = (PoolPolicy("prefork", children=4), PoolPolicy("asyncio", slots=1000, kills=False, on_demand=True))
    config = structs.replace(CONFIG, policy=EnginePolicy(pools=pools))
    assert "4 (prefork) + 1,000 (asyncio, started when needed)" in banner(config=config)


def test_it_never_shows_a_password():
    assert "secret" not in banner()


def test_it_says_in_words_what_an_accepted_task_survives():
    for durability, words in DURABILITY_IN_WORDS.items():
        assert words in banner(durability=durability)


def test_its_last_line_says_that_the_worker_is_ready():
    assert banner().strip().splitlines()[-1].strip().startswith("ready for tasks")


def test_tasks_are_listed_at_info_and_counted_above():
    assert "proj.mail" in banner(config=structs.replace(CONFIG, loglevel="INFO"))
    assert "proj.mail" not in banner()
    assert "2\n" in banner()
    assert "none" in banner(tasks=())


def test_it_fits_80_columns_with_hundreds_of_tasks_and_queues():
    config = structs.replace(CONFIG, loglevel="INFO", queues=tuple(f"queue-{n}" for n in range(40)))
    text = banner(config=config, tasks=tuple(f"proj.module{n}.task" for n in range(300)), purged=1_234_567)
    assert max(map(len, text.splitlines())) <= WIDTH
    assert "1,234,567 messages" in text


def test_an_address_longer_than_a_line_stays_whole():
    address = f"sqlite:////srv/{'long/' * 30}celeriac.db"
    assert address in banner(broker=address)


def test_colour_changes_nothing_but_the_colour():
    colored = banner(Look(color=True))
    assert "\x1b[" in colored
    for code in ("\x1b[0m", "\x1b[1m", "\x1b[2m", "\x1b[32m"):
        colored = colored.replace(code, "")
    assert colored == banner()
    assert "\x1b" not in banner()


def test_a_sqlite_broker_shows_where_its_file_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    assert database_file("sqlite:///a.db") == str(tmp_path / "a.db")
    assert database_file("redis://host/0") is None
    shown = banner(broker="sqlite:///a.db", database="/srv/a.db", database_is_new=True)
    assert "/srv/a.db (new)" in shown
    assert "(new)" not in banner(broker="sqlite:///a.db", database="/srv/a.db")


def test_results_beside_the_messages_are_said_to_be_so():
    assert "one commit" in banner(backend=FACTS.broker)
    assert "disabled" in banner(backend=None)
