"""The trainer of methods without an outer loop: the policy is deployed untrained."""

from __future__ import annotations

from collections.abc import Iterator

from harness.api import Round, Session, Trainer


class NoTrainer(Trainer):
    """Yields no rounds, so the start model is the policy."""

    def run(self, s: Session, /) -> Iterator[Round]:
        return iter(())
