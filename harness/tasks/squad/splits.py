"""Which passages the outer loop learns from, which choose its checkpoint, and which are tested on."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import cached_property
from typing import Literal

from harness.errors import UsageError
from harness.tasks.squad.hub import from_hub
from harness.tasks.squad.passages import Passage, read
from harness.tasks.squad.settings import HUB, SquadSettings
from harness.tasks.squad.subsets import SUBSETS, choose, deal, shuffled

_SHARES = (0.6, 0.2, 0.2)
_TRAIN_SHARES = (0.75, 0.25)
_log = logging.getLogger("harness")


class Splits:
    """The three splits, each read when it is first asked for."""

    def __init__(self, settings: SquadSettings) -> None:
        self._settings = settings
        self._alone = False

    def test_on_all(self) -> None:
        """Use all of ``data`` as the test split; the others then exist only where they have files of their own."""
        self._alone = True

    def of(self, split: Literal["train", "validation", "test"]) -> list[Passage]:
        """The passages of a split, in their fixed order.

        Raises:
            UsageError: the data are absent or invalid, or a passage is in two splits.
        """
        if split == "test":
            return self._test
        if split == "train":
            return self._outer[0]
        return self._outer[1]

    @property
    def _whole_is_test(self) -> bool:
        """Whether all of ``data`` is the test split: training passages come from elsewhere, or a published subset is
        drawn from all of it."""
        chosen = SUBSETS[self._settings.subset]
        published = chosen.contexts is not None or chosen.questions is not None
        return self._settings.data == HUB or bool(self._settings.train) or published or self._alone

    @cached_property
    def _data(self) -> list[Passage]:
        if self._settings.data == HUB:
            return from_hub("validation", self._settings.revision)
        return read(self._settings.data)

    @cached_property
    def _parts(self) -> list[list[Passage]]:
        """Train, validation and test out of one file."""
        path = self._settings.data
        parts = _dealt(path, self._data, _SHARES)
        counts = "train {}, validation {}, test {}".format(*map(len, parts))
        _log.info("%s is one file: split 60/20/20 by the hash of the title (%s passages)", path, counts)
        if len({passage.title for passage in self._data}) < len(parts):
            _log.warning("%s has fewer titles than splits: it is split by passage instead", path)
        return parts

    @cached_property
    def _test(self) -> list[Passage]:
        chosen = SUBSETS[self._settings.subset]
        passages = choose(self._data if self._whole_is_test else self._parts[2], chosen)
        if chosen.contexts is not None and len(passages) < chosen.contexts:
            raise UsageError(
                f"task.subset {self._settings.subset!r} takes {chosen.contexts} passages, "
                f"{self._settings.data} has {len(passages)}"
            )
        return passages

    @cached_property
    def _outer(self) -> tuple[list[Passage], list[Passage]]:
        """What the outer loop learns from, and what chooses its checkpoint."""
        settings = self._settings
        validation = read(settings.validation) if settings.validation else None
        if settings.train:
            train = read(settings.train)
        elif settings.data == HUB:
            train = from_hub("train", settings.revision)
        elif self._alone:
            return [], validation or []
        elif self._whole_is_test:
            raise UsageError(
                f"task.subset {settings.subset!r} tests on all of {settings.data}: name task.train as well"
            )
        else:
            train, held_out, _ = self._parts
            validation = validation or held_out
        if validation is None:
            train, validation = _dealt(settings.train, train, _TRAIN_SHARES)
        if settings.train_order == "shuffled":
            train, validation = shuffled(train), shuffled(validation)
        self._no_leak(train, validation)
        return train, validation

    def _no_leak(self, train: Sequence[Passage], validation: Sequence[Passage]) -> None:
        """Refuse a passage that occurs in two splits."""
        home = {passage.id: "test" for passage in self._test}
        for split, passages in (("train", train), ("validation", validation)):
            for passage in passages:
                other = home.setdefault(passage.id, split)
                if other != split:
                    raise UsageError(
                        f"task.{split}: a passage of {passage.title!r} is also in the {other} split: "
                        f"{passage.text.strip()[:60]!r}"
                    )


def _dealt(path: str, passages: Sequence[Passage], shares: Sequence[float]) -> list[list[Passage]]:
    try:
        return deal(passages, shares)
    except ValueError as why:
        raise UsageError(
            f"{path}: {why}: add passages, or give the splits files of their own with task.train and task.validation"
        ) from why
