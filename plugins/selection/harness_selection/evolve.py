"""Evol-Instruct (Xu et al. 2023, arXiv 2304.12244): questions that a model rewrites to be harder, generation by
generation, and the answers of its own that it learns; with FOBAR (arXiv 2309.12284) as a check of these answers."""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Annotated, Any, Literal

from harness_label_free.answering import Answered, Sampling, answered, votes
from pydantic import Field

from harness.api import Completion, Episode, Example, HarnessError, Query, Request, Round, SelfEdit, Session, Trainer
from harness.errors import RunError, UsageError
from harness.votes import Vote
from harness_selection.evolving import copies, is_empty, leaks, masked, refuses
from harness_selection.learning import learn

Positive = Annotated[int, Field(ge=1)]
_PLACE = re.compile(r"\{(question|parent|answer|masked)\}")

OPERATORS: Mapping[str, str] = {
    "constrain": "Rewrite this task so that its answer must also meet one more requirement. Add at most 20 words.",
    "deepen": "Rewrite this task so that what it asks about has to be gone into more deeply. Add at most 20 words.",
    "concretise": "Rewrite this task with more specific things in place of general ones. Add at most 20 words.",
    "reason": "Rewrite this task so that more steps of reasoning lead to its answer. Add at most 20 words.",
    "broaden": "Write a new task of the same field and about the same length, but about something rarer.",
}
"""Four operators in depth and one in breadth, in our own words."""


@dataclass(frozen=True)
class EvolSettings:
    """How questions evolve, which are eliminated, and which answers are learnt."""

    split: Literal["train", "test"] = "train"
    """Whose questions are the seeds; with ``test`` the method's card must say transductive."""
    contexts: Annotated[int, Field(ge=0)] = 0
    """Seeds; 0 is all of the split."""
    generations: Annotated[int, Field(ge=0)] = 4
    """How often every question evolves."""
    evolve: bool = True
    """False learns answers to the seeds alone, as a control."""
    operators: Mapping[str, str] = field(
        default_factory=lambda: {name: f"{text}\n\nTask: {{question}}\n\nNew task:" for name, text in OPERATORS.items()}
    )
    """Prompts that evolve ``{question}``, one of which is drawn for each."""
    pattern: str = r"(\S.*)"
    """What of the written text is the question (its first group)."""
    phrases: tuple[str, ...] = ("given task", "new task", "rewrite", "rewritten")
    """Words of the operators' prompts: a question that has one which its parent has not is eliminated."""
    equal: str = ""
    """Prompt that asks the model whether ``{question}`` is no harder than ``{parent}``; it is if " yes" is more
    probable than " no". "" eliminates what only repeats its parent, word for word or in part."""
    temperature: float = 1.0
    """Of questions and answers; 0 is greedy decoding."""
    top_p: float = 0.95
    """Nucleus sampling: only the most probable tokens that together have this probability are drawn."""
    max_tokens: Positive = 512
    """New tokens per question, and per answer."""
    samples: Positive = 1
    """Answers per question; the first of the majority's is learnt."""
    backward: str = ""
    """FOBAR: the prompt that asks for the hidden number of ``{masked}``, given ``{answer}``; "" checks nothing."""
    mask: str = r"\d+"
    """Regular expression of what may be hidden (its first group, if it has one)."""
    unknown: str = "x"
    """What stands in its place."""
    backward_samples: Positive = 1
    """Backward answers per question."""
    recovered: Annotated[float, Field(gt=0, le=1)] = 0.5
    """Share of the backward answers that must find the number."""
    check: bool = True
    """False asks nothing backwards, as a control."""
    learn: Annotated[int, Field(ge=0)] = 0
    """Examples that are learnt, drawn from all that are kept; 0 is all of them."""


@dataclass
class _Evolved:
    """A question of some generation, with its answers."""

    group: Answered
    vote: Vote
    found_again: bool | None = None
    """Whether its hidden number was found; None where nothing was asked."""


class EvolInstruct(Trainer):
    """Evolves, answers, eliminates, checks backwards, and learns what is left (slot ``sft``).

    An eliminated question leaves its parent in the pool, to evolve again in the next generation.
    """

    Settings = EvolSettings

    def __init__(self, settings: EvolSettings) -> None:
        if settings.generations and not settings.operators:
            raise UsageError("trainer.operators: there is none, and questions are to evolve")
        for name, text in settings.operators.items():
            if "{question}" not in text:
                raise UsageError(f"trainer.operators.{name}: the prompt has no {{question}}")
        if settings.backward and not {"masked", "answer"} <= set(_PLACE.findall(settings.backward)):
            raise UsageError("trainer.backward: the prompt needs {masked} and {answer}")
        self._settings = settings
        self._pattern, self._mask = _compiled("pattern", settings.pattern), _compiled("mask", settings.mask)
        if not self._pattern.groups:
            raise UsageError("trainer.pattern needs a group in parentheses, which is the question")
        self.rounds = 1

    def run(self, s: Session, /) -> Iterator[Round]:
        """One checkpoint.

        Raises:
            UsageError: the split has no question.
            RunError: an answer or the update was lost.
        """
        own = self._settings
        seeds = [episode for episode in s.episodes(own.split) if episode.queries][: own.contexts or None]
        if not seeds:
            raise UsageError(f"trainer 'evol-instruct' needs questions: the task's split {own.split!r} has none")
        metrics: dict[str, Any] = {}
        pool = self._answered(s, seeds, 0)
        kept = [one for one in pool if one.vote.answer is not None]
        _measure(metrics, 0, kept, s)
        for generation in range(1, own.generations + 1 if own.evolve else 1):
            children, why = self._generation(s, [one.group.episode for one in pool], generation)
            metrics |= {f"eliminated_{generation}_{name}": count for name, count in sorted(why.items())}
            pool = [child or parent for child, parent in zip(children, pool, strict=True)]
            fresh = [child for child in children if child is not None]
            _measure(metrics, generation, fresh, s)
            kept += fresh
        if own.backward and own.check:
            self._backward(s, kept)
            metrics["kept_backward"] = sum(one.found_again is True for one in kept) / max(1, len(kept))
            for name, wanted in (("kept", True), ("dropped", False)):
                s.diagnose(f"FOBAR {name}", _answers(one for one in kept if one.found_again is wanted))
            kept = [one for one in kept if one.found_again]
        if own.learn:
            kept = random.Random(s.seed("evol", "learn")).sample(kept, min(own.learn, len(kept)))
        metrics["examples"] = len(kept)
        metrics |= learn(s, [self._edit(one) for one in kept], "evol-instruct")
        yield Round(0, dict(s.roles), metrics)

    # --- a generation ---

    def _generation(
        self, s: Session, parents: Sequence[Episode], generation: int
    ) -> tuple[list[_Evolved | None], Counter[str]]:
        """A child for every parent, None where it was eliminated; and why those were."""
        own = self._settings
        texts = self._rewritten(s, parents, generation)
        why: Counter[str] = Counter()
        made: list[Episode | None] = []
        for parent, text in zip(parents, texts, strict=True):
            asked = parent.queries[0].text
            reason = (
                "unreadable" if text is None
                else "no-gain" if copies(text, asked)
                else "leak" if leaks(text, asked, own.phrases)
                else ""
            )  # fmt: skip
            child = None
            if text is not None and not reason:
                try:
                    [child] = s.make([_episode(text, parent.id)], {})
                except HarnessError:  # it wrote what it will be tested on, which nobody may learn from
                    reason = "test"
            why[reason] += bool(reason)
            made.append(child)
        if own.equal:
            for place in self._no_harder(s, parents, made):
                made[place], why["no-gain"] = None, why["no-gain"] + 1
        new = self._answered(s, [child for child in made if child is not None], generation)
        by_id = {one.group.episode.id: one for one in new}
        out: list[_Evolved | None] = []
        for child in made:
            evolved = by_id[child.id] if child is not None else None
            if evolved is not None and (reason := _bad_answer(evolved)):
                why[reason] += 1
                evolved = None
            out.append(evolved)
        return out, +why

    def _rewritten(self, s: Session, parents: Sequence[Episode], generation: int) -> list[str | None]:
        """What the model makes of every parent; None where no question can be read from it."""
        own, names = self._settings, sorted(self._settings.operators)
        asks = []
        for place, parent in enumerate(parents):
            seed = s.seed("evol", generation, place)
            operator = own.operators[random.Random(seed).choice(names)]
            asks.append(self._request(s, operator, 1, seed, question=parent.queries[0].text))
        found = []
        for [one] in _sure(s.generate(asks)):
            read = self._pattern.search(one.text)
            found.append(" ".join(read[1].split()) or None if read else None)
        return found

    def _no_harder(self, s: Session, parents: Sequence[Episode], made: Sequence[Episode | None]) -> list[int]:
        """Places of children that the model itself finds no harder than their parents."""
        state, lm = s.roles["teacher"], s.lm("teacher")
        places = [place for place, child in enumerate(made) if child is not None]
        asks: list[Any] = []
        for place in places:
            child = made[place]
            assert child is not None
            values = {"question": child.queries[0].text, "parent": parents[place].queries[0].text}
            text = _filled(self._settings.equal, values)
            asks += [(state, text, " yes"), (state, text, " no")]
        sums = [sum(row) for row in lm.logprobs(asks)]
        return [place for place, yes, no in zip(places, sums[::2], sums[1::2], strict=True) if yes > no]

    def _answered(self, s: Session, episodes: Sequence[Episode], generation: int) -> list[_Evolved]:
        own = self._settings
        how = Sampling(own.samples, own.temperature, own.top_p, own.max_tokens)
        different = list({episode.id: episode for episode in episodes}.values())
        groups = answered(s, s.roles["teacher"], different, how, "evol", "answers", generation)
        return [_Evolved(group, vote) for group, vote in zip(groups, votes(s, groups, "class"), strict=True)]

    # --- the check ---

    def _backward(self, s: Session, kept: Sequence[_Evolved]) -> None:
        """Ask for a hidden number of every question, given the answer."""
        own = self._settings
        asked: list[tuple[_Evolved, str]] = []
        requests = []
        for one in kept:
            query = one.group.query
            seed = s.seed("evol", "backward", query.id)
            hidden = masked(query.text, self._mask, own.unknown, seed)
            if hidden is None:
                continue
            asked.append((one, hidden[1]))
            values = {"masked": hidden[0], "answer": str(one.vote.answer)}
            requests.append(self._request(s, own.backward, own.backward_samples, seed, **values))
        for (one, number), row in zip(asked, _sure(s.generate(requests)), strict=True):
            said = [s.task.extract(one.group.query, answer.text) for answer in row]
            right = [own_ is not None and s.task.same(one.group.query, own_, number) for own_ in said]
            one.found_again = sum(right) >= own.recovered * len(right)

    def _request(self, s: Session, template: str, n: int, seed: int, **values: str) -> Request:
        own, state = self._settings, s.roles["teacher"]
        text = _filled(template, values)
        prompt = (("user", text),) if "chat" in s.lm(state).can else text
        return Request(state, prompt, n, own.temperature, own.top_p, own.max_tokens, seed=seed)

    def _edit(self, one: _Evolved) -> SelfEdit:
        assert one.vote.index is not None
        chain = one.group.completions[one.vote.index]
        query = one.group.query
        data = (Example(chain.request.prompt, chain.text),)
        return SelfEdit(f"{query.id}/evolved", one.group.episode.id, data, actions=(chain,))


def _bad_answer(one: _Evolved) -> str:
    """Why a question's answers eliminate it; "" where they do not."""
    texts = [completion.text for completion in one.group.completions]
    if all(refuses(text) for text in texts):
        return "refused"
    if all(is_empty(text) for text in texts) or one.vote.answer is None:
        return "no-answer"
    return ""


def _measure(metrics: dict[str, Any], generation: int, new: Sequence[_Evolved], s: Session) -> None:
    """What a generation is like: how many there are, how often the model agrees with itself; its own pass rate."""
    metrics[f"questions_{generation}"] = len(new)
    metrics[f"agreement_{generation}"] = sum(one.vote.share for one in new) / max(1, len(new))
    first = {one.group.query.id: answer for one in new if (answer := one.group.answers[0]) is not None}
    s.diagnose(f"generation {generation}, one answer", first)
    s.diagnose(f"generation {generation}, voted answer", _answers(new))


def _answers(some: Any) -> dict[str, str]:
    return {one.group.query.id: str(one.vote.answer) for one in some}


def _filled(template: str, values: Mapping[str, str]) -> str:
    return _PLACE.sub(lambda found: values.get(found[1], found[0]), template)


def _sure(rows: Sequence[Sequence[Completion]]) -> Sequence[Sequence[Completion]]:
    lost = next((one for row in rows for one in row if one.finish == "error"), None)
    if lost is not None:
        raise RunError(f"evol-instruct: an answer was lost: {lost.reason or 'no reason given'}")
    return rows


def _episode(text: str, parent: str) -> Episode:
    """A question of the method's own; its name is its text's, so that one written twice is one."""
    name = f"evolved-{sha256(text.encode()).hexdigest()[:16]}"
    return Episode(name, "made", {"text": text}, (Query(f"{name}/answer", text),), parent=parent)


def _compiled(name: str, pattern: str) -> re.Pattern[str]:
    try:
        return re.compile(pattern, re.DOTALL)
    except re.error as error:
        raise UsageError(f"trainer.{name}: {pattern!r} is no regular expression: {error}") from error
