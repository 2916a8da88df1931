"""The rules for rewards (:class:`harness.api.RewardFunction`)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from harness.api import EditAsk, Group, Reward, SelfEdit, UpdateJob
from harness.session.service import SessionService
from harness.testing.components import Fit
from harness.testing.contracts.base import Contract, permuted, same, survives_json, training_data, under_global_seed


class RewardContract(Contract):
    """Subclass it, set ``component`` to the reward's class, and run pytest."""

    kind: ClassVar[str] = "reward"
    independent: ClassVar[bool] = True
    """Whether a group's rewards depend on that group alone; False for one that compares groups."""

    def groups(self, s: SessionService) -> list[Group]:
        """Groups of 3, 0, 1 and 2 candidates; the last one's second candidate failed."""
        teacher = s.roles["teacher"]
        asks = [EditAsk(e, teacher, n, s.seed(e.id)) for e, n in zip(s.episodes("train"), (3, 0, 1, 2), strict=False)]
        groups = list(s.propose("teacher", asks))
        *others, last = groups
        failed = SelfEdit(f"{last.ask.episode.id}/bad", last.ask.episode.id, (), status="failed", reason="not JSON")
        return [*others, Group(last.ask, (*last.edits[:1], failed))]

    # --- shape ---

    def test_gives_every_candidate_one_reward(self, tmp_path: Path) -> None:
        with self._open(tmp_path) as s:
            groups = self.groups(s)
            for group, rewards in zip(groups, self._raw(s, groups), strict=True):
                assert len(rewards) == len(group.edits), f"{len(rewards)} rewards for {len(group.edits)} candidates"

    def test_accepts_an_empty_list_of_groups(self, tmp_path: Path) -> None:
        with self._open(tmp_path) as s:
            assert list(self._raw(s, [])) == []

    def test_values_are_numbers_exactly_when_there_is_no_error(self, tmp_path: Path) -> None:
        with self._open(tmp_path) as s:
            for reward in _flat(self._raw(s, self.groups(s))):
                assert (reward.value is None) == (reward.status == "error"), f"{reward}: None is for 'error' alone"
                assert reward.value is None or math.isfinite(reward.value), f"{reward}: not a finite number"

    def test_rewards_survive_the_journal(self, tmp_path: Path) -> None:
        with self._open(tmp_path) as s:
            survives_json([list(row) for row in self._raw(s, self.groups(s))], "its rewards")

    # --- determinism ---

    def test_the_same_groups_get_the_same_rewards(self, tmp_path: Path) -> None:
        with self._open(tmp_path / "once") as s:
            groups = self.groups(s)
            once = under_global_seed(1, lambda: self._raw(s, groups))
        with self._open(tmp_path / "again") as s:
            groups = self.groups(s)
            again = under_global_seed(2, lambda: self._raw(s, groups))
        same([list(row) for row in once], [list(row) for row in again], "the same groups got different rewards")

    def test_the_order_of_groups_does_not_matter(self, tmp_path: Path) -> None:
        if not self.independent:
            return
        with self._open(tmp_path / "in order") as s:
            rows = self._raw(s, self.groups(s))
        with self._open(tmp_path / "permuted") as s:
            groups, places = permuted(self.groups(s))
            moved = self._raw(s, groups)
        same(
            [list(row) for row in rows], [list(moved[place]) for place in places], "rewards depend on the groups' order"
        )

    # --- what goes wrong ---

    def test_a_failed_candidate_has_a_reward_and_is_not_an_error(self, tmp_path: Path) -> None:
        with self._open(tmp_path) as s:
            reward = self._raw(s, self.groups(s))[-1][-1]
            assert reward.status != "error", "the method made the candidate fail: that is a low value, not an error"

    def test_a_lost_trial_is_an_error(self, tmp_path: Path) -> None:
        updater = _Lost()
        with self.session(tmp_path, reward=("reward", self.make()), updater=("updater", updater)) as s:
            group = self.groups(s)[0]
            rewards = self._raw(s, [group])[0]
            if updater.applied:
                assert {reward.status for reward in rewards} == {"error"}, (
                    "the updates were lost (out of memory, say): without a trial there must be no value"
                )

    def test_accepts_edits_that_no_model_wrote(self, tmp_path: Path) -> None:
        """Edits from a log, a rule or a person have no actions."""
        with self._open(tmp_path) as s:
            [ask, *_] = [group.ask for group in self.groups(s)]
            edits = [SelfEdit(f"given-{n}", ask.episode.id, training_data(f"text {n}")) for n in range(2)]
            assert len(self._raw(s, [Group(ask, tuple(edits))])[0]) == 2

    # --- how ---

    def _open(self, folder: Path) -> Any:
        return self.session(folder, reward=("reward", self.make()))

    def _raw(self, s: SessionService, groups: Sequence[Group]) -> Sequence[Sequence[Reward]]:
        rows: Sequence[Sequence[Reward]] = self.make().score(groups, s)
        return rows


class _Lost(Fit):
    """An updater that loses every job by an error."""

    def __init__(self) -> None:
        self.applied = 0

    def apply(self, jobs: Sequence[UpdateJob], s: Any, /) -> Any:
        from harness.api import Updated

        for job in jobs:
            self.applied += 1
            yield Updated(job.id, None, "error", "out of memory")


def _flat(rows: Sequence[Sequence[Reward]]) -> list[Reward]:
    return [reward for row in rows for reward in row]
