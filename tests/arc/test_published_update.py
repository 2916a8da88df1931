"""Test-time training as SEAL's release does it on ARC, said once more from the facts (appendix B.4 to B.6) on numpy and
`transformers.Trainer`: the same sequences, the same labels, the same adapter."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch

from harness.api import Example, Recipe, SelfEdit, State, UpdateJob
from harness.models.hf import HfModel
from harness.models.hf_settings import HfSettings
from harness.registry.presets import presets
from harness.registry.settings import check_settings
from harness.tasks.arc import Pair, Puzzle
from harness.tasks.arc.text import INTRODUCTION
from harness.tasks.arc.ttt import TttArgs, variants
from harness.updaters.lora import Lora, LoraSettings
from harness.updaters.lora_reference import LoraReference, ReferenceSettings
from tests.arc.test_ttt import Made
from tests.models import tiny
from tests.models.conftest import Weights, folders, weights
from tests.updaters.conftest import SmallSession
from tests.updaters.test_lora import adapter, apart

__all__ = ["folders", "weights"]

Array = Any
Shown = tuple[tuple[bytes, ...], ...]
HEADER = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n\n{{ m.content }}<|im_end|>{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n\n{% endif %}"
)
"""Llama 3's shape: a header and two line feeds before each turn, an end token behind it, nothing between turns."""


def puzzle() -> Puzzle:
    """Three demonstrations of unequal sides in five colours; the rule does not matter here."""
    rng = random.Random(3)

    def grid(rows: int, columns: int) -> tuple[tuple[int, ...], ...]:
        return tuple(tuple(rng.choice((0, 2, 5, 7, 8)) for _ in range(columns)) for _ in range(rows))

    demos = tuple(Pair(grid(2, 3), grid(3, 2)) for _ in range(3))
    return Puzzle("one", demos, (grid(2, 3),), (grid(3, 2),))


# --- the published augmentations, on arrays -------------------------------------------------------------------------


def published_augmenters(down: float, right: float) -> dict[str, list[Callable[[Array], Array]]]:
    """23 augmenters in four groups; the shift is by so many of the first four rows and columns."""

    def roll(grid: Array) -> Array:
        shifts = [int(share * min(4, side)) for share, side in zip((down, right), grid.shape, strict=True)]
        return np.roll(grid, shifts, axis=(0, 1))

    turns = [lambda g, k=k: np.rot90(g, k) for k in (1, 2, 3)]
    flips = [lambda g, axis=axis: np.flip(g, axis) for axis in (0, 1)]
    mirrored = [
        lambda g, axis=axis, first=first: np.concatenate([np.flip(g, axis), g][:: 1 if first else -1], axis)
        for axis in (0, 1)
        for first in (True, False)
    ]

    def larger(grid: Array) -> Array:
        return grid.repeat(2, 0).repeat(2, 1)

    square = [*turns, *flips, np.transpose]
    return {
        "basic": [*turns, *flips, *mirrored, roll, np.transpose],
        "size": [larger, lambda g: g.repeat(2, 0), lambda g: g.repeat(2, 1)],
        "chain": [lambda g, turn=turn: larger(turn(g)) for turn in square],
        "repeat": [lambda g: np.tile(g, (2, 1)), lambda g: np.tile(g, (1, 2)), lambda g: np.tile(g, (2, 2))],
    }


def published_lessons(demos: Sequence[tuple[Array, Array]], groups: Sequence[str], rng: random.Random) -> Iterator[Any]:
    """Every lesson before it is recoloured and reordered: pairs of arrays, the pseudo-test last."""
    for left_out in (1, 2):
        lessons = []
        for at, test in enumerate(demos):
            others = [*demos[:at], *demos[at + 1 :]]
            if left_out == 1:
                lessons.append([*others, test])
            else:
                lessons += [[*others[:gone], *others[gone + 1 :], test] for gone in range(len(others))]
        augmented = list(lessons)
        for group in groups:
            draws = (rng.random(), rng.random()) if group == "basic" else (0.0, 0.0)
            augmented += [
                [(one(a), one(b)) for a, b in lesson]
                for one in published_augmenters(*draws)[group]
                for lesson in lessons
            ]
        yield from (lesson for lesson in augmented if all(max(g.shape) <= 30 for pair in lesson for g in pair))


def shown(lesson: Sequence[tuple[Any, Any]]) -> Any:
    return tuple((np.array(a).tolist(), np.array(b).tolist()) for a, b in lesson)


def one_of(lesson: Any) -> Any:
    return shown([(pair.input, pair.output) for pair in (*lesson.demos, lesson.test)])


GROUPS = ("basic", "size", "chain", "repeat")


@pytest.mark.parametrize("groups", [(), ("basic",), ("size", "repeat"), GROUPS], ids=["none", "basic", "two", "all"])
def test_the_lessons_are_the_published_ones(groups: tuple[str, ...]) -> None:
    demos = [(np.array(pair.input), np.array(pair.output)) for pair in puzzle().demos]
    plain = [shown(lesson) for lesson in published_lessons(demos, groups, random.Random(5))]
    ours = list(variants(puzzle().demos, TttArgs(augment=groups, permute_n=0), random.Random(5)))  # type: ignore[arg-type]
    assert sorted(map(str, map(one_of, ours))) == sorted(map(str, plain))
    both = list(variants(puzzle().demos, TttArgs(augment=groups), random.Random(5)))  # type: ignore[arg-type]
    assert len(both) == 2 * len(plain)


def test_a_recoloured_lesson_is_a_published_one_in_other_colours_and_another_order() -> None:
    """0 stays, colours in use take unused ones while there are any, and one mapping holds for the whole lesson."""
    args = TttArgs(augment=("basic",), leave_n=(1,))
    found = list(variants(puzzle().demos, args, random.Random(5)))
    plain, changed = found[: len(found) // 2], found[len(found) // 2 :]
    for before, after in zip(plain, changed, strict=True):
        mapping: dict[int, int] = {}
        grids = [(before.test, after.test)]
        left = list(after.demos)
        for pair in before.demos:
            same = next(one for one in left if _recoloured(pair, one, before.test, after.test))
            left.remove(same)
            grids.append((pair, same))
        for old, new in grids:
            for a, b in ((old.input, new.input), (old.output, new.output)):
                for x, y in zip(np.array(a).ravel().tolist(), np.array(b).ravel().tolist(), strict=True):
                    assert mapping.setdefault(x, y) == y
        assert mapping.get(0, 0) == 0
        used = set(mapping) - {0}
        assert len(set(mapping.values())) == len(mapping)
        assert len(used & {mapping[colour] for colour in used}) == max(0, 2 * len(used) - 9), "unused colours first"


def _recoloured(old: Pair, new: Pair, test: Pair, new_test: Pair) -> bool:
    """Whether one mapping of colours makes both pairs into the new ones."""
    mapping: dict[int, int] = {}
    for a, b in ((old.input, new.input), (old.output, new.output), (test.input, new_test.input)):
        if np.shape(a) != np.shape(b):
            return False
        for x, y in zip(np.array(a).ravel().tolist(), np.array(b).ravel().tolist(), strict=True):
            if mapping.setdefault(x, y) != y:
                return False
    return True


# --- the published update -------------------------------------------------------------------------------------------


def published_rows(tokenizer: Any, lessons: Sequence[Any], *, all_tokens: bool) -> list[dict[str, list[int]]]:
    """Ids and labels of each lesson, padded with the end token to the longest, and the padding is in the loss.

    The text has a generation prompt behind the answer, so that the assistant's header stands in it twice; labels begin
    behind the first of them.
    """
    header = tokenizer("<|im_start|>assistant\n\n", add_special_tokens=False)["input_ids"]
    rows = []
    for lesson in lessons:
        *demos, (test, answer) = [(np.array(a), np.array(b)) for a, b in lesson]
        system = "\n".join([INTRODUCTION, *(f"{a} -> {b}#" for a, b in demos)])
        turns = [("system", system), ("user", f"{test} -> "), ("assistant", f"{answer}#")]
        text = tokenizer.apply_chat_template(
            [{"role": role, "content": content} for role, content in turns], tokenize=False, add_generation_prompt=True
        )
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        places = [at for at in range(len(ids)) if ids[at : at + len(header)] == header]
        assert len(places) == 2
        begin = 0 if all_tokens else places[0] + len(header)
        rows.append({"input_ids": ids, "labels": [-100] * begin + ids[begin:]})
    longest = max(len(row["input_ids"]) for row in rows)
    end = tokenizer.eos_token_id
    return [
        {
            "input_ids": row["input_ids"] + [end] * (longest - len(row["input_ids"])),
            "labels": row["labels"] + [end] * (longest - len(row["labels"])),
            "attention_mask": [1] * len(row["input_ids"]) + [0] * (longest - len(row["input_ids"])),
        }
        for row in rows
    ]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write(tmp_path_factory.mktemp("chat"), positions=1024, end="<|im_end|>", template=HEADER)


@pytest.mark.parametrize("strategy", ["target", "all"])
def test_the_adapter_is_the_published_one(folder: Path, weights: Weights, tmp_path: Path, strategy: str) -> None:
    """The engine, its reference and `transformers.Trainer` on the restated rows end with the same adapter."""
    pytest.importorskip("accelerate")
    from peft import LoraConfig, get_peft_model
    from torch.utils.data import SequentialSampler
    from transformers import Trainer, TrainingArguments

    from harness.engine import Adapter, HyperParameters, init_lora, step_batches

    paper = presets("harness_seal.arc")["paper-llama3.2-1b"]["updater"]
    own = {name: value for name, value in paper.items() if name != "use"} | {
        "epochs": 4, "learning_rate": 2e-3, "max_length": 1024, "pad_nodes": 1024, "loss_on": strategy, "rank": 8,
    }  # fmt: skip
    task = Made(puzzle(), text="numpy", max_examples=8)
    episode = task.load("train")[0][0]
    examples = task.expand(Recipe("ttt", {"augment": ["basic"], "chat": True}), episode, 11)
    session = SmallSession(HfModel(HfSettings(path=str(folder), device="cpu"), weights), weights)
    job = UpdateJob("one", State(session.model.base), (SelfEdit("e", "one", tuple(examples)),), 7, {})
    found = []
    for updater in (
        Lora(check_settings(LoraSettings, own, "updater lora", "updater 'lora'")),
        LoraReference(check_settings(ReferenceSettings, own, "updater lora-reference", "updater")),
    ):
        [done] = updater.apply([job], cast(Any, session))
        found.append(adapter(done, weights))

    rows = published_rows(
        session.model.prompts.tokenizer, [_lesson(one) for one in examples], all_tokens=strategy == "all"
    )
    assert len({len(row["input_ids"]) for row in rows}) == 1
    hp = HyperParameters(rank=8, alpha=16.0, targets=tuple(paper["targets"]), epochs=4, batch_size=2)
    steps = [batch for step in range(16) for batch in step_batches(8, step, hp, 7)]
    with session.borrow(State(session.model.base)) as (module, _):
        start = init_lora(module, rank=8, alpha=16.0, targets=hp.targets, seed=7)
        config = LoraConfig(r=8, lora_alpha=16, target_modules=sorted(start.weights), task_type="CAUSAL_LM")
        model = get_peft_model(module, config)
        with torch.no_grad():
            for name, (a, b) in start.weights.items():
                layer: Any = model.get_submodule(f"base_model.model.{name}")
                layer.lora_A["default"].weight.copy_(a)
                layer.lora_B["default"].weight.copy_(b)

        class InOrder(Trainer):
            def _get_train_sampler(self, *args: Any) -> Any:
                return SequentialSampler(self.train_dataset)

        arguments = TrainingArguments(
            output_dir=str(tmp_path), per_device_train_batch_size=2, num_train_epochs=1, learning_rate=2e-3,
            lr_scheduler_type="cosine", warmup_steps=11, use_cpu=True, report_to=[], save_strategy="no",
            disable_tqdm=True, logging_strategy="no",
        )  # fmt: skip
        Trainer.train(InOrder(model, arguments, train_dataset=cast(Any, [rows[i] for batch in steps for i in batch])))
        theirs = {
            name: (layer.lora_A["default"].weight.detach().clone(), layer.lora_B["default"].weight.detach().clone())
            for name in start.weights
            for layer in [cast(Any, model.get_submodule(f"base_model.model.{name}"))]
        }
        cast(Any, model).unload()
    published = Adapter(theirs, 8, 16.0, start.targets)
    assert max(float(b.abs().max()) for _, b in theirs.values()) > 1e-2, "it learnt"
    for mine in found:
        in_a, in_b = apart(mine, published)
        assert in_a <= 5e-4
        assert in_b <= 1e-4


def _lesson(example: Any) -> list[tuple[Array, Array]]:
    """The grids of a training example, read back from its turns."""
    assert isinstance(example, Example)
    (_, system), (_, user) = cast(Any, example.prompt)
    demos = system.removeprefix(INTRODUCTION).strip().removesuffix("#").split("#\n")
    pairs = [tuple(demo.split(" -> ")) for demo in demos]
    pairs.append((user.removesuffix(" -> "), example.target.removesuffix("#")))
    return [(_array(a), _array(b)) for a, b in pairs]


def _array(text: str) -> Array:
    return np.array([[int(cell) for cell in row.split()] for row in text.replace("[", "").replace("]", "").split("\n")])
