"""A reward: the shorter the edit, the better."""

from harness import hookimpl
from harness.api import Reward, RewardFunction


@hookimpl
def harness_rewards():
    return {"brevity": "brevity:Brevity"}


class Brevity(RewardFunction):
    def score(self, groups, s):
        return [[self._of(edit) for edit in group.edits] for group in groups]

    def _of(self, edit):
        if edit.status == "error":
            return Reward(None, "error", {"reason": edit.reason})
        return Reward(1.0 / (1 + sum(len(action.text) for action in edit.actions)))
