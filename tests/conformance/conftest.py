import sys
from pathlib import Path

import pytest

pytest.register_assert_rewrite("celeriac.testing")
# The package of a third party, as if it were installed.
sys.path.insert(0, str(Path(__file__).parent / "third_party"))
