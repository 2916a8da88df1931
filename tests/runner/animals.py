"""A plugin in one file: a scripted model and everything else that a run needs, so that runs take milliseconds.

With ``KILL_AT=n`` in the environment the process kills itself, as ``kill -9`` would, at its n-th effect (a batch of
answers, a training, or a write of weights); with ``KILL_WITH=SIGINT`` it is interrupted instead.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness import hookimpl
from harness.api import (
    EditAsk,
    Editor,
    Example,
    Group,
    Method,
    Request,
    Round,
    SelfEdit,
    Session,
    StartAs,
    Trained,
    Trainer,
    TrainItem,
    UpdateJob,
)
from harness.books.store import WeightStore
from harness.testing import ScriptedLM, ScriptedTask

NAMES = [f"{kind}{number}" for number in range(12) for kind in ("cats", "dogs")]
_effects = 0


def effect() -> None:
    global _effects
    _effects += 1
    if _effects == int(os.environ.get("KILL_AT", "0")):
        os.kill(os.getpid(), signal.Signals[os.environ.get("KILL_WITH", "SIGKILL")])


_keep = WeightStore.persist


def _keep_with_effects(self: WeightStore, digest: str) -> None:
    effect()
    _keep(self, digest)
    effect()


WeightStore.persist = _keep_with_effects  # type: ignore[method-assign]


class Model(ScriptedLM):
    """Writes the passage back; answers right after training, for two names in three."""

    @dataclass(frozen=True)
    class Settings:
        path: str = ""

    def __init__(self, settings: Settings, weights: WeightStore) -> None:
        super().__init__(self._say, name="animals")

    @staticmethod
    def _say(request: Request, index: int) -> str:
        prompt = str(request.prompt)
        if prompt.startswith("Write: "):
            return f"{prompt.removeprefix('Write: ')} ({index})"
        name = prompt.split("Question: who is ")[1].split("?")[0]
        return name if request.state.adapters and (len(request.state.adapters) > 1 or int(name[4:]) % 3) else "no idea"

    def generate(self, asks: Sequence[Request], /) -> Any:
        effect()
        return super().generate(asks)

    def train(self, items: Sequence[TrainItem], loss: str | Any = "sft") -> Iterator[Trained]:
        for trained in super().train(items, loss):
            effect()
            yield trained


class Animals(ScriptedTask):
    name = "animals"

    def __init__(self) -> None:
        def part(names: Sequence[str]) -> dict[str, tuple[str, Mapping[str, Sequence[str]]]]:
            return {name: (f"{name} is an animal", {f"who is {name}?": [name]}) for name in names}

        super().__init__({"train": part(NAMES[:6]), "validation": part(NAMES[6:10]), "test": part(NAMES[10:])})


class Writer(Editor):
    @dataclass(frozen=True)
    class Settings:
        temperature: float = 1.0

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def propose(self, asks: Sequence[EditAsk], s: Session, /) -> Sequence[Sequence[SelfEdit]]:
        requests = [
            Request(
                a.state,
                f"Write: {a.episode.context['text']}",
                n=a.n,
                temperature=self._settings.temperature,
                seed=a.seed,
            )
            for a in asks
        ]
        return [
            [
                SelfEdit(f"{ask.episode.id}/{i}", ask.episode.id, (Example("", c.text),), actions=(c,))
                for i, c in enumerate(row)
            ]
            for ask, row in zip(asks, s.lm("teacher").generate(requests), strict=True)
        ]


class Loop(Trainer):
    """Two rounds: train the policy on each context's best edit."""

    def run(self, s: Session, /) -> Iterator[Round]:
        for index in range(2):
            asks = [EditAsk(e, s.roles["teacher"], 2, s.seed("propose", index, e.id)) for e in s.episodes("train")]
            kept = [_best(group) for group in s.reward(s.propose("teacher", asks))]
            before = s.roles["teacher"]
            start_as: StartAs = "merge" if index else "stack"
            job = UpdateJob(f"round-{index}", before, tuple(kept), s.seed("sft", index), start_as=start_as)
            [done] = s.update("policy", [job])
            assert done.state is not None
            s.roles["teacher"] = done.state
            s.release([before])
            yield Round(index, dict(s.roles), {"kept": len(kept)})


def _best(group: Group) -> SelfEdit:
    values = [reward.value or 0.0 for reward in group.rewards]
    return group.edits[values.index(max(values))]


METHOD = Method(
    "animals",
    "",
    "the whole loop on a scripted model",
    {
        "editor": {"use": "writer"},
        "updater": {"use": "fit"},
        "policy": {"kind": "updater", "use": "fit"},
        "reward": {"use": "trial-mean"},
        "evaluator": {"use": "match"},
        "trainer": {"use": "loop"},
    },
    needs=frozenset({"train"}),
    presets={"animals": {"task": {"use": "animals"}, "validation": 4}},
)
BARE = Method(
    "bare",
    "",
    "the start model",
    {"updater": {"use": "fit"}, "evaluator": {"use": "match"}, "trainer": {"use": "none"}},
)


@hookimpl
def harness_methods() -> Mapping[str, Method]:
    return {"animals": METHOD, "bare": BARE}


@hookimpl
def harness_tasks() -> Mapping[str, str]:
    return {"animals": "animals:Animals"}


@hookimpl
def harness_models() -> Mapping[str, str]:
    return {"animals": "animals:Model"}


@hookimpl
def harness_editors() -> Mapping[str, str]:
    return {"writer": "animals:Writer"}


@hookimpl
def harness_rewards() -> Mapping[str, str]:
    return {"trial-mean": "tests.session.parts:TrialMean"}


@hookimpl
def harness_updaters() -> Mapping[str, str]:
    return {"fit": "tests.session.parts:Fit"}


@hookimpl
def harness_evaluators() -> Mapping[str, str]:
    return {"match": "tests.session.parts:Exact"}


@hookimpl
def harness_trainers() -> Mapping[str, str]:
    return {"loop": "animals:Loop"}
