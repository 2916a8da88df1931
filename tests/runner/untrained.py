"""A plugin in one file: outer loops whose training has no effect, and methods whose card is not true."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness import hookimpl
from harness.api import (
    EditAsk,
    Editor,
    Episode,
    Example,
    Group,
    MemoryOps,
    Method,
    Query,
    Request,
    Reward,
    RewardFunction,
    Round,
    SelfEdit,
    Session,
    Trainer,
    Updated,
    UpdateJob,
    Updater,
)
from harness.testing import ScriptedLM, ScriptedTask


class Loop(Trainer):
    """One round, after which the policy is what the setting says."""

    @dataclass(frozen=True)
    class Settings:
        forget: bool = False
        """Never take over what the update made."""
        test: bool = False
        """Learn the test contexts too."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def run(self, s: Session, /) -> Iterator[Round]:
        episodes = [*s.episodes("train"), *(s.episodes("test") if self._settings.test else ())]
        asks = [EditAsk(e, s.roles["teacher"], 2, s.seed("propose", e.id)) for e in episodes]
        groups = s.reward(s.propose("teacher", asks)) if not self._settings.test else s.propose("teacher", asks)
        kept = tuple(edit for group in groups for edit in group.edits[:1])
        if kept:
            [done] = s.update("policy", [UpdateJob("policy", s.roles["teacher"], kept, s.seed("sft"))])
            if done.state is not None and not self._settings.forget:
                s.roles["teacher"] = done.state
        yield Round(0, dict(s.roles))


class Asks(Trainer):
    """Makes one question, about another thing with every seed, and has its answer compared with the truth."""

    def run(self, s: Session, /) -> Iterator[Round]:
        text = f"question {s.seed('of', 'one') % 1000}"
        s.make([Episode("own", "made", {"text": "own"}, (Query("own/0", text),))], {})
        s.diagnose("own question", {"own/0": text.upper()})
        yield Round(0, dict(s.roles))


class Refuses(Updater):
    """No update succeeds."""

    @dataclass(frozen=True)
    class Settings:
        status: str = "failed"

    accepts = frozenset({Example})

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def apply(self, jobs: Sequence[UpdateJob], s: Session, /) -> Iterator[Updated]:
        for job in jobs:
            yield Updated(job.id, None, self._settings.status, "no rollouts can be learnt")  # type: ignore[arg-type]


class PassesOver(Editor):
    """Writes nothing at all."""

    def propose(self, asks: Sequence[EditAsk], s: Session, /) -> Sequence[Sequence[SelfEdit]]:
        return [[] for _ in asks]


class Sometimes(Editor):
    """Every other sample fails."""

    def propose(self, asks: Sequence[EditAsk], s: Session, /) -> Sequence[Sequence[SelfEdit]]:
        return [
            [
                SelfEdit(f"{a.episode.id}/{i}", a.episode.id, (Example("", a.episode.id),), {}, (),
                         "failed" if i % 2 else "ok", "by turns")
                for i in range(a.n)
            ]
            for a in asks
        ]  # fmt: skip


class Remembers(Editor):
    """Puts the passage into the memory in disguise."""

    def propose(self, asks: Sequence[EditAsk], s: Session, /) -> Sequence[Sequence[SelfEdit]]:
        return [
            [
                SelfEdit(f"{a.episode.id}/{i}", a.episode.id,
                         (MemoryOps(({"set": {"passage": "  ".join(a.episode.context["text"].upper().split())}},)),))
                for i in range(a.n)
            ]
            for a in asks
        ]  # fmt: skip


class Unknown(RewardFunction):
    """Every reward is an error."""

    def score(self, groups: Sequence[Group], s: Session, /) -> Sequence[Sequence[Reward]]:
        return [[Reward(None, "error") for _ in group.edits] for group in groups]


class Outside(Editor):
    """Has another model write, and does not say so."""

    def propose(self, asks: Sequence[EditAsk], s: Session, /) -> Sequence[Sequence[SelfEdit]]:
        requests = [Request(s.roles["helper"], f"Write: {a.episode.context['text']}", n=a.n) for a in asks]
        return [
            [SelfEdit(f"{a.episode.id}/{i}", a.episode.id, (Example("", c.text),)) for i, c in enumerate(row)]
            for a, row in zip(asks, s.generate(requests), strict=True)
        ]


class Passages(ScriptedTask):
    """The animals, with passages that are long enough to be told from a phrase."""

    name = "passages"

    def __init__(self) -> None:
        def part(numbers: range) -> dict[str, tuple[str, Mapping[str, Sequence[str]]]]:
            return {f"cats{n}": (f"cats{n} is an animal that lives by the river {n} and eats {n * 'old '}bread",
                                 {f"who is cats{n}? of all the animals by a river": [f"cats{n}"],
                                  f"what eats {n} breads? Question: who is cats{n}? it is asked": [f"cats{n}"]})
                    for n in numbers}  # fmt: skip

        super().__init__({"train": part(range(6)), "validation": part(range(6, 8)), "test": part(range(8, 13))})

    def solutions(self, query: Query, /) -> Sequence[str]:
        return [query.text.upper()]


class Helper(ScriptedLM):
    """Another model, which knows more."""

    @dataclass(frozen=True)
    class Settings:
        path: str = ""

    def __init__(self, settings: Settings, weights: object) -> None:
        super().__init__(lambda request, index: f"{request.prompt} ({index})", name="helper")


class Peeks(Editor):
    """Knows the test's questions from elsewhere, and has the model write about them."""

    def propose(self, asks: Sequence[EditAsk], s: Session, /) -> Sequence[Sequence[SelfEdit]]:
        asked = {e.id: "; ".join(query.text for query in e.queries) for e, _ in Passages().load("test")}
        rows = s.generate([Request(a.state, f"Write: {asked[a.episode.id]}", n=a.n) for a in asks])
        return [
            [SelfEdit(f"{a.episode.id}/{i}", a.episode.id, (Example("", c.text),), actions=(c,))
             for i, c in enumerate(row)]
            for a, row in zip(asks, rows, strict=True)
        ]  # fmt: skip


_SLOTS: dict[str, Any] = {
    "editor": {"use": "writer"},
    "updater": {"use": "fit"},
    "policy": {"kind": "updater", "use": "fit"},
    "reward": {"use": "trial-mean"},
    "evaluator": {"use": "match"},
    "trainer": {"use": "small-loop"},
}
_ROLES = {"teacher": "model", "student": "@teacher", "helper": {"use": "helper"}}
_BARE = {"updater": {"use": "fit"}, "evaluator": {"use": "match"}, "trainer": {"use": "none"}}


def _method(name: str, components: Mapping[str, Any], **more: Any) -> Method:
    return Method(name, "", f"a lie or a failure: {name}", components, **more)


METHODS = {
    method.name: method
    for method in (
        _method("fails", {**_SLOTS, "policy": {"kind": "updater", "use": "refuses"}}),
        _method("lost", {**_SLOTS, "policy": {"kind": "updater", "use": "refuses", "status": "error"}}),
        _method("forgets", {**_SLOTS, "trainer": {"use": "small-loop", "forget": True}}),
        _method("unrewarded", {**_SLOTS, "reward": {"use": "unknown"}}),
        _method("passes-over", {**_SLOTS, "editor": {"use": "passes-over"}}),
        _method("trained", _SLOTS),
        _method("sometimes", {**_BARE, "editor": {"use": "sometimes"}}),
        _method("remembers", {**_BARE, "editor": {"use": "remembers"}, "updater": {"use": "memory"}}),
        _method("remembers-openly", {**_BARE, "editor": {"use": "remembers"}, "updater": {"use": "memory"}},
                open_book=True),
        _method("helped", {**_BARE, "editor": {"use": "outside"}}, roles=_ROLES),
        _method("helped-openly", {**_BARE, "editor": {"use": "outside"}}, roles=_ROLES, outside_teacher=True),
        _method("peeks", {**_BARE, "editor": {"use": "peeks"}}),
        _method("asks", {**_SLOTS, "trainer": {"use": "asks"}}),
        _method("on-the-test", {**_SLOTS, "trainer": {"use": "small-loop", "test": True}}),
        _method("on-the-test-openly", {**_SLOTS, "trainer": {"use": "small-loop", "test": True}}, transductive=True),
    )
}  # fmt: skip


@hookimpl
def harness_tasks() -> Mapping[str, str]:
    return {"passages": "untrained:Passages"}


@hookimpl
def harness_methods() -> Mapping[str, Method]:
    return METHODS


@hookimpl
def harness_editors() -> Mapping[str, str]:
    return {"passes-over": "untrained:PassesOver", "sometimes": "untrained:Sometimes",
            "remembers": "untrained:Remembers", "outside": "untrained:Outside", "peeks": "untrained:Peeks"}  # fmt: skip


@hookimpl
def harness_models() -> Mapping[str, str]:
    return {"helper": "untrained:Helper"}


@hookimpl
def harness_rewards() -> Mapping[str, str]:
    return {"unknown": "untrained:Unknown"}


@hookimpl
def harness_updaters() -> Mapping[str, str]:
    return {"refuses": "untrained:Refuses"}


@hookimpl
def harness_trainers() -> Mapping[str, str]:
    return {"small-loop": "untrained:Loop", "asks": "untrained:Asks"}
