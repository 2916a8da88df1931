"""No outer loop: the policy is used as it is."""

from __future__ import annotations

from collections.abc import Iterator

from harness.api import Round, Session, Trainer


class NoTrainer(Trainer):
    """Trains nothing, costs nothing."""

    def run(self, s: Session, /) -> Iterator[Round]:
        return iter(())
