"""Closed-book SQuAD v1.1: a passage is met once, then its questions are asked without it (SEAL, arXiv 2506.10943)."""

from harness.tasks.squad.task import Squad

__all__ = ["Squad"]
