"""For all tests: hypothesis draws the same examples everywhere, and no test fails because the machine is busy."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile("harness", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("harness")


@pytest.fixture(autouse=True, scope="session")
def _state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The key that signs runs is made in a temporary folder, not in the user's home."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        yield
