"""How much a run will do: its edits, updates and answers, as they follow from the task and the settings."""

from __future__ import annotations

from dataclasses import dataclass

from harness.api import Example
from harness.books.episodes import EpisodeBook
from harness.registry.build import BuiltComponent, build
from harness.registry.discover import Plugins
from harness.runs.config import Arm, Config


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


def work(config: Config, plugins: Plugins, task: BuiltComponent | None = None) -> dict[str, Work]:
    """Method -> its pieces for one seed, the outer loop and its validation included.

    A trainer says with ``candidates(contexts) -> int`` how many edits it tries, and with ``rounds`` how often the
    policy is validated; a reward says with ``updates_per_edit`` how many updates one trial takes. Without these an
    outer loop is not counted.
    """
    task = task or build(plugins, "task", config.task, "task")
    book = EpisodeBook(task.instance, config.options.limit, task)
    return {arm.method.name: _arm(arm, config, plugins, book) for arm in config.arms}


def _arm(arm: Arm, config: Config, plugins: Plugins, book: EpisodeBook) -> Work:
    slots = {
        name: build(plugins, str(table["kind"]), {k: v for k, v in table.items() if k != "kind"}, name)
        for name, table in arm.slots.items()
        if table["kind"] in {"trainer", "reward", "updater"}
    }
    has_editor = any(table["kind"] == "editor" for table in arm.slots.values())
    test = book.split("test")
    queries = sum(len(episode.queries) for episode in test)
    samples = config.options.samples if has_editor else 1
    edits = len(test) * samples if has_editor else 0
    updater = slots.get("updater")
    trains = has_editor and updater is not None and Example in updater.instance.accepts
    updates, answers = edits, queries * samples
    protocol = build(plugins, "protocol", arm.protocol, "protocol").instance
    if has_editor and hasattr(protocol, "work"):
        updates, answers = protocol.work(len(test), queries, samples)
    total = Work(edits, updates if trains else 0, answers)
    trainer, reward = slots.get("trainer"), slots.get("reward")
    if trainer is None or not hasattr(trainer.instance, "candidates"):
        return total
    train = book.split("train")
    tried = trainer.instance.candidates(len(train))
    tries = tried * getattr(reward.instance, "updates_per_edit", 0) if reward else 0
    mean_queries = sum(len(e.queries) for e in train) / max(1, len(train))
    total += Work(tried, tries, round(tries * mean_queries))
    if config.options.validation:
        validation = book.split("validation", config.options.validation)
        asked = sum(len(e.queries) for e in validation)
        total += Work(len(validation), len(validation), asked).times(1 + getattr(trainer.instance, "rounds", 1))
    return total
