"""The app that the workers of chaos run: ``celeriac -A celeriac.testing.chaos_worker worker``."""

from __future__ import annotations

import json
import os

from celeriac.testing.chaos_tasks import SCENE_VARIABLE, make_app
from celeriac.worker.process import die_with_parent

_scene = json.loads(os.environ[SCENE_VARIABLE])
if os.getppid() == _scene["parent"]:
    # Here only, in the main process: who kills chaos itself leaves no workers behind.
    die_with_parent(_scene["parent"])

app = make_app(_scene["url"], _scene["queue"], _scene["folder"])
