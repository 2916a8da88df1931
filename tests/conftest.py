"""For all tests: hypothesis draws the same examples everywhere, and a busy machine fails no test for being slow."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("harness", deadline=None, derandomize=True)
settings.load_profile("harness")
