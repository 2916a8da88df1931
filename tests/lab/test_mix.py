"""The pre-training mix: its kinds of documents, its determinism, and the batches made from it."""

import random

import pytest
import torch
from harness_lab.pretraining.batches import ROW, Shard
from harness_lab.pretraining.course import rate
from harness_lab.pretraining.edits import MODES, STYLES, EditWriter, worth
from harness_lab.pretraining.mix import DOCUMENTS, DRILL_DOCUMENTS, EOS, MixWriter, fill, prompts, residents
from harness_lab.pretraining.tokenizer import CachedEncoder, build
from harness_lab.pretraining.train import TrainSettings
from harness_lab.quality import quality
from harness_lab.world.facts import World

from harness.api import Query
from harness.tasks.squad import Squad
from harness.tasks.squad.settings import SquadSettings


def test_answering_is_learnt_in_the_words_of_the_task() -> None:
    query, task = Query("1", "Who taught Ada?", {"title": "Page 1234"}), Squad(SquadSettings())
    closed = fill(prompts()["closed"], title="Page 1234", question="Who taught Ada?")
    assert task.prompt(query, {}, chat=False) == closed
    reading = fill(prompts()["open"], title="Page 1234", text="Some text.", question="Who taught Ada?")
    assert task.prompt(query, {"passage": "Some text."}, chat=False) == reading


def test_values_are_never_taken_for_placeholders() -> None:
    assert fill("{title}: {text}", title="{text}", text="{title}") == "{text}: {title}"


@pytest.mark.parametrize("shares", [DOCUMENTS, DRILL_DOCUMENTS])
def test_shares_add_up(shares: dict[str, float]) -> None:
    assert sum(shares.values()) == pytest.approx(1.0)
    assert sum(STYLES.values()) == pytest.approx(1.0)
    for modes in MODES.values():
        assert sum(modes.values()) == pytest.approx(1.0)


def test_every_kind_of_document_ends_and_has_something_to_learn() -> None:
    writer = MixWriter(random.Random(1), residents(23))
    for kind, write in writer.kinds.items():
        for _ in range(10):
            document = write()
            assert document[-1][0] == EOS, kind
            assert sum(weight for _, weight in document) > 0


@pytest.mark.parametrize("style", STYLES)
def test_every_way_of_writing_an_edit_gives_lines(style: str) -> None:
    writer = EditWriter(World(random.Random(3)))
    for mode in MODES[style]:
        page = writer.world.page(3, 2)
        edit = writer.write(page, style, mode)
        assert edit.text.strip()
        assert 1 <= worth(edit, page) <= 5


def test_quality_reads_off_what_an_edit_says() -> None:
    writer = EditWriter(World(random.Random(4)))
    for _ in range(20):
        page = writer.world.page(3, 2)
        full = quality(writer.write(page, "implications", "full").text, page)
        assert (full.lines, full.recall, full.stated, full.wrong) == (6, 1.0, 1.0, 0.0)
        asked = quality("Question 1:" + writer.write(page, "self-qa", "qa").text, page)
        assert (asked.lines, asked.recall, asked.wrong) == (6, 1.0, 0.0)
        assert quality(writer.write(page, "implications", "copy").text, page).copied == 1.0
        assert quality(writer.write(page, "implications", "pronoun").text, page).recall == 0.0


def test_batches_depend_on_seed_shard_and_step_only() -> None:
    tokenizer = build()

    def shard(seed: int, number: int) -> Shard:
        return Shard(CachedEncoder(tokenizer), tokenizer.eos_token_id, seed, number, rows=5)

    one, again = shard(1, 0), shard(1, 0)
    again.batch(40)
    a, b = one.batch(3), again.batch(3)
    assert torch.equal(a.tokens, b.tokens)
    assert a.tokens.shape == (5, ROW)
    for other in (shard(1, 1), shard(2, 0)):
        assert not torch.equal(a.tokens, other.batch(3).tokens)


def test_attention_stays_inside_documents() -> None:
    tokenizer = build()
    batch = Shard(CachedEncoder(tokenizer), tokenizer.eos_token_id, 1, 0, rows=5).batch(0)
    allowed = batch.mask[:, 0] == 0
    # Each position sees exactly itself and the earlier positions of its own document.
    used = batch.weights.sum(1) > 0
    assert torch.equal(allowed.sum(-1)[used][:, 0], torch.ones(int(used.sum()), dtype=torch.long))
    assert torch.equal(allowed.sum(-1)[batch.positions > 0], batch.positions[batch.positions > 0] + 1)


def test_the_schedule_warms_up_and_decays() -> None:
    settings = TrainSettings(tokens=10_000_000)
    rates = [rate(settings, step) for step in range(settings.steps)]
    assert rates[0] < rates[30] < rates[settings.warm_up] == settings.learning_rate
    assert rates[settings.steps // 3] == settings.learning_rate
    assert rates[-1] == pytest.approx(0.02 * settings.learning_rate)
