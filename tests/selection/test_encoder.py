"""A sentence encoder as the role `embedder`: its vectors, what it refuses, and a method that reads with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from harness_selection.daar import Daar
from harness_selection.encoder import Encoder
from harness_selection.pool import LabPool
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from harness.api import Dropout, Request, State
from harness.books.store import WeightStore
from harness.errors import UsageError
from harness.testing.scripted import ScriptedLM, open_session
from tests.learning import Learner
from tests.selection.test_daar import QUICK, SEEDS

WORDS = ("[PAD]", "[UNK]", "Kim", "has", "coins", "finds", "many", "how")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("encoder") / "tiny-encoder"
    words = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()  # type: ignore[assignment]
    PreTrainedTokenizerFast(tokenizer_object=words, pad_token="[PAD]", unk_token="[UNK]").save_pretrained(out)
    torch.manual_seed(0)
    sizes: dict[str, Any] = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    BertModel(BertConfig(vocab_size=len(WORDS), intermediate_size=16, **sizes)).save_pretrained(out)
    return out


def opened(folder: Path, tmp_path: Path, **settings: Any) -> Encoder:
    (tmp_path / "weights").mkdir(exist_ok=True)
    return Encoder(Encoder.Settings(path=str(folder), **settings), WeightStore(tmp_path / "weights"))


def test_vectors_are_means_whatever_shares_a_batch(folder: Path, tmp_path: Path) -> None:
    encoder = opened(folder, tmp_path, batch=3)
    state = State(encoder.base)
    texts = ["Kim", "Kim has coins", "how many coins has Kim", "finds", "Kim has coins"]
    found = encoder.hidden([(state, text) for text in texts], layer=0)
    assert found[1] == found[4]
    for text, vector in zip(texts, found, strict=True):
        assert list(vector) == pytest.approx(encoder.hidden([(state, text)], layer=-1)[0], abs=1e-5)
    model = BertModel.from_pretrained(folder).eval()
    with torch.no_grad():
        plain = model(torch.tensor([[2, 3, 4]])).last_hidden_state[0].mean(0)
    assert list(found[1]) == pytest.approx(plain.tolist(), abs=1e-5)
    short = opened(folder, tmp_path, max_length=1)
    assert short.hidden([(state, "Kim has")], layer=0)[0] == pytest.approx(list(found[0]), abs=1e-5)
    assert short.identity != encoder.identity


def test_what_a_sentence_vector_has_not_is_refused(folder: Path, tmp_path: Path) -> None:
    encoder = opened(folder, tmp_path)
    state = State(encoder.base)
    asks: list[dict[str, Any]] = [{"layer": 1}, {"layer": 0, "pool": "last"}, {"layer": 0, "dropout": Dropout(0.1)}]
    for options in asks:
        with pytest.raises(UsageError, match="sentence vectors alone"):
            encoder.hidden([(state, "Kim")], **options)
    [[nothing]] = encoder.generate([Request(state, "Kim")])
    assert nothing.finish == "failed"
    assert "writes nothing" in nothing.reason
    with pytest.raises(UsageError, match="no such folder"):
        opened(tmp_path / "nowhere", tmp_path)


def test_daar_reads_with_it(folder: Path, tmp_path: Path) -> None:
    chosen = []
    for name in ("encoder", "teacher"):
        model, learner = ScriptedLM({}), Learner()
        who = {"teacher": model} | ({"embedder": opened(folder, tmp_path)} if name == "encoder" else {})
        task = LabPool(LabPool.Settings(train=30, test=4))
        slots: dict[str, tuple[str, Any]] = {"sft": ("updater", learner)}
        s = open_session(tmp_path / name, task, who, slots, roles={"student": "@teacher"}, sees="context+queries")
        [round_] = Daar(Daar.Settings(seeds=SEEDS, **QUICK)).run(s.sealed)
        assert round_.metrics["learnt"] == 6
        chosen.append([edit.episode for edit in learner.jobs[0].edits])
    assert chosen[0] != chosen[1]
