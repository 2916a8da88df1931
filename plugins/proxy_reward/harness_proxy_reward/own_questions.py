"""The reward ``own-questions``: an edit is tried out on questions that the model itself asked about the passage.

SEAL's own reward needs questions with answers for every training passage (arXiv 2506.10943, section 3.1); a passage
that nobody asked about has none. Here the policy writes them from the passage, once per context, and the student,
updated on an edit, answers them without the passage. Questions are the same for all candidates of a context.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from statistics import fmean
from typing import Annotated, ClassVar

from pydantic import Field

from harness.api import Episode, Group, Query, Request, Reward, RewardFunction, Score, Session, TrialJob, UpdateJob
from harness.registry import prompt_files

_PAIR = re.compile(r"Question\s*\d*\s*:\s*(\S.*?)\s*Answer\s*\d*\s*:\s*(\S[^\n]*?)\s*(?=\n|Question\s*\d*\s*:|$)", re.S)


@dataclass(frozen=True)
class OwnQuestionsSettings:
    """How the questions are written, and how often an edit is tried on them."""

    template: str = "harness_seal:templates/squad-1.toml"
    """A prompt file: the plugin seal's, or your own."""
    prompt: str = "self-qa"
    """A key in that file, with the placeholders ``{title}`` and ``{text}``; its answers read ``Question 1: ...``,
    ``Answer: ...``."""
    questions: Annotated[int, Field(ge=1)] = 5
    """Questions per context, at most."""
    inner_seeds: Annotated[int, Field(ge=1)] = 1
    """Updates per edit; the reward is the mean over them."""
    temperature: float = 0.7
    """Sampling temperature; 0 is greedy decoding."""
    top_p: float = 0.95
    """Nucleus sampling: only the most probable tokens that together have this probability are drawn."""
    max_tokens: int = 512
    """New tokens for a context's questions."""


class OwnQuestions(RewardFunction):
    """Mean accuracy of the student on the model's own questions, after the update.

    A context for which no question could be read gives 0 to all its edits (``measures["questions"]`` is 0), so that
    none of them is preferred. A lost answer or update makes the reward an ``error``.
    """

    Settings: ClassVar[type[OwnQuestionsSettings]] = OwnQuestionsSettings

    def __init__(self, settings: OwnQuestionsSettings) -> None:
        self._settings = settings
        self._form = prompt_files.load(settings.template, settings.prompt, ("text",))
        self.updates_per_edit = settings.inner_seeds

    def score(self, groups: Sequence[Group], s: Session, /) -> Sequence[Sequence[Reward]]:
        """One reward per candidate, in order; questions and trials are one bulk call each."""
        made, asked = self._made(groups, s)
        student, own = s.roles["student"], self._settings
        jobs = [
            TrialJob(
                UpdateJob(f"{edit.id}#own-{run}", student, (edit,), s.seed("own", edit.id, run)), (made[at],)
            )
            for at, group in enumerate(groups)
            if at in made
            for edit in group.edits
            for run in range(own.inner_seeds)
        ]  # fmt: skip
        runs = iter(s.trial(jobs) if jobs else ())
        rows = []
        for at, group in enumerate(groups):
            if at not in made:
                rows.append([Reward(0.0, measures={"questions": 0}) for _ in group.edits])
                continue
            rows.append([_reward([next(runs) for _ in range(own.inner_seeds)], asked[at]) for _ in group.edits])
        return rows

    def _made(self, groups: Sequence[Group], s: Session) -> tuple[dict[int, Episode], dict[int, int]]:
        """Place of a group -> the episode with its context's own questions, and their number; none where no question
        could be read."""
        own = self._settings
        episodes = [group.ask.episode for group in groups]
        requests = [
            Request(
                group.ask.state, self._form.fill(_passage(group.ask.episode), chat="chat" in s.lm(group.ask.state).can),
                temperature=own.temperature, top_p=own.top_p, max_tokens=own.max_tokens,
                seed=s.seed("own-questions", group.ask.episode.id),
            )
            for group in groups
        ]  # fmt: skip
        made: dict[int, Episode] = {}
        references = {}
        for at, (episode, (written,)) in enumerate(zip(episodes, s.generate(requests), strict=True)):
            pairs = read_pairs(self._form.extras.get("cue", "") + written.text)[: own.questions]
            name = f"{episode.id}/own-{sha256(repr(pairs).encode()).hexdigest()[:12]}"  # other rounds ask others
            title = {"title": str(episode.context.get("title", ""))}
            queries = tuple(Query(f"{name}/{place}", question, title) for place, (question, _) in enumerate(pairs))
            if queries:
                made[at] = Episode(name, "made", episode.context, queries, parent=episode.id)
                references[name] = {f"{name}/{place}": (answer,) for place, (_, answer) in enumerate(pairs)}
        registered = s.make(list(made.values()), references) if made else ()
        numbers = {at: len(episode.queries) for at, episode in made.items()}
        return dict(zip(made, registered, strict=True)), numbers


def read_pairs(text: str) -> list[tuple[str, str]]:
    """Question and answer pairs of a text, without repeated questions; an unanswered question is left out."""
    found: dict[str, str] = {}
    for question, answer in _PAIR.findall(text):
        if "Question" not in question:
            found.setdefault(" ".join(question.split()), answer)
    return list(found.items())


def _passage(episode: Episode) -> dict[str, str]:
    return {name: str(episode.context.get(name, "")).strip() for name in ("title", "text")}


def _reward(runs: Sequence[Sequence[Score]], asked: int) -> Reward:
    values = [score.value for run in runs for score in run]
    known = [value for value in values if value is not None]
    if not known or len(known) < len(values):
        return Reward(None, "error", {"questions": asked, "reason": "an inner run was lost"})
    return Reward(fmean(known), measures={"questions": asked})
