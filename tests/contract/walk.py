"""Eleven methods, each only as detailed as is needed to stress the contract; they share only :mod:`harness.api`.

The names say which published method a component is a miniature of. None is a plugin of this project.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from statistics import fmean, pstdev
from typing import Any, ClassVar

from harness.api import (
    Ask,
    Completion,
    Delta,
    EditAsk,
    Editor,
    Episode,
    Evaluator,
    Example,
    Group,
    MemoryOps,
    Preference,
    Query,
    Recipe,
    References,
    Request,
    Reward,
    RewardFunction,
    Rollout,
    Round,
    Score,
    SelfEdit,
    Session,
    Trainer,
    TrialJob,
    Updated,
    UpdateJob,
    Updater,
)


def edit(ask: EditAsk, n: int, data: Sequence[Any], *actions: Completion, **more: Any) -> SelfEdit:
    return SelfEdit(f"{ask.episode.id}/{n}", ask.episode.id, tuple(data), actions=actions, **more)


def sampled(asks: Sequence[EditAsk], s: Session, start: str, field: str = "text") -> Sequence[Sequence[Completion]]:
    """One request per ask, in one call."""
    requests = [
        Request(ask.state, f"{start}: {ask.episode.context[field]}", n=ask.n, temperature=1.0, seed=ask.seed)
        for ask in asks
    ]
    return s.generate(requests)


def ranked(group: Group) -> list[tuple[float, SelfEdit]]:
    known = [(r.value, e) for e, r in zip(group.edits, group.rewards, strict=True) if r.value is not None]
    return sorted(known, key=lambda pair: -pair[0])


def trained(s: Session, slot: str, role: str, name: str, edits: Sequence[SelfEdit]) -> None:
    """Move a role to the state that it has after these edits, if the update succeeds."""
    [done] = s.update(slot, [UpdateJob(name, s.roles[role], tuple(edits), s.seed(slot, name))])
    if done.state is not None:
        s.roles[role] = done.state


class Fit(Updater):
    """The engine, with a loss by name."""

    accepts = frozenset({Example, Preference, Rollout})

    def __init__(self, loss: str = "sft") -> None:
        self._loss = loss
        self.jobs: list[UpdateJob] = []

    def apply(self, jobs: Sequence[UpdateJob], s: Session, /) -> Iterator[Updated]:
        self.jobs.extend(jobs)
        yield from s.fit(jobs, loss=self._loss)


class Exact(Evaluator):
    """Asks every query once; an answer is right if it is among the references."""

    def evaluate(
        self, asks: Sequence[Ask], references: Mapping[str, References], s: Session, /
    ) -> Iterator[Sequence[Score]]:
        for ask in asks:
            prompts = [s.task.prompt(query, ask.state.memory, chat=False) for query in ask.episode.queries]
            rows = s.lm(ask.state).generate([Request(ask.state, prompt) for prompt in prompts])
            yield [
                Score(
                    ask.episode.id,
                    query.id,
                    float(any(s.task.same(query, row[0].text, gold) for gold in references[ask.episode.id][query.id])),
                    answers=(row[0].text,),
                )
                for query, row in zip(ask.episode.queries, rows, strict=True)
            ]


# 1. SEAL: an edit is text about a passage, its reward a trial, the loop keeps the best ----------------------------


class Implications(Editor):
    def propose(self, asks: Sequence[EditAsk], s: Session, /) -> Sequence[Sequence[SelfEdit]]:
        return [
            [edit(ask, n, (Recipe("lines", {"text": c.text}), Recipe("passage")), c) for n, c in enumerate(row)]
            for ask, row in zip(asks, sampled(asks, s, "imply"), strict=True)
        ]


class TrialMean(RewardFunction):
    def score(self, groups: Sequence[Group], s: Session, /) -> Sequence[Sequence[Reward]]:
        jobs = [
            TrialJob(UpdateJob(e.id, s.roles["student"], (e,), s.seed("inner", e.id)), (group.ask.episode,))
            for group in groups
            for e in group.edits
        ]
        rows = iter(s.trial(jobs))
        return [[Reward(fmean(score.value or 0.0 for score in next(rows))) for _ in g.edits] for g in groups]


class BestOfEach(Trainer):
    def run(self, s: Session, /) -> Iterator[Round]:
        for index in range(2):
            asks = [EditAsk(e, s.roles["teacher"], 3, s.seed("propose", index, e.id)) for e in s.episodes("train")]
            best = [ranked(group)[0][1] for group in s.reward(s.propose("teacher", asks))]
            rows = [replace(e, data=tuple(Example(a.request.prompt, a.text) for a in e.actions)) for e in best]
            trained(s, "policy", "teacher", f"round-{index}", rows)
            yield Round(index, dict(s.roles), {"kept": len(rows)})


# 2. SEAL on grids: an edit is settings and a recipe, or malformed -------------------------------------------------


class ChosenSettings(Editor):
    def propose(self, asks: Sequence[EditAsk], s: Session, /) -> Sequence[Sequence[SelfEdit]]:
        rows = sampled(asks, s, "configure")
        return [[self._read(ask, n, c) for n, c in enumerate(row)] for ask, row in zip(asks, rows, strict=True)]

    def _read(self, ask: EditAsk, n: int, written: Completion) -> SelfEdit:
        try:
            chosen = json.loads(written.text)
            return edit(ask, n, (Recipe("ttt", chosen["data"]),), written, settings=chosen["training"])
        except (ValueError, KeyError, TypeError) as why:
            return edit(ask, n, (), written, status="failed", reason=f"no configuration: {type(why).__name__}")


# 3. A generative adapter: weights without training, many contexts in one state ------------------------------------


class Generated(Updater):
    accepts = frozenset({Recipe, Example})

    def apply(self, jobs: Sequence[UpdateJob], s: Session, /) -> Iterator[Updated]:
        import torch

        for job in jobs:
            lengths = [len(str(item)) for item in s.expand(job)]
            tensors = {
                "layer.lora_A": torch.tensor([[float(len(lengths)), 0.0]]),
                "layer.lora_B": torch.tensor([[float(sum(lengths))], [0.0]]),
            }
            made = s.store(tensors, {"rank": 1, "alpha": 1.0, "targets": ["layer"]})
            yield Updated(job.id, replace(job.start, adapters=(*job.start.adapters, made)), log={"steps": 0})


class ReadyMade(Editor):
    """The same from the editor's side: the edit is already weights."""

    def propose(self, asks: Sequence[EditAsk], s: Session, /) -> Sequence[Sequence[SelfEdit]]:
        import torch

        tensors = {"layer.lora_A": torch.tensor([[1.0, 2.0]]), "layer.lora_B": torch.tensor([[3.0], [4.0]])}
        made = s.store(tensors, {"rank": 1, "alpha": 1.0, "targets": ["layer"]})
        return [[edit(ask, 0, (Delta(made, scale=0.5),))] for ask in asks]


# 4. EntiGraph: calls that depend on calls, all edits in one job, a corpus mixed in --------------------------------


class Pairs(Editor):
    def propose(self, asks: Sequence[EditAsk], s: Session, /) -> Sequence[Sequence[SelfEdit]]:
        lm, writer = s.lm("writer"), s.roles["writer"]
        listed = lm.generate([Request(writer, f"list: {a.episode.context['text']}", seed=a.seed) for a in asks])
        names = [row[0].text.split() for row in listed]
        pairs = [(at, a, b) for at, mine in enumerate(names) for i, a in enumerate(mine) for b in mine[i + 1 :]]
        told = lm.generate([Request(writer, f"relate: {a} {b}", seed=asks[at].seed) for at, a, b in pairs])
        rows: list[list[Completion]] = [[] for _ in asks]
        for (at, _, _), row in zip(pairs, told, strict=True):
            rows[at].append(row[0])
        return [
            [edit(ask, 0, (*(Example("", one.text) for one in mine), Recipe("passage")), *mine)]
            for ask, mine in zip(asks, rows, strict=True)
        ]


class Mixed(Fit):
    """Mixes in a corpus that the job's settings name."""

    def __init__(self, corpora: Mapping[str, Sequence[str]]) -> None:
        super().__init__()
        self._corpora = corpora

    def apply(self, jobs: Sequence[UpdateJob], s: Session, /) -> Iterator[Updated]:
        mixed = []
        for job in jobs:
            corpus = self._corpora[job.settings["corpus"]] if "corpus" in job.settings else ()
            extra = SelfEdit(f"{job.id}/replay", job.edits[0].episode, tuple(Example("", text) for text in corpus))
            mixed.append(replace(job, edits=(*job.edits, extra) if corpus else job.edits))
        yield from super().apply(mixed, s)


# 5. TTRL with GRPO: no references, the vote is the label, on the test questions themselves ------------------------


class Answers(Editor):
    def propose(self, asks: Sequence[EditAsk], s: Session, /) -> Sequence[Sequence[SelfEdit]]:
        requests = [
            Request(a.state, s.task.prompt(a.episode.queries[0], {}, chat=False), n=a.n, temperature=1.0, seed=a.seed)
            for a in asks
        ]
        rows = s.lm(asks[0].state).generate(requests)
        return [[edit(ask, n, (), c) for n, c in enumerate(row)] for ask, row in zip(asks, rows, strict=True)]


class Majority(RewardFunction):
    def score(self, groups: Sequence[Group], s: Session, /) -> Sequence[Sequence[Reward]]:
        rewards, labels = [], {}
        for group in groups:
            query = group.ask.episode.queries[0]
            answers = [s.task.extract(query, e.actions[0].text) for e in group.edits]
            classes: list[str] = []
            for answer in answers:
                if answer is not None and not any(s.task.same(query, answer, known) for known in classes):
                    classes.append(answer)
            votes = Counter(c for a in answers if a is not None for c in classes if s.task.same(query, a, c))
            label = votes.most_common(1)[0][0]
            labels[query.id] = label
            share = {"share": votes[label] / len(answers)}
            right = [a is not None and s.task.same(query, a, label) for a in answers]
            rewards.append([Reward(float(one), measures=share) for one in right])
        s.diagnose("majority label", labels)
        return rewards


def advantages(group: Group) -> list[SelfEdit]:
    known = [(e, r.value) for e, r in zip(group.edits, group.rewards, strict=True) if r.value is not None]
    mean, spread = fmean(v for _, v in known), pstdev([v for _, v in known])
    return [
        replace(e, data=(Rollout(e.actions[0], group.ask.episode.id, (v - mean) / (spread + 1e-6)),)) for e, v in known
    ]


class GroupRelative(Trainer):
    def __init__(self, split: Any) -> None:
        self._split = split

    def run(self, s: Session, /) -> Iterator[Round]:
        for index in range(2):
            asks = [EditAsk(e, s.roles["teacher"], 4, s.seed("roll", index, e.id)) for e in s.episodes(self._split)]
            groups = s.reward(s.propose("teacher", asks))
            trained(s, "grpo", "teacher", f"step-{index}", [row for group in groups for row in advantages(group)])
            yield Round(index, dict(s.roles))


# 6. R-Zero: two roles train each other on questions that one of them makes up --------------------------------------


class Challenges(Editor):
    def propose(self, asks: Sequence[EditAsk], s: Session, /) -> Sequence[Sequence[SelfEdit]]:
        requests = [Request(a.state, "invent", n=a.n, temperature=1.0, seed=a.seed) for a in asks]
        rows = s.lm("challenger").generate(requests)
        return [[edit(ask, n, (), c) for n, c in enumerate(row)] for ask, row in zip(asks, rows, strict=True)]


class Novelty(RewardFunction):
    def score(self, groups: Sequence[Group], s: Session, /) -> Sequence[Sequence[Reward]]:
        seen = Counter(e.actions[0].text for group in groups for e in group.edits)
        return [[Reward(1 / seen[e.actions[0].text]) for e in group.edits] for group in groups]


class CoEvolution(Trainer):
    def run(self, s: Session, /) -> Iterator[Round]:
        [seed] = s.make([Episode("seed", "made", {"text": ""})], {})
        for index in range(2):
            asked = s.propose("challenger", [EditAsk(seed, s.roles["challenger"], 4, s.seed("q", index))])
            groups = s.reward(asked, name="novelty")
            trained(s, "grpo", "challenger", f"c{index}", [row for group in groups for row in advantages(group)])
            texts = dict.fromkeys(e.actions[0].text for group in groups for e in group.edits)
            made = [
                Episode(f"r{index}/{n}", "made", {"text": text}, (Query(f"r{index}/{n}/q", text),), parent=seed.id)
                for n, text in enumerate(texts)
            ]
            pool = s.make(made, {})
            tried = [EditAsk(e, s.roles["solver"], 4, s.seed("a", index, e.id)) for e in pool]
            voted = s.reward(s.propose("solver", tried), name="majority")
            kept = [g for g in voted if 0.3 <= float(g.rewards[0].measures["share"]) <= 0.8]
            if kept:
                trained(s, "grpo", "solver", f"s{index}", [row for group in kept for row in advantages(group)])
            s.keep("curriculum", {"round": index, "kept": len(kept)})
            yield Round(index, dict(s.roles), {"made": len(made), "kept": len(kept)})


# 7. ACE: no weights at all; tested first, then the playbook grows from what went wrong ----------------------------


class Reflections(Editor):
    def propose(self, asks: Sequence[EditAsk], s: Session, /) -> Sequence[Sequence[SelfEdit]]:
        rows = []
        for ask in asks:
            wrong = [score.query for score in ask.feedback if score.value == 0.0]
            note = {"set": {"passage": f"{ask.state.memory.get('passage', '')} {ask.episode.context['text']}".strip()}}
            rows.append([edit(ask, 0, (MemoryOps((note,)),))] if wrong else [])
        return rows


class Online(Trainer):
    def run(self, s: Session, /) -> Iterator[Round]:
        for index, episode in enumerate(s.episodes("train")):
            state = s.roles["teacher"]
            [scores] = s.evaluate([Ask(state, episode)])
            ask = EditAsk(episode, state, 1, s.seed("reflect", index), tuple(scores))
            [group] = s.propose("teacher", [ask])
            if group.edits:
                trained(s, "notes", "teacher", episode.id, group.edits)
            yield Round(index, dict(s.roles), {"score": fmean(score.value or 0.0 for score in scores)})


# 8. ICM: labels that depend on each other, so an edit needs all asks at once ---------------------------------------


class Coherent(Editor):
    def propose(self, asks: Sequence[EditAsk], s: Session, /) -> Sequence[Sequence[SelfEdit]]:
        lm = s.lm("teacher")
        words = (" True", " False")
        demos = ""
        rows = []
        for ask in asks:  # each label is chosen given those before it
            claim = f"{demos}{ask.episode.context['text']}:"
            true, false = (sum(row) for row in lm.logprobs([(ask.state, claim, word) for word in words]))
            label = words[0] if true > false else words[1]
            demos = f"{claim}{label}\n"
            rows.append([edit(ask, 0, (Example(claim, label),))])
        return rows


# 9. Self-Rewarding: the judge is whoever the policy is now; preferences ---------------------------------------------


class OwnJudge(RewardFunction):
    def score(self, groups: Sequence[Group], s: Session, /) -> Sequence[Sequence[Reward]]:
        judge = s.roles["teacher"]
        texts = [e.actions[0].text for group in groups for e in group.edits]
        marks = iter(s.lm("teacher").generate([Request(judge, f"grade: {text}") for text in texts]))
        return [[self._mark(next(marks)[0].text) for _ in group.edits] for group in groups]

    def _mark(self, text: str) -> Reward:
        return Reward(float(text)) if text.isdigit() else Reward(0.0, "failed", {"reason": "no mark in it"})


class Preferring(Trainer):
    def run(self, s: Session, /) -> Iterator[Round]:
        for index in range(2):
            asks = [EditAsk(e, s.roles["teacher"], 3, s.seed("write", index, e.id)) for e in s.episodes("train")]
            rows = []
            for group in s.reward(s.propose("teacher", asks)):
                (high, won), *_, (low, lost) = ranked(group)
                if high > low:
                    up, down = won.actions[0], lost.actions[0]
                    rows.append(replace(won, data=(Preference(up.request.prompt, up.text, down.text),)))
            trained(s, "dpo", "teacher", f"dpo-{index}", rows)
            yield Round(index, dict(s.roles), {"pairs": len(rows)})


# 10. DaaR: an editor around an editor, which passes contexts over ---------------------------------------------------


class Selective(Editor):
    nested: ClassVar[Mapping[str, str]] = {"inner": "editor"}

    def __init__(self, inner: Editor) -> None:
        self._inner = inner

    def propose(self, asks: Sequence[EditAsk], s: Session, /) -> Sequence[Sequence[SelfEdit]]:
        vectors = s.lm("teacher").hidden([(a.state, str(a.episode.context["text"])) for a in asks], layer=-1)
        spread = [-sum(v * math.log(v + 1e-9) for v in vector) for vector in vectors]
        cut = sorted(spread)[len(spread) // 2]
        rows = self._inner.propose(asks, s)
        return [row if value >= cut else [] for row, value in zip(rows, spread, strict=True)]
