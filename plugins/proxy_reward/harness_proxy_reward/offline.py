"""The reward ``rubric-offline``: four marks from measurements, for models that cannot follow a judge prompt."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Annotated, ClassVar

from pydantic import Field

from harness.api import LM, Group, Prompt, Reward, RewardFunction, SelfEdit, Session
from harness.errors import UsageError
from harness.registry.prompt_files import load
from harness_proxy_reward import bands, rubric

Steps = tuple[float, float, float, float]


@dataclass(frozen=True)
class OfflineSettings:
    """The bands of the marks. Steps are the values from which the marks 2, 3, 4 and 5 are given.

    The steps for ``quality`` depend on the model; the defaults were chosen on the lab model's own edits (README).
    """

    length_low: float = 0.5
    """Words of the edit for each word of the passage: the mark is 5 from here ..."""
    length_high: float = 2.0
    """... to here."""
    diversity: Steps = (0.1, 0.2, 0.3, 0.4)
    """1 - overlap of the edit's lines."""
    quality: Steps = (-1.0, -0.75, -0.6, -0.45)
    """Mean natural log-probability of the lines' tokens, each line by itself after the passage."""
    correctness: Steps = (0.2, 0.4, 0.6, 0.8)
    """Share of the edit's lines that the model confirms."""
    doubt: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.01
    """A line is confirmed if the model, reading the passage, gives none of its tokens a lower probability."""
    template: str = "harness_seal:templates/squad-1.toml"
    """The file with that prompt."""
    prompt: str = "implications"
    """The prompt under which the model reads the passage."""


class OfflineRubric(RewardFunction):
    """Length, diversity, quality and correctness by a fixed rule; ``measures`` holds marks and measurements.

    A line is *confirmed* if the model, reading the passage, gives none of its tokens a probability below ``doubt``:
    it would hardly have written a wrong name or number itself.
    """

    Settings: ClassVar[type[OfflineSettings]] = OfflineSettings

    def __init__(self, settings: OfflineSettings) -> None:
        if not 0 < settings.length_low <= settings.length_high:
            raise UsageError("reward: length_low must be positive and at most length_high")
        for name in ("diversity", "quality", "correctness"):
            steps = getattr(settings, name)
            if list(steps) != sorted(steps):
                raise UsageError(f"reward.{name}: the four steps must rise, not {list(steps)}")
        self._settings = settings
        self._prompt = load(settings.template, settings.prompt, ("text",))

    def score(self, groups: Sequence[Group], s: Session, /) -> Sequence[Sequence[Reward]]:
        """One reward per candidate, in order; all lines of a round are scored in one bulk call."""
        lm, judge = s.lm("judge"), s.roles["judge"]
        lines = [
            (group, line)
            for group in groups
            for edit in group.edits
            if edit.status == "ok"
            for line in bands.lines_of(rubric.text_of(edit))
        ]
        scored = iter(lm.logprobs([(judge, self._read(group, lm), line) for group, line in lines]))
        return [[self._reward(group, edit, scored) for edit in group.edits] for group in groups]

    def _read(self, group: Group, lm: LM) -> Prompt:
        context = group.ask.episode.context
        values = {"title": str(context.get("title", "")).strip(), "text": str(context["text"]).strip()}
        return self._prompt.fill(values, chat="chat" in lm.can)

    def _reward(self, group: Group, edit: SelfEdit, scored: Iterator[Sequence[float]]) -> Reward:
        plain = rubric.without_marks(edit)
        if plain is not None:
            return plain
        own, text = self._settings, rubric.text_of(edit)
        lines = bands.lines_of(text)
        mine = [next(scored) for _ in lines]
        if not lines:
            return Reward(float(4 * rubric.LOWEST), measures=dict.fromkeys(rubric.CRITERIA, rubric.LOWEST))
        measured = {
            "relative_length": bands.relative_length(text, str(group.ask.episode.context["text"])),
            "overlap": bands.overlap(lines),
            "log_probability": fmean(value for row in mine for value in row),
            "confirmed": fmean(min(row) >= math.log(own.doubt) for row in mine),
        }
        marks = {
            "length": bands.length_mark(measured["relative_length"], own.length_low, own.length_high),
            "diversity": bands.step_mark(1.0 - measured["overlap"], own.diversity),
            "quality": bands.step_mark(measured["log_probability"], own.quality),
            "correctness": bands.step_mark(measured["confirmed"], own.correctness),
        }
        return Reward(float(sum(marks.values())), measures={**marks, "measured": measured})
