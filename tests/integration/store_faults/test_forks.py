"""A process that forks: parent and child go on as strangers who share nothing but the file."""

from __future__ import annotations

from collections.abc import Callable

Output = Callable[..., str]

# Whatever of ours is open: by what the descriptor leads to.
OPEN_FILES = """
def ours():
    found = set()
    for name in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{name}")
        except OSError:
            continue
        if "store.db" in target or "/celeriac-" in target or "socket:" in target or "eventpoll" in target:
            found.add(target)
    return found

def in_child(work):
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        try:
            work()
            os._exit(0)
        except BaseException as exc:
            say("child failed:", repr(exc))
            os._exit(1)
    return pid

def joined(pid):
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
"""


def test_a_child_inherits_no_handle_descriptor_or_address(output: Output) -> None:
    said = output(
        OPEN_FILES
        + """
broker = opened()
backend = SqliteBackend(url, {})
backend.open()
broker.publish([message("a")])
broker.take(["q"], 1, 0)
broker.join(64)
broker.extend([], 6.0)
broker.listen(["q"])
backend.wait(["nothing"], 0.01)
backend.write([Record("x", "SUCCESS", b"1", reply_to="0" * 8 + "-0000-0000-0000-" + "0" * 12)])
assert ours(), "the parent has files open"
address = backend.address

def look():
    assert ours() == set(), ours()
    assert backend.address != address
    assert broker._store.main._conn is None and broker._store.beat._conn is None

joined(in_child(look))
say("ok")
"""
    )
    assert said == "ok\n"


def test_the_parent_keeps_its_claims_and_the_child_has_its_own(output: Output) -> None:
    said = output(
        OPEN_FILES
        + """
broker = opened(lease_s=3600)
broker.join(64)
broker.publish([message("a"), message("b")])
(mine,) = broker.take(["q"], 1, 0)

def child():
    assert broker.sweep() == 0, "the parent lives"
    (other,) = broker.take(["q"], 9, 0)
    assert other.message.id == "b"
    assert broker.extend([mine.receipt, other.receipt], 6.0) == [mine.receipt]
    assert broker.settle([Settlement(mine.receipt, Ack())]).stale == (mine.receipt,)
    broker.settle([Settlement(other.receipt, Ack())])

joined(in_child(child))
assert broker.sweep() == 0
assert broker.settle([Settlement(mine.receipt, Ack())]).stale == ()
say(broker.depth(["q"])[0].ready, broker.depth(["q"])[0].claimed)
"""
    )
    assert said == "0 0\n"


def test_four_children_all_send_and_wait_for_answers(output: Output) -> None:
    said = output(
        OPEN_FILES
        + """
broker = opened()
backend = SqliteBackend(url, {})
backend.open()
broker.publish([message("warm")])
assert backend.wait(["warm"], 0.01) == []

def child(number):
    def work():
        for turn in range(20):
            name = f"{number}-{turn}"
            broker.publish([message(name, reply_to=backend.address)])
            (record,) = backend.wait([name], 20)
            assert (record.id, record.payload) == (name, name.encode())
    return work

pids = [in_child(child(number)) for number in range(4)]
done = 0
while done < 81:
    taken = broker.take(["q"], 10, 20)
    broker.settle([
        Settlement(one.receipt, Ack(), (Record(one.message.id, "SUCCESS", one.message.id.encode(),
                                               reply_to=one.message.reply_to),))
        for one in taken
    ])
    done += len(taken)
for pid in pids:
    joined(pid)
say("ok")
"""
    )
    assert said == "ok\n"


def test_a_fork_in_the_midst_of_other_threads_work_is_sound(output: Output) -> None:
    said = output(
        OPEN_FILES
        + """
import threading, warnings
warnings.simplefilter("ignore", DeprecationWarning)  # forking with threads is what this is about
broker = opened()
stop = threading.Event()
counts = []

def publish():
    number = 0
    while not stop.is_set():
        broker.publish([message(f"{threading.get_ident()}-{number}")])
        number += 1
    counts.append(number)

threads = [threading.Thread(target=publish) for _ in range(3)]
for thread in threads:
    thread.start()
for number in range(8):
    joined(in_child(lambda: broker.publish([message(f"child-{number}")])))
stop.set()
for thread in threads:
    thread.join()
say(broker.depth(["q"])[0].ready == sum(counts) + 8)
say(*broker._store.main.read(lambda conn: conn.execute("pragma integrity_check").fetchone()))
"""
    )
    assert said == "True\nok\n"


def test_a_signal_handler_that_forks_within_a_transaction_is_sound(output: Output) -> None:
    said = output(
        OPEN_FILES
        + """
import signal
broker = opened(connect_timeout_s=0.5)
broker.publish([message("a")])

def on_signal(signum, frame):
    os.waitpid(in_child(lambda: broker.publish([message("from-child")])), 0)

signal.signal(signal.SIGUSR1, on_signal)

def work(conn):
    conn.execute("insert into queue(name) values('other')")
    os.kill(os.getpid(), signal.SIGUSR1)
    conn.execute("update queue set paused=1 where name='other'")

broker._store.main.write(work)
broker.publish([message("b")])
say(broker.depth(["other"])[0].paused, len(broker.peek("q", 9)))
"""
    )
    # The child could not enter while its parent was inside, and said so in time; the parent's work was done.
    assert "child failed: StoreUnavailable" in said
    assert said.endswith("True 2\n")
