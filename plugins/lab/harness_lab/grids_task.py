"""The task `lab-grids`: generated grid puzzles that fit the lab model's context."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from harness.api import Split
from harness.tasks.arc.grid import Puzzle
from harness.tasks.arc.load import puzzle_of
from harness.tasks.arc.task import GridTask
from harness.tasks.arc.text import FORMS
from harness_lab.world.grids import GRIDS_VERSION, Rules, arc_files


class LabGrids(GridTask):
    """Puzzles of families known from pre-training (train, validation) and of held-out families (test)."""

    name = "lab-grids"
    version = f"lab-{GRIDS_VERSION}"

    @dataclass(frozen=True)
    class Settings:
        train: int = 36
        """Puzzles for the outer loop."""
        validation: int = 18
        """Puzzles that choose a checkpoint."""
        test: int = 60
        """Puzzles that are tested."""
        seed: int = 1
        """Other seeds give other puzzles of the same families."""
        rules: Rules = field(default="all", metadata={"added_later": True})
        """``colours``: puzzles that only change colours, of the same families in all splits. The lab model can learn
        these at test time if it is trained well; of the others it learns hardly any."""
        max_characters: int = 900
        """Longer training sequences are left out; a cell is one token and two characters, and 512 tokens fit."""
        max_examples: int = 24
        """Most training sequences per edit."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(FORMS["compact"], settings.max_characters, settings.max_examples)
        self.settings = settings

    def puzzles(self, split: Split) -> Sequence[Puzzle]:
        if split == "made":
            return ()
        count = {"train": self.settings.train, "validation": self.settings.validation, "test": self.settings.test}
        challenges, solutions = arc_files(count[split], self.settings.seed, split, self.settings.rules)
        return [puzzle_of(name, value, solutions[name], "lab-grids") for name, value in challenges.items()]
