"""A client on the embedded store: no configuration, threads, forks, and errors within the caller's time."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest

from celeriac import Celeriac
from celeriac.exceptions import BrokerMisconfigured, OperationalError
from celeriac.model.context import Place
from celeriac.model.message import Settlement
from celeriac.worker.env import Env, Seat
from celeriac.worker.perform import perform

SOURCE = str(Path(__file__).resolve().parents[2] / "src")


def work(app: Celeriac, count: int) -> None:
    """Run `count` tasks in this thread, as a worker would."""
    seat = Seat(Env(Place("celery@test"), app.worker_config().results))
    broker = app.make_broker()
    broker.open()
    ends_at = time.monotonic() + 30
    try:
        while count > 0 and time.monotonic() < ends_at:
            for delivery in broker.take(["celery"], 64, 1.0):
                ended = perform(app.load_tasks(), delivery.message, seat)
                broker.settle([Settlement(delivery.receipt, ended.verdict, ended.records, ended.follow_ups)])
                count -= 1
    finally:
        broker.close()
    assert count == 0


@pytest.fixture
def app(tmp_path: Path):
    app = Celeriac("client", broker=f"sqlite:///{tmp_path}/client.db", set_as_current=False)

    @app.task(name="double")
    def double(x):
        return 2 * x

    yield app
    app.close()


def run_program(code: str, folder: Path) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(code)],
        check=False,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": SOURCE},
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_without_configuration_messages_are_in_a_file_of_the_working_directory(tmp_path):
    program = """
        from celeriac import Celeriac
        app = Celeriac("hello")
        @app.task
        def add(x, y): return x + y
        add.delay(2, 3)
    """
    done = run_program(program, tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "celeriac.db").exists()
    app = Celeriac("hello", broker=f"sqlite:///{tmp_path}/celeriac.db", set_as_current=False)
    broker = app.sender.broker()
    assert [waiting.message.task for waiting in broker.peek("celery", 5)] == ["hello.add"]
    app.close()


def test_a_process_that_exits_at_once_after_delay_loses_nothing(app, tmp_path):
    program = f"""
        import os
        from celeriac import Celeriac
        app = Celeriac("client", broker="sqlite:///{tmp_path}/client.db")
        for n in range(20):
            app.send_task("double", (n,))
        os._exit(0)
    """
    assert run_program(program, tmp_path).returncode == 0
    assert app.sender.broker().depth(["celery"])[0].ready == 20


def test_many_threads_send_and_wait(app):
    double, results, errors = app.tasks["double"], [], []

    def client(number: int) -> None:
        try:
            sent = [double.delay(number * 100 + n) for n in range(10)]
            results.extend((result.id, result.get(timeout=30)) for result in sent)
        except BaseException as exc:
            errors.append(exc)

    threads = [threading.Thread(target=client, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    work(app, 60)
    for thread in threads:
        thread.join(timeout=30)
    assert errors == []
    assert len({task_id for task_id, _ in results}) == 60
    assert sorted(value for _, value in results) == sorted(2 * (a * 100 + b) for a in range(6) for b in range(10))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_used_client_survives_four_forks_that_all_send_and_wait(tmp_path):
    program = f"""
        import os, sys
        from celeriac import Celeriac
        app = Celeriac("client", broker="sqlite:///{tmp_path}/client.db")

        @app.task(name="double")
        def double(x): return 2 * x

        def descriptors():
            found = set()
            for name in os.listdir("/proc/self/fd"):
                try: found.add(os.readlink(f"/proc/self/fd/{{name}}"))
                except OSError: pass
            return found

        print(double.delay(0).id)
        app.AsyncResult("nobody").state  # the backend is open, too
        origin, address = app.sender.origin, app.watcher.address()
        children = []
        for child in range(4):
            reader, writer = os.pipe()
            pid = os.fork()
            if pid == 0:
                try:
                    os.close(reader)
                    inherited = [name for name in descriptors() if "client.db" in name]
                    assert inherited == [], inherited
                    assert app.sender.origin != origin
                    results = [double.delay(child * 10 + n) for n in range(5)]
                    assert app.watcher.address() != address
                    values = [result.get(timeout=30) for result in results]
                    assert values == [2 * (child * 10 + n) for n in range(5)], values
                    os.write(writer, "\\n".join(result.id for result in results).encode())
                    os._exit(0)
                except BaseException as exc:
                    import traceback
                    traceback.print_exc()
                    sys.stderr.flush()
                    os._exit(1)
            os.close(writer)
            children.append((pid, reader))
        mine = [double.delay(100 + n) for n in range(5)]
        assert [result.get(timeout=30) for result in mine] == [200 + 2 * n for n in range(5)]
        print("\\n".join(result.id for result in mine))
        for pid, reader in children:
            assert os.waitpid(pid, 0)[1] == 0
            print(os.read(reader, 4096).decode())
        app.close()
    """
    store = Celeriac("worker", broker=f"sqlite:///{tmp_path}/client.db", set_as_current=False)
    store.task(name="double")(lambda x: 2 * x)
    worker = threading.Thread(target=work, args=(store, 26))
    worker.start()
    done = run_program(program, tmp_path)
    worker.join(timeout=60)
    store.close()
    assert done.returncode == 0, done.stderr
    ids = done.stdout.split()
    assert len(ids) == len(set(ids)) == 26


def test_a_locked_store_is_an_error_within_the_callers_time(app, tmp_path):
    app.conf.broker_connection_timeout = 0.5
    double = app.tasks["double"]
    double.delay(1)
    app.close()
    other = sqlite3.connect(tmp_path / "client.db", isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    started = time.monotonic()
    try:
        with pytest.raises(OperationalError):
            double.delay(2)
        assert time.monotonic() - started < 20
    finally:
        other.execute("ROLLBACK")
        other.close()
    double.delay(3)
    assert app.sender.broker().depth(["celery"])[0].ready == 2


def test_a_store_in_a_missing_directory_says_so(tmp_path):
    app = Celeriac("client", broker=f"sqlite:///{tmp_path}/missing/x.db", set_as_current=False)
    with pytest.raises(BrokerMisconfigured, match="missing"):
        app.send_task("any")


def test_an_address_nobody_speaks_names_those_that_can_be_used():
    app = Celeriac("client", broker="carrier+pigeon://me:secret@loft", set_as_current=False)
    with pytest.raises(BrokerMisconfigured, match=r"carrier\+pigeon.*memory://, sqlite://") as caught:
        app.send_task("any")
    assert "secret" not in str(caught.value)


def test_a_batch_is_one_transaction(app):
    double = app.tasks["double"]
    with app.batch():
        results = [double.delay(n) for n in range(50)]
    work(app, 50)
    assert [result.get(timeout=10) for result in results] == [2 * n for n in range(50)]


def test_a_failing_batch_leaves_the_store_as_it_was(app):
    double = app.tasks["double"]
    double.delay(0)
    with pytest.raises(ZeroDivisionError), app.batch():
        double.delay(1)
        _ = 1 / 0
    assert app.sender.broker().depth(["celery"])[0].ready == 1


def test_a_batch_belongs_to_its_thread(app):
    double = app.tasks["double"]
    with app.batch():
        double.delay(1)
        other = threading.Thread(target=double.delay, args=(2,))
        other.start()
        other.join(timeout=10)
        assert app.sender.broker().depth(["celery"])[0].ready == 1
    assert app.sender.broker().depth(["celery"])[0].ready == 2


def test_a_waiting_message_that_is_revoked_is_delivered_as_cancelled(app):
    result = app.tasks["double"].apply_async((1,), countdown=0.01)
    result.revoke()
    broker = app.make_broker()
    broker.open()
    deliveries = broker.take(["celery"], 1, 5)
    broker.close()
    assert deliveries[0].cancelled
    assert result.state == "REVOKED"


def test_under_gevents_monkey_patching_clients_send_and_wait(app, tmp_path):
    pytest.importorskip("gevent", reason="gevent is not installed")
    program = f"""
        from gevent import monkey; monkey.patch_all()
        import gevent
        from celeriac import Celeriac
        app = Celeriac("client", broker="sqlite:///{tmp_path}/client.db")
        ticks = []
        def ticker():
            while True:
                ticks.append(1); gevent.sleep(0.01)
        gevent.spawn(ticker)
        def client(n):
            with app.batch():
                result = app.send_task("double", (n,))
            return result.get(timeout=20)
        jobs = [gevent.spawn(client, n) for n in range(10)]
        gevent.joinall(jobs, timeout=30)
        assert [job.value for job in jobs] == [2 * n for n in range(10)], [job.value for job in jobs]
        assert ticks
        app.close()
    """
    worker = threading.Thread(target=work, args=(app, 10))
    worker.start()
    done = run_program(program, tmp_path)
    worker.join(timeout=60)
    assert done.returncode == 0, done.stderr
