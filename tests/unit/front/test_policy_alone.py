"""What a child asks of a task to run it costs neither a connection nor the modules of a store."""

from __future__ import annotations

import subprocess
import sys

from celeriac import Celeriac

_PROGRAM = """
import sys
from celeriac import Celeriac
app = Celeriac("alone", broker="sqlite:///nowhere/x.db", backend="sqlite:///nowhere/x.db")
task = app.task(lambda: 1, name="task", acks_late=False)
assert task.policy.acks_late is False
print([name for name in sys.modules if name.startswith(("celeriac.stores.", "celeriac.brokers.", "sqlite3"))])
"""


def test_the_policy_of_a_task_loads_no_adapter():
    said = subprocess.run([sys.executable, "-c", _PROGRAM], capture_output=True, text=True, timeout=20, check=True)
    assert said.stdout.strip() == "[]"


def test_the_policy_follows_the_settings_and_the_attributes_of_the_task():
    with Celeriac("follows", broker="memory://", set_as_current=False) as app:
        task = app.task(lambda: 1, name="task")
        assert (task.policy.ignore_result, task.policy.acks_late) == (False, None)
        app.conf.update(task_ignore_result=True)
        task.acks_late = False
        assert (task.policy.ignore_result, task.policy.acks_late) == (True, False)
        assert task.settled().policy == task.policy
