"""The reward ``rubric-offline``: the same four marks by measurement, for models that follow no judge's prompt."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import ClassVar

from harness.api import LM, Group, Prompt, Reward, SelfEdit, Session
from harness.errors import UsageError
from harness.prompt_files import load
from harness_proxy_reward import bands, rubric

Steps = tuple[float, float, float, float]


@dataclass(frozen=True)
class OfflineSettings:
    """Where the marks lie. Steps are the values from which the marks 2, 3, 4 and 5 are given.

    The steps for ``quality`` depend on the model; the defaults were read off the lab model's own edits (README).
    """

    length_low: float = 0.5
    """Words of the edit for each word of the passage: the mark is 5 from here ..."""
    length_high: float = 2.0
    """... to here."""
    diversity: Steps = (0.1, 0.2, 0.3, 0.4)
    """1 - overlap of the edit's lines."""
    quality: Steps = (-4.0, -3.0, -2.5, -2.0)
    """Mean natural log-probability of a token of the edit's lines, each by itself under the passage's title."""
    correctness: Steps = (0.2, 0.4, 0.6, 0.8)
    """Share of the edit's lines that the model confirms."""
    tolerance: float = 2.0
    """Nats by which reading the passage may make a word of a line less likely, if the line is to count as confirmed."""
    template: str = "harness_seal:templates/squad-1.toml"
    prompt: str = "implications"
    """The prompt under which the model reads the passage."""


class OfflineRubric:
    """Length, diversity, quality and correctness by a written rule; ``parts`` holds marks and measurements.

    A line is *confirmed* when reading the passage makes no token of it less likely, by more than ``tolerance`` nats,
    than it is under the title alone: a wrong name or number is what the passage speaks against.
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
        """One reward a candidate, in order; all lines of a round are scored in two bulk calls."""
        lm, judge = s.lm("judge"), s.roles["judge"]
        lines = [
            (group, line)
            for group in groups
            for edit in group.edits
            if edit.status == "ok"
            for line in bands.lines_of(rubric.text_of(edit))
        ]
        alone = lm.logprobs([(judge, _title(group), line) for group, line in lines])
        reading = lm.logprobs([(judge, self._read(group, lm), line) for group, line in lines])
        scored = iter(zip(alone, reading, strict=True))
        return [[self._reward(group, edit, scored) for edit in group.edits] for group in groups]

    def _read(self, group: Group, lm: LM) -> Prompt:
        context = group.ask.episode.context
        values = {"title": str(context.get("title", "")).strip(), "text": str(context["text"]).strip()}
        return self._prompt.fill(values, chat="chat" in lm.can)

    def _reward(
        self, group: Group, edit: SelfEdit, scored: Iterator[tuple[Sequence[float], Sequence[float]]]
    ) -> Reward:
        plain = rubric.without_marks(edit)
        if plain is not None:
            return plain
        own, text = self._settings, rubric.text_of(edit)
        lines = bands.lines_of(text)
        mine = [next(scored) for _ in lines]
        tokens = [value for alone, _ in mine for value in alone]
        confirmed = [confirms(alone, reading, own.tolerance) for alone, reading in mine]
        measured = {
            "relative_length": bands.relative_length(text, str(group.ask.episode.context["text"])),
            "overlap": bands.overlap(lines),
            "log_probability": fmean(tokens) if tokens else None,
            "confirmed": fmean(confirmed) if confirmed else 0.0,
        }
        marks = {
            "length": bands.length_mark(measured["relative_length"] or 0.0, own.length_low, own.length_high),
            "diversity": bands.step_mark(1.0 - (measured["overlap"] or 0.0), own.diversity) if lines else rubric.LOWEST,
            "quality": bands.step_mark(fmean(tokens), own.quality) if tokens else rubric.LOWEST,
            "correctness": bands.step_mark(measured["confirmed"] or 0.0, own.correctness),
        }
        return Reward(float(sum(marks.values())), parts={**marks, "measured": measured})


def confirms(alone: Sequence[float], reading: Sequence[float], tolerance: float) -> bool:
    """Whether no token of a line lost more than ``tolerance`` nats by the passage being read.

    Where a tokenizer cuts the line differently after the two prompts, their means are compared.
    """
    if len(alone) != len(reading):
        return fmean(reading) >= fmean(alone) - tolerance
    return all(after >= before - tolerance for before, after in zip(alone, reading, strict=True))


def _title(group: Group) -> str:
    return f"{str(group.ask.episode.context.get('title', '')).strip()}\n"
