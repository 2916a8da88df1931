"""For plugin authors: a language model that answers from a table, and a real session to run components in."""

from __future__ import annotations

from harness.testing.scripted import ScriptedLM, ScriptedTask, open_session

__all__ = ["ScriptedLM", "ScriptedTask", "open_session"]
