"""The rules for trainers (:class:`harness.api.Trainer`)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar

from harness.api import RewardFunction, Round, State
from harness.books.records import encode
from harness.session.service import SessionService
from harness.testing import components
from harness.testing.contracts.base import Contract, same, under_global_seed

CANARY = "canary-9d27"


class TrainerContract(Contract):
    """Subclass it, set ``component`` to the trainer's class, and run pytest. Keep its settings small."""

    kind: ClassVar[str] = "trainer"
    slots: ClassVar[Mapping[str, tuple[str, Any]]] = {}
    """Slots beyond ``editor updater policy reward evaluator``, as ``{name: (kind, component)}``."""

    def test_rounds_count_up_and_hold_states(self, tmp_path: Path) -> None:
        with self._open(tmp_path) as s:
            rounds = self._rounds(s)
            assert [one.index for one in rounds] == list(range(len(rounds))), "Round.index counts 0, 1, 2, ..."
            for one in rounds:
                assert all(isinstance(state, State) for state in one.roles.values()), (
                    f"round {one.index}: roles hold States"
                )
                json.dumps(encode(one.metrics), allow_nan=False)

    def test_resuming_repeats_it_from_the_journal(self, tmp_path: Path) -> None:
        with self._open(tmp_path) as s:
            once = under_global_seed(1, lambda: self._rounds(s))
        with self._open(tmp_path) as s:
            again = under_global_seed(2, lambda: self._rounds(s))
            assert s.journal.ran == 0, (
                f"{s.journal.ran} effects were done again on resume: what the loop does next depends on something "
                "that is not journalled (time, a global generator, a set's order)"
            )
        same(once, again, "a resumed loop gives other rounds")

    def test_an_interrupted_loop_ends_where_an_uninterrupted_one_does(self, tmp_path: Path) -> None:
        with self._open(tmp_path / "whole") as s:
            whole = self._rounds(s)
        if len(whole) < 2:
            return
        with self._open(tmp_path / "cut") as s:
            list(islice(self.make().run(s), 1))
        with self._open(tmp_path / "cut") as s:
            same(whole, self._rounds(s), "a loop that was killed in the middle gives other rounds")

    def test_the_policy_is_what_its_updates_made(self, tmp_path: Path) -> None:
        with self._open(tmp_path) as s:
            before = dict(s.roles)
            rounds = self._rounds(s)
            outer = s.scope.facts.outer
            assert not outer.faults(), outer.faults()[0]
            assert not outer.updated or any(dict(one.roles) != before for one in rounds), (
                f"it made {outer.updated} updates, but no round holds their states: set the role that was trained "
                "(s.roles['teacher'] = done.state) and yield Round(index, dict(s.roles), ...)"
            )

    def test_never_touches_the_test_split(self, tmp_path: Path) -> None:
        lm = self.lm()
        with self._open(tmp_path, lm) as s:
            self._rounds(s)
        assert not any(CANARY in str(request.prompt) for request in lm.asked), "a prompt holds text from a test episode"

    def test_it_goes_on_when_all_candidates_fail(self, tmp_path: Path) -> None:
        with self._open(tmp_path, reward=("reward", _AllFailed())) as s:
            self._rounds(s)

    # --- how ---

    def task(self) -> Any:
        world = components.world()
        for episode, (text, asked) in world.splits["test"].items():
            world.splits["test"][episode] = (f"{text} {CANARY}", asked)
        return world

    def _open(self, folder: Path, lm: Any = None, **slots: Any) -> Any:
        return self.session(folder, lm, **{**self.slots, **slots})

    def _rounds(self, s: SessionService) -> list[Round]:
        return list(self.make().run(s))


class _AllFailed(RewardFunction):
    """A reward of 0 with status ``failed`` for every candidate."""

    def score(self, groups: Sequence[Any], s: Any, /) -> Any:
        from harness.api import Reward

        return [[Reward(0.0, "failed") for _ in group.edits] for group in groups]
