"""The reward ``rubric``: a language model marks each edit against its passage; nothing is trained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Annotated, ClassVar

from pydantic import Field

from harness.api import LM, Completion, Group, Request, Reward, RewardFunction, SelfEdit, Session
from harness.errors import UsageError
from harness.registry import prompt_files
from harness_proxy_reward import rubric


@dataclass(frozen=True)
class RubricSettings:
    """What the judge is asked. The judge is the model in the role ``judge``."""

    template: str = "harness_proxy_reward:templates/rubric-1.toml"
    """A prompt file: the plugin's or your own."""
    prompt: str = "rubric"
    """A key in that file; the placeholders are ``{title}``, ``{text}`` and ``{notes}`` (the edit)."""
    reasons: bool = field(default=False, metadata={"added_later": True})
    """Whether the judge writes a reason behind each mark, as the published one does: in lines, under the key
    ``<prompt>-reasons`` of the prompt file."""
    criteria: tuple[str, ...] = rubric.CRITERIA
    """The criteria that the answer must give marks for. With a single one, a bare number is accepted."""
    samples: Annotated[int, Field(ge=1)] = 1
    """Answers per edit, whose marks are averaged. More than one is useful only at a temperature above 0."""
    temperature: float = 0.0
    """Sampling temperature; 0 is greedy decoding."""
    max_tokens: int = 256
    """New tokens per answer of the judge."""
    attempts: Annotated[int, Field(ge=1)] = 2
    """How often the judge is asked about an edit, at most, until its answer can be read."""


class Rubric(RewardFunction):
    """Sum of a judge's marks, 1 to 5 for each criterion; ``measures`` holds the marks.

    The sum is computed from the marks, never taken from the judge. An answer that lacks a mark, or that never arrived,
    makes the reward an ``error``: a missing mark is not a low one.
    """

    Settings: ClassVar[type[RubricSettings]] = RubricSettings

    def __init__(self, settings: RubricSettings) -> None:
        if not settings.criteria:
            raise UsageError("reward.criteria: name at least one")
        self._settings = settings
        key = f"{settings.prompt}-reasons" if settings.reasons else settings.prompt
        self._prompt = prompt_files.load(settings.template, key, ("text", "notes"))

    def score(self, groups: Sequence[Group], s: Session, /) -> Sequence[Sequence[Reward]]:
        """One reward per candidate, in order; every judge call of a round is one bulk call."""
        lm = s.lm("judge")
        rewards = {edit.id: rubric.without_marks(edit) for group in groups for edit in group.edits}
        open_edits = [(group, edit) for group in groups for edit in group.edits if rewards[edit.id] is None]
        for attempt in range(self._settings.attempts):
            requests = [self._request(group, edit, lm, attempt, s) for group, edit in open_edits]
            left = []
            for (group, edit), answers in zip(open_edits, lm.generate(requests), strict=True):
                reward = self._read(answers)
                rewards[edit.id] = reward
                if reward.status == "error":
                    left.append((group, edit))
            open_edits = left
            if not open_edits:
                break
        return [[_known(rewards[edit.id]) for edit in group.edits] for group in groups]

    def _request(self, group: Group, edit: SelfEdit, lm: LM, attempt: int, s: Session) -> Request:
        context = group.ask.episode.context
        values = {
            "title": str(context.get("title", "")).strip(),
            "text": str(context["text"]).strip(),
            "notes": rubric.text_of(edit),
        }
        return Request(
            s.roles["judge"],
            self._prompt.fill(values, chat="chat" in lm.can),
            n=self._settings.samples,
            temperature=self._settings.temperature,
            max_tokens=self._settings.max_tokens,
            seed=s.seed("judge", edit.id, attempt),
            schema=rubric.schema(self._settings.criteria)
            if "schema" in lm.can and not self._settings.reasons
            else None,
        )

    def _read(self, answers: Sequence[Completion]) -> Reward:
        lost = [one for one in answers if one.finish in ("error", "failed")]
        if lost:
            return Reward(None, "error", {"reason": f"the judge did not answer: {lost[0].reason}"})
        try:
            marks = [rubric.read(one.text, self._settings.criteria, reasons=self._settings.reasons) for one in answers]
        except rubric.Unreadable as why:
            return Reward(None, "error", {"reason": str(why), "answer": answers[0].text})
        measures = {name: fmean(mark[name] for mark in marks) for name in self._settings.criteria}
        return Reward(sum(measures.values()), measures=measures)


def _known(reward: Reward | None) -> Reward:
    assert reward is not None
    return reward
