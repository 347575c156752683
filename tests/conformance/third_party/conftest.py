import pytest

# For readable failures within the suites.
pytest.register_assert_rewrite("celeriac.testing")
