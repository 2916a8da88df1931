"""The reward ``coverage``."""

from __future__ import annotations

from collections.abc import Sequence

from harness.api import Episode, Group, Reward, RewardFunction, SelfEdit, Session


class Coverage(RewardFunction):
    """The share of the passage's longer words that an edit uses."""

    def score(self, groups: Sequence[Group], s: Session, /) -> Sequence[Sequence[Reward]]:
        return [[_covers(edit, group.ask.episode) for edit in group.edits] for group in groups]


def _covers(edit: SelfEdit, episode: Episode) -> Reward:
    if edit.status == "error":
        return Reward(None, "error", {"reason": edit.reason})
    wanted = {word for word in _words(str(episode.context["text"])) if len(word) > 3}
    written = {word for action in edit.actions for word in _words(action.text)}
    return Reward(len(wanted & written) / len(wanted) if wanted else 0.0, measures={"wanted": len(wanted)})


def _words(text: str) -> set[str]:
    return {word.strip(".,;:!?()\"'").lower() for word in text.split()}
