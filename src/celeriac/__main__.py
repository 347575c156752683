"""``python -m celeriac`` is the program ``celeriac``."""

from __future__ import annotations

import sys

from celeriac.cli import main

if __name__ == "__main__":
    sys.exit(main(prog_name="python -m celeriac"))
