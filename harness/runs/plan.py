"""How much work a run is: its numbers of edits, updates and answers, from the task and the settings."""

from __future__ import annotations

from dataclasses import dataclass

from harness.api import EvaluationProtocol, Example, RewardFunction, Task, Trainer, Updater
from harness.books.episodes import EpisodeBook
from harness.registry.build import BuiltComponent, C, build
from harness.registry.discover import Plugins
from harness.runs.config import Config
from harness.runs.layers import Arm


@dataclass(frozen=True)
class Work:
    """How many pieces of each kind."""

    edits: int = 0
    updates: int = 0
    answers: int = 0

    def __add__(self, other: Work) -> Work:
        return Work(self.edits + other.edits, self.updates + other.updates, self.answers + other.answers)

    def times(self, count: int) -> Work:
        return Work(self.edits * count, self.updates * count, self.answers * count)


@dataclass(frozen=True)
class Sizes:
    """How much a task has of each split: all that counting the work needs."""

    contexts: int
    queries: int
    train: int = 0
    """Training contexts."""
    train_queries: float = 0.0
    """Mean number of queries of a training context."""
    validation: int = 0
    validation_queries: int = 0


def work(config: Config, plugins: Plugins, task: BuiltComponent[Task] | None = None) -> dict[str, Work]:
    """Method -> its pieces for one seed, the outer loop and its validation included.

    An outer loop is counted as far as its trainer (``candidates``, ``rounds``) and its reward (``updates_per_edit``)
    declare their work.
    """
    task = task or build(plugins, Task, config.task, "task")
    sizes = _sizes(config, EpisodeBook(task.instance, config.options.limit, task, test_alone=only_tests(config)))
    return {
        arm.method.name: measuring(arm, plugins, sizes) + outer_loop(arm, config, plugins, sizes) for arm in config.arms
    }


def _sizes(config: Config, book: EpisodeBook) -> Sizes:
    test = book.split("test")
    size = Sizes(len(test), sum(len(episode.queries) for episode in test))
    if all(map(_without_loop, config.arms)):
        return size
    train = book.split("train")
    number = config.options.validation
    validation = book.split("validation", number) if number else []
    return Sizes(
        size.contexts,
        size.queries,
        len(train),
        sum(len(episode.queries) for episode in train) / max(1, len(train)),
        len(validation),
        sum(len(episode.queries) for episode in validation),
    )


def uncounted(config: Config, plugins: Plugins) -> dict[str, str]:
    """Method -> what :func:`work` cannot count of it, and why: an outer loop whose trainer does not declare its work.

    A trainer that declares its candidates or its rounds alone is counted that far.
    """
    out: dict[str, str] = {}
    for arm in config.arms:
        trainer = _built(arm, "trainer", Trainer, plugins)
        if trainer is None or _without_loop(arm):
            continue
        lacks = [] if trainer.rounds else ["rounds"]
        if type(trainer).candidates is Trainer.candidates:
            lacks.insert(0, "candidates")
        if lacks:
            use = arm.slots["trainer"]["use"]
            part = "its validation" if lacks == ["rounds"] else "the edits of its outer loop"
            part = "its outer loop" if len(lacks) == 2 else part
            out[arm.method.name] = f"{part}; the trainer {use!r} does not declare {' or '.join(lacks)}"
    return out


def only_tests(config: Config) -> bool:
    """Whether the run uses only test splits: no row has an outer loop, and every measure is of the test split."""
    return all(map(_without_loop, config.arms)) and all(one.split == "test" for one in config.also)


def _without_loop(arm: Arm) -> bool:
    return bool(arm.slots.get("trainer", {"use": "none"})["use"] == "none")


def measuring(arm: Arm, plugins: Plugins, sizes: Sizes) -> Work:
    """What measuring a method's policy takes."""
    updater = _built(arm, "updater", Updater, plugins)
    has_editor = any(table["kind"] == "editor" for table in arm.slots.values())
    if not has_editor:
        return Work(0, 0, sizes.queries)
    protocol = build(plugins, EvaluationProtocol, arm.protocol, "protocol").instance
    updates, answers = protocol.work(sizes.contexts, sizes.queries, arm.samples)
    trains = updater is not None and Example in updater.accepts
    return Work(sizes.contexts * arm.samples, updates if trains else 0, answers)


def outer_loop(arm: Arm, config: Config, plugins: Plugins, sizes: Sizes) -> Work:
    """What a method's outer loop takes, with the validation of its rounds; nothing where there is none."""
    trainer = _built(arm, "trainer", Trainer, plugins)
    reward = _built(arm, "reward", RewardFunction, plugins)
    if trainer is None or _without_loop(arm):
        return Work()
    tried = trainer.candidates(sizes.train)
    if not tried and not trainer.rounds:
        return Work()
    tries = tried * reward.updates_per_edit if reward else 0
    total = Work(tried, tries, round(tries * sizes.train_queries))
    if config.options.validation:
        one = Work(sizes.validation, sizes.validation, sizes.validation_queries)
        total += one.times(1 + trainer.rounds)
    return total


def _built(arm: Arm, slot: str, base: type[C], plugins: Plugins) -> C | None:
    table = {key: value for key, value in arm.slots.get(slot, {}).items() if key != "kind"}
    return build(plugins, base, table, slot).instance if table else None
