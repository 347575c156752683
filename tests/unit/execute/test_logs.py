from __future__ import annotations

import io
import json
import logging
import os
import subprocess
import sys

import pytest

from celeriac.model.context import Context, Run, enter_run, leave_run
from celeriac.model.errors import ImproperlyConfigured
from celeriac.utils.log import TaskFormatter, get_logger, get_task_logger
from celeriac.worker.log_format import ColorFormatter, JsonFormatter
from celeriac.worker.logs import LogOptions, file_name_of, level_of, setup_logs, wants_color
from celeriac.worker.redirect import RedirectedStream, stream_behind
from unit.execute.sample import SampleTask


@pytest.fixture
def logs():
    """Set logging up; everything is put back at the end."""
    undo = []

    def setup(**options):
        undo.append(setup_logs(LogOptions(**{"redirect_stdouts": False} | options)))

    yield setup
    for step in undo:
        step()


@pytest.fixture
def running():
    """The test runs inside the task `proj.add` with the id `id-1`."""
    token = enter_run(Run(SampleTask(None, "proj.add"), Context(id="id-1")))
    yield
    leave_run(token)


def record_of(message="text", level=logging.INFO, **extra):
    record = logging.LogRecord("some.logger", level, "file.py", 1, message, (), None)
    record.__dict__.update(extra)
    return record


@pytest.mark.parametrize(
    ("name", "level"),
    [("debug", 10), ("Info", 20), ("WARNING", 30), ("warn", 30), ("error", 40), ("FATAL", 50), (25, 25), ("25", 25)],
)
def test_levels_are_known_by_name_in_any_case_or_by_number(name, level):
    assert level_of(name) == level


def test_an_unknown_level_names_the_known_ones():
    with pytest.raises(ImproperlyConfigured, match=r"'loud'.*DEBUG, INFO, WARNING"):
        level_of("loud")


@pytest.mark.parametrize(
    ("pattern", "index", "name"),
    [
        ("w.log", 3, "w.log"),
        ("w-%i.log", 0, "w-0.log"),
        ("w%I.log", 0, "w.log"),
        ("w%I.log", 3, "w-3.log"),
        ("%n@%d %h 100%%.log", 0, "celery@host.org celery@host.org 100%.log"),
        ("odd%x%", 0, "odd%x%"),
    ],
)
def test_log_file_names_are_filled_in(pattern, index, name):
    assert file_name_of(pattern, "celery@host.org", index) == name


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize(
    ("option", "stream", "environ", "wanted"),
    [
        (None, Terminal(), {}, True),
        (None, io.StringIO(), {}, False),
        (None, Terminal(), {"TERM": "dumb"}, False),
        (None, Terminal(), {"NO_COLOR": "1"}, False),
        (True, Terminal(), {"NO_COLOR": "1"}, False),
        (True, io.StringIO(), {}, True),
        (False, Terminal(), {}, False),
        (True, None, {}, False),
    ],
)
def test_colour_is_for_terminals_unless_said_otherwise(option, stream, environ, wanted):
    assert wants_color(option, stream, environ) is wanted


def test_colour_depends_on_the_level_and_is_reset():
    formatter = ColorFormatter("%(message)s", use_color=True)
    assert formatter.format(record_of(level=logging.ERROR)) == "\x1b[31mtext\x1b[0m"
    assert formatter.format(record_of(level=logging.INFO)) == "text"
    assert ColorFormatter("%(message)s", use_color=False).format(record_of(level=logging.ERROR)) == "text"


@pytest.mark.usefixtures("running")
def test_the_task_formatter_names_the_running_task():
    assert TaskFormatter("%(task_name)s[%(task_id)s] %(message)s").format(record_of()) == "proj.add[id-1] text"


def test_the_task_formatter_works_outside_of_tasks():
    assert TaskFormatter("%(task_name)s[%(task_id)s] %(message)s").format(record_of()) == "???[???] text"


@pytest.mark.usefixtures("running")
def test_json_lines_hold_the_record_its_fields_and_its_task():
    line = JsonFormatter("node@here").format(record_of("two\nlines", action="task.x", data={"id": "id-1"}))
    assert "\n" not in line
    values = json.loads(line)
    assert values.pop("time").endswith("+00:00")
    assert values.pop("pid") == os.getpid()
    assert values == {
        "level": "INFO",
        "logger": "some.logger",
        "process": "MainProcess",
        "message": "two\nlines",
        "hostname": "node@here",
        "task": "proj.add",
        "task_id": "id-1",
        "action": "task.x",
        "data": {"id": "id-1"},
    }


@pytest.mark.parametrize("data", [{"x": object()}, {("a", 1): 2}, "\ud800", float("nan"), {1, 2}])
def test_any_data_makes_a_json_line(data):
    assert "data" in json.loads(JsonFormatter().format(record_of(data=data)))


def test_json_lines_hold_the_exception():
    try:
        raise ValueError("no")
    except ValueError:
        record = record_of()
        record.exc_info = sys.exc_info()
    assert json.loads(JsonFormatter().format(record))["exception"].endswith("ValueError: no")


def test_the_log_goes_to_the_file_with_the_name_of_the_process(logs, tmp_path):
    logs(level="info", file=str(tmp_path / "w%I.log"), process="child-2", index=2)
    logging.getLogger("celeriac.worker").info("hello")
    logging.getLogger("celeriac.worker").debug("hidden")
    (line,) = (tmp_path / "w-2.log").read_text().splitlines()
    assert line.endswith(": INFO/child-2] hello")


@pytest.mark.usefixtures("running")
def test_loggers_of_tasks_name_the_task_and_write_once(logs, tmp_path):
    logs(level="info", file=str(tmp_path / "w.log"))
    get_task_logger("proj.tasks").info("hello")
    (line,) = (tmp_path / "w.log").read_text().splitlines()
    assert line.endswith("proj.add[id-1]: hello")


def test_formats_can_be_given(logs, tmp_path):
    logs(level="info", file=str(tmp_path / "w.log"), format="A %(message)s", task_format="B %(message)s")
    logging.getLogger("any").info("one")
    get_task_logger("proj.more").info("two")
    assert (tmp_path / "w.log").read_text() == "A one\nB two\n"


def test_a_log_file_that_was_moved_away_is_opened_anew(logs, tmp_path):
    path = tmp_path / "w.log"
    logs(level="info", file=str(path), format="%(message)s")
    logging.getLogger("any").info("one")
    path.rename(tmp_path / "w.log.1")
    logging.getLogger("any").info("two")
    assert path.read_text() == "two\n"


def test_a_log_file_that_cannot_be_opened_is_an_error_that_names_it(tmp_path):
    with pytest.raises(ImproperlyConfigured, match=r"missing.*w\.log"):
        setup_logs(LogOptions(file=str(tmp_path / "missing" / "w.log")))


def test_setting_up_again_replaces_and_undoing_puts_back(tmp_path):
    root = logging.getLogger()
    before = (root.handlers[:], root.level, sys.stdout)
    setup_logs(LogOptions(level="info", file=str(tmp_path / "a.log"), format="%(message)s"))
    undo = setup_logs(LogOptions(level="info", file=str(tmp_path / "b.log"), format="%(message)s"))
    try:
        logging.getLogger("any").info("one")
    finally:
        undo()
    assert (tmp_path / "a.log").read_text() == ""
    assert (tmp_path / "b.log").read_text() == "one\n"
    assert (root.handlers, root.level, sys.stdout) == before


def test_handlers_of_the_app_are_left_alone_on_request(logs, tmp_path):
    root = logging.getLogger()
    before = root.handlers[:]
    logs(file=str(tmp_path / "w.log"), hijack_root=False)
    assert root.handlers == before


@pytest.mark.parametrize("name", ["celery", "celery.task", "celeriac", "celeriac.task"])
def test_names_of_our_own_loggers_are_refused_for_tasks(name):
    with pytest.raises(RuntimeError, match="get_task_logger"):
        get_task_logger(name)


def test_loggers_of_tasks_hang_below_the_task_logger_with_their_children():
    parent = get_task_logger("jobs")
    child = get_task_logger("jobs.deep")
    assert (parent.name, parent.parent.name) == ("jobs", "celeriac.task")
    assert child.parent is parent
    assert get_logger("jobs") is parent


@pytest.fixture
def redirected(caplog):
    """A stream in the place of standard output, and the stream behind it."""
    behind = io.StringIO()
    with caplog.at_level(logging.DEBUG, "test.redirected"):
        yield RedirectedStream(logging.getLogger("test.redirected"), logging.WARNING, behind), behind


def test_each_printed_line_is_one_record(redirected, caplog):
    stream, behind = redirected
    print("one", 1, file=stream)
    print("two", end="", file=stream)
    print(" parts\nthree\n\n  ", file=stream)
    assert caplog.messages == ["one 1", "two parts", "three"]
    assert {record.levelname for record in caplog.records} == {"WARNING"}
    assert behind.getvalue() == ""


def test_a_line_without_end_is_logged_when_flushed_or_too_long(redirected, caplog):
    stream, _ = redirected
    stream.write("begun")
    assert caplog.messages == []
    stream.flush()
    stream.write("x" * 10_000)
    assert [len(message) for message in caplog.messages] == [5, 10_000]


def test_closing_it_does_nothing(redirected, caplog):
    stream, _ = redirected
    stream.close()
    assert not stream.closed
    print("still here", file=stream)
    assert caplog.messages == ["still here"]


def test_what_a_handler_prints_goes_to_the_stream_behind(redirected, caplog):
    stream, behind = redirected

    class Printing(logging.Handler):
        def emit(self, record):
            print("handler saw", record.getMessage(), file=stream)

    logger, handler = logging.getLogger("test.redirected"), Printing()
    logger.addHandler(handler)
    try:
        print("one", file=stream)
    finally:
        logger.removeHandler(handler)
    assert caplog.messages == ["one"]
    assert behind.getvalue() == "handler saw one\n"


def test_printing_never_fails_because_of_the_log(redirected):
    stream, _ = redirected

    class Broken(logging.Handler):
        def emit(self, record):
            raise BrokenPipeError

    logger, handler = logging.getLogger("test.redirected"), Broken()
    logger.addHandler(handler)
    try:
        print("one", file=stream)
    finally:
        logger.removeHandler(handler)


def test_the_stream_behind_is_at_hand(redirected):
    stream, behind = redirected
    assert stream_behind(stream) is behind
    assert stream_behind(behind) is behind


def test_setting_up_again_and_again_leaves_no_descriptor_open():
    code = SET_UP.replace("setup_logs(", "for _ in range(20): setup_logs(") + "print(len(os.listdir('/proc/self/fd')))"
    done = run_python(code, capture_output=True)
    assert int(done.stderr) < 10


def run_python(code, **options):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code], env=environment, timeout=30, check=False, text=True, **options
    )


SET_UP = """
import logging, os, sys
from celeriac.worker.logs import LogOptions, setup_logs
setup_logs(LogOptions(level="info", format="%(message)s"))
"""


def test_what_a_process_prints_is_logged_to_standard_error():
    done = run_python(SET_UP + "print('printed'); logging.getLogger('any').info('said')", capture_output=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "printed\nsaid\n")


def test_a_task_that_closes_its_output_neither_fails_nor_silences_the_log():
    code = SET_UP + (
        "sys.stdout.close(); sys.stderr.close(); sys.__stderr__.close(); os.close(1)\n"
        "print('printed'); logging.getLogger('any').info('said')"
    )
    done = run_python(code, capture_output=True)
    assert (done.returncode, done.stderr) == (0, "printed\nsaid\n")


def test_a_log_into_a_broken_pipe_ends_nothing():
    reading, writing = os.pipe()
    os.close(reading)
    try:
        code = SET_UP + "print('printed'); logging.getLogger('any').info('said'); os._exit(7)"
        done = run_python(code, stderr=writing, stdout=subprocess.DEVNULL)
    finally:
        os.close(writing)
    assert done.returncode == 7


def test_wrong_arguments_of_a_log_call_are_reported_and_end_nothing():
    code = SET_UP + "logging.getLogger('any').info('%d', 'x'); logging.getLogger('any').info('said')"
    done = run_python(code, capture_output=True)
    assert done.returncode == 0
    assert "could not be written: TypeError" in done.stderr
    assert done.stderr.endswith("said\n")
