"""The app that the workers of chaos run: ``celeriac -A celeriac.testing.chaos_worker worker``."""

from __future__ import annotations

import json
import os
import sys

from celeriac.testing.chaos_tasks import SCENE_VARIABLE, make_app
from celeriac.worker.process import die_with_parent

_CHILD_VERB = "worker-child"
"""In the command of a child that was started by exec; its parent is the main process."""

_scene = json.loads(os.environ[SCENE_VARIABLE])
if _CHILD_VERB not in sys.argv:
    # In the main process, whose own children end with it: who kills chaos itself leaves no workers behind, nor does one
    # that had hardly been started by then.
    die_with_parent(_scene["parent"])

app = make_app(_scene["url"], _scene["queue"], _scene["folder"])
